package report

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The busiest clients and routes are found in one walk along all clients, network by network, as the index keeps them. SQL
// would say the same, but SQLite sorts a million clients anew for each of the three sections.

// walked is what a walk along the clients found.
type walked struct {
	clients ranking          // by network and address
	routes  ranking          // by network and route
	servers map[string]int64 // number of clients by address, port and protocol of the server, with blanks between them
}

// ranked has some sessions.
type ranked struct {
	net, of  string
	sessions int64
}

// ranking keeps those that have the most sessions: n of them once it is cut.
type ranking struct {
	n    int
	rows []ranked
	full bool // it was cut: what has fewer than its last row has no place any more
}

func (r *ranking) add(net, of string, sessions int64) {
	if r.full && sessions < r.rows[r.n-1].sessions {
		return
	}
	r.rows = append(r.rows, ranked{net, of, sessions})
	if len(r.rows) >= 4*r.n {
		r.cut()
	}
}

func (r *ranking) cut() {
	slices.SortFunc(r.rows, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.sessions, a.sessions), strings.Compare(a.net, b.net), strings.Compare(a.of, b.of))
	})
	r.full = len(r.rows) >= r.n
	r.rows = r.rows[:min(r.n, len(r.rows))]
}

// list is the ranking for SQL: pairs in JSON.
func (r *ranking) list() (string, error) {
	pairs := make([][2]string, len(r.rows))
	for i, row := range r.rows {
		pairs[i] = [2]string{row.net, row.of}
	}
	b, err := json.Marshal(pairs)
	return string(b), err
}

// pairs is the table of a list, which is a parameter of a statement.
func pairs(list string) string { return "(SELECT value->>0, value->>1 FROM json_each(" + list + "))" }

// walkClients finds what q.walked is.
func (q *query) walkClients() error {
	rows, err := q.db.QueryContext(q.ctx, "SELECT client_net, client_ip, route, sessions FROM "+q.clientLoad()+
		" ORDER BY client_net, client_ip, route", q.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	w := &q.walked
	*w = walked{ranking{n: q.o.Top + 1}, ranking{n: q.o.Top + 1}, map[string]int64{}}
	routes := map[string]int64{}   // sessions, of the network
	var net, client, server string // of the last row
	var sessions int64             // of the client
	var nextNet, nextClient, route string
	var number any // Scan makes a text of a number that is to be an int64
	endClient := func() {
		if sessions > 0 {
			w.clients.add(net, client, sessions)
		}
		sessions, server = 0, ""
	}
	endNet := func() {
		for route, n := range routes {
			w.routes.add(net, route, n)
		}
		clear(routes)
	}
	for rows.Next() {
		if err := rows.Scan(&nextNet, &nextClient, &route, &number); err != nil {
			return err
		}
		if nextClient != client || nextNet != net {
			endClient()
		}
		if nextNet != net {
			endNet()
		}
		net, client = nextNet, nextClient
		if to := route[:strings.LastIndexByte(route, ' ')]; to != server {
			server = to
			w.servers[to]++
		}
		n, _ := number.(int64)
		sessions += n
		routes[route] += n
	}
	endClient()
	endNet()
	w.clients.cut()
	w.routes.cut()
	return rows.Err()
}

func loadByClient(q *query) (*Section, error) {
	s := &Section{
		Title: "Load by client",
		Says:  "Who keeps the servers busy, by the number of sessions.",
		Columns: []Column{
			{"client", Text},
			{"sessions", Count},
			{"mails", Count},
			{"errors", Count},
			{"octets", Octets},
			{"time", Millis},
			{"last", Time},
			{"session", Session},
		},
	}
	list, err := q.walked.clients.list()
	if err != nil {
		return nil, err
	}
	return q.fill(s, `
		WITH g AS (SELECT c.client_net, c.client_ip, SUM(c.sessions) times, SUM(c.messages) mails, SUM(c.errors) errors, SUM(c.octets) octets,
				SUM(c.duration) / 1000.0 time, MAX(c.last) last
			FROM `+q.clientLoad()+` c WHERE (c.client_net, c.client_ip) IN `+pairs("@list")+`
			GROUP BY c.client_net, c.client_ip)
		SELECT g.client_ip, times, mails, g.errors, g.octets, time, s.begin, s.id
		FROM g JOIN sessions s ON s.row = g.last ORDER BY times DESC, g.client_net, g.client_ip`, nil, sql.Named("list", list))
}

func loadByServer(q *query) (*Section, error) {
	s := &Section{
		Title: "Load by server",
		Says:  "Which servers are busy, by the number of sessions.",
		Columns: []Column{
			{"server", Text},
			{"port", Count},
			{"protocol", Text},
			{"sessions", Count},
			{"clients", Count},
			{"mails", Count},
			{"errors", Count},
			{"octets", Octets},
			{"last", Time},
		},
	}
	return q.fill(s, `
		SELECT server_ip, server_port, protocol, SUM(sessions) times, server_ip || ' ' || server_port || ' ' || protocol,
			SUM(messages), SUM(errors), SUM(octets), MAX(last) / `+fmt.Sprint(rowsAMicrosecond)+` FROM `+q.load()+`
		GROUP BY server_ip, server_port, protocol ORDER BY times DESC, server_ip, server_port LIMIT @top`,
		func(row []any) []any {
			row[4] = q.walked.servers[row[4].(string)]
			return row
		})
}

func routes(q *query) (*Section, error) {
	s := &Section{
		Title: "Routes",
		Says:  "Which way mail takes: from which network to which server and port, and how it fared.",
		Columns: []Column{
			{"from", Text},
			{"server", Text},
			{"port", Count},
			{"protocol", Text},
			{"direction", Text},
			{"sessions", Count},
			{"mails", Count},
			{"errors", Count},
			{"not closed", Count},
		},
	}
	list, err := q.walked.routes.list()
	if err != nil {
		return nil, err
	}
	return q.fill(s, `
		SELECT c.client_net, c.route, NULL, '', '', SUM(c.sessions) times, SUM(c.messages), SUM(c.errors), SUM(c.unorderly)
		FROM `+q.clientLoad()+` c WHERE (c.client_net, c.route) IN `+pairs("@list")+`
		GROUP BY c.client_net, c.route ORDER BY times DESC, c.client_net, c.route`,
		func(row []any) []any {
			if f := strings.Split(row[1].(string), " "); len(f) == 4 { // as in any record that is not forged
				row[1], row[3], row[4] = f[0], f[2], f[3]
				if port, err := strconv.ParseInt(f[1], 10, 64); err == nil {
					row[2] = port
				}
			}
			return row
		}, sql.Named("list", list))
}
