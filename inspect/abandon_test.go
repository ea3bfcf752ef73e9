package inspect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// mine is a sink in which some calls, counted over all that a session says, panic.
type mine struct {
	t            *testing.T
	calls        int
	from, until  int // the calls that panic
	opened, kept int // mails
	connected    int // lines that say "connected" or "connecting"
	sessions     []*record.Session
}

func (m *mine) tick() {
	if m.calls++; m.calls >= m.from && m.calls < m.until {
		panic(fmt.Sprint("call ", m.calls))
	}
}

func (m *mine) Login(s *record.Session, n int, l record.Login) { m.tick() }
func (m *mine) Secret(s *record.Session, secret record.Secret) { m.tick() }
func (m *mine) Session(s *record.Session)                      { m.sessions = append(m.sessions, s) }

func (m *mine) Line(s *record.Session, l record.Line) {
	if bytes.HasPrefix(l.Text, []byte("connect")) {
		m.connected++
	}
	m.tick()
}

func (m *mine) OpenMail(*record.Message) Mail {
	m.tick()
	m.opened++
	return &minedMail{mine: m}
}

func (m *mine) Message(r *record.Message, mail Mail) {
	if kept, ok := mail.(*minedMail); ok {
		m.kept++
		if r.Octets != int64(kept.Len()) {
			m.t.Errorf("a record of %d octets for a mail of which %d were kept", r.Octets, kept.Len())
		}
	}
	m.tick()
}

type minedMail struct {
	bytes.Buffer
	mine *mine
}

func (m *minedMail) Discard() { m.mine.kept++ }

func (m *minedMail) Write(p []byte) {
	m.mine.tick()
	m.Buffer.Write(p)
}

// run plays a script as a proxy does: what panics is abandoned, and the dialogue goes on.
func (m *mine) run(s *script, n int) {
	session := New(&Config{Secrets: true}, s.conn, m)
	session.emit = func(e wire.Event) {
		m.tick()
		session.event(e)
		m.tick()
	}
	now := s.conn.Begin
	guard := func(do func()) {
		for again := true; again; do = func() { session.Abandon(now) } {
			again = panics(do)
		}
	}
	for _, f := range s.flights {
		now = now.Add(time.Millisecond)
		switch {
		case f.fin:
			session.HalfClose(f.dir, now)
		case f.do != "":
			guard(func() { act(session, f.do, now) })
		default:
			for _, c := range f.chunks(n) {
				c.Time = now
				guard(func() { session.Feed(c) })
			}
		}
	}
	guard(func() { session.Close(now, s.end) })
}

// chunks cuts a flight into pieces of n octets (0: not at all).
func (f *flight) chunks(n int) (chunks []wire.Chunk) {
	if n == 0 {
		n = max(len(f.data), 1)
	}
	lost := f.lost
	for rest := f.data; len(rest) > 0 || lost != 0; lost = 0 {
		k := min(n, len(rest))
		chunks = append(chunks, wire.Chunk{Dir: f.dir, Lost: lost, Data: rest[:k]})
		rest = rest[k:]
	}
	return chunks
}

func panics(do func()) (failed bool) {
	defer func() { failed = recover() != nil }()
	do()
	return false
}

// TestAbandon lets each call that a session makes fail once, and then each two that follow each other, in every
// transcript: there is one record all the same, it says so, its ledger is right, and no mail is forgotten.
func TestAbandon(t *testing.T) {
	files, err := filepath.Glob("../testdata/transcripts/*/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dialogue := section(ar, "dialogue")
		if strings.Contains(dialogue, "\nabandon\n") || parseScript(t, dialogue).play(0) == "ignored\n" {
			continue
		}
		want := &mine{t: t}
		want.run(parseScript(t, dialogue), 0)
		for _, n := range []int{0, 5} {
			for width := 1; width <= 2; width++ {
				for at := 1; ; at++ {
					m := &mine{t: t, from: at, until: at + width}
					m.run(parseScript(t, dialogue), n)
					if m.calls < at {
						break
					}
					m.check(fmt.Sprintf("%s in pieces of %d, call %d", file, n, at), want.sessions[0])
				}
			}
		}
	}
}

func (m *mine) check(name string, want *record.Session) {
	m.t.Helper()
	if len(m.sessions) != 1 {
		m.t.Fatalf("%s: %d session records", name, len(m.sessions))
	}
	s := m.sessions[0]
	if anomalies(s.Anomalies, wire.InspectorFailure) != 1 {
		m.t.Errorf("%s: anomalies %v", name, s.Anomalies)
	}
	if s.Octets != want.Octets || s.Lost != want.Lost || !s.End.Equal(want.End.Time) {
		m.t.Errorf("%s: octets %v lost %v end %v, want %v, %v, %v", name, s.Octets, s.Lost, s.End, want.Octets, want.Lost, want.End)
	}
	if m.connected != 1 {
		m.t.Errorf("%s: the log begins %d times", name, m.connected)
	}
	if m.kept != m.opened {
		m.t.Errorf("%s: %d mails were opened, %d are accounted for", name, m.opened, m.kept)
	}
	if !json.Valid(s.AppendJSON(nil)) {
		m.t.Errorf("%s: no JSON", name)
	}
}
