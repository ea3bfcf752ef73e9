package report

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mailwire/mailwire/view/explain"
)

// shape names the replies that are counted as one: their texts differ in addresses, numbers and ids only.
type shape struct {
	code     int64
	enhanced string
	text     string
}

// answer is one line of the ranking of replies, before it becomes a row.
type answer struct {
	shape
	count, clients, first, last int64
	session, example            string
}

// protocol is the one whose errors have that code: -ERR has none.
func protocol(code int64) string {
	if code == 0 {
		return "pop3"
	}
	return "smtp"
}

// rankReplies counts all refusals by their shape, once, and finds out what kind each is: several sections need it.
func (q *query) rankReplies() error {
	rows, err := q.db.QueryContext(q.ctx, `
		WITH g AS (SELECT e.code, e.enhanced, e.shape, COUNT(*) times, COUNT(DISTINCT e.client_ip) clients,
				MIN(e.begin) first, MAX(e.begin) last, MIN(e.session_row) session
			FROM errors e WHERE `+q.whereSession("e")+` GROUP BY e.code, e.enhanced, e.shape)
		SELECT code, enhanced, shape, times, clients, first, last, COALESCE((SELECT id FROM sessions WHERE row = g.session), ''),
			(SELECT text FROM errors e WHERE e.session_row = g.session AND e.code = g.code AND e.enhanced IS g.enhanced AND e.shape IS g.shape LIMIT 1)
		FROM g ORDER BY times DESC, code DESC, enhanced, shape`, q.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	q.kinds = map[explain.Kind][]shape{}
	for rows.Next() {
		var a answer
		var enhanced, text sql.NullString
		if err := rows.Scan(&a.code, &enhanced, &text, &a.count, &a.clients, &a.first, &a.last, &a.session, &a.example); err != nil {
			return err
		}
		a.enhanced, a.text = enhanced.String, text.String
		q.first = append(q.first, a)
		kind := explain.Of(protocol(a.code), int(a.code), a.enhanced, a.example)
		q.kinds[kind] = append(q.kinds[kind], a.shape)
	}
	return rows.Err()
}

// of is the condition that an error of the table is of one of the kinds.
func (q *query) of(table string, kinds ...explain.Kind) string {
	list := [][3]any{}
	for _, k := range kinds {
		for _, s := range q.kinds[k] {
			list = append(list, [3]any{s.code, s.enhanced, s.text})
		}
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic(err) // texts and numbers can always be written
	}
	return fmt.Sprintf(`(%[1]s.code, %[1]s.enhanced, %[1]s.shape) IN
		(SELECT value->>0, value->>1, value->>2 FROM json_each(%[2]s))`, table, quote(string(b)))
}

func replies(q *query) (*Section, error) {
	s := &Section{
		Title: "Refusals, the most frequent first",
		Says:  "What servers answered with 4xx, 5xx or -ERR, to how many clients, and what it means.",
		Columns: []Column{
			{"count", Count},
			{"clients", Count},
			{"first", Time},
			{"last", Time},
			{"session", Session},
			{"reply", Text},
			{"meaning", Note},
		},
	}
	byKind := map[explain.Kind]int64{}
	for i, a := range q.first {
		byKind[explain.Of(protocol(a.code), int(a.code), a.enhanced, a.example)] += a.count
		if i >= q.o.Top {
			s.More = true
			continue
		}
		s.Rows = append(s.Rows, []any{
			a.count, a.clients, q.time(a.first), q.time(a.last), a.session, written(a.code, a.enhanced, a.text),
			explain.Reply(protocol(a.code), int(a.code), a.enhanced, a.example),
		})
	}
	s.Chart = kindChart(byKind)
	return s, nil
}

// written is a reply as it was on the wire, but that its text is a shape.
func written(code int64, enhanced, text string) string {
	if code == 0 {
		return "-ERR " + text
	}
	if enhanced != "" {
		return fmt.Sprintf("%d %s %s", code, enhanced, text)
	}
	return fmt.Sprintf("%d %s", code, text)
}

func unavailable(q *query) (*Section, error) {
	s := &Section{
		Title: "Servers that refused connections or were not available",
		Says: "Connections without a greeting or with one that refuses, and replies that say that the service or the " +
			"server has a fault (421, 4.3.x).",
		Columns: []Column{
			{"server", Text},
			{"refused", Count},
			{"replies", Count},
			{"clients", Count},
			{"first", Time},
			{"last", Time},
			{"session", Session},
			{"reply", Text},
		},
	}
	return q.fill(s, `
		WITH bad AS (
			SELECT s.server_ip server, 1 refused, 0 replies, s.client_ip client, s.begin, s.row session, NULL reply
			FROM sessions s WHERE s.status = 'refused' AND `+q.where("s")+`
			UNION ALL
			SELECT e.server_ip, 0, 1, e.client_ip, e.begin, e.session_row, e.text
			FROM errors e WHERE `+q.of("e", explain.Unavailable, explain.ServerError)+` AND `+q.whereSession("e")+`),
		g AS (SELECT server, SUM(refused) refused, SUM(replies) replies, COUNT(DISTINCT client) clients, MIN(begin) first,
			MAX(begin) last, MIN(session) session, MIN(reply) reply FROM bad GROUP BY server)
		SELECT server, refused, replies, clients, first, last, (SELECT id FROM sessions WHERE row = g.session), reply
		FROM g ORDER BY refused + replies DESC, server LIMIT @top`, nil)
}

func harvesting(q *query) (*Section, error) {
	s := &Section{
		Title: "Clients that write to unknown users",
		Says:  "How many different unknown recipients each client tried, and how many mails it sent or tried to.",
		Columns: []Column{
			{"client", Text},
			{"unknown", Count},
			{"refusals", Count},
			{"mails", Count},
			{"first", Time},
			{"last", Time},
			{"session", Session},
			{"judgement", Note},
		},
	}
	return q.fill(s, `
		WITH g AS (SELECT e.client_ip, COUNT(DISTINCT `+address("e")+`) unknown, COUNT(*) times, MIN(e.begin) first, MAX(e.begin) last,
				MIN(e.session_row) session
			FROM errors e WHERE e.command = 'RCPT' AND `+q.of("e", explain.UnknownUser)+` AND `+q.whereSession("e")+`
			GROUP BY e.client_ip ORDER BY unknown DESC, e.client_ip LIMIT @top),
		n AS MATERIALIZED (SELECT g.*, s.client_net, s.id FROM g JOIN sessions s ON s.row = g.session),
		m AS MATERIALIZED (SELECT c.client_ip, SUM(c.messages) mails FROM `+q.clientLoad()+` c
			WHERE (c.client_net, c.client_ip) IN (SELECT client_net, client_ip FROM n) GROUP BY c.client_ip)
		SELECT client_ip, unknown, times, mails, first, last, id FROM n LEFT JOIN m USING (client_ip)
		ORDER BY unknown DESC, client_ip`,
		func(row []any) []any { return append(row, judgeHarvest(row[1].(int64))) })
}

func unknownRecipients(q *query) (*Section, error) {
	s := &Section{
		Title: "Unknown recipients",
		Says:  "Addresses that do not exist and who wrote to them: typing errors, people who left, or guesses.",
		Columns: []Column{
			{"recipient", Text}, {"refusals", Count}, {"clients", Count}, {"first", Time}, {"last", Time}, {"session", Session},
		},
	}
	return q.fill(s, `
		WITH g AS (SELECT `+address("e")+` recipient, COUNT(*) times, COUNT(DISTINCT e.client_ip) clients, MIN(e.begin) first,
				MAX(e.begin) last, MIN(e.session_row) session
			FROM errors e WHERE e.command = 'RCPT' AND `+q.of("e", explain.UnknownUser)+` AND `+q.whereSession("e")+`
			GROUP BY recipient ORDER BY times DESC, recipient LIMIT @top)
		SELECT recipient, times, clients, first, last, (SELECT id FROM sessions WHERE row = g.session)
		FROM g ORDER BY times DESC, recipient`, nil)
}

func tooBig(q *query) (*Section, error) {
	s := &Section{
		Title: "Mail that was too big",
		Says:  "Who tried to send mail bigger than the server takes, and how often.",
		Columns: []Column{
			{"client", Text},
			{"server", Text},
			{"refusals", Count},
			{"first", Time},
			{"last", Time},
			{"session", Session},
			{"from", Text},
		},
	}
	return q.fill(s, `
		WITH g AS (SELECT e.client_ip, e.server_ip, COUNT(*) times, MIN(e.begin) first, MAX(e.begin) last, MIN(e.session_row) session,
				MIN(CASE WHEN e.command = 'MAIL' THEN `+address("e")+` END) sender
			FROM errors e WHERE `+q.of("e", explain.TooBig)+` AND `+q.whereSession("e")+`
			GROUP BY e.client_ip, e.server_ip ORDER BY times DESC, e.client_ip, e.server_ip LIMIT @top)
		SELECT client_ip, server_ip, times, first, last, (SELECT id FROM sessions WHERE row = g.session),
			COALESCE(sender, (SELECT m.mail_from FROM messages m WHERE m.session_row = g.session ORDER BY m.octets DESC LIMIT 1))
		FROM g ORDER BY times DESC, client_ip, server_ip`, nil)
}

// address cuts the address out of the argument of MAIL or RCPT, as "TO:<a@example.net> NOTIFY=NEVER".
func address(table string) string {
	return strings.ReplaceAll(`lower(CASE WHEN instr(T.argument, '>') > instr(T.argument, '<') AND instr(T.argument, '<') > 0
		THEN substr(T.argument, instr(T.argument, '<') + 1, instr(T.argument, '>') - instr(T.argument, '<') - 1)
		ELSE T.argument END)`, "T.", table+".")
}
