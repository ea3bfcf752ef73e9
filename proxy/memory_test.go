package proxy

import (
	"sync"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
)

// memory is a Recorder that keeps the records.
type memory struct {
	forgetful bool                            // the records are not kept
	fault     func(session string, last bool) // called in every call of a journal about a session; it may panic, or wait

	mu       sync.Mutex
	more     *sync.Cond
	sessions []*record.Session
	messages []*record.Message
}

func newMemory() *memory {
	m := &memory{fault: func(string, bool) {}}
	m.more = sync.NewCond(&m.mu)
	return m
}

// records waits for n session records and returns them, and those of the mails.
func (m *memory) records(t testing.TB, n int) ([]*record.Session, []*record.Message) {
	t.Helper()
	late := false
	timer := time.AfterFunc(tooLong, func() {
		m.mu.Lock()
		late = true
		m.mu.Unlock()
		m.more.Broadcast()
	})
	defer timer.Stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.sessions) < n && !late {
		m.more.Wait()
	}
	if len(m.sessions) < n {
		t.Errorf("%d session records, want %d", len(m.sessions), n)
	}
	return m.sessions, m.messages
}

// forget drops the records so far.
func (m *memory) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions, m.messages = nil, nil
}

// record waits for the only session record.
func (m *memory) record(t testing.TB) *record.Session {
	t.Helper()
	list, _ := m.records(t, 1)
	if len(list) != 1 {
		t.Fatalf("%d session records, want 1", len(list))
	}
	return list[0]
}

func (m *memory) Journal() inspect.Journal { return &journal{m} }
func (m *memory) Commit() error            { return nil }
func (m *memory) Crowded() bool            { return false }

type journal struct{ m *memory }

func (j *journal) Line(s *record.Session, _ record.Line)          { j.m.fault(s.ID, false) }
func (j *journal) Login(s *record.Session, _ int, _ record.Login) { j.m.fault(s.ID, false) }
func (j *journal) Secret(s *record.Session, _ record.Secret)      { j.m.fault(s.ID, false) }
func (j *journal) OpenMail(m *record.Message) inspect.Mail        { j.m.fault(m.Session, false); return nil }
func (j *journal) Stamp(int64)                                    {}
func (j *journal) Packet(inspect.Packet)                          {}
func (j *journal) Cut()                                           {}

func (j *journal) Message(r *record.Message, _ inspect.Mail) {
	j.m.fault(r.Session, false)
	j.m.mu.Lock()
	defer j.m.mu.Unlock()
	if !j.m.forgetful {
		j.m.messages = append(j.m.messages, r)
	}
}

func (j *journal) Session(r *record.Session) {
	j.m.fault(r.ID, true)
	j.m.mu.Lock()
	defer j.m.mu.Unlock()
	if !j.m.forgetful {
		j.m.sessions = append(j.m.sessions, r)
	}
	j.m.more.Broadcast()
}

// anomaly returns how often a record has an anomaly.
func anomaly(r *record.Session, kind string) int {
	for _, a := range r.Anomalies {
		if a.Kind == kind {
			return a.Count
		}
	}
	return 0
}
