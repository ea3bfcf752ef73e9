package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// TestMetrics compares all that /metrics says of a run with the records of that run.
func TestMetrics(t *testing.T) {
	for name, budget := range map[string]string{"all is inspected": "", "most is lost": "--session-budget 8192 --total-budget 8192"} {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t, strings.Fields("--max-connections 50 "+budget)...)
			dir, talks := filepath.Join(p.dir, "data"), p.talk(t)
			await(t, "the records of all sessions", func() bool { return len(records[record.Session](t, dir, "sessions")) == talks })
			sessions, messages := records[record.Session](t, dir, "sessions"), records[record.Message](t, dir, "messages")
			want := expected(sessions, messages, budget == "")
			got := map[string]float64{}
			_ = until(func() bool { // a mail is counted as stored, and memory as free, a moment later
				got = values(p.scrape(t))
				maps.DeleteFunc(got, func(name string, _ float64) bool { return isUnpredicted(name, budget == "") })
				return maps.Equal(got, want)
			})
			for _, name := range slices.Sorted(maps.Keys(want)) {
				if g, ok := got[name]; g != want[name] || !ok {
					t.Errorf("%s is %v (there: %v), but the records say %v", name, g, ok, want[name])
				}
			}
			for name := range got {
				if _, ok := want[name]; !ok {
					t.Errorf("%s is %v, and the records know nothing of it", name, got[name])
				}
			}
			for _, side := range []string{"client", "server"} {
				relayed, inspected, lost := got[series("relay_bytes_total", "side", side)], got[series("inspected_bytes_total", "side", side)],
					got[series("lost_bytes_total", "reason", "overload", "side", side)]
				if relayed != inspected+lost || relayed == 0 {
					t.Errorf("%s: %v octets relayed are not %v inspected and %v lost", side, relayed, inspected, lost)
				}
				if side == "client" && (lost > 0) != (budget != "") {
					t.Errorf("%v octets lost", lost)
				}
			}
		})
	}
}

// isUnpredicted says whether the records do not tell a metric's value; where octets were lost (whole: none were), nor do
// they tell which reply answered what.
func isUnpredicted(name string, whole bool) bool {
	return strings.HasPrefix(name, "mailwire_build_info") || strings.HasPrefix(name, "mailwire_command_duration_seconds_bucket") ||
		strings.HasPrefix(name, "mailwire_command_duration_seconds_sum") ||
		!whole && (strings.HasPrefix(name, "mailwire_command_duration_seconds") || strings.HasPrefix(name, "mailwire_replies_total"))
}

// expected is what /metrics must say when these are the records of a run.
func expected(sessions []record.Session, messages []record.Message, whole bool) map[string]float64 {
	want := map[string]float64{
		"mailwire_sessions_active": 0, "mailwire_sessions_limit": 50, "mailwire_connections_total": float64(len(sessions)),
		"mailwire_connections_refused_total": 0, "mailwire_inspector_failures_total": 0, "mailwire_inspection_pending_bytes": 0,
		"mailwire_inspection_budget_bytes": 64 << 20,
		"mailwire_archive_errors_total":    0, "mailwire_archive_stored_total": 0, "mailwire_archive_not_stored_total": 0,
		"mailwire_archive_lines_lost_total": 0, "mailwire_archive_removals_total": 0, "mailwire_message_size_bytes_count": 0, "mailwire_message_size_bytes_sum": 0,
	}
	if !whole {
		want["mailwire_inspection_budget_bytes"] = 8192
	}
	for _, s := range sessions {
		want[series("sessions_total", "direction", s.Direction, "mode", s.Mode, "protocol", s.Protocol, "status", s.Status)]++
		if s.Status == record.Refused {
			want["mailwire_connections_refused_total"]++
		}
		for side, n := range map[string][2]int64{"client": {s.Octets.Client, s.Lost.Client}, "server": {s.Octets.Server, s.Lost.Server}} {
			want[series("inspected_bytes_total", "side", side)] += float64(n[0])
			want[series("lost_bytes_total", "reason", "overload", "side", side)] += float64(n[1])
			want[series("relay_bytes_total", "side", side)] += float64(n[0] + n[1])
		}
		for _, a := range s.Anomalies {
			want[series("anomalies_total", "kind", a.Kind)] += float64(a.Count)
		}
		for _, l := range s.Auth {
			want[series("auth_attempts_total", "mechanism", l.Mechanism, "outcome", l.Outcome, "protocol", s.Protocol)]++
		}
		if whole {
			expectReplies(want, &s)
		}
	}
	for _, outcome := range []string{record.Accepted, record.Rejected, record.Unknown} {
		want[series("recipients_total", "outcome", outcome)] = 0
	}
	for _, bound := range append(slices.Clone(sizes), 0) {
		want[sizeBucket(bound)] = 0
	}
	for _, m := range messages {
		expectMail(want, &m)
	}
	return want
}

// expectReplies goes through a dialogue in which each command waits for its reply.
func expectReplies(want map[string]float64, s *record.Session) {
	verb, asked := wire.Connect, false
	for _, e := range s.Dialogue {
		switch {
		case e.From == "client" && e.Body != nil:
			verb = wire.DataEnd
		case e.From == "client" && !asked: // else it is a response to a challenge
			word, _, _ := strings.Cut(*e.Text, " ")
			if verb = strings.ToUpper(word); verb == "***" { // go-smtp cancels an AUTH that has failed already
				verb = wire.Other
			}
		case e.From == "server" && e.Text != nil:
			word, _, _ := strings.Cut(*e.Text, " ")
			code, class := word[:min(3, len(word))], word[:1]
			if s.Protocol == record.POP3 {
				code = map[string]string{"+OK": "ok", "-ERR": "err", "+": "continue"}[word]
				class = code
			}
			asked = code == "334" || code == "continue"
			want[series("replies_total", "code", code, "command", verb, "protocol", s.Protocol)]++
			want[series("command_duration_seconds_count", "class", class, "command", verb, "protocol", s.Protocol)]++
		}
	}
}

func expectMail(want map[string]float64, m *record.Message) {
	want[series("messages_total", "direction", m.Direction, "outcome", m.Outcome)]++
	if m.Stored != nil && m.Stored.Path != "" {
		want["mailwire_archive_stored_total"]++
	}
	if r := m.Recipients; r != nil {
		want[series("recipients_total", "outcome", record.Accepted)] += float64(r.Accepted)
		want[series("recipients_total", "outcome", record.Rejected)] += float64(r.Rejected)
		want[series("recipients_total", "outcome", record.Unknown)] += float64(r.Unknown)
	}
	if m.Via == "" || m.Via == "TOP" {
		return
	}
	want["mailwire_message_size_bytes_count"]++
	want["mailwire_message_size_bytes_sum"] += float64(m.Octets)
	for _, bound := range append(slices.Clone(sizes), 0) {
		if bound == 0 || float64(m.Octets) <= bound {
			want[sizeBucket(bound)]++
		}
	}
}

// sizeBucket names a bucket; 0 is the one for all.
func sizeBucket(bound float64) string {
	le := "+Inf"
	if bound > 0 {
		le = strconv.FormatFloat(bound, 'g', -1, 64)
	}
	return series("message_size_bytes_bucket", "le", le)
}

// series writes a metric as Prometheus reads it; labels are pairs in alphabetical order.
func series(name string, labels ...string) string {
	var b strings.Builder
	for pair := range slices.Chunk(labels, 2) {
		fmt.Fprintf(&b, ",%s=%q", pair[0], pair[1])
	}
	return "mailwire_" + name + "{" + b.String()[1:] + "}"
}

// values reads this program's metrics in the text format of Prometheus.
func values(text string) map[string]float64 {
	all := map[string]float64{}
	for line := range strings.Lines(text) {
		if i := strings.LastIndexByte(line, ' '); strings.HasPrefix(line, "mailwire_") {
			v, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
			if err != nil {
				panic(err)
			}
			all[line[:i]] = v
		}
	}
	return all
}

// records returns what is recorded so far: a line without its end is being written.
func records[T any](t *testing.T, dir, kind string) (list []T) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "logs", kind+"-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			if !bytes.HasSuffix(line, []byte("\n")) {
				break
			}
			var r T
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatal(err)
			}
			list = append(list, r)
		}
	}
	return list
}

// TestMetricsLint holds names and help texts to what Prometheus's own linter asks for.
func TestMetricsLint(t *testing.T) {
	p := startProxy(t)
	p.talk(t)
	problems, err := promlint.New(strings.NewReader(p.scrape(t))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
}

// TestMetricsBounded: what peers make up is no label.
func TestMetricsBounded(t *testing.T) {
	const marker = "ZZ" // in every word that is made up
	m := newMetrics()
	j := m.journal(nowhere{})
	r := rand.New(rand.NewPCG(1, 2))
	logins, replies := 0, 0
	verbs := []string{"NOOP", "VRFY x", "EXPN x", "HELP", "RSET", "EHLO x", "MAIL FROM:<x>", "RCPT TO:<x>"}
	for n := range 2000 {
		conn := inspect.Conn{Begin: time.Unix(int64(n), 0), Mode: record.ModeProxy, Hint: inspect.SMTP, Started: true}
		s := inspect.New(&inspect.Config{}, conn, j)
		say := func(dir wire.Direction, format string, args ...any) {
			s.Feed(wire.Chunk{Dir: dir, Time: conn.Begin, Data: fmt.Appendf(nil, format+"\r\n", args...)})
			replies += int(dir)
		}
		say(wire.FromServer, "220 "+marker+" ESMTP")
		say(wire.FromClient, "%s%d x", marker, n)
		say(wire.FromServer, "%d %s", 200+r.IntN(400), marker)
		say(wire.FromClient, "AUTH %s-%d", marker, n)
		say(wire.FromServer, "535 5.7.8 "+marker)
		logins++
		for range 10 {
			say(wire.FromClient, "%s", verbs[r.IntN(len(verbs))])
			say(wire.FromServer, "%d %s", 400+r.IntN(200), marker)
		}
		s.Close(conn.Begin, inspect.EndClosed)
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen, counted := map[string]int{}, map[string]float64{}
	for _, f := range families {
		seen[f.GetName()] = len(f.GetMetric())
		for _, series := range f.GetMetric() {
			counted[f.GetName()] += series.GetCounter().GetValue()
			for _, l := range series.GetLabel() {
				if strings.Contains(l.GetValue(), marker) {
					t.Errorf("%s has the label %s=%q", f.GetName(), l.GetName(), l.GetValue())
				}
			}
		}
	}
	if n := seen["mailwire_replies_total"]; n < maxReplies || n > maxReplies+20 {
		t.Errorf("replies have %d combinations of labels, which should have been too many", n)
	}
	if n := seen["mailwire_command_duration_seconds"]; n > 40 {
		t.Errorf("durations have %d combinations of labels", n)
	}
	if n := seen["mailwire_auth_attempts_total"]; n != 1 {
		t.Errorf("logins have %d combinations of labels", n)
	}
	if got := counted["mailwire_replies_total"]; got != float64(replies) {
		t.Errorf("%v replies are counted, of %d", got, replies)
	}
	if got := counted["mailwire_auth_attempts_total"]; got != float64(logins) {
		t.Errorf("%v logins are counted, of %d", got, logins)
	}
}

// TestLineCost: what happens for every line of every dialogue does not allocate.
func TestLineCost(t *testing.T) {
	j := newMetrics().journal(nowhere{})
	s := &record.Session{Protocol: record.SMTP}
	l := record.Line{Kind: record.FromServer, Command: "RCPT", Code: 250, Wait: time.Millisecond}
	if n := testing.AllocsPerRun(100, func() { j.Line(s, l) }); n > 0 {
		t.Errorf("%v allocations a reply", n)
	}
}

// nowhere is a journal that keeps nothing.
type nowhere struct{}

func (nowhere) Line(*record.Session, record.Line)        {}
func (nowhere) Login(*record.Session, int, record.Login) {}
func (nowhere) Secret(*record.Session, record.Secret)    {}
func (nowhere) OpenMail(*record.Message) inspect.Mail    { return nil }
func (nowhere) Message(*record.Message, inspect.Mail)    {}
func (nowhere) Session(*record.Session)                  {}
func (nowhere) Stamp(int64)                              {}
func (nowhere) Packet(inspect.Packet)                    {}
func (nowhere) Cut()                                     {}

// talk has some conversations through the proxy, and returns how many.
func (p *testProxy) talk(t *testing.T) int {
	t.Helper()
	talks := []func(*smtp.Client) error{goodMail, unknownUser, wrongPassword, tooBig}
	for _, talk := range talks {
		c := p.dial(t, "smtp")
		if err := c.Hello("client.example.org"); err != nil {
			t.Fatal(err)
		}
		var refused *smtp.SMTPError
		if err := cmp.Or(talk(c), c.Quit()); err != nil && !errors.As(err, &refused) {
			t.Fatal(err)
		}
		c.Close()
	}
	if err := p.dial(t, "dead").Hello("client.example.org"); err == nil {
		t.Fatal("a server that is not there answers")
	}
	p.fetch(t)
	return len(talks) + 2
}

// fetch fetches a mail by POP3.
func (p *testProxy) fetch(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(p.dir, "pop3"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	for _, c := range []struct{ say, until string }{
		{"", "ready"},
		{"USER alice", "+OK"},
		{"PASS wrong", "-ERR"},
		{"AUTH PLAIN", "+ "},
		{plainResponse, "+OK"},
		{"TOP 1 0", "."},
		{"RETR 1", "."},
		{"QUIT", "+OK"},
	} {
		if c.say != "" {
			fmt.Fprintf(conn, "%s\r\n", c.say)
		}
		for line := ""; !strings.Contains(line, c.until); {
			if line, err = r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			if c.until == "." && line != ".\r\n" {
				line = ""
			}
		}
	}
}

// plainResponse is that of alice to the challenge of AUTH PLAIN (RFC 4616).
var plainResponse = base64.StdEncoding.EncodeToString([]byte("\x00alice\x00" + demoPassword))

// pop3Server starts a server with one maildrop, that of alice, and one mail in it.
func pop3Server(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip("no loopback interface:", err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			serving.Go(func() {
				defer conn.Close()
				fmt.Fprint(conn, "+OK ready\r\n")
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					io.WriteString(conn, pop3Answer(lines.Text()))
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

func pop3Answer(command string) string {
	switch {
	case command == plainResponse, strings.HasPrefix(command, "USER "), command == "QUIT":
		return "+OK\r\n"
	case command == "AUTH PLAIN":
		return "+ \r\n"
	case command == "RETR 1":
		return "+OK\r\n" + demoMail + ".\r\n"
	case command == "TOP 1 0":
		head, _, _ := strings.Cut(demoMail, "\r\n\r\n")
		return "+OK\r\n" + head + "\r\n\r\n.\r\n"
	}
	return "-ERR\r\n"
}
