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
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("needs a tmpfs of its own, which only root can mount:", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(mount, 0) })
	dir := filepath.Join(mount, "data")
	a := mustOpen(t, Options{Dir: dir, Keep: All})
	j := a.journal()
	octets := func(string) string { return strings.Repeat("a line of sixteen\r\n", 4000) } // 76 kB: through a file in tmp
	tell := func(i int) *record.Stored {
		s := sample(i, at(i))
		j.Line(s, record.Line{Time: s.Begin, Kind: record.Note, Text: []byte("connected")})
		m := sampleMail(s, 1)
		keep(j, m, octets(""))
		j.Session(s)
		j.Cut()
		_ = a.Commit()
		return m.Stored
	}
	const told = 300
	for i := range told {
		tell(i)
	}
	st := a.Stats()
	if st.NotStored == 0 || st.LinesLost == 0 || st.Stored+st.NotStored != told {
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
	if s := tell(told); s.Error != "" {
		t.Errorf("with space again: %+v", s)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "mail/tmp")); len(left) > 0 {
		t.Errorf("tmp has %d files", len(left))
	}
	if after := a.Stats(); after.LinesLost != st.LinesLost {
		t.Errorf("lines are still lost: %+v", after)
	}
	mustClose(t, a)
}
