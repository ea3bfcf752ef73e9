package report

import "fmt"

// failures is a table expression: the failures of the logins that have something in common, where most failed, and
// the last success of each.
func (q *query) failures(column, count, condition string) string {
	return `
		WITH g AS MATERIALIZED (SELECT l.` + column + `, COUNT(DISTINCT l.` + count + `) various, COUNT(*) times, MIN(l.begin) first,
				MAX(l.begin) last, MIN(l.session_row) session
			FROM logins l WHERE l.outcome = 'failure' AND ` + condition + ` AND ` + q.whereSession("l") + `
			GROUP BY l.` + column + ` ORDER BY times DESC, l.` + column + ` LIMIT @top),
		s AS MATERIALIZED (SELECT l.` + column + `, MAX(l.begin) success, l.user account
			FROM logins l WHERE l.outcome = 'success' AND l.` + column + ` IN (SELECT ` + column + ` FROM g) AND ` + q.whereSession("l") + `
			GROUP BY l.` + column + `)`
}

func attackers(q *query) (*Section, error) {
	s := &Section{
		Title: "Failed logins by address",
		Says:  "Who gave a wrong user or password, how often, and for how many different users.",
		Columns: []Column{
			{"client", Text},
			{"failures", Count},
			{"users", Count},
			{"first", Time},
			{"last", Time},
			{"success", Time},
			{"session", Session},
			{"judgement", Note},
		},
	}
	return q.fill(s, q.failures("client_ip", "user", "TRUE")+`
		SELECT client_ip, times, various, first, last, CASE WHEN success > first THEN success END,
			(SELECT id FROM sessions WHERE row = g.session), account
		FROM g LEFT JOIN s USING (client_ip) ORDER BY times DESC, client_ip`,
		func(row []any) []any {
			account, _ := row[7].(string)
			row[7] = judgeAddress(row[1].(int64), row[2].(int64), row[5] != nil, account)
			return row
		})
}

func attackingNetworks(q *query) (*Section, error) {
	s := &Section{
		Title: "Failed logins by network",
		Says:  "Networks (/24, /64) from which more than one address could not log in.",
		Columns: []Column{
			{"network", Text},
			{"addresses", Count},
			{"failures", Count},
			{"users", Count},
			{"first", Time},
			{"last", Time},
			{"session", Session},
			{"judgement", Note},
		},
	}
	return q.fill(s, `
		WITH g AS (SELECT l.client_net, COUNT(DISTINCT l.client_ip) addresses, COUNT(DISTINCT l.user) users, COUNT(*) times,
				MIN(l.begin) first, MAX(l.begin) last, MIN(l.session_row) session
			FROM logins l WHERE l.outcome = 'failure' AND `+q.whereSession("l")+`
			GROUP BY l.client_net HAVING addresses > 1 ORDER BY times DESC, l.client_net LIMIT @top)
		SELECT client_net, addresses, times, users, first, last, (SELECT id FROM sessions WHERE row = g.session)
		FROM g ORDER BY times DESC, client_net`,
		func(row []any) []any { return append(row, judgeAddress(row[2].(int64), row[3].(int64), false, "")) })
}

func attackedUsers(q *query) (*Section, error) {
	s := &Section{
		Title: "Failed logins by user",
		Says:  "Whose password was wrong, how often, and from how many addresses.",
		Columns: []Column{
			{"user", Text},
			{"failures", Count},
			{"addresses", Count},
			{"first", Time},
			{"last", Time},
			{"success", Time},
			{"session", Session},
			{"judgement", Note},
		},
	}
	return q.fill(s, q.failures("user", "client_ip", "l.user <> ''")+`
		SELECT user, times, various, first, last, CASE WHEN success > first THEN success END,
			(SELECT id FROM sessions WHERE row = g.session)
		FROM g LEFT JOIN s USING (user) ORDER BY times DESC, user`,
		func(row []any) []any { return append(row, judgeUser(row[2].(int64), row[5] != nil)) })
}

func spraying(q *query) (*Section, error) {
	s := &Section{
		Title: "Password spraying",
		Says: fmt.Sprintf("Hours in which many users (%d or more) were tried from many addresses (%d or more), each a few times only: "+
			"few passwords against everybody, slowly enough that no lock closes.", sprayUsers, sprayAddresses),
		Columns: []Column{
			{"hour", Hour}, {"server", Text}, {"failures", Count}, {"users", Count}, {"addresses", Count}, {"session", Session},
		},
	}
	const hour = "l.begin / 3600000000"
	return q.fill(s, `
		WITH g AS (SELECT `+hour+` hour, l.server_ip, COUNT(*) times, COUNT(DISTINCT l.user) users, COUNT(DISTINCT l.client_ip) addresses,
				MIN(l.session_row) session
			FROM logins l WHERE l.outcome = 'failure' AND l.user <> '' AND `+q.whereSession("l")+`
			GROUP BY `+hour+`, l.server_ip
			HAVING users >= `+fmt.Sprint(sprayUsers)+` AND addresses >= `+fmt.Sprint(sprayAddresses)+`
				AND times <= users * `+fmt.Sprint(sprayPerUser)+`
			ORDER BY users DESC, hour LIMIT @top)
		SELECT hour, server_ip, times, users, addresses, (SELECT id FROM sessions WHERE row = g.session)
		FROM g ORDER BY users DESC, hour`, nil)
}

func clearLogins(q *query) (*Section, error) {
	s := &Section{
		Title: "Logins without TLS",
		Says:  "Everybody on the way could read these passwords, or guess them from what went by: turn on TLS in these mail programs.",
		Columns: []Column{
			{"client", Text},
			{"protocol", Text},
			{"mechanism", Text},
			{"logins", Count},
			{"users", Count},
			{"with TLS", Count},
			{"last", Time},
			{"session", Session},
		},
	}
	return q.fill(s, `
		WITH clear AS MATERIALIZED (SELECT l.client_ip, l.protocol, l.mechanism, COUNT(*) times
			FROM logins l WHERE l.tls = 0 AND `+q.whereSession("l")+` GROUP BY l.client_ip, l.protocol, l.mechanism
			ORDER BY times DESC, l.client_ip, l.protocol, l.mechanism LIMIT @top),
		g AS (SELECT l.client_ip, l.protocol, l.mechanism, times, COUNT(DISTINCT CASE WHEN l.tls = 0 THEN l.user END) users,
				SUM(l.tls <> 0) safe, MAX(CASE WHEN l.tls = 0 THEN l.begin END) last, MAX(CASE WHEN l.tls = 0 THEN l.session_row END) session
			FROM logins l JOIN clear USING (client_ip, protocol, mechanism) WHERE `+q.whereSession("l")+`
			GROUP BY l.client_ip, l.protocol, l.mechanism)
		SELECT client_ip, protocol, mechanism, times, users, safe, last, (SELECT id FROM sessions WHERE row = g.session)
		FROM g ORDER BY times DESC, client_ip, protocol, mechanism`, nil)
}

func tlsVersions(q *query) (*Section, error) {
	s := &Section{
		Title: "TLS",
		Says:  "How conversations were encrypted.",
		Columns: []Column{
			{"protocol", Text}, {"tls", Text}, {"how", Text}, {"sessions", Count}, {"last", Time},
		},
	}
	return q.fill(s, `
		SELECT protocol, CASE WHEN tls <> '' THEN tls WHEN tls_how <> '' THEN 'unknown version' ELSE 'none' END version, tls_how,
			SUM(sessions) times, MAX(last) / `+fmt.Sprint(rowsAMicrosecond)+`
		FROM `+q.load()+` GROUP BY protocol, version, tls_how ORDER BY times DESC, protocol, version LIMIT @top`, nil)
}
