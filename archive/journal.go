package archive

import (
	"sync"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
)

const (
	maxFreeMails  = 64      // mails and
	maxFreeSmall  = 64      // small buffers, and
	maxFreeLarge  = 16      // full ones, that a journal keeps for the next mails
	maxFreeBatch  = 8       // batches it keeps for what comes next, unless
	maxBatchBytes = 4 << 20 // one of their buffers became larger than this
)

// Journal is the inspect.Sink of one goroutine at a time. It renders what it is told into the batch that is being
// filled; mails it writes at once.
type Journal struct {
	a     *Archive
	stamp int64
	now   *batch
	asked map[string]bool // the sessions that are going on: is their record there already?
	last  struct {        // the answer that was given last
		id   string
		skip bool
	}

	mails        []*mail
	small, large [][]byte
	work         []byte // spoolBuffer octets, for the length of a call
	folder       struct {
		day  day
		kind Kinds
		name string
	}

	mu   sync.Mutex // guards what Commit takes and gives back
	cut  []*batch
	free []*batch
}

var _ inspect.Recorder = (*Archive)(nil)

// Journal returns a new journal; lines with the same stamp are in the order in which their journals were made. All
// journals are made before any of them is cut.
func (a *Archive) Journal() inspect.Journal { return a.journal() }

func (a *Archive) journal() *Journal {
	j := &Journal{a: a, now: new(batch), asked: map[string]bool{}}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.journals = append(a.journals, j)
	return j
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
		j.now = new(batch)
	}
}

// skip says whether a session's record was there when it was first asked for. The day is that of its begin.
func (j *Journal) skip(id string, begin record.Time) bool {
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
	st := j.now.begin(kind, dayOf(l.Time), j.stamp)
	st.end(appendDialogue(st.data, s, &l))
}

// Login implements inspect.Sink.
func (j *Journal) Login(s *record.Session, attempt int, l record.Login) {
	if j.skip(s.ID, s.Begin) {
		return
	}
	st := j.now.begin(authLog, dayOf(l.Time), j.stamp)
	st.end(appendLogin(st.data, j.a.options.PID, s, attempt, &l))
	j.a.counts.logins.Add(1)
}

// Secret implements inspect.Sink.
func (j *Journal) Secret(s *record.Session, x record.Secret) {
	if !j.a.options.Secrets || j.skip(s.ID, s.Begin) {
		return
	}
	st := j.now.begin(secretsLog, dayOf(x.Time), j.stamp)
	st.end(append(x.AppendJSON(st.data, s), '\n'))
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
	return j.newMail()
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
	if octets != nil {
		m.Stored = j.store(m, octets)
		j.recycle(octets)
	}
	of := dayOf(m.Begin)
	st := j.now.begin(mailLog, of, j.stamp)
	st.end(appendMail(st.data, j.a.options.PID, m))
	st = j.now.begin(messagesLog, of, j.stamp)
	st.end(append(m.AppendJSON(st.data), '\n'))
	j.a.known.add(of, m.ID)
	j.a.counts.messages.Add(1)
}

// skipMessage says whether the record of m, or of its session, is there already.
func (j *Journal) skipMessage(m *record.Message) bool {
	return j.skip(m.Session, m.Begin) || j.a.known.has(dayOf(m.Begin), m.ID)
}

// store puts the octets of m in their place, or drops them if their kind is not wanted.
func (j *Journal) store(m *record.Message, octets *mail) *record.Stored {
	kind := kindOf(m)
	if j.a.options.Keep&kind == None {
		octets.drop()
		return nil
	}
	if of := dayOf(m.Begin); j.folder.kind != kind || j.folder.day != of {
		j.folder.day, j.folder.kind, j.folder.name = of, kind, folder(j.a.options.Flat, of, kind)
	}
	path, err := octets.store(j.folder.name, fileName(m))
	if err != nil {
		j.a.counts.notStored.Add(1)
		j.a.failed("a mail could not be stored", err)
		return &record.Stored{Error: "the mail could not be stored: " + reason(err)}
	}
	j.a.counts.stored.Add(1)
	return &record.Stored{Path: path, Exact: octets.ends.exact}
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
	st := j.now.begin(sessionsLog, of, j.stamp)
	st.end(append(s.AppendJSON(st.data), '\n'))
	j.a.known.add(of, s.ID)
	j.a.counts.sessions.Add(1)
	j.a.counts.errorReplies.Add(int64(len(s.Errors)))
}

// newMail returns an empty mail.
func (j *Journal) newMail() *mail {
	n := len(j.mails)
	if n == 0 {
		return &mail{j: j}
	}
	m := j.mails[n-1]
	j.mails = j.mails[:n-1]
	return m
}

// recycle takes a mail back, whose octets are stored or dropped.
func (j *Journal) recycle(m *mail) {
	if len(j.mails) < maxFreeMails {
		*m = mail{j: j}
		j.mails = append(j.mails, m)
	}
}

// getBuffer returns an empty buffer, for n octets if a large one will do, or nil where all mails together hold too much.
func (j *Journal) getBuffer(n int) []byte {
	size, pool := spoolBuffer, &j.large
	if n <= smallBuffer {
		size, pool = smallBuffer, &j.small
	}
	if j.a.spooled.Add(int64(size)) > spoolMemory {
		j.a.spooled.Add(-int64(size))
		return nil
	}
	if k := len(*pool); k > 0 {
		buf := (*pool)[k-1]
		*pool = (*pool)[:k-1]
		return buf
	}
	return make([]byte, 0, size)
}

// putBuffer takes back what getBuffer gave; nil is nothing.
func (j *Journal) putBuffer(buf []byte) {
	j.a.spooled.Add(-int64(cap(buf)))
	switch {
	case cap(buf) == smallBuffer && len(j.small) < maxFreeSmall:
		j.small = append(j.small, buf[:0])
	case cap(buf) == spoolBuffer && len(j.large) < maxFreeLarge:
		j.large = append(j.large, buf[:0])
	}
}

// scratch returns an empty buffer of spoolBuffer octets that is free again when the call of the journal ends.
func (j *Journal) scratch() []byte {
	if j.work == nil {
		j.work = make([]byte, spoolBuffer)
	}
	return j.work[:0]
}
