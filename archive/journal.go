package archive

import (
	"sync"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
)

// Journal is the inspect.Sink of one goroutine at a time. It renders what it is told into the batch that is being
// filled; what is for the disk it does at once or, in live mode, leaves to Commit.
type Journal struct {
	a     *Archive
	stamp int64
	now   *batch
	group *group          // delivers finished mails; in live mode Commit's does
	text  []byte          // to see how long a record is
	asked map[string]bool // the sessions that are going on: is their record there already?
	last  struct {        // the answer that was given last
		id   string
		skip bool
	}

	mu   sync.Mutex // guards what Commit takes and gives back
	cut  []*batch
	free []*batch
}

var _ inspect.Recorder = (*Recorder)(nil)

func newJournal(a *Archive) *Journal {
	return &Journal{a: a, now: newBatch(a), group: &group{a: a, max: 1}, asked: map[string]bool{}}
}

// Stamp says that the calls that follow are caused by this packet. Stamps of a journal never go down.
func (j *Journal) Stamp(packet int64) { j.stamp = max(j.stamp, packet) }

// Cut ends the journal's batch, which waits for Commit. Commit may run meanwhile.
func (j *Journal) Cut() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cut = append(j.cut, j.now)
	if n := len(j.free); n > 0 {
		j.now, j.free = j.free[n-1], j.free[:n-1]
	} else {
		j.now = newBatch(j.a)
	}
	if cap(j.text) > maxBatchBytes {
		j.text = nil
	}
}

// skip says whether a session's record was there when it was first asked for. The day is that of its begin.
func (j *Journal) skip(id string, begin record.Time) bool {
	if j.a.known == nil {
		return false
	}
	if id == j.last.id && id != "" {
		return j.last.skip
	}
	skip, ok := j.asked[id]
	if !ok {
		if skip = j.a.known.has(dayOf(begin), id); skip {
			j.a.counts.duplicates.Add(1)
		}
		j.asked[id] = skip
	}
	j.last.id, j.last.skip = id, skip
	return skip
}

// Line implements inspect.Sink.
func (j *Journal) Line(s *record.Session, l record.Line) {
	if j.skip(s.ID, s.Begin) {
		return
	}
	kind := smtpLog
	if s.Protocol == record.POP3 {
		kind = pop3Log
	}
	j.end(kind, dayOf(l.Time), appendDialogue(j.begin(kind), s, &l))
}

// Login implements inspect.Sink.
func (j *Journal) Login(s *record.Session, attempt int, l record.Login) {
	if j.skip(s.ID, s.Begin) {
		return
	}
	if j.end(authLog, dayOf(l.Time), appendLogin(j.begin(authLog), j.a.options.PID, s, attempt, &l)) {
		j.a.counts.logins.Add(1)
	}
}

// Secret implements inspect.Sink.
func (j *Journal) Secret(s *record.Session, x record.Secret) {
	if !j.a.options.Secrets || j.skip(s.ID, s.Begin) {
		return
	}
	j.end(secretsLog, dayOf(x.Time), append(x.AppendJSON(j.begin(secretsLog), s), '\n'))
}

// OpenMail implements inspect.Sink.
func (j *Journal) OpenMail(m *record.Message) inspect.Mail {
	kinds := Accepted | Rejected | Incomplete
	if m.Protocol == record.POP3 {
		kinds = POP3 | Incomplete
	}
	if j.a.options.Keep&kinds == None || j.skipMessage(m) {
		return nil
	}
	return &mail{j: j, spool: spool{a: j.a}}
}

// Message implements inspect.Sink.
func (j *Journal) Message(m *record.Message, kept inspect.Mail) {
	octets, _ := kept.(*mail)
	if j.skipMessage(m) {
		j.a.counts.duplicateMessages.Add(1)
		if octets != nil {
			octets.Discard()
		}
		return
	}
	m.Stored = nil
	if octets != nil && j.a.options.Keep&kindOf(m) == None {
		octets.Discard()
		octets = nil
	}
	if !j.reserveMessage(m) {
		if octets != nil {
			octets.Discard()
			j.a.counts.notStored.Add(1)
		}
		return
	}
	d := delivery{m: m, to: j.now, stamp: j.stamp}
	if octets != nil {
		octets.end()
		d.spool, d.exact = &octets.spool, octets.ends.exact
	}
	j.deliver(&d)
}

// deliver has a mail stored and its record written: at once or, in live mode, by the Commit of the batch that is being
// filled.
func (j *Journal) deliver(d *delivery) {
	if j.a.options.Live {
		j.now.mails = append(j.now.mails, *d)
	} else {
		j.group.add(d)
	}
}

// skipMessage says whether the record of m, or of its session, is there already.
func (j *Journal) skipMessage(m *record.Message) bool {
	return j.skip(m.Session, m.Begin) || j.a.known.has(dayOf(m.Begin), m.ID)
}

// Session implements inspect.Sink.
func (j *Journal) Session(s *record.Session) {
	skip := j.skip(s.ID, s.Begin)
	delete(j.asked, s.ID)
	j.last.id = ""
	if skip {
		return
	}
	of := dayOf(s.Begin)
	if j.end(sessionsLog, of, append(s.AppendJSON(j.begin(sessionsLog)), '\n')) {
		j.a.known.add(of, s.ID)
		j.a.counts.sessions.Add(1)
		j.a.counts.errorReplies.Add(int64(len(s.Errors)))
	}
}
