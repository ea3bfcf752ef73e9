package report

import (
	"database/sql"
	"fmt"
)

// findPutOff lists, for each sender and recipient that was put off (4xx, to the recipient or to the mail), how often,
// when, when the same pair was accepted after the first time, and whether it was after the last time, or was refused for
// good (5xx) then; as JSON, for off.
func (q *query) findPutOff() error {
	return q.row(`
		WITH failed AS MATERIALIZED (
			SELECT mail_from, address, COUNT(*) times, MIN(begin) first, MAX(begin) last, MAX(row) message FROM (
				SELECT m.mail_from, r.address, m.begin, m.row FROM recipients r CROSS JOIN messages m ON m.row = r.message_row
				WHERE r.code BETWEEN 400 AND 499 AND `+q.where("m")+`
				UNION ALL
				SELECT m.mail_from, r.address, m.begin, m.row FROM messages m CROSS JOIN recipients r ON r.message_row = m.row
				WHERE m.code BETWEEN 400 AND 499 AND r.code < 400 AND `+q.where("m")+`)
			GROUP BY mail_from, address),
		settled AS MATERIALIZED (
			SELECT r.address, m.mail_from, m.begin, r.code < 300 AND m.outcome = 'accepted' taken
			FROM recipients r CROSS JOIN messages m ON m.row = r.message_row
			WHERE r.address IN (SELECT address FROM failed)
				AND (r.code >= 500 OR r.code BETWEEN 200 AND 299 AND (m.outcome = 'accepted' OR m.code >= 500))),
		off AS (
			SELECT f.*, MIN(CASE WHEN t.taken AND t.begin > f.first THEN t.begin END) again,
				MAX(CASE WHEN t.taken THEN t.begin END) > f.last accepted, MAX(CASE WHEN NOT t.taken THEN t.begin END) > f.last refused
			FROM failed f LEFT JOIN settled t ON t.address = f.address AND t.mail_from IS f.mail_from
			GROUP BY f.mail_from, f.address)
		SELECT json_group_array(json_array(mail_from, address, times, first, last, message, again, accepted, refused)) FROM off`, &q.putOff)
}

const off = `
		WITH off AS MATERIALIZED (SELECT value->>0 mail_from, value->>1 address, value->>2 times, value->>3 first, value->>4 last,
			value->>5 message, value->>6 again, value->>7 accepted, value->>8 refused FROM json_each(@off))`

func lost(q *query) (*Section, error) {
	s := &Section{
		Title: "Put off and not accepted since: ask these to send again",
		Says: "Senders whose mail a server refused for the time being (4xx), and who have not tried again with success. Those " +
			"that were refused for good (5xx) since are left out.",
		Columns: []Column{
			{"client", Text}, {"from", Text}, {"to", Text}, {"tries", Count}, {"last", Time}, {"session", Session}, {"reply", Text},
		},
	}
	return q.fill(s, off+`
		SELECT m.client_ip, off.mail_from, off.address, off.times, off.last, m.session,
			CASE WHEN r.code >= 400 THEN r.code || rtrim(' ' || r.enhanced) || ' ' || r.text
				ELSE m.code || rtrim(' ' || m.enhanced) || COALESCE((SELECT ' ' || e.text FROM errors e
					WHERE e.session_row = m.session_row AND e.begin >= m.begin AND e.code = m.code AND e.enhanced = m.enhanced ORDER BY e.n LIMIT 1), '') END
		FROM off CROSS JOIN messages m ON m.row = off.message
			CROSS JOIN recipients r ON r.message_row = m.row AND r.address = off.address
		WHERE accepted IS NOT 1 AND refused IS NOT 1 ORDER BY off.last DESC, off.mail_from, off.address LIMIT @top`, nil, sql.Named("off", q.putOff))
}

func delayed(q *query) (*Section, error) {
	s := &Section{
		Title: "Put off and accepted later",
		Says:  "Senders whose mail was refused for the time being (4xx) and accepted at a later try; the longest delays first.",
		Columns: []Column{
			{"client", Text}, {"from", Text}, {"to", Text}, {"tries", Count}, {"first", Time}, {"delay", Millis}, {"session", Session},
		},
	}
	return q.fill(s, off+`
		SELECT m.client_ip, off.mail_from, off.address, off.times, off.first, (off.again - off.first) / 1000.0, m.session
		FROM off CROSS JOIN messages m ON m.row = off.message
		WHERE accepted = 1 ORDER BY off.again - off.first DESC, off.mail_from, off.address LIMIT @top`, nil, sql.Named("off", q.putOff))
}

// turnedAway is what putOff cannot see: clients that were refused before they named a recipient.
func turnedAway(q *query) (*Section, error) {
	s := &Section{
		Title: "Turned away before they named a recipient, and no mail accepted since",
		Says: "Clients that got a 4xx to the greeting, EHLO, STARTTLS or MAIL: a scanner or a script does not try again " +
			"by itself, so ask whoever uses it.",
		Columns: []Column{
			{"client", Text}, {"server", Text}, {"replies", Count}, {"first", Time}, {"last", Time}, {"session", Session}, {"reply", Text},
		},
	}
	// A 421 out of turn, as to a client that was silent for long, says nothing of the mails before it.
	const early = "e.code BETWEEN 400 AND 499 AND e.command NOT IN ('RCPT', 'DATA', 'BDAT', 'DATA-END', 'AUTH') AND " +
		"(e.command <> '' OR NOT EXISTS (SELECT 1 FROM messages m WHERE m.session_row = e.session_row))"
	return q.fill(s, `
		WITH g AS (SELECT e.client_ip, e.server_ip, COUNT(*) times, MIN(e.begin) first, MAX(e.begin) last, MAX(e.session_row) session
			FROM errors e WHERE `+early+` AND `+q.whereSession("e")+`
			GROUP BY e.client_ip, e.server_ip)
		SELECT g.client_ip, g.server_ip, times, first, last, (SELECT id FROM sessions WHERE row = g.session),
			(SELECT e.code || rtrim(' ' || e.enhanced) || ' ' || e.text FROM errors e
				WHERE e.session_row = g.session AND `+early+` LIMIT 1)
		FROM g
		WHERE NOT EXISTS (SELECT 1 FROM messages m
			WHERE m.client_ip = g.client_ip AND m.server_ip = g.server_ip AND m.row > g.last * `+fmt.Sprint(rowsAMicrosecond)+`
				AND m.outcome = 'accepted')
		ORDER BY times DESC, last DESC LIMIT @top`, nil)
}
