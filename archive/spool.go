package archive

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const (
	spoolBuffer = 64 << 10 // octets of a mail in memory; a longer mail goes to a file in mail/tmp
	spoolMemory = 64 << 20 // octets of memory that all unfinished mails may hold; beyond it they go to files at once
	smallBuffer = 4 << 10  // the buffer that a mail begins with
)

// mail keeps the octets of one mail: in memory first, then in a file under mail/tmp, which is open only while it is
// written, so that any number of unfinished mails needs no descriptor. It implements inspect.Mail.
type mail struct {
	j    *Journal
	ends lineEnds
	buf  []byte // what is not in the file yet
	tmp  string // the file, "" while there is none
	size int64  // octets in the file
	lent bool   // buf is the journal's scratch buffer, until the end of the call
	err  error  // the first one; nothing is kept after it
}

// Write implements inspect.Mail.
func (m *mail) Write(p []byte) {
	for len(p) > 0 && m.err == nil {
		room := m.room(len(p) + 1) // one for a CR that was held back
		if room < 2 {
			break // m.err says why
		}
		var n int
		var bare bool
		m.buf, n, bare = m.ends.append(m.buf, p[:min(len(p), room-1)])
		p = p[n:]
		if bare {
			m.expand()
		}
	}
	if m.lent {
		m.flush()
		m.release()
	}
}

// Discard implements inspect.Mail.
func (m *mail) Discard() {
	m.drop()
	m.j.recycle(m)
}

// drop forgets all that was kept.
func (m *mail) drop() {
	if m.tmp != "" {
		if err := m.j.a.disk.Remove(m.tmp); err != nil {
			m.j.a.warner.warn("remove"+reason(err), "an unfinished mail could not be removed: "+err.Error())
		}
	}
	m.release()
	m.tmp, m.size = "", 0
}

// release gives the buffer back.
func (m *mail) release() {
	if !m.lent {
		m.j.putBuffer(m.buf)
	}
	m.buf, m.lent = nil, false
}

// fail ends the keeping of this mail.
func (m *mail) fail(err error) {
	m.drop()
	m.err = err
}

// room makes place in buf, if it can for want octets, and returns for how many.
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
	return cap(m.buf) - len(m.buf)
}

// grow gives the mail a larger buffer, within the bounds of one mail and of all. A mail that gets none at all works in
// the scratch buffer of its journal, for this one call of Write.
func (m *mail) grow(want int) bool {
	if cap(m.buf) >= spoolBuffer {
		return false
	}
	buf := m.j.getBuffer(min(want, spoolBuffer))
	if buf == nil {
		if cap(m.buf) > 0 {
			return false
		}
		buf, m.lent = m.j.scratch(), true
	}
	old := m.buf
	m.buf = append(buf, old...)
	m.j.putBuffer(old)
	return true
}

// flush appends buf to the file.
func (m *mail) flush() {
	if m.err != nil || len(m.buf) == 0 {
		return
	}
	if err := m.append(false); err != nil {
		m.fail(fmt.Errorf("write: %w", err))
	}
}

// append appends buf to the file, which it makes if there is none, and syncs the whole file if told to.
func (m *mail) append(sync bool) error {
	f, err := m.open()
	if err != nil {
		return err
	}
	if len(m.buf) > 0 {
		_, err = f.Write(m.buf)
	}
	if err == nil && sync {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	m.size += int64(len(m.buf))
	m.buf = m.buf[:0]
	return err
}

func (m *mail) open() (writer, error) {
	if m.tmp != "" {
		return m.j.a.disk.OpenWriter(m.tmp, os.O_APPEND)
	}
	f, name, err := m.j.a.mails.create()
	if err == nil {
		m.tmp = name
	}
	return f, err
}

// expand gives back the CRs of all that was kept so far: a bare LF has shown up.
func (m *mail) expand() {
	lfs := m.ends.lfs
	m.ends.lfs = 0
	if lfs == 0 || m.err != nil {
		return
	}
	if m.tmp == "" && int64(len(m.buf))+lfs <= spoolBuffer {
		want := len(m.buf) + int(lfs)
		if want <= cap(m.buf) || (m.grow(want) && want <= cap(m.buf)) {
			m.buf = expandInPlace(m.buf, int(lfs))
			return
		}
	}
	m.flush()
	if m.err != nil {
		return
	}
	if err := m.expandFile(lfs); err != nil {
		m.fail(fmt.Errorf("rewrite: %w", err))
	}
}

// expandFile works from the end of the file to its beginning, a piece at a time, so that a piece never lands on one
// that was not read yet. The upper half of the scratch buffer holds what is read, and expand fills it from below.
func (m *mail) expandFile(lfs int64) error {
	f, err := m.j.a.disk.OpenFile(m.tmp, os.O_RDWR|noFollow, 0)
	if err != nil {
		return err
	}
	buf := m.j.scratch()[:spoolBuffer]
	grown := m.size + lfs
	for end := m.size; lfs > 0 && err == nil; {
		begin := max(0, end-spoolBuffer/2)
		piece := buf[spoolBuffer/2:][:end-begin]
		if _, err = io.ReadFull(io.NewSectionReader(f, begin, end-begin), piece); err != nil {
			break
		}
		n := expand(buf, piece)
		at := end + lfs - int64(n) // where the expanded piece begins
		lfs -= int64(n) - (end - begin)
		if begin == 0 && lfs != 0 || lfs < 0 {
			err = fmt.Errorf("%s was changed by someone else", filepath.Base(m.tmp))
			break
		}
		_, err = f.WriteAt(buf[:n], at)
		end = begin
	}
	if e := f.Close(); err == nil {
		err = e
	}
	m.size = grown
	return err
}

// store puts the whole mail into a folder of the Maildir and returns its path relative to the data directory. After an
// error nothing of it is left.
func (m *mail) store(folder, name string) (path string, err error) {
	a := m.j.a
	if m.ends.cr {
		m.room(1)
		m.buf = m.ends.end(m.buf)
	}
	if m.err != nil {
		return "", m.err
	}
	if m.tmp == "" {
		whole := fmt.Sprintf("%s,S=%d", name, len(m.buf))
		switch placed, err := a.mails.place(folder, whole, m.buf); {
		case err != nil:
			m.fail(fmt.Errorf("write: %w", err))
			return "", m.err
		case placed:
			m.drop()
			return relative(folder, whole), nil
		}
	}
	if m.tmp == "" || len(m.buf) > 0 || a.options.Fsync {
		if err = m.append(a.options.Fsync); err != nil {
			m.fail(fmt.Errorf("write: %w", err))
			return "", m.err
		}
	}
	name = fmt.Sprintf("%s,S=%d", name, m.size)
	if err = a.mails.deliver(m.tmp, folder, name); err != nil {
		m.fail(fmt.Errorf("deliver: %w", err))
		return "", m.err
	}
	m.tmp = ""
	m.drop()
	return relative(folder, name), nil
}
