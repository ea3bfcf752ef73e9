package report

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/view"
	"github.com/mailwire/mailwire/view/index"
)

// world writes the records of a made-up mail system into a data directory.
type world struct {
	t        testing.TB
	dir      string
	sessions map[string]*bufio.Writer // by day
	messages map[string]*bufio.Writer
	line     []byte
	count    int
}

// noon is when most of it happens.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	mx, pop = "10.0.0.25", "10.0.0.110"
	hostile = "<script>alert('1')</script>\x1b[31m\"=\u202e" // a user's name that should do no harm
)

func newWorld(t testing.TB) *world {
	w := &world{t: t, dir: t.TempDir(), sessions: map[string]*bufio.Writer{}, messages: map[string]*bufio.Writer{}}
	if err := os.Mkdir(filepath.Join(w.dir, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) file(of map[string]*bufio.Writer, kind, day string) *bufio.Writer {
	if of[day] == nil {
		f, err := os.OpenFile(filepath.Join(w.dir, "logs", kind+"-"+day+".jsonl"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { f.Close() })
		of[day] = bufio.NewWriter(f)
	}
	return of[day]
}

// session makes a session from client to server that begins then; use changes it before it is written.
func (w *world) session(begin time.Time, client, server string, use func(s *record.Session)) *record.Session {
	w.count++
	s := &record.Session{
		V: record.Version, Type: "session", ID: fmt.Sprintf("s%015d", w.count), Mode: record.ModeTap, Protocol: record.SMTP,
		Begin: record.Time{Time: begin}, End: record.Time{Time: begin.Add(time.Second)}, DurationMS: 1000,
		Client: record.Endpoint{IP: client, Port: 50000}, Server: record.Endpoint{IP: server, Port: 25, Side: record.Local},
		Direction: record.Inbound, Status: record.Closed, Octets: record.Octets{Client: 3000, Server: 300},
	}
	if server == pop {
		s.Protocol, s.Server.Port = record.POP3, 110
	}
	if use != nil {
		use(s)
	}
	out := w.file(w.sessions, "sessions", begin.Format(time.DateOnly))
	w.line = append(s.AppendJSON(w.line[:0]), '\n')
	out.Write(w.line)
	return s
}

// mail makes a transaction of a session.
func (w *world) mail(s *record.Session, from string, to []string, use func(m *record.Message)) {
	s.Messages++
	m := &record.Message{
		V: record.Version, Type: "message", ID: record.MessageID(s.ID, s.Messages), Session: s.ID, Mode: s.Mode, Protocol: s.Protocol,
		Transaction: s.Messages, Via: "DATA", Begin: s.Begin, End: s.End, Client: s.Client, Server: s.Server,
		Direction: s.Direction, From: &from, Outcome: record.Accepted, Octets: 2000,
		Reply: &record.Reply{Code: 250, Enhanced: "2.0.0", Text: "Ok"},
	}
	for _, a := range to {
		m.Rcpt = append(m.Rcpt, record.Rcpt{To: a, Code: 250, Enhanced: "2.1.5"})
	}
	if use != nil {
		use(m)
	}
	out := w.file(w.messages, "messages", s.Begin.Format(time.DateOnly))
	w.line = append(m.AppendJSON(w.line[:0]), '\n')
	out.Write(w.line)
}

// refuse adds a refusal to a session.
func refuse(s *record.Session, command string, code int, enhanced, text string) {
	s.Errors = append(s.Errors, record.Error{Time: s.Begin, Command: command, Code: code, Enhanced: enhanced, Text: text})
}

func login(s *record.Session, user, outcome string) {
	s.Auth = append(s.Auth, record.Login{Time: s.Begin, Mechanism: "PLAIN", User: user, Outcome: outcome, Code: 535})
}

// dialogue gives a session some waits.
func dialogue(s *record.Session, connect, data float64) {
	ms := 0.0
	say := func(from, text string, after float64) {
		ms += after
		s.Dialogue = append(s.Dialogue, record.Entry{MS: ms, From: from, Text: &text})
	}
	say("server", "220 mx ESMTP", connect)
	say("client", "MAIL FROM:<a@example.org>", 1)
	say("server", "250 Ok", 2)
	say("client", "DATA", 1)
	say("server", "354 go on", 1)
	body := int64(2000)
	s.Dialogue = append(s.Dialogue, record.Entry{MS: ms, From: "client", Body: &body})
	say("server", "250 Ok", data)
	say("client", "QUIT", 1)
	say("server", "221 Bye", 1)
}

// everyday adds n sessions with a mail from everywhere, in an even stream over so many hours.
func (w *world) everyday(n int, span time.Duration) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		begin := noon.Add(-span/2 + span*time.Duration(i)/time.Duration(n))
		client := fmt.Sprintf("192.%d.%d.%d", r.IntN(4), r.IntN(200), r.IntN(20))
		s := w.session(begin, client, mx, func(s *record.Session) {
			dialogue(s, 5+5*r.Float64(), 20+100*r.ExpFloat64())
			s.Messages = 1
			switch r.IntN(40) {
			case 0:
				refuse(s, "RCPT TO:<x@example.net>", 450, "4.2.1", fmt.Sprintf("<x%d@example.net>: mailbox disabled", i))
			case 1:
				s.Anomalies = []record.Anomaly{{Kind: "bare-lf", Count: 2}}
			case 2, 3, 4, 5:
				login(s, fmt.Sprintf("user%d", r.IntN(3000)), record.Success)
				s.Auth[0].TLS = true
				s.TLS = &record.TLS{How: "starttls", Ended: true, Handshake: record.Handshake{Version: "TLS 1.3"}}
			}
		})
		s.Messages = 0
		w.mail(s, fmt.Sprintf("someone%d@example.org", r.IntN(20000)), []string{fmt.Sprintf("user%d@example.net", r.IntN(3000))},
			func(m *record.Message) { m.Octets = int64(500 + 4000*r.ExpFloat64()) })
	}
}

// open fills an index with the world.
func (w *world) open() *sql.DB {
	for _, of := range []map[string]*bufio.Writer{w.sessions, w.messages} {
		for _, b := range of {
			if err := b.Flush(); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	data, err := view.Open(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { data.Close() })
	x, err := index.Open(context.Background(), data, index.Options{Warn: func(s string) { w.t.Error(s) }})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { x.Close() })
	if _, err := x.CatchUp(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	return x.DB()
}
