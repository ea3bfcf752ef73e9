// Package report answers an administrator's questions about a span of time, from the index: what was refused and to
// whom, who guesses passwords, who misuses the server, what is slow, who makes the load.
//
// A Report is a list of sections, the most important first; a section is a table with a sentence that says what the
// table shows, and perhaps a chart. The sections do not know how they are shown: Text, HTML and JSON show any of them.
// SQL counts and ranks, except where a million clients would have to be sorted (clients.go, anomalies.go); Go judges what
// comes out (judge.go has the thresholds).
package report

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"time"
)

// Options say what a report is about.
type Options struct {
	Since, Until time.Time      // begin of the sessions: from Since on and before Until; a zero one is open
	Clients      netip.Prefix   // only these clients; the zero one is all
	Server       netip.Addr     // only this server; the zero one is all
	Top          int            // rows of a section; 0 is DefaultTop
	Only         []string       // the sections to make; none is all
	Location     *time.Location // of times and hours; nil is local
}

// DefaultTop is how many rows a section has where nobody says.
const DefaultTop = 10

// Report is what was found.
type Report struct {
	Since, Until time.Time // of the first and the last session
	Totals       Totals
	Sections     []*Section // those that have something to say
	Location     *time.Location
}

// Totals count what the report is about.
type Totals struct {
	Sessions int64 `json:"sessions"`
	Messages int64 `json:"messages"`
	Accepted int64 `json:"accepted"`
	Errors   int64 `json:"error_replies"`
	Logins   int64 `json:"logins"`
	Failed   int64 `json:"failed_logins"`
	Commands int64 `json:"commands"`
	Replies  int64 `json:"replies"`
	Octets   int64 `json:"octets"`
}

// Section is one answer: a table.
type Section struct {
	Name    string // for scripts; never changes
	Title   string
	Says    string
	Columns []Column
	Rows    [][]any // string, int64, float64 (milliseconds), time.Time or nil, as the column's kind says
	More    bool    // there are more rows than were asked for
	Chart   *Chart
}

// Column is a column of a section.
type Column struct {
	Name string
	Kind Kind
}

// Kind is what a column holds, and so how it is shown.
type Kind uint8

// The kinds of columns.
const (
	Text    Kind = iota
	Count        // int64
	Octets       // int64
	Millis       // float64
	Time         // time.Time
	Hour         // time.Time
	Session      // text: the id to give to mailwire show
	Note         // text about the row, shown below it
)

// makers make the sections, in the order of the report. The names are for scripts and never change.
var makers = []struct {
	name string
	make func(*query) (*Section, error)
}{
	{"login-failures-by-address", attackers},
	{"login-failures-by-user", attackedUsers},
	{"login-failures-by-network", attackingNetworks},
	{"spraying", spraying},
	{"replies", replies},
	{"never-accepted", lost},
	{"turned-away", turnedAway},
	{"accepted-later", delayed},
	{"relay-attempts", relayAttempts},
	{"relayed", relayed},
	{"senders", senders},
	{"unavailable", unavailable},
	{"harvesting", harvesting},
	{"unknown-recipients", unknownRecipients},
	{"too-big", tooBig},
	{"waits", waits},
	{"slowest", slowest},
	{"statuses", statuses},
	{"unmatched", unmatched},
	{"load-by-hour", hours},
	{"load-by-client", loadByClient},
	{"load-by-server", loadByServer},
	{"load-by-user", loadByUser},
	{"routes", routes},
	{"sizes", sizes},
	{"pop3-pollers", pollers},
	{"logins-in-clear", clearLogins},
	{"tls", tlsVersions},
	{"anomalies", anomalies},
}

// Names lists the sections that a report may have.
func Names() []string {
	names := make([]string, len(makers))
	for i, m := range makers {
		names[i] = m.name
	}
	return names
}

// Make makes the report from an index.
func Make(ctx context.Context, db *sql.DB, o Options) (*Report, error) {
	if o.Top <= 0 {
		o.Top = DefaultTop
	}
	o.Top = min(o.Top, 1<<28) // sums of it are still numbers
	if o.Location == nil {
		o.Location = time.Local
	}
	q, err := newQuery(ctx, db, o)
	if err != nil {
		return nil, fmt.Errorf("the report cannot be made: %w", err)
	}
	r := &Report{Location: o.Location}
	if err := q.prepare(r); err != nil {
		return nil, fmt.Errorf("the report's totals cannot be made: %w", err)
	}
	if r.Totals.Sessions == 0 {
		return r, nil
	}
	if r.Sections, err = q.all(); err != nil {
		return nil, err
	}
	return r, nil
}
