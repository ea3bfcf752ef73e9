package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

// faultyDisk is the real file system, but that the operations from fail to until (excluded) fail. A write that fails
// has written half, a close that fails has closed.
type faultyDisk struct {
	osDisk
	mu          sync.Mutex
	done        int
	fail, until int
	failed      []string
}

func (d *faultyDisk) op(what string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done++
	if d.done >= d.fail && d.done < d.until {
		d.failed = append(d.failed, what)
		return &fs.PathError{Op: what, Path: "/x", Err: syscall.ENOSPC}
	}
	return nil
}

func (d *faultyDisk) OpenFile(name string, flag int, perm fs.FileMode) (file, error) {
	if err := d.op("open " + name); err != nil {
		return nil, err
	}
	f, err := d.osDisk.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file: f, d: d, name: name}, nil
}

func (d *faultyDisk) OpenWriter(name string, flag int) (writer, error) {
	if err := d.op("open " + name); err != nil {
		return nil, err
	}
	w, err := d.osDisk.OpenWriter(name, flag)
	if err != nil {
		return nil, err
	}
	return &faultyWriter{writer: w, d: d, name: name}, nil
}

func (d *faultyDisk) OpenUnnamed(dir string) (unnamed, error) {
	if err := d.op("open unnamed in " + dir); err != nil {
		return nil, err
	}
	f, err := d.osDisk.OpenUnnamed(dir)
	if err != nil {
		return nil, err
	}
	return &faultyUnnamed{faultyWriter{writer: f, d: d, name: dir}, f}, nil
}

type faultyUnnamed struct {
	faultyWriter
	f unnamed
}

func (u *faultyUnnamed) Link(name string) error {
	if err := u.d.op("link " + name); err != nil {
		return err
	}
	return u.f.Link(name)
}

func (d *faultyDisk) Lstat(name string) (fs.FileInfo, error) {
	if err := d.op("lstat " + name); err != nil {
		return nil, err
	}
	return d.osDisk.Lstat(name)
}

func (d *faultyDisk) Mkdir(name string, perm fs.FileMode) error {
	if err := d.op("mkdir " + name); err != nil {
		return err
	}
	return d.osDisk.Mkdir(name, perm)
}

func (d *faultyDisk) Chmod(name string, perm fs.FileMode) error {
	if err := d.op("chmod " + name); err != nil {
		return err
	}
	return d.osDisk.Chmod(name, perm)
}

func (d *faultyDisk) Rename(from, to string) error {
	if err := d.op("rename " + from); err != nil {
		return err
	}
	return d.osDisk.Rename(from, to)
}

func (d *faultyDisk) Remove(name string) error {
	if err := d.op("remove " + name); err != nil {
		return err
	}
	return d.osDisk.Remove(name)
}

func (d *faultyDisk) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := d.op("readdir " + name); err != nil {
		return nil, err
	}
	return d.osDisk.ReadDir(name)
}

type faultyWriter struct {
	writer
	d    *faultyDisk
	name string
}

func (w *faultyWriter) Write(p []byte) (int, error) { return faultyWrite(w.d, w.writer, w.name, p) }
func (w *faultyWriter) Sync() error                 { return errors.Join(w.d.op("sync "+w.name), w.writer.Sync()) }

func (w *faultyWriter) Close() error { return errors.Join(w.d.op("close "+w.name), w.writer.Close()) }

func faultyWrite(d *faultyDisk, w writer, name string, p []byte) (int, error) {
	if err := d.op("write " + name); err != nil {
		n, _ := w.Write(p[:len(p)/2])
		return n, err
	}
	return w.Write(p)
}

type faultyFile struct {
	file
	d    *faultyDisk
	name string
}

func (f *faultyFile) Write(p []byte) (int, error) { return faultyWrite(f.d, f.file, f.name, p) }
func (f *faultyFile) Sync() error                 { return errors.Join(f.d.op("sync "+f.name), f.file.Sync()) }

func (f *faultyFile) Close() error { return errors.Join(f.d.op("close "+f.name), f.file.Close()) }

func (f *faultyFile) Chmod(m fs.FileMode) error {
	return errors.Join(f.d.op("fchmod "+f.name), f.file.Chmod(m))
}

func (f *faultyFile) Read(p []byte) (int, error) {
	if err := f.d.op("read " + f.name); err != nil {
		return 0, err
	}
	return f.file.Read(p)
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.d.op("pread " + f.name); err != nil {
		return 0, err
	}
	return f.file.ReadAt(p, off)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.d.op("pwrite " + f.name); err != nil {
		n, _ := f.file.WriteAt(p[:len(p)/2], off)
		return n, err
	}
	return f.file.WriteAt(p, off)
}

func (f *faultyFile) Stat() (fs.FileInfo, error) {
	if err := f.d.op("stat " + f.name); err != nil {
		return nil, err
	}
	return f.file.Stat()
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.d.op("truncate " + f.name); err != nil {
		return err
	}
	return f.file.Truncate(size)
}

var faultMails = []string{
	"Subject: small\r\n\r\nx\r\n",
	strings.Repeat("a line of a long mail\r\n", 10000),
	strings.Repeat("a line of a long mail\r\n", 10000) + "and a bare LF\nin it\r\n",
	"bare\n",
	"Subject: last\r\n\r\n",
}

// faultRun tells a journal five sessions of two lines and a mail each, with a commit after each.
func faultRun(a *Archive) {
	j := a.journal()
	for i, octets := range faultMails {
		s := sample(i, at(i))
		j.Stamp(int64(i))
		j.Line(s, record.Line{Time: s.Begin, Kind: record.Note, Text: []byte("connected")})
		m := sampleMail(s, 1)
		kept := j.OpenMail(m)
		for p := octets; kept != nil && p != ""; p = p[min(len(p), 1400):] {
			kept.Write([]byte(p[:min(len(p), 1400)]))
		}
		j.Message(m, kept)
		j.Line(s, record.Line{Time: s.Begin, Kind: record.Note, Text: []byte("closed")})
		j.Session(s)
		j.Cut()
		_ = a.Commit()
	}
	_ = a.Close()
}

// checkTruth holds a data directory to what it says: each line is whole, each record valid and there once, each mail that a
// record names is there to the last octet, and nothing in new/ is partial. It returns how many lines, messages and
// errors of stored mails there are.
func checkTruth(t *testing.T, what, dir string, octetsOf func(id string) string) (lines, messages, notStored int) {
	t.Helper()
	ids := map[string]bool{}
	for name, text := range tree(t, dir) {
		if strings.HasPrefix(name, "mail/") {
			if filepath.Base(filepath.Dir(name)) != "new" {
				continue
			}
			parts := strings.Split(filepath.Base(name), ".")
			want, _ := maildirForm(octetsOf(parts[1] + "." + parts[2]))
			if text != want {
				t.Errorf("%s: %s has %d octets, not %d", what, name, len(text), len(want))
			}
			continue
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			t.Errorf("%s: %s ends within a line", what, name)
		}
		lines += strings.Count(text, "\n")
		if !strings.HasSuffix(name, ".jsonl") {
			continue
		}
		for line := range strings.Lines(text) {
			var m struct { // of either kind
				Type, ID string
				Stored   *record.Stored
			}
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Errorf("%s: %s: %v in %.100q", what, name, err, line)
				continue
			}
			if ids[m.ID] {
				t.Errorf("%s: %s is there twice", what, m.ID)
			}
			ids[m.ID] = true
			if m.Type != "message" {
				continue
			}
			messages++
			switch {
			case m.Stored == nil:
				t.Errorf("%s: %s says nothing of its mail", what, m.ID)
			case m.Stored.Error != "":
				notStored++
			case readStored(t, dir, m.Stored) != octetsOf(m.ID):
				t.Errorf("%s: %s has other octets", what, m.ID)
			}
		}
	}
	return lines, messages, notStored
}

func octetsOfFault(id string) string { return faultMails[id[15]-'0'] }

// TestEachOperationFails breaks each file operation of a run, once, and some of them and all that follow for a while
// (F2, F1). Then nothing is wrong, what is missing is counted, and the run goes on.
func TestEachOperationFails(t *testing.T) {
	whole := &faultyDisk{}
	dir := t.TempDir()
	a := mustOpen(t, Options{Dir: dir, Keep: All, Fsync: true, disk: whole})
	faultRun(a)
	all, _, _ := checkTruth(t, "no fault", dir, octetsOfFault)
	if want := 5 * 5; all != want {
		t.Fatalf("%d lines, not %d", all, want)
	}
	for _, length := range []int{1, 3, 40} {
		for n := 1; n <= whole.done; n++ {
			if length > 1 && n%4 != 0 || testing.Short() && n%7 != 0 {
				continue
			}
			dir := t.TempDir()
			d := &faultyDisk{fail: n, until: n + length}
			what := func() string { return fmt.Sprintf("operations %d to %d: %s", n, n+length-1, d.failed) }
			warned := 0
			a, err := Open(Options{Dir: dir, Keep: All, Fsync: true, disk: d, Warn: func(string) { warned++ }})
			if err != nil { // it was one of the first
				if len(d.failed) == 0 || !strings.Contains(err.Error(), "cannot be written") {
					t.Errorf("%s: %v", what(), err)
				}
				continue
			}
			faultRun(a)
			if d.done < d.until { // it never got better; then a torn line is left for the next start
				repair := mustOpen(t, Options{Dir: dir})
				for kind := range logKinds {
					if _, err := repair.disk.Lstat(repair.path(kind.fileName(dayOf(at(0))))); err == nil {
						_, _ = repair.logs.get(logKey{kind, dayOf(at(0))})
					}
				}
				mustClose(t, repair)
			}
			lines, _, notStored := checkTruth(t, what(), dir, octetsOfFault)
			st := a.Stats()
			if lines+int(st.LinesLost) != all {
				t.Errorf("%s: %d lines are there and %d counted as lost, of %d", what(), lines, st.LinesLost, all)
			}
			if length == 1 && st.LinesLost > 0 {
				t.Errorf("%s: one failure loses %d lines", what(), st.LinesLost)
			}
			if length == 1 && st.NotStored > 1 || st.LinesLost == 0 && notStored != int(st.NotStored) || st.Stored+st.NotStored != int64(len(faultMails)) {
				t.Errorf("%s: %d mails are not stored, and %+v", what(), notStored, st)
			}
			if (st.Errors > 0) != (warned > 0) && st.NotStored+st.LinesLost > 0 {
				t.Errorf("%s: %d warnings of %d errors", what(), warned, st.Errors)
			}
			again := mustOpen(t, Options{Dir: dir, Keep: All})
			if left, _ := os.ReadDir(filepath.Join(dir, "mail/tmp")); len(left) > 0 {
				t.Errorf("%s: tmp still has %s", what(), left[0].Name())
			}
			mustClose(t, again)
		}
	}
	t.Logf("%d operations", whole.done)
}

// TestTornLine: only the last line, and only if it has no end, is cut off; and it does not count as known.
func TestTornLine(t *testing.T) {
	s := sample(1, at(0))
	whole := string(sample(0, at(0)).AppendJSON(nil)) + "\n"
	torn := string(s.AppendJSON(nil))
	for name, before := range map[string]string{
		"half":      whole + torn[:len(torn)/2],
		"but LF":    whole + torn,
		"only":      torn[:20],
		"long":      whole + strings.Repeat("x", 3*repairBuffer+5),
		"border":    whole + strings.Repeat("x", repairBuffer-1),
		"not torn":  whole,
		"empty":     "",
		"only LF":   "\n",
		"odd lines": "what is this\n\n" + strings.Repeat("y", 3*knownBuffer) + "\n" + whole + "{",
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "logs/sessions-2026-11-22.jsonl")
		if err := errors.Join(os.Mkdir(filepath.Join(dir, "logs"), 0o700), os.WriteFile(file, []byte(before), 0o600)); err != nil {
			t.Fatal(err)
		}
		a := mustOpen(t, Options{Dir: dir})
		j := a.journal()
		j.Session(s)
		j.Session(sample(0, at(0)))
		mustClose(t, a)
		want := before[:strings.LastIndexByte(before, '\n')+1] + torn + "\n"
		if !strings.Contains(before, whole) {
			want += whole
		}
		if got, _ := os.ReadFile(file); string(got) != want {
			t.Errorf("%s:\n got %.400q\nwant %.400q", name, got, want)
		}
	}
}

// TestKilledBeforeSession: what has a message's record but no session's gets only what is missing.
func TestKilledBeforeSession(t *testing.T) {
	dir := t.TempDir()
	for round := range 2 {
		a := mustOpen(t, Options{Dir: dir, Keep: All})
		j := a.journal()
		s := sample(1, at(0))
		keep(j, sampleMail(s, 1), "x\r\n")
		if round == 1 {
			keep(j, sampleMail(s, 2), "y\r\n")
			j.Session(s)
		}
		mustClose(t, a)
	}
	for name, n := range map[string]int{"logs/messages-2026-11-22.jsonl": 2, "logs/mail-2026-11-22.log": 2, "logs/sessions-2026-11-22.jsonl": 1} {
		if lines := readLines(t, filepath.Join(dir, name)); len(lines) != n {
			t.Errorf("%s has %d lines", name, len(lines))
		}
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, "mail/.2026-11-22/new")); len(entries) != 2 {
		t.Errorf("%d mails", len(entries))
	}
}

// TestMoved: logs that are renamed, removed, replaced by links, or whose directory goes, while the archive is open (F8).
func TestMoved(t *testing.T) {
	dir := t.TempDir()
	var warned []string
	a := mustOpen(t, Options{Dir: dir, Keep: All, Warn: func(msg string) { warned = append(warned, msg) }})
	j := a.journal()
	s := sample(1, at(0))
	name := filepath.Join(dir, "logs/smtp-sessions-2026-11-22.log")
	say := func(text string) error {
		j.Line(s, record.Line{Time: at(0), Kind: record.Note, Text: []byte(text)})
		j.Cut()
		return a.Commit()
	}
	expect := func(file string, texts ...string) {
		t.Helper()
		data, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		var got []string
		for line := range strings.Lines(string(data)) {
			_, text, _ := strings.Cut(line, "=== ")
			got = append(got, strings.TrimSpace(text))
		}
		if fmt.Sprint(got) != fmt.Sprint(texts) {
			t.Errorf("%s has %q, not %q", file, got, texts)
		}
	}
	do := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	do(say("one"), say("two"), os.Rename(name, name+".1"), say("three"))
	expect(name+".1", "one", "two")
	expect(name, "three")
	do(os.Remove(name), say("four"))
	expect(name, "four")

	target := filepath.Join(dir, "target")
	do(os.WriteFile(target, nil, 0o600), os.Remove(name), os.Symlink(target, name))
	if err := say("five"); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a symbolic link gives %v", err)
	}
	expect(target)
	if len(warned) != 1 || !strings.Contains(warned[0], "logs/smtp-sessions-2026-11-22.log") || !strings.Contains(warned[0], "symbolic link") {
		t.Errorf("%q", warned)
	}
	if n := a.Stats().LinesLost; n != 1 {
		t.Errorf("%d lines lost", n)
	}
	do(os.Remove(name), say("six"))
	expect(name, "six")
	do(os.Remove(name), os.Mkdir(name, 0o700))
	if say("seven") == nil {
		t.Error("a directory is no error")
	}
	do(os.RemoveAll(filepath.Join(dir, "logs")), say("eight"))
	expect(name, "eight")

	do(os.RemoveAll(filepath.Join(dir, "mail")))
	m := sampleMail(s, 1)
	keep(j, m, "x\r\n")
	if m.Stored.Error != "" || readStored(t, dir, m.Stored) != "x\r\n" {
		t.Errorf("%+v", m.Stored)
	}
	do(os.RemoveAll(filepath.Join(dir, "mail/.2026-11-22")))
	m = sampleMail(s, 2)
	keep(j, m, "x\r\n")
	if m.Stored.Error != "" || readStored(t, dir, m.Stored) != "x\r\n" {
		t.Errorf("%+v", m.Stored)
	}
	mustClose(t, a)
}

// TestManyDays: lines of many days in one batch need few open files, and all get where they belong.
func TestManyDays(t *testing.T) {
	dir := t.TempDir()
	a := mustOpen(t, Options{Dir: dir})
	j := a.journal()
	const days = 5 * maxOpenLogs
	for round := range 3 {
		for i := range days {
			s := sample(1000*round+i, at(i*86400))
			j.Line(s, record.Line{Time: s.Begin, Text: bytes.Repeat([]byte("x"), 1000)})
			j.Session(s)
			if len(a.known.days) > maxKnownDays {
				t.Fatal("too many days known")
			}
		}
		j.Cut()
		if err := a.Commit(); err != nil || len(a.logs.open) > maxOpenLogs || len(a.outs) > maxOuts {
			t.Fatalf("%d files open, %v", len(a.logs.open), err)
		}
	}
	mustClose(t, a)
	files := tree(t, dir)
	if len(files) != 2*days {
		t.Errorf("%d files", len(files))
	}
	for name, text := range files {
		if strings.Count(text, "\n") != 3 {
			t.Errorf("%s has %q", name, text)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, filepath.Join(file, "below"), filepath.Join(dir, "nul\x00")} {
		a, err := Open(Options{Dir: name})
		if err == nil {
			_ = a.Close()
			t.Errorf("%q is opened", name)
		} else if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "cannot be written") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestWarner: once a cause and minute.
func TestWarner(t *testing.T) {
	var said []string
	w := warner{say: func(msg string) { said = append(said, msg) }}
	for range 5 {
		w.warn("a", "first")
	}
	w.warn("b", "second")
	w.causes["a"].said = w.causes["a"].said.Add(-2 * warnEvery)
	w.warn("a", "third")
	if want := "[first second third (and 4 times more since the last such message)]"; fmt.Sprint(said) != want {
		t.Errorf("%s", said)
	}
	for i := range 10 * maxCauses {
		w.warn(fmt.Sprint(i), "x")
	}
	if len(w.causes) > maxCauses {
		t.Errorf("%d causes", len(w.causes))
	}
	(&warner{}).warn("a", "nobody listens")
}
