package report

import "fmt"

func hours(q *query) (*Section, error) {
	s := &Section{
		Title: "Load by hour",
		Says:  "Sessions that began and mails in each hour; the busiest are listed.",
		Columns: []Column{
			{"hour", Hour}, {"sessions", Count}, {"mails", Count}, {"errors", Count}, {"octets", Octets},
		},
	}
	s, err := q.fill(s, `
		SELECT hour, SUM(sessions) times, SUM(messages), SUM(errors), SUM(octets) FROM `+q.load()+`
		GROUP BY hour ORDER BY times DESC, hour LIMIT @top`, nil)
	if err != nil {
		return nil, err
	}
	s.Chart, err = q.hourChart()
	return s, err
}

func loadByUser(q *query) (*Section, error) {
	s := &Section{
		Title: "Load by user",
		Says:  "Whose sessions keep the servers busy.",
		Columns: []Column{
			{"user", Text}, {"sessions", Count}, {"clients", Count}, {"mails", Count}, {"octets", Octets}, {"last", Time},
		},
	}
	return q.fill(s, `
		SELECT s.user, COUNT(*) n, COUNT(DISTINCT s.client_ip), SUM(s.messages), SUM(s.sent + s.received), MAX(s.row) / `+fmt.Sprint(rowsAMicrosecond)+`
		FROM sessions s WHERE s.user <> '' AND `+q.where("s")+` GROUP BY s.user ORDER BY n DESC, s.user LIMIT @top`, nil)
}

func pollers(q *query) (*Section, error) {
	s := &Section{
		Title: "POP3: who polls how often",
		Says:  "Clients by their POP3 sessions in their busiest hour.",
		Columns: []Column{
			{"client", Text},
			{"most in an hour", Count},
			{"that hour", Hour},
			{"sessions", Count},
			{"users", Count},
			{"mails", Count},
			{"session", Session},
			{"judgement", Note},
		},
	}
	return q.fill(s, `
		WITH h AS (SELECT s.client_ip, s.hour, COUNT(*) n, SUM(s.messages) mails, MAX(s.row) last
				FROM sessions s WHERE s.protocol = 'pop3' AND `+q.where("s")+` GROUP BY s.client_ip, s.hour),
			g AS (SELECT client_ip, MAX(n) most, hour, SUM(n) n, SUM(mails) mails, last FROM h GROUP BY client_ip
				ORDER BY most DESC, client_ip LIMIT @top)
		SELECT client_ip, most, hour, n, (SELECT COUNT(DISTINCT s.user) FROM sessions s
				WHERE s.client_ip = g.client_ip AND s.protocol = 'pop3' AND s.user <> '' AND `+q.where("s")+`),
			mails, (SELECT id FROM sessions WHERE row = g.last)
		FROM g ORDER BY most DESC, client_ip`,
		func(row []any) []any { return append(row, judgePolls(row[1].(int64))) })
}

func statuses(q *query) (*Section, error) {
	s := &Section{
		Title: "How sessions ended",
		Says:  "Only 'closed' is orderly; 'unknown' is an end, or a beginning, that was not seen.",
		Columns: []Column{
			{"protocol", Text}, {"status", Text}, {"sessions", Count}, {"octets not seen", Octets}, {"last", Time}, {"session", Session},
		},
	}
	return q.fill(s, `
		WITH g AS (SELECT protocol, status, SUM(sessions) times, SUM(lost) lost, MAX(last) last FROM `+q.load()+`
			GROUP BY protocol, status ORDER BY times DESC LIMIT @top)
		SELECT g.protocol, g.status, times, g.lost, s.begin, s.id
		FROM g JOIN sessions s ON s.row = g.last ORDER BY times DESC, g.protocol, g.status`, nil)
}
