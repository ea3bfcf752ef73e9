package archive

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

// TestDiskFull fills a small tmpfs, then frees it (F1).
func TestDiskFull(t *testing.T) {
	t.Run("file", func(t *testing.T) { testDiskFull(t, Options{Keep: All}, "4m", 300, 1) })
	t.Run("live", func(t *testing.T) { testDiskFull(t, Options{Keep: All, Live: true, Fsync: true}, "64m", 1200, 10) })
}

func testDiskFull(t *testing.T, o Options, size string, told, perBatch int) {
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size="+size); err != nil {
		t.Skip("needs a tmpfs of its own, which only root can mount:", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(mount, 0) })
	dir := filepath.Join(mount, "data")
	o.Dir = dir
	o.Warn = func(said string) {
		if strings.Contains(said, "write: write") {
			t.Error(said)
		}
	}
	a := mustOpen(t, o)
	j := a.journal()
	octets := func(string) string { return strings.Repeat("a line of sixteen\r\n", 4000) } // 76 kB: through a file in tmp
	tell := func(i int) *record.Message {
		s := sample(i, at(i))
		j.Line(s, record.Line{Time: s.Begin, Kind: record.Note, Text: []byte("connected")})
		m := sampleMail(s, 1)
		keep(j, m, octets(""))
		j.Session(s)
		if (i+1)%perBatch == 0 {
			j.Cut()
			_ = a.Commit()
		}
		return m
	}
	for i := range told {
		tell(i)
	}
	st := a.Stats()
	if st.NotStored == 0 || st.LinesLost == 0 || st.Stored+st.NotStored != int64(told) {
		t.Fatalf("%+v", st)
	}
	lines, _, _ := checkTruth(t, "full", dir, octets)
	if lines+int(st.LinesLost) != 4*told {
		t.Errorf("%d lines, %d lost, of %d", lines, st.LinesLost, 4*told)
	}
	entries, _ := os.ReadDir(filepath.Join(dir, "mail/.2026-11-22/new"))
	if len(entries) != int(st.Stored) {
		t.Errorf("%d mails in new, %d counted", len(entries), st.Stored)
	}
	if err := os.RemoveAll(filepath.Join(dir, "mail/.2026-11-22/new")); err != nil {
		t.Fatal(err)
	}
	m := tell(told)
	j.Cut()
	_ = a.Commit()
	if m.Stored.Error != "" {
		t.Errorf("with space again: %+v", m.Stored)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "mail/tmp")); len(left) > 0 {
		t.Errorf("tmp has %d files", len(left))
	}
	if after := a.Stats(); after.LinesLost != st.LinesLost {
		t.Errorf("lines are still lost: %+v", after)
	}
	mustClose(t, a)
}

// TestFewDescriptors: mails that are stored together need no more files than can be opened.
func TestFewDescriptors(t *testing.T) {
	dir := t.TempDir()
	a := mustOpen(t, Options{Dir: dir, Keep: All, Live: true, Fsync: true})
	j := a.journal()
	keep(j, sampleMail(sample(0, at(0)), 1), "x")
	j.Cut()
	_ = a.Commit() // opens the logs
	for i := range 2 * maxGroup {
		keep(j, sampleMail(sample(1+i, at(i)), 1), "x")
	}
	j.Cut()
	used, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	few := limit
	few.Cur = uint64(len(used) + 8)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	err = a.Commit()
	if e := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); e != nil {
		t.Fatal(e)
	}
	if st := a.Stats(); err != nil || st.Stored != 1+2*maxGroup || st.Errors > 0 {
		t.Errorf("%v, %+v", err, st)
	}
	mustClose(t, a)
}
