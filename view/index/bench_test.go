package index

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// template is a session of a capture with its messages.
type template struct {
	s  record.Session
	ms []record.Message
}

// templates are the sessions of the captures: first those with a mail and no refusal, then all others.
func templates(t testing.TB) (plain, others []template) {
	dir := captured(t)
	days, err := filepath.Glob(filepath.Join(dir, "logs", "sessions-*.jsonl"))
	if err != nil || len(days) == 0 {
		t.Fatal("no records", err)
	}
	for _, day := range days {
		name := filepath.Base(day)
		of := map[string][]record.Message{}
		for _, l := range lines(t, dir, strings.Replace(name, "sessions", "messages", 1)) {
			var m record.Message
			if err := json.Unmarshal([]byte(l), &m); err != nil {
				t.Fatal(err)
			}
			of[m.Session] = append(of[m.Session], m)
		}
		for _, l := range lines(t, dir, name) {
			var s record.Session
			if err := json.Unmarshal([]byte(l), &s); err != nil {
				t.Fatal(err)
			}
			if len(l) > 20000 {
				continue
			}
			made := template{s, of[s.ID]}
			if len(made.ms) == 1 && len(s.Errors) == 0 {
				plain = append(plain, made)
			} else {
				others = append(others, made)
			}
		}
	}
	return plain, others
}

// makeDays writes the records of n sessions, in days of so many, into a data directory. One in eight is one of those with refusals,
// logins, many mails or none.
func makeDays(t testing.TB, dir string, n, aDay int) {
	t.Helper()
	plain, others := templates(t)
	r := rand.New(rand.NewPCG(1, 2))
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	first := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for done := 0; done < n; {
		day := first.AddDate(0, 0, done/aDay)
		sessions, messages := create(t, dir, "sessions-"+day.Format(time.DateOnly)), create(t, dir, "messages-"+day.Format(time.DateOnly))
		var line []byte
		for i := range min(aDay, n-done) {
			of := plain
			if r.IntN(8) == 0 {
				of = others
			}
			made := vary(r, of[r.IntN(len(of))], day.Add(time.Duration(i)*23*time.Hour/time.Duration(aDay)))
			for j := range made.ms {
				line = append(made.ms[j].AppendJSON(line[:0]), '\n')
				messages.Write(line)
			}
			line = append(made.s.AppendJSON(line[:0]), '\n')
			sessions.Write(line)
		}
		done += aDay
		for _, w := range []*bufio.Writer{sessions, messages} {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func create(t testing.TB, dir, name string) *bufio.Writer {
	f, err := os.Create(filepath.Join(dir, "logs", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return bufio.NewWriterSize(f, 1<<20)
}

// vary makes a new session of a template: other times, addresses, people, subjects, ids.
func vary(r *rand.Rand, of template, begin time.Time) template {
	move := begin.Sub(of.s.Begin.Time)
	at := func(t record.Time) record.Time { return record.Time{Time: t.Add(move).UTC()} }
	s := of.s
	s.Begin, s.End = at(s.Begin), at(s.End)
	s.ID = fmt.Sprintf("%016x", r.Uint64())
	s.Client.IP = fmt.Sprintf("%d.%d.%d.%d", 1+r.IntN(1+r.IntN(200)), r.IntN(256), r.IntN(4), r.IntN(256))
	user := fmt.Sprintf("user%d", r.IntN(3000))
	s.Auth = append([]record.Login(nil), s.Auth...)
	for i := range s.Auth {
		s.Auth[i].User, s.Auth[i].Time = user, at(s.Auth[i].Time)
	}
	s.Errors = append([]record.Error(nil), s.Errors...)
	for i := range s.Errors {
		s.Errors[i].Time = at(s.Errors[i].Time)
	}
	made := template{s: s}
	for _, m := range of.ms {
		m.Session, m.ID = s.ID, record.MessageID(s.ID, m.Transaction)
		m.Begin, m.End, m.Client = at(m.Begin), at(m.End), s.Client
		m.Octets = int64(float64(m.Octets) * (0.5 + 20*r.ExpFloat64()))
		if m.User != "" {
			m.User = user
		}
		if m.From != nil {
			from := fmt.Sprintf("%s@host%d.example", word(r), r.IntN(5000))
			m.From = &from
		}
		m.Rcpt = append([]record.Rcpt(nil), m.Rcpt...)
		for i := range m.Rcpt {
			m.Rcpt[i].To = fmt.Sprintf("%s@example.net", word(r))
		}
		if m.QueueID != "" {
			m.QueueID = strconv.FormatUint(r.Uint64()>>16, 36)
			m.Reply = &record.Reply{Code: 250, Enhanced: "2.0.0", Text: "Ok: queued as " + m.QueueID}
		}
		if m.Header != nil {
			h := *m.Header
			h.Subject = word(r) + " " + word(r) + " " + word(r)
			h.MessageID = fmt.Sprintf("<%x@example.org>", r.Uint64())
			m.Header = &h
		}
		made.ms = append(made.ms, m)
	}
	return made
}

// word returns one of many words, of which few are frequent.
func word(r *rand.Rand) string {
	f := r.Float64()
	return fmt.Sprintf("word%x", int(f*f*f*50000))
}

// BenchmarkFill measures sessions taken in each second, and each second of a processor's time.
func BenchmarkFill(b *testing.B) {
	const n = 20000
	dir := b.TempDir()
	makeDays(b, dir, n, n)
	var busy time.Duration
	for b.Loop() {
		b.StopTimer()
		if err := os.RemoveAll(filepath.Join(dir, folder)); err != nil {
			b.Fatal(err)
		}
		x, _ := open(b, dir)
		begin := processorTime()
		b.StartTimer()
		catchUp(b, x)
		busy += processorTime() - begin
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "sessions/s")
	b.ReportMetric(n*float64(b.N)/busy.Seconds(), "sessions/cpu-s")
}

// million is a data directory with a million sessions, which MAILWIRE_MILLION names; it is made if it is empty.
func million(t testing.TB) *Index {
	dir := os.Getenv("MAILWIRE_MILLION")
	if dir == "" {
		t.Skip("MAILWIRE_MILLION names no directory for a million sessions (6 GB)")
	}
	if _, err := os.Stat(filepath.Join(dir, "logs")); os.IsNotExist(err) {
		makeDays(t, dir, 1e6, 1e5)
	}
	x, _ := open(t, dir)
	begin, busy := time.Now(), processorTime()
	if n := catchUp(t, x); n > 0 {
		t.Logf("%d records indexed in %v, %v of processor time", n, time.Since(begin), processorTime()-busy)
	}
	return x
}

// BenchmarkPage measures a page of sessions, for each filter, also those that hold for nothing.
func BenchmarkPage(b *testing.B) {
	x := million(b)
	mid := time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
	nets := func(s string) netip.Prefix { return netip.MustParsePrefix(s) }
	for name, q := range map[string]Query{
		"all": {}, "protocol": {Protocol: record.POP3}, "protocol-none": {Protocol: record.Unknown, Direction: record.External},
		"client": {Client: nets("10.1.2.3/32")}, "client-8": {Client: nets("40.0.0.0/8")}, "client-20": {Client: nets("40.1.0.0/20")},
		"client-none": {Client: nets("250.0.0.0/9")}, "server": {Server: nets("192.0.2.25/32")}, "server-none": {Server: nets("192.0.2.26/32")},
		"user": {User: "user17"}, "user-none": {User: "nobody"}, "from": {From: "host7.example"}, "from-word": {From: "word1"},
		"to": {To: "word1@example.net"}, "to-domain": {To: "example.net"}, "from-and-to-none": {From: "host7.example", To: "word1"},
		"subject": {Subject: "word1 word2"}, "subject-none": {Subject: "nothing"}, "text": {Text: "word1"}, "text-prefix": {Text: "word12*"},
		"code": {Code: "550"}, "code-class": {Code: "5xx"}, "code-enhanced": {Code: "5.7.1"}, "code-none": {Code: "5.9.9"},
		"status": {Status: record.Aborted}, "status-and-protocol": {Status: record.Reset, Protocol: record.POP3},
		"errors": {Errors: true}, "errors-none": {Errors: true, Protocol: record.LMTP, Status: record.Refused},
		"auth-failed": {AuthFailed: true}, "direction": {Direction: record.Unknown}, "direction-none": {Direction: record.Inbound},
		"min-size": {MinSize: 1000}, "min-size-large": {MinSize: 300_000}, "min-size-none": {MinSize: 1 << 40},
		"since": {Since: mid}, "until": {Until: mid}, "until-and-errors": {Until: mid, Errors: true},
		"until-and-status-none": {Until: mid, Status: record.Closed, Code: "5.9.9"},
		"closed-without-server": {Status: record.Closed, Protocol: record.SMTP, Server: nets("10.9.8.7/32")},
		"two-large-and-nothing": {Errors: true, To: "example.net", Protocol: record.POP3},
	} {
		b.Run(name, func(b *testing.B) {
			q.Limit = 50
			n := 0
			for b.Loop() {
				n = 0
				for _, err := range x.Sessions(b.Context(), q) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
			}
			b.ReportMetric(float64(n), "rows")
		})
	}
}
