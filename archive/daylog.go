package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// logKind is one of the files of a day, in the order in which a batch is written: a session's record says that all
// else that is said of it is there.
type logKind int

const (
	smtpLog logKind = iota
	pop3Log
	mailLog
	authLog
	secretsLog
	messagesLog
	sessionsLog
	logKinds
)

func (k logKind) fileName(d day) string {
	names := [logKinds]string{"smtp-sessions-%s.log", "pop3-sessions-%s.log", "mail-%s.log", "auth-%s.log", "secrets-%s.jsonl", "messages-%s.jsonl", "sessions-%s.jsonl"}
	return "logs/" + fmt.Sprintf(names[k], d)
}

const (
	maxOpenLogs  = 32       // log files kept open; the one not used for longest is closed first
	repairBuffer = 64 << 10 // octets looked at at a time for the end of the last whole line
)

type logKey struct {
	kind logKind
	day  day
}

// daylogs appends whole lines to the files of the days. Only one goroutine uses it.
type daylogs struct {
	a      *Archive
	open   map[logKey]*daylog
	batch  int64 // counts batches: once in each, a file is looked for under its name
	clock  int64 // counts writes, for the oldest
	repair []byte
}

type daylog struct {
	name    string
	f       file
	info    fs.FileInfo // which file it is
	checked int64       // batch in which it was last looked for
	used    int64
}

// write appends whole lines. A write that fails is tried again, once, from the line on that it did not finish; what
// then cannot be written is lost and counted, and no part of a line is left.
func (d *daylogs) write(key logKey, lines []byte) error {
	var err error
	for range 2 {
		var l *daylog
		if l, err = d.get(key); err != nil {
			continue
		}
		var n int
		if n, err = l.f.Write(lines); err == nil {
			return nil
		}
		lines = lines[bytes.LastIndexByte(lines[:n], '\n')+1:]
		d.closeLog(key) // what opens it again repairs it
	}
	_, _ = d.get(key)
	d.a.counts.linesLost.Add(int64(bytes.Count(lines, []byte{'\n'})))
	err = fmt.Errorf("%s cannot be written, lines are lost: %w", key.kind.fileName(key.day), err)
	d.a.failed("logs", err)
	return err
}

// get returns the open file of a day. Once in a batch it looks whether the file still has its name: one that was
// renamed or removed is left alone, and a new one begun.
func (d *daylogs) get(key logKey) (*daylog, error) {
	d.clock++
	l := d.open[key]
	if l != nil && l.checked != d.batch {
		info, err := d.a.disk.Lstat(l.name)
		if err != nil || !os.SameFile(info, l.info) {
			d.closeLog(key)
			l = nil
		}
	}
	if l == nil {
		if len(d.open) >= maxOpenLogs {
			d.closeOldest()
		}
		var err error
		if l, err = d.openLog(d.a.path(key.kind.fileName(key.day))); err != nil {
			return nil, err
		}
		d.open[key] = l
	}
	l.checked, l.used = d.batch, d.clock
	return l, nil
}

// openLog opens a file for append, and repairs its end.
func (d *daylogs) openLog(name string) (*daylog, error) {
	info, err := d.a.disk.Lstat(name)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case missing:
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, errors.New("it is a symbolic link, which is not followed; remove it")
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file; remove it")
	}
	const flag = os.O_RDWR | os.O_APPEND | os.O_CREATE | noFollow
	f, err := d.a.disk.OpenFile(name, flag, fileMode)
	if errors.Is(err, fs.ErrNotExist) { // someone removed the directory
		if err = makeDir(d.a.disk, d.a.path("logs")); err == nil {
			f, err = d.a.disk.OpenFile(name, flag, fileMode)
		}
	}
	if err != nil {
		return nil, err
	}
	l := &daylog{name: name, f: f}
	if missing {
		err = f.Chmod(fileMode)
	}
	if err == nil {
		l.info, err = f.Stat()
	}
	if err == nil {
		err = d.repairEnd(f, l.info.Size())
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return l, nil
}

// repairEnd cuts off a last line that has no end. Nothing before it is touched.
func (d *daylogs) repairEnd(f file, size int64) error {
	if size == 0 {
		return nil
	}
	if d.repair == nil {
		d.repair = make([]byte, repairBuffer)
	}
	n := int64(1) // nearly always the last octet is all that need be read
	for end := size; end > 0; n = repairBuffer {
		begin := max(0, end-n)
		piece := d.repair[:end-begin]
		if k, err := f.ReadAt(piece, begin); k < len(piece) {
			return err
		}
		if i := bytes.LastIndexByte(piece, '\n'); i >= 0 {
			if whole := begin + int64(i) + 1; whole < size {
				return f.Truncate(whole)
			}
			return nil
		}
		end = begin
	}
	return f.Truncate(0)
}

func (d *daylogs) closeLog(key logKey) {
	if l := d.open[key]; l != nil {
		delete(d.open, key)
		if err := l.f.Close(); err != nil {
			d.a.failed("logs", err)
		}
	}
}

func (d *daylogs) closeOldest() {
	var oldest logKey
	used := d.clock + 1
	for key, l := range d.open {
		if l.used < used {
			oldest, used = key, l.used
		}
	}
	d.closeLog(oldest)
}

func (d *daylogs) close() error {
	var errs []error
	for _, l := range d.open {
		errs = append(errs, l.f.Close())
	}
	clear(d.open)
	return errors.Join(errs...)
}
