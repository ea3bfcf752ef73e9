//go:build unix

package archive

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// TestUmask: directories are 0700 and files 0600, whatever the umask (S2).
func TestUmask(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077} {
		dir := filepath.Join(t.TempDir(), "data")
		old := syscall.Umask(mask)
		a := mustOpen(t, Options{Dir: dir, Keep: All, Secrets: true, Fsync: true})
		j := a.journal()
		s := sample(1, at(0))
		j.Line(s, record.Line{Time: at(0)})
		j.Login(s, 1, record.Login{Time: at(0)})
		j.Secret(s, record.Secret{Time: at(0)})
		keep(j, sampleMail(s, 1), "x")
		keep(j, sampleMail(s, 2), strings.Repeat("long\r\n", 100000)+"\n")
		j.Session(s)
		mustClose(t, a)
		syscall.Umask(old)
		err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			want := fileMode
			if e.IsDir() {
				want = dirMode
			}
			if err == nil && info.Mode().Perm() != want {
				t.Errorf("umask %03o: %s has %s", mask, name, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func crashMail(i int) string {
	text := fmt.Sprintf("Subject: %d\r\n\r\n", i) + strings.Repeat("some text of a line\r\n", i*37%1000)
	if i%16 < 2 {
		text += strings.Repeat("more text of a line\r\n", 5000)
	}
	if i%4 == 0 {
		text += "bare\n"
	}
	return text
}

func octetsOfCrash(id string) string {
	var i int
	_, _ = fmt.Sscanf(id, "k3m9abcdefgh%d.1", &i)
	return crashMail(i)
}

const crashSessions = 1000

// crashRun tells an archive so many sessions, twenty at a time.
func crashRun(a *Archive, first, sessions int) error {
	j := a.journal()
	for i := first; i < first+sessions; i++ {
		s := sample(i, at(i))
		j.Line(s, record.Line{Time: s.Begin, Kind: record.Note, Text: []byte("connected")})
		m := sampleMail(s, 1)
		if kept := j.OpenMail(m); kept != nil {
			kept.Write([]byte(crashMail(i)))
			j.Message(m, kept)
		} else {
			j.Message(m, nil)
		}
		j.Session(s)
		if i%20 == 0 {
			j.Cut()
			if err := a.Commit(); err != nil {
				return err
			}
		}
	}
	return a.Close()
}

func TestMain(m *testing.M) {
	dir := os.Getenv("MAILWIRE_TEST_CRASH")
	if dir == "" {
		os.Exit(m.Run())
	}
	o := Options{Dir: dir, Keep: All, PID: os.Getpid()}
	first, err := strconv.Atoi(os.Getenv("MAILWIRE_TEST_LIVE"))
	if err == nil {
		o.Live, o.Fsync = true, true
	}
	a, err := Open(o)
	if err == nil {
		err = crashRun(a, first, crashSessions)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// killed starts a process that writes to dir, and kills it at a random moment, later in later rounds. What it leaves
// must be true. It returns false if the process had the time to finish.
func killed(t *testing.T, dir string, round int, env ...string) bool {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(append(os.Environ(), "MAILWIRE_TEST_CRASH="+dir), env...)
	var out strings.Builder
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Duration(5+rand.IntN(20+10*round)) * time.Millisecond)
	_ = c.Process.Kill()
	err := c.Wait()
	if err != nil && c.ProcessState.Exited() {
		t.Fatal(out.String())
	}
	// A torn line is allowed until the next start; so cut it off here before the truth is asked for.
	names, _ := filepath.Glob(filepath.Join(dir, "logs", "*"))
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if whole := strings.LastIndexByte(string(data), '\n') + 1; whole < len(data) {
			t.Logf("a torn line in %s", name)
			_ = os.Truncate(name, int64(whole))
		}
	}
	checkTruth(t, fmt.Sprintf("killed in round %d", round), dir, octetsOfCrash)
	return err != nil
}

// TestKillLive kills what writes live, and puts each mail on the disk. Each round has sessions of its own.
func TestKillLive(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	for round := range rounds {
		killed(t, dir, 3*round, "MAILWIRE_TEST_LIVE="+strconv.Itoa(round*crashSessions))
	}
	if err := crashRun(mustOpen(t, Options{Dir: dir, Keep: All, Live: true}), rounds*crashSessions, 20); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "mail/tmp")); len(left) > 0 {
		t.Errorf("tmp has %d files", len(left))
	}
	_, messages, notStored := checkTruth(t, "at last", dir, octetsOfCrash)
	if messages < 20 || notStored != 0 {
		t.Errorf("%d messages, %d without their mail", messages, notStored)
	}
	t.Logf("%d messages", messages)
}

// TestKill kills a writing process at random moments, on one data directory (F3). What it leaves is true, and a
// later run completes it.
func TestKill(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	kills := 0
	for kills < rounds && killed(t, dir, kills) {
		kills++
	}
	// What a kill in the middle of a write and of a mail leaves, without waiting for the luck to see it.
	torn := filepath.Join(dir, "logs/messages-2026-11-22.jsonl")
	stale := filepath.Join(dir, "mail/tmp", tmpPrefix+"1.1.1")
	foreign := filepath.Join(dir, "mail/tmp", "1795313045.of.someone.else")
	mustClose(t, mustOpen(t, Options{Dir: dir, Keep: All})) // makes what no process had the time to make
	f, err := os.OpenFile(torn, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString(`{"v":1,"type":"message","id":"k3m9abc`)
	_ = f.Close()
	for _, name := range []string{stale, foreign} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := mustOpen(t, Options{Dir: dir, Keep: All})
	other := mustOpen(t, Options{Dir: dir, Keep: All}) // does not sweep: a is at work
	// Some sessions are new, even if no process was killed.
	const all = crashSessions + 20
	if err := crashRun(a, 0, all); err != nil {
		t.Fatal(err)
	}
	mustClose(t, other)
	_, messages, notStored := checkTruth(t, "completed", dir, octetsOfCrash)
	if messages != all || notStored != 0 {
		t.Errorf("%d messages, %d without their mail", messages, notStored)
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("a stale file is still in tmp")
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "mail/tmp")); len(left) != 1 || left[0].Name() != filepath.Base(foreign) {
		t.Errorf("tmp has %d files", len(left))
	}
	t.Logf("killed %d times", kills)
}

// TestSweepAlone: what a living process writes is not swept.
func TestSweepAlone(t *testing.T) {
	dir := t.TempDir()
	a := mustOpen(t, Options{Dir: dir, Keep: All})
	j := a.journal()
	m := sampleMail(sample(1, at(0)), 1)
	kept := j.OpenMail(m)
	octets := strings.Repeat("line\r\n", 50000)
	kept.Write([]byte(octets))
	b := mustOpen(t, Options{Dir: dir, Keep: All})
	kept.Write([]byte("end\n"))
	j.Message(m, kept)
	if got := readStored(t, dir, m.Stored); got != octets+"end\n" {
		t.Errorf("%d octets, %+v", len(got), m.Stored)
	}
	mustClose(t, b)
	mustClose(t, a)
}
