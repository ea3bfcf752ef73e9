package archive

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
)

// spool is the half of a mail that is on the disk: a file under mail/tmp, which is open only while it is written, so
// that any number of unfinished mails needs no descriptor. What works on the file runs in the order in which the other
// half asked for it, in the goroutine of the journal or, in live mode, in that of the spooler.
type spool struct {
	a    *Archive
	tmp  string // the file, "" while there is none
	size int64  // octets in the file

	under sync.WaitGroup // what the spooler has still to do

	over    atomic.Bool // nothing is kept any more: err says why
	mu      sync.Mutex  // guards what follows; never held while the disk is at work
	waiting [][]byte    // buffers to be appended
	err     error       // the first one
}

// do has something done on the file: at once or, in live mode, by the spooler.
func (s *spool) do(op func()) {
	if s.a.spooler == nil {
		op()
		return
	}
	s.under.Add(1)
	s.a.spooler.do(func() {
		defer s.under.Done()
		op()
	})
}

// push takes over a buffer that will be appended.
func (s *spool) push(buf []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		s.a.buffers.giveBack(buf)
		return
	}
	s.waiting = append(s.waiting, buf)
}

// next returns the next buffer that waits, nil if there is none, or why nothing is kept.
func (s *spool) next() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || len(s.waiting) == 0 {
		return nil, s.err
	}
	buf := s.waiting[0]
	s.waiting = slices.Delete(s.waiting, 0, 1)
	return buf, nil
}

// giveUp ends the keeping of the mail: what waits is given back. The file, if there is one, is for remove.
func (s *spool) giveUp(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		s.over.Store(true)
	}
	for _, buf := range s.waiting {
		s.a.buffers.giveBack(buf)
	}
	s.waiting = nil
}

// fail gives the mail up because of the disk.
func (s *spool) fail(err error) {
	s.giveUp(err)
	s.remove()
}

// remove removes the file.
func (s *spool) remove() {
	if s.tmp == "" {
		return
	}
	if err := s.a.disk.Remove(s.tmp); err != nil {
		s.a.warner.warn("remove"+reason(err), "an unfinished mail could not be removed: "+err.Error())
	}
	s.tmp, s.size = "", 0
}

// append appends the next buffer.
func (s *spool) append() {
	buf, _ := s.next()
	if buf == nil {
		return
	}
	err := s.write(buf, false)
	s.a.buffers.giveBack(buf)
	if err != nil {
		s.fail(fmt.Errorf("write: %w", err))
	}
}

// write appends octets to the file, and syncs the whole file if told to.
func (s *spool) write(octets []byte, sync bool) error {
	f, err := s.open()
	if err != nil {
		return err
	}
	_, err = f.Write(octets)
	if err == nil && sync {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	s.size += int64(len(octets))
	return err
}

// open opens the file at its end, or makes it.
func (s *spool) open() (mailFile, error) {
	if s.tmp != "" {
		return s.a.disk.OpenWriter(s.tmp, os.O_APPEND)
	}
	f, name, err := s.a.mails.create()
	if err == nil {
		s.tmp = name
	}
	return f, err
}

// expand gives the LFs that were written, so many, their CRs back.
func (s *spool) expand(lfs int64) {
	if s.over.Load() {
		return
	}
	if err := s.expandFile(lfs); err != nil {
		s.fail(fmt.Errorf("rewrite: %w", err))
	}
}

// expandFile works from the end of the file to its beginning, a piece at a time, so that a piece never lands on one
// that was not read yet. The upper half of the buffer holds what is read, and expand fills it from below.
func (s *spool) expandFile(lfs int64) error {
	f, err := s.a.disk.OpenFile(s.tmp, os.O_RDWR|noFollow, 0)
	if err != nil {
		return err
	}
	work := s.a.buffers.overdraw()
	defer s.a.buffers.giveBack(work)
	buf := work[:spoolBuffer]
	grown := s.size + lfs
	for end := s.size; lfs > 0 && err == nil; {
		begin := max(0, end-spoolBuffer/2)
		piece := buf[spoolBuffer/2:][:end-begin]
		if _, err = io.ReadFull(io.NewSectionReader(f, begin, end-begin), piece); err != nil {
			break
		}
		n := expand(buf, piece)
		at := end + lfs - int64(n) // where the expanded piece begins
		lfs -= int64(n) - (end - begin)
		if begin == 0 && lfs != 0 || lfs < 0 {
			err = fmt.Errorf("%s was changed by someone else", filepath.Base(s.tmp))
			break
		}
		_, err = f.WriteAt(buf[:n], at)
		end = begin
	}
	if e := f.Close(); err == nil {
		err = e
	}
	s.size = grown
	return err
}
