package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

var faultMails = []string{
	"Subject: small\r\n\r\nx\r\n",
	strings.Repeat("a line of a long mail\r\n", 10000),
	strings.Repeat("a line of a long mail\r\n", 10000) + "and a bare LF\nin it\r\n",
	"bare\n",
	"Subject: last\r\n\r\n",
}

// faultRun tells a journal five sessions of two lines and a mail each, with a commit after so many of them.
func faultRun(a *Archive, perBatch int) {
	j := a.journal()
	for i, octets := range faultMails {
		s := sample(i, at(i))
		j.Stamp(int64(i))
		j.Line(s, record.Line{Time: s.Begin, Kind: record.Note, Text: []byte("connected")})
		m := sampleMail(s, 1)
		if i == 3 {
			m.Outcome = record.Rejected
		}
		kept := j.OpenMail(m)
		for p := octets; kept != nil && p != ""; p = p[min(len(p), 1400):] {
			kept.Write([]byte(p[:min(len(p), 1400)]))
		}
		j.Message(m, kept)
		j.Line(s, record.Line{Time: s.Begin, Kind: record.Note, Text: []byte("closed")})
		j.Session(s)
		if (i+1)%perBatch == 0 {
			j.Cut()
			_ = a.Commit()
		}
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
	for _, c := range []struct {
		name     string
		live     bool
		perBatch int
	}{{"file", false, 1}, {"live", true, 3}} {
		t.Run(c.name, func(t *testing.T) {
			whole := &faultyDisk{}
			dir := t.TempDir()
			a := mustOpen(t, Options{Dir: dir, Keep: All, Fsync: true, Live: c.live, disk: whole})
			faultRun(a, c.perBatch)
			if all, _, _ := checkTruth(t, "no fault", dir, octetsOfFault); all != faultLines {
				t.Fatalf("%d lines, not %d", all, faultLines)
			}
			t.Logf("%d operations", whole.done)
			for _, length := range []int{1, 3, 40} {
				for n := 1; n <= whole.done; n++ {
					if length > 1 && n%4 != 0 || testing.Short() && n%7 != 0 {
						continue
					}
					checkFault(t, &faultyDisk{fail: n, until: n + length}, c.live, c.perBatch)
				}
			}
		})
	}
}

const faultLines = 5 * 5

func checkFault(t *testing.T, d *faultyDisk, live bool, perBatch int) {
	dir := t.TempDir()
	what := func() string { return fmt.Sprintf("operations %d to %d: %s", d.fail, d.until-1, d.failed) }
	var warned atomic.Int64
	o := Options{Dir: dir, Keep: All, Fsync: true, Live: live, disk: d, Warn: func(string) { warned.Add(1) }}
	a, err := Open(o)
	if err != nil { // it was one of the first
		if len(d.failed) == 0 || !strings.Contains(err.Error(), "cannot be written") {
			t.Errorf("%s: %v", what(), err)
		}
		return
	}
	faultRun(a, perBatch)
	if d.done < d.until || d.until-d.fail > 3 { // it may not have got better for each file; then a torn line is left for the next start
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
	if lines+int(st.LinesLost) != faultLines {
		t.Errorf("%s: %d lines are there and %d counted as lost, of %d", what(), lines, st.LinesLost, faultLines)
	}
	if d.until == d.fail+1 {
		if st.LinesLost > 0 {
			t.Errorf("%s: one failure loses %d lines", what(), st.LinesLost)
		}
		if least, most := faultVictims(d.failed[0], perBatch); st.NotStored < least || st.NotStored > most {
			t.Errorf("%s: one failure loses %d mails, not %d to %d", what(), st.NotStored, least, most)
		}
		if files, _ := filepath.Glob(filepath.Join(dir, "mail/.*/new/*")); len(files) != int(st.Stored) {
			t.Errorf("%s: %d files, and %+v", what(), len(files), st)
		}
	}
	if st.LinesLost == 0 && notStored != int(st.NotStored) || st.Stored+st.NotStored != int64(len(faultMails)) {
		t.Errorf("%s: %d mails are not stored, and %+v", what(), notStored, st)
	}
	if (st.Errors > 0) != (warned.Load() > 0) && st.NotStored+st.LinesLost > 0 {
		t.Errorf("%s: %d warnings of %d errors", what(), warned.Load(), st.Errors)
	}
	if st.MailsWaiting+st.LinesWaiting != 0 {
		t.Errorf("%s: still waiting: %+v", what(), st)
	}
	again := mustOpen(t, Options{Dir: dir, Keep: All})
	if left, _ := os.ReadDir(filepath.Join(dir, "mail/tmp")); len(left) > 0 {
		t.Errorf("%s: tmp still has %s", what(), left[0].Name())
	}
	mustClose(t, again)
}

// TestNoUnnamed: where a file cannot be without a name, mails go by way of tmp.
func TestNoUnnamed(t *testing.T) {
	for _, live := range []bool{false, true} {
		dir := t.TempDir()
		a := mustOpen(t, Options{Dir: dir, Keep: All, Fsync: true, Live: live, disk: &faultyDisk{named: true}})
		faultRun(a, 3)
		lines, _, notStored := checkTruth(t, "by way of tmp", dir, octetsOfFault)
		if st := a.Stats(); lines != faultLines || notStored != 0 || st.Stored != int64(len(faultMails)) {
			t.Errorf("live %v: %d lines, %d mails are not stored, %+v", live, lines, notStored, st)
		}
	}
}

// faultVictims returns how many mails a failed operation costs: at most one, but where the names of several are put on the
// disk together; and at least one where something is not known to be on the disk.
func faultVictims(failed string, perBatch int) (least, most int64) {
	op, name, _ := strings.Cut(failed, " ")
	if op == "sync" || op == "start" {
		least = 1
	}
	if (op == "sync" || op == "open") && strings.HasPrefix(name, "/") && strings.HasSuffix(name, "/.2026-11-22/new") {
		return 1, int64(perBatch)
	}
	return least, 1
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
	t.Run("file", func(t *testing.T) { testMoved(t, false) })
	t.Run("live", func(t *testing.T) { testMoved(t, true) })
}

func testMoved(t *testing.T, live bool) {
	dir := t.TempDir()
	heard := make(chan string, 100)
	a := mustOpen(t, Options{Dir: dir, Keep: All, Live: live, Warn: func(msg string) { heard <- msg }})
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
	if warned := <-heard; len(heard) != 0 || !strings.Contains(warned, "logs/smtp-sessions-2026-11-22.log") || !strings.Contains(warned, "symbolic link") {
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

	for i, gone := range []string{"mail", "mail/.2026-11-22"} {
		do(os.RemoveAll(filepath.Join(dir, gone)))
		m := sampleMail(s, 1+i)
		keep(j, m, "x\r\n")
		do(say("nine"))
		if m.Stored.Error != "" || readStored(t, dir, m.Stored) != "x\r\n" {
			t.Errorf("%+v", m.Stored)
		}
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
