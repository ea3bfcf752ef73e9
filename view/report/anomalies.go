package report

import (
	"cmp"
	"slices"
	"strings"
)

// meanings say in plain words what the kinds of anomalies are (see inspect/wire and the README).
var meanings = map[string]string{
	"ambiguous-eod":            "an end of data that only some servers take for one",
	"smuggling":                "the server took a false end of data for one, and what followed for commands: SMTP smuggling",
	"bare-lf":                  "line ends without CR: a broken program, or an attempt at smuggling",
	"bare-cr":                  "a CR without LF: a broken program, or an attempt at smuggling",
	"nul":                      "an octet 0 in a command or a reply",
	"long-line":                "a command or reply longer than any should be",
	"early-talker":             "the client spoke before the greeting, as programs that send spam do",
	"starttls-injection":       "commands in clear behind STARTTLS, to be taken for what was said inside TLS",
	"plaintext-after-starttls": "readable octets where TLS should be",
	unansweredKind:             "a command that got no reply before the connection ended",
	"bad-reply":                "a line of the server that is no reply",
	"unsolicited":              "a reply to no command",
	"bad-bdat":                 "a BDAT without a usable size",
	"pending-limit":            "more unanswered commands than are kept",
	"resync":                   "octets were skipped until something was understood again",
	"protocol":                 "the conversation is not what its port says",
	"overlap":                  "TCP segments that contradict each other",
	"overload":                 "octets were not inspected, as there were too many at once",
	"inspector-failure":        "the inspection failed and was given up; please report it",
	"proxy-header":             "a PROXY header that is missing, wrong, or from a stranger",
	"upstream-tls":             "the server's handshake or certificate was refused",
}

// unansweredKind stands among the kinds of anomalies for commands without a reply, which may be no more than a client that
// does not wait for the reply to its QUIT.
const unansweredKind = "unanswered"

// mismatches are the kinds that mean that requests and replies do not match.
var mismatches = []string{unansweredKind, "unsolicited", "bad-reply", "pending-limit", "resync", "protocol"}

// strange sums up the anomalies of one kind.
type strange struct {
	kind                           string
	count, sessions, clients, last int64
}

// sumAnomalies sums up all anomalies, and the commands without reply. Of the anomalies SQL would say the same, but SQLite
// sorts them and the clients of each kind.
func (q *query) sumAnomalies() error {
	unanswered := strange{kind: unansweredKind}
	if err := q.row(`SELECT COALESCE(SUM(s.unanswered), 0), COUNT(*), COUNT(DISTINCT s.client_ip), COALESCE(MAX(s.row), 0)
		FROM sessions s WHERE s.unanswered > 0 AND `+q.where("s"),
		&unanswered.count, &unanswered.sessions, &unanswered.clients, &unanswered.last); err != nil {
		return err
	}
	if unanswered.count > 0 {
		q.strange = append(q.strange, unanswered)
	}
	where := q.span("a.session_row")
	if ends := q.ends("s"); ends != "" {
		where += " AND EXISTS (SELECT 1 FROM sessions s WHERE s.row = a.session_row" + ends + ")"
	}
	rows, err := q.db.QueryContext(q.ctx, "SELECT a.kind, a.client_ip, a.count, a.session_row FROM anomalies a WHERE "+where, q.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	sums, clients := map[string]*strange{}, map[string]map[string]struct{}{}
	var kind, ip string
	var count, session any // Scan makes a text of a number that is to be an int64
	for rows.Next() {
		if err := rows.Scan(&kind, &ip, &count, &session); err != nil {
			return err
		}
		if sums[kind] == nil {
			sums[kind], clients[kind] = &strange{kind: kind}, map[string]struct{}{}
		}
		s := sums[kind]
		s.sessions++
		s.count += count.(int64)
		s.last = max(s.last, session.(int64))
		clients[kind][ip] = struct{}{}
	}
	for kind, s := range sums {
		s.clients = int64(len(clients[kind]))
		q.strange = append(q.strange, *s)
	}
	slices.SortFunc(q.strange, func(a, b strange) int {
		return cmp.Or(cmp.Compare(b.count, a.count), strings.Compare(a.kind, b.kind))
	})
	return rows.Err()
}

func anomalies(q *query) (*Section, error) {
	return q.anomalies("Anomalies", "What should not be on the wire.", false)
}

func unmatched(q *query) (*Section, error) {
	return q.anomalies("Requests and replies that do not match", "Replies to no command, commands without reply, and what is neither.", true)
}

// anomalies shows the kinds that are mismatches, or all others.
func (q *query) anomalies(title, says string, mismatch bool) (*Section, error) {
	s := &Section{Title: title, Says: says, Columns: []Column{
		{"kind", Text},
		{"count", Count},
		{"sessions", Count},
		{"clients", Count},
		{"last", Time},
		{"session", Session},
		{"meaning", Note},
	}}
	for _, a := range q.strange {
		if slices.Contains(mismatches, a.kind) != mismatch {
			continue
		}
		if s.More = len(s.Rows) == q.o.Top; s.More {
			break
		}
		begin, id, err := q.session(a.last)
		if err != nil {
			return nil, err
		}
		s.Rows = append(s.Rows, []any{a.kind, a.count, a.sessions, a.clients, begin, id, meanings[a.kind]})
	}
	return s, nil
}
