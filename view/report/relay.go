package report

import (
	"fmt"

	"github.com/mailwire/mailwire/view/explain"
)

func relayAttempts(q *query) (*Section, error) {
	s := &Section{
		Title: "Relay attempts",
		Says:  "Who tried to send to others through a server that did not allow it: spammers, or a mail program that does not log in.",
		Columns: []Column{
			{"client", Text},
			{"server", Text},
			{"refusals", Count},
			{"recipients", Count},
			{"user", Text},
			{"first", Time},
			{"last", Time},
			{"session", Session},
			{"example", Text},
		},
	}
	return q.fill(s, `
		WITH g AS (SELECT e.client_ip, e.server_ip, COUNT(*) times, COUNT(DISTINCT `+address("e")+`) recipients, MIN(e.begin) first,
				MAX(e.begin) last, MIN(e.session_row) session, MIN(`+address("e")+`) example
			FROM errors e WHERE `+q.of("e", explain.RelayDenied)+` AND `+q.whereSession("e")+`
			GROUP BY e.client_ip, e.server_ip ORDER BY times DESC, e.client_ip, e.server_ip LIMIT @top)
		SELECT g.client_ip, g.server_ip, times, recipients, s.user, first, last, s.id, example
		FROM g LEFT JOIN sessions s ON s.row = g.session ORDER BY times DESC, g.client_ip, g.server_ip`, nil)
}

// relayed needs to know what is ours: without that no mail is external.
func relayed(q *query) (*Section, error) {
	s := &Section{
		Title: "Relayed mail",
		Says: "Mail that a server accepted although neither end of it is ours (--local-net, --local-domain): who sent it, and " +
			"as which user. Without a user the server is an open relay; with one, the account may be misused.",
		Columns: []Column{
			{"client", Text},
			{"user", Text},
			{"server", Text},
			{"mails", Count},
			{"senders", Count},
			{"octets", Octets},
			{"first", Time},
			{"last", Time},
			{"session", Session},
		},
	}
	return q.fill(s, `
		SELECT m.client_ip, m.user, m.server_ip, COUNT(*) n, COUNT(DISTINCT m.mail_from), SUM(m.octets), MIN(m.begin), MAX(m.begin),
			MAX(m.session)
		FROM messages m WHERE m.direction = 'external' AND m.outcome = 'accepted' AND m.protocol <> 'pop3' AND `+q.where("m")+`
		GROUP BY m.client_ip, m.user, m.server_ip ORDER BY n DESC, m.client_ip, m.user LIMIT @top`, nil)
}

func senders(q *query) (*Section, error) {
	s := &Section{
		Title: "Mail sent after a login",
		Says: "Which user sent how much, from how many addresses: an account that is misused sends far more than others, " +
			"from many places or as many senders.",
		Columns: []Column{
			{"user", Text},
			{"mails", Count},
			{"refused", Count},
			{"addresses", Count},
			{"senders", Count},
			{"octets", Octets},
			{"first", Time},
			{"last", Time},
			{"session", Session},
		},
	}
	return q.fill(s, `
		SELECT m.user, SUM(m.outcome = 'accepted') n, SUM(m.outcome = 'rejected'), COUNT(DISTINCT m.client_ip),
			COUNT(DISTINCT m.mail_from), SUM(m.octets), MIN(m.row) / `+fmt.Sprint(rowsAMicrosecond)+`,
			MAX(m.row) / `+fmt.Sprint(rowsAMicrosecond)+`, MAX(m.session)
		FROM messages m WHERE m.user <> '' AND m.protocol <> 'pop3' AND `+q.where("m")+`
		GROUP BY m.user ORDER BY n DESC, m.user LIMIT @top`, nil)
}
