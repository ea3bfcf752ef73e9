package report

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// TestWalks compares what walks along clients and anomalies say with what SQL says about the sessions.
func TestWalks(t *testing.T) {
	w := newWorld(t)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 4000 {
		client := fmt.Sprintf("192.0.%d.%d", r.IntN(12), 1+int(20*r.ExpFloat64())%250)
		if r.IntN(3) == 0 {
			client = netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x:%x:0:0:%x", r.IntN(3), r.IntN(2), 1+r.IntN(9))).String()
		}
		server := mx
		if r.IntN(4) == 0 {
			server = pop
		}
		w.session(noon.Add(time.Duration(i)*time.Minute), client, server, func(s *record.Session) {
			s.Direction = []string{record.Inbound, record.Outbound}[r.IntN(2)]
			s.Status = []string{record.Closed, record.Aborted}[r.IntN(2)]
			s.Messages = r.IntN(3)
			s.Octets.Client = int64(r.IntN(9000))
			s.End = record.Time{Time: s.Begin.Add(time.Duration(r.IntN(9000)) * time.Millisecond)}
			for range r.IntN(3) {
				refuse(s, "RCPT TO:<x@example.net>", 550, "5.1.1", "no such user")
			}
			for _, kind := range []string{"bare-lf", "nul", "resync", "long-line"}[:r.IntN(4)] {
				s.Anomalies = append(s.Anomalies, record.Anomaly{Kind: kind, Count: 1 + r.IntN(3)})
			}
		})
	}
	db := w.open()
	half, morning, evening := noon.Add(2000*time.Minute), noon.Add(20*time.Hour), noon.Add(56*time.Hour)
	for name, c := range map[string]struct {
		o     Options
		where string
	}{
		"all":     {Options{}, "TRUE"},
		"few":     {Options{Top: 4}, "TRUE"},
		"server":  {Options{Server: netip.MustParseAddr(pop)}, "server_ip = '" + pop + "'"},
		"since":   {Options{Since: half}, fmt.Sprint("s.begin >= ", half.UnixMicro())},
		"hours":   {Options{Since: morning, Until: evening}, fmt.Sprint("s.begin >= ", morning.UnixMicro(), " AND s.begin < ", evening.UnixMicro())},
		"clients": {Options{Clients: netip.MustParsePrefix("2001:db8::/63")}, "client_net IN ('2001:db8::/64', '2001:db8:0:1::/64')"},
	} {
		c.o.Location = time.UTC
		if c.o.Top == 0 {
			c.o.Top = 1000
		}
		made, err := Make(t.Context(), db, c.o)
		if err != nil {
			t.Fatal(err)
		}
		const to = "s.server_ip, s.server_port, s.protocol"
		for section, statement := range map[string]string{
			"load-by-client": `WITH g AS (SELECT client_ip, COUNT(*) n, SUM(messages) m, SUM(errors) e, SUM(sent + received) o, SUM(duration) / 1000.0 d,
				MAX(row) last FROM sessions s WHERE ` + c.where + ` GROUP BY client_ip)
				SELECT g.client_ip, n, m, e, o, d, s.begin, s.id FROM g JOIN sessions s ON s.row = g.last ORDER BY n DESC, s.client_net, g.client_ip`,
			"statuses": `WITH g AS (SELECT protocol, status, COUNT(*) n, SUM(lost) lost, MAX(row) last FROM sessions s WHERE ` + c.where + `
				GROUP BY protocol, status)
				SELECT g.protocol, g.status, n, g.lost, s.begin, s.id FROM g JOIN sessions s ON s.row = g.last ORDER BY n DESC, g.protocol, g.status`,
			"load-by-server": `SELECT ` + to + `, COUNT(*) n, COUNT(DISTINCT client_ip), SUM(messages), SUM(errors), SUM(sent + received),
				MAX(begin) FROM sessions s WHERE ` + c.where + ` GROUP BY ` + to + ` ORDER BY n DESC, server_ip, server_port`,
			"routes": `SELECT client_net, ` + to + `, direction, COUNT(*) n, SUM(messages), SUM(errors), SUM(status <> 'closed') FROM sessions s
				WHERE ` + c.where + ` GROUP BY client_net, ` + to + `, direction ORDER BY n DESC, client_net, ` + to + `, direction`,
			"anomalies": anomaliesBySQL("kind NOT IN ('resync')", c.where),
			"unmatched": anomaliesBySQL("kind IN ('resync')", c.where),
		} {
			want := query{o: c.o, db: db, ctx: context.Background()}.rows(t, made.section(t, section), statement)
			if more := len(want) > c.o.Top; made.section(t, section).More != more {
				t.Errorf("%s: %s: more: %v", name, section, !more)
			}
			want = want[:min(len(want), c.o.Top)]
			if got := made.section(t, section).Rows; !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %s has the %d rows\n%v\nnot the %d rows\n%v", name, section, len(got), got, len(want), want)
			}
		}
	}
}

func anomaliesBySQL(kinds, where string) string {
	return `WITH g AS (SELECT a.kind, SUM(a.count) n, COUNT(*) sessions, COUNT(DISTINCT s.client_ip) clients, MAX(s.row) last
		FROM anomalies a JOIN sessions s ON s.row = a.session_row WHERE ` + kinds + " AND " + where + ` GROUP BY a.kind)
		SELECT kind, n, sessions, clients, s.begin, s.id FROM g JOIN sessions s ON s.row = g.last ORDER BY n DESC, kind`
}

// rows are what a statement says, as the cells of a section.
func (q query) rows(t *testing.T, s *Section, statement string) (rows [][]any) {
	t.Helper()
	found, err := q.db.QueryContext(q.ctx, statement)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	for found.Next() {
		row := make([]any, len(s.Columns))
		names, _ := found.Columns()
		into := make([]any, len(names))
		for i := range into {
			into[i] = new(any)
		}
		if err := found.Scan(into...); err != nil {
			t.Fatal(err)
		}
		for i := range into {
			row[i] = q.cell(s.Columns[i].Kind, *into[i].(*any))
		}
		if last := len(row) - 1; s.Columns[last].Kind == Note {
			row[last] = meanings[row[0].(string)]
		}
		rows = append(rows, row)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}
