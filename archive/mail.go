package archive

import "errors"

var (
	// errSlow is why live mode gives a mail up.
	errSlow = errors.New("mails come faster than they can be written, and the memory for what waits is full")
	// errUnwanted is why the octets of a mail are dropped that are not to be kept.
	errUnwanted = errors.New("it is not wanted")
)

// mail is the half of a mail that is in memory: its line ends, and what was not handed to the other half yet. A small
// mail is handed over when it is whole. It implements inspect.Mail.
type mail struct {
	j         *Journal
	ends      lineEnds
	buf       []byte
	overdrawn bool // buf is more than may be lent, and goes to the file before the call ends
	handed    bool // the spool may have a file
	spool     spool
}

// Write implements inspect.Mail.
func (m *mail) Write(p []byte) {
	for len(p) > 0 && !m.spool.over.Load() {
		room := m.room(len(p) + 1) // one for a CR that was held back
		if room < 2 {
			break
		}
		var n int
		var bare bool
		m.buf, n, bare = m.ends.append(m.buf, p[:min(len(p), room-1)])
		p = p[n:]
		if bare {
			m.expand()
		}
	}
	switch {
	case m.spool.over.Load():
		m.release()
	case m.overdrawn:
		m.flush()
	}
}

// Discard implements inspect.Mail.
func (m *mail) Discard() { m.giveUp(errUnwanted) }

// end hands over what is left.
func (m *mail) end() {
	if m.ends.cr && m.room(1) > 0 {
		m.buf = m.ends.end(m.buf)
	}
	if len(m.buf) > 0 {
		m.spool.push(m.buf)
		m.buf = nil
	}
	m.release()
}

// giveUp ends the keeping of this mail and gives all its memory back at once.
func (m *mail) giveUp(err error) {
	m.spool.giveUp(err)
	if m.handed {
		m.spool.do(m.spool.remove)
	}
	m.release()
}

// release gives the buffer back.
func (m *mail) release() {
	m.j.a.buffers.giveBack(m.buf)
	m.buf, m.overdrawn = nil, false
}

// room makes place in buf, if it can for want octets, and returns for how many; none where the mail is given up.
func (m *mail) room(want int) int {
	free := cap(m.buf) - len(m.buf)
	if free >= want {
		return free
	}
	if m.grow(len(m.buf) + want) {
		return cap(m.buf) - len(m.buf)
	}
	if free >= 2 {
		return free
	}
	m.flush()
	if !m.grow(want) && !m.grow(0) {
		m.starve()
	}
	return cap(m.buf) - len(m.buf)
}

// grow gives the mail a larger buffer, within the bounds of one mail and of all.
func (m *mail) grow(want int) bool {
	if cap(m.buf) >= spoolBuffer || m.spool.over.Load() {
		return false
	}
	buf := m.j.a.buffers.lend(min(want, spoolBuffer))
	if buf == nil {
		return false
	}
	old := m.buf
	m.buf = append(buf, old...)
	m.j.a.buffers.giveBack(old)
	return true
}

// starve is for a mail that gets no buffer at all: it works in one that is overdrawn, for this one call, or, where it
// would have to wait for the disk, it is given up.
func (m *mail) starve() {
	switch {
	case m.spool.over.Load():
	case m.j.a.options.Live:
		m.tooSlow()
	default:
		m.buf, m.overdrawn = m.j.a.buffers.overdraw(), true
	}
}

func (m *mail) tooSlow() {
	m.giveUp(errSlow)
	m.j.a.warnSlow()
}

func (a *Archive) warnSlow() {
	a.warner.warn("slow mails", "mails are not stored: "+errSlow.Error())
}

// flush hands over buf.
func (m *mail) flush() {
	if len(m.buf) > 0 {
		m.spool.push(m.buf)
		m.buf = nil
		m.hand(m.spool.append)
	}
	m.release()
}

// hand has something done to the file, unless too much waits for the disk already.
func (m *mail) hand(op func()) {
	if !m.j.reserve(recordMemory, opOctets) {
		m.tooSlow()
		return
	}
	m.handed = true
	m.spool.do(op)
}

// expand gives back the CRs of all that was kept so far: a bare LF has shown up.
func (m *mail) expand() {
	lfs := m.ends.lfs
	m.ends.lfs = 0
	if lfs == 0 {
		return
	}
	if !m.handed && int64(len(m.buf))+lfs <= spoolBuffer {
		want := len(m.buf) + int(lfs)
		if want <= cap(m.buf) || (m.grow(want) && want <= cap(m.buf)) {
			m.buf = expandInPlace(m.buf, int(lfs))
			return
		}
	}
	m.flush()
	m.hand(func() { m.spool.expand(lfs) })
}
