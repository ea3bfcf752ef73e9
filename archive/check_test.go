package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

// checked returns what a check of dir finds, as "kind file[:offset]".
func checked(t *testing.T, dir string, deep bool) (Checked, []string) {
	t.Helper()
	var found []string
	sum, err := Check(t.Context(), dir, deep, func(f Finding) {
		s := f.Kind + " " + f.File
		if f.Offset != nil {
			s += fmt.Sprint(":", *f.Offset)
		}
		if f.Text == "" {
			t.Errorf("nothing is said of %s", s)
		}
		found = append(found, s)
	})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Findings != len(found) {
		t.Errorf("%d findings, counted as %d", len(found), sum.Findings)
	}
	slices.Sort(found)
	return sum, found
}

// archiveToCheck keeps a mail on each of two days, of which the second has bare LFs, and returns their paths.
func archiveToCheck(t *testing.T, flat bool) (dir string, mails [2]string) {
	t.Helper()
	dir = t.TempDir()
	fill(t, Options{Dir: dir, Flat: flat}, 3)
	a := mustOpen(t, Options{Dir: dir, Keep: All, Flat: flat})
	j := a.journal()
	for i, octets := range []string{"Subject: x\r\n\r\nhello\r\n", "Subject: x\n\r\nbare\n"} {
		s := sample(i, dayAgo(i))
		m := sampleMail(s, 1)
		sum := sha256.Sum256([]byte(octets))
		m.SHA256 = hex.EncodeToString(sum[:])
		keep(j, m, octets)
		j.Session(s)
		mails[i] = m.Stored.Path
	}
	mustClose(t, a)
	return dir, mails
}

func TestCheckNothing(t *testing.T) {
	for _, flat := range []bool{false, true} {
		dir, mails := archiveToCheck(t, flat)
		for _, name := range mails { // moved by a mail program
			to := filepath.Join(dir, filepath.Dir(name), "..", "cur", filepath.Base(name)+":2,FS")
			if err := os.Rename(filepath.Join(dir, name), to); err != nil {
				t.Fatal(err)
			}
		}
		sum, found := checked(t, dir, true)
		if len(found) > 0 || sum.Days != 3 || sum.Sessions != 6 || sum.Messages != 6 || sum.Mails != 6 || sum.Octets == 0 || sum.Running {
			t.Errorf("%+v, %q", sum, found)
		}
	}
	if _, err := Check(t.Context(), filepath.Join(t.TempDir(), "none"), false, nil); err == nil || strings.Count(err.Error(), "\n") > 0 {
		t.Error(err)
	}
}

// TestCheckFinds breaks one thing at a time.
func TestCheckFinds(t *testing.T) {
	messages, sessions := "logs/messages-"+dayAgo(0).Day()+".jsonl", "logs/sessions-"+dayAgo(0).Day()+".jsonl"
	smtp, auth := "logs/smtp-sessions-"+dayAgo(3).Day()+".log", "logs/auth-"+dayAgo(3).Day()+".log"
	trace := "trace/trace-" + dayAgo(3).Day() + ".pcapng"
	size := func(dir, name string) int64 {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	add := func(dir, name, text string) error {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err == nil {
			_, err = f.WriteString(text)
			f.Close()
		}
		return err
	}
	type place struct {
		dir  string
		mail [2]string
	}
	for _, c := range []struct {
		name string
		do   func(p place) error
		want string // with MAIL for the first mail, and END for where a file ended
		file string
		deep bool
	}{
		{"a mail removed", func(p place) error { return os.Remove(filepath.Join(p.dir, p.mail[0])) }, "missing " + messages + ":0", "", false},
		{"a record removed", func(p place) error { return os.Remove(filepath.Join(p.dir, messages)) }, "unrecorded MAIL", "", false},
		{"a mail cut", func(p place) error { return os.Truncate(filepath.Join(p.dir, p.mail[0]), 5) }, "size MAIL", "", false},
		{"a mail changed", func(p place) error {
			return os.WriteFile(filepath.Join(p.dir, p.mail[0]), []byte("Subject: y\n\nhello\n"), 0o600)
		}, "sha256 MAIL", "", true},
		{"a mail changed, but not looked at", func(p place) error {
			return os.WriteFile(filepath.Join(p.dir, p.mail[0]), []byte("Subject: y\n\nhello\n"), 0o600)
		}, "", "", false},
		{"a mail with other line ends", func(p place) error {
			return os.WriteFile(filepath.Join(p.dir, p.mail[0]), []byte("Subject: x \nhello\n"), 0o600)
		}, "size MAIL", "", true},
		{"a torn record", func(p place) error { return add(p.dir, messages, `{"v":1,"ty`) }, "broken FILE:END", messages, false},
		{"a forged record", func(p place) error { return add(p.dir, sessions, "hello\n") }, "broken FILE:END", sessions, false},
		{"a record of another type", func(p place) error { return add(p.dir, sessions, `{"v":1,"type":"message","id":"x"}`+"\n") }, "broken FILE:END", sessions, false},
		{"a record of another day", func(p place) error {
			return add(p.dir, sessions, string(sample(9, dayAgo(2)).AppendJSON(nil))+"\n")
		}, "broken FILE:END", sessions, false},
		{"a newer record", func(p place) error { return add(p.dir, sessions, `{"v":2,"type":"session","id":7}`+"\n") }, "newer FILE:END", sessions, false},
		{"a path that is none", func(p place) error {
			m := sampleMail(sample(9, dayAgo(0)), 1)
			m.Stored = &record.Stored{Path: "mail/../../etc/passwd"}
			return add(p.dir, messages, string(m.AppendJSON(nil))+"\n")
		}, "broken FILE:END", messages, false},
		{"a forged line", func(p place) error {
			return add(p.dir, smtp, dayAgo(3).String()+" k3m9abcdefgh0001 === \x1b[2J\n")
		}, "broken FILE:END", smtp, false},
		{"a line without a mark", func(p place) error { return add(p.dir, smtp, dayAgo(3).String()+" k3m9abcdefgh0001 ==> x\n") }, "broken FILE:END", smtp, false},
		{"a line of another day", func(p place) error { return add(p.dir, smtp, at(0).String()+" k3m9abcdefgh0001 === x\n") }, "broken FILE:END", smtp, false},
		{"a forged login", func(p place) error {
			return add(p.dir, auth, dayAgo(3).String()+` mailwire[1]: AUTH-FAIL [192.0.2.1]:1 smtp reply="x" session=x user="y" user="z"`+"\n")
		}, "broken FILE:END", auth, false},
		{"a torn packet", func(p place) error { return add(p.dir, trace, "\x06\x00\x00\x00") }, "broken FILE:END", trace, false},
		{"an open file", func(p place) error { return os.Chmod(filepath.Join(p.dir, messages), 0o640) }, "mode FILE", messages, false},
		{"an open mail", func(p place) error { return os.Chmod(filepath.Join(p.dir, p.mail[0]), 0o604) }, "mode MAIL", "", false},
		{"an open directory", func(p place) error { return os.Chmod(filepath.Join(p.dir, "logs"), 0o750) }, "mode logs", "", false},
		{"an unfinished mail", func(p place) error { return add(p.dir, "mail/tmp/mailwire.x.1.1", "x") }, "unfinished mail/tmp/mailwire.x.1.1", "", false},
		{"an unfinished removal", func(p place) error { return add(p.dir, "logs/.removed-sessions-2026-01-01.jsonl", "x") }, "unfinished logs/.removed-sessions-2026-01-01.jsonl", "", false},
		{"a link for a file", func(p place) error {
			return os.Symlink("/etc/passwd", filepath.Join(p.dir, "logs/auth-2026-01-01.log"))
		}, "strange logs/auth-2026-01-01.log", "", false},
		{"a link for a mail", func(p place) error {
			name := filepath.Join(p.dir, p.mail[0])
			return errors.Join(os.Rename(name, filepath.Join(p.dir, "kept")), os.Symlink(filepath.Join(p.dir, "kept"), name))
		}, "strange MAIL", "", false},
		{"what is not ours", func(p place) error {
			return errors.Join(add(p.dir, "mail/new/letter", "x"), add(p.dir, "logs/notes", "x"), add(p.dir, "x", "x"))
		}, "", "", false},
	} {
		dir, mails := archiveToCheck(t, false)
		var end int64
		if c.file != "" {
			end = size(dir, c.file)
		}
		if err := c.do(place{dir, mails}); err != nil {
			t.Fatal(c.name, err)
		}
		want := strings.NewReplacer("FILE", c.file, "END", fmt.Sprint(end), "MAIL", mails[0]).Replace(c.want)
		if _, found := checked(t, dir, c.deep); strings.Join(found, "\n") != want {
			t.Errorf("%s: %q is found, want %q", c.name, found, want)
		}
	}
}

// TestCheckRunning: what a running mailwire has not finished is no finding, and what it has is.
func TestCheckRunning(t *testing.T) {
	dir, mails := archiveToCheck(t, false)
	a := mustOpen(t, Options{Dir: dir, Keep: All, Live: true})
	defer mustClose(t, a)
	j := a.journal()
	kept := j.OpenMail(sampleMail(sample(7, dayAgo(0)), 1))
	kept.Write([]byte(strings.Repeat("x", 3*spoolBuffer)))
	defer kept.Discard()
	fresh := filepath.Join(dir, filepath.Dir(mails[0]), "1795313045.k3m9abcdefgh9999.1.mx1,S=1")
	for name, text := range map[string]string{fresh: "x", filepath.Join(dir, "logs", ".removed-sessions-2026-01-01.jsonl"): "x"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, "logs", "sessions-"+dayAgo(0).Day()+".jsonl"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"v":1,`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if sum, found := checked(t, dir, true); len(found) > 0 || !sum.Running {
		t.Errorf("%+v, %q", sum, found)
	}
	if err := os.Remove(filepath.Join(dir, mails[1])); err != nil {
		t.Fatal(err)
	}
	if _, found := checked(t, dir, true); len(found) != 1 || !strings.HasPrefix(found[0], "missing ") {
		t.Errorf("%q", found)
	}
}
