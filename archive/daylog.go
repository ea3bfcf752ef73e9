package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// logKind is one of the files of a day, in the order in which a batch is written: a session's record says that all
// else that is said of it is there.
type logKind int

const (
	traceLog logKind = iota // the only one that has blocks instead of lines; it goes before the mails too
	smtpLog
	pop3Log
	authLog
	secretsLog
	mailLog
	messagesLog
	sessionsLog
	logKinds
)

func (k logKind) fileName(d day) string {
	names := [logKinds]string{
		"trace/trace-%s.pcapng", "logs/smtp-sessions-%s.log", "logs/pop3-sessions-%s.log", "logs/auth-%s.log",
		"logs/secrets-%s.jsonl", "logs/mail-%s.log", "logs/messages-%s.jsonl", "logs/sessions-%s.jsonl",
	}
	return fmt.Sprintf(names[k], d)
}

// whole returns the octets of the whole lines, or packets, that data begins with, and their number.
func (k logKind) whole(data []byte) (octets, n int) {
	if k == traceLog {
		return wholeBlocks(data)
	}
	return bytes.LastIndexByte(data, '\n') + 1, bytes.Count(data, []byte{'\n'})
}

const (
	maxOpenLogs  = 32       // log files kept open; the one not used for longest is closed first
	repairBuffer = 64 << 10 // octets looked at at a time for the end of the last whole line
)

type logKey struct {
	kind logKind
	day  day
}

// daylogs appends whole lines, or packets, to the files of the days. Only one goroutine uses it.
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
	head    []byte      // goes before what is written first
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
		if n, err = l.write(lines); err == nil {
			return nil
		}
		whole, _ := key.kind.whole(lines[:n])
		lines = lines[whole:]
		d.closeLog(key) // what opens it again repairs it
	}
	_, _ = d.get(key)
	return d.lost(key, lines, err)
}

// lost counts what cannot be written, and says so.
func (d *daylogs) lost(key logKey, lines []byte, cause error) error {
	_, n := key.kind.whole(lines)
	what, count, words := "logs", &d.a.counts.linesLost, "lines are lost"
	if key.kind == traceLog {
		what, count, words = "trace", &d.a.counts.packetsLost, "packets are lost"
	}
	count.Add(int64(n))
	err := fmt.Errorf("%s cannot be written, %s: %w", key.kind.fileName(key.day), words, cause)
	d.a.failed(what, err)
	return err
}

// write writes lines, and returns how many octets of them were written.
func (l *daylog) write(lines []byte) (n int, err error) {
	unlock, err := l.f.Lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	if l.head == nil {
		return l.f.Write(lines)
	}
	n, err = l.f.Write(slices.Concat(l.head, lines)) // at once, so that the file never ends with a head
	n = max(0, n-len(l.head))
	l.head = nil
	return n, err
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
		if l, err = d.openLog(key); err != nil {
			return nil, err
		}
		d.open[key] = l
	}
	l.checked, l.used = d.batch, d.clock
	return l, nil
}

// openLog opens a file for append, and repairs its end.
func (d *daylogs) openLog(key logKey) (*daylog, error) {
	name := d.a.path(key.kind.fileName(key.day))
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
		if err = makeDir(d.a.disk, filepath.Dir(name)); err == nil {
			f, err = d.a.disk.OpenFile(name, flag, fileMode)
		}
	}
	if err != nil {
		return nil, err
	}
	l := &daylog{name: name, f: f}
	if key.kind == traceLog {
		l.head = appendSection(nil)
	}
	if missing {
		err = f.Chmod(fileMode)
	}
	if err == nil {
		l.info, err = f.Stat()
	}
	if err == nil {
		err = d.repairEnd(key.kind, f)
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return l, nil
}

// repairEnd cuts off what was not written to its end. Nothing before it is touched, nor what another process is writing.
func (d *daylogs) repairEnd(kind logKind, f file) error {
	unlock, err := f.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	endOf := d.lastLine
	if kind == traceLog {
		endOf = lastPacket
	}
	end, err := endOf(f, info.Size())
	if err == nil && end < info.Size() {
		err = f.Truncate(end)
	}
	return err
}

// lastLine returns where the last line ends that has an end.
func (d *daylogs) lastLine(f file, size int64) (int64, error) {
	if size == 0 {
		return 0, nil
	}
	if d.repair == nil {
		d.repair = make([]byte, repairBuffer)
	}
	n := int64(1) // nearly always the last octet is all that need be read
	for end := size; end > 0; n = repairBuffer {
		begin := max(0, end-n)
		piece := d.repair[:end-begin]
		if k, err := f.ReadAt(piece, begin); k < len(piece) {
			return 0, err
		}
		if i := bytes.LastIndexByte(piece, '\n'); i >= 0 {
			return begin + int64(i) + 1, nil
		}
		end = begin
	}
	return 0, nil
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
