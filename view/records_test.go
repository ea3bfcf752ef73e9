package view

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

const day = "2026-11-22"

// dataDir makes a data directory of files and opens it.
func dataDir(t *testing.T, files map[string]string) *Data {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func sessionLine(id string) string {
	return fmt.Sprintf(`{"v":1,"type":"session","id":%q,"banner":"220 mx"}`+"\n", id)
}

// sessionIDs reads a day, and holds each record against the one at its place.
func sessionIDs(t *testing.T, d *Data, from int64, p *Problems) (ids []string) {
	t.Helper()
	for at, s := range d.Sessions(day, from, p) {
		ids = append(ids, s.ID)
		again, err := d.Session(at)
		if err != nil || !bytes.Equal(again.AppendJSON(nil), s.AppendJSON(nil)) {
			t.Errorf("%+v: %v, %v", at, again, err)
		}
	}
	return ids
}

func TestOpen(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "there is no data directory") {
		t.Error(err)
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "has no logs") {
		t.Error(err)
	}
}

func TestDays(t *testing.T) {
	d := dataDir(t, map[string]string{
		"logs/sessions-2026-11-22.jsonl": "", "logs/messages-2026-11-22.jsonl": "", "logs/messages-2025-01-02.jsonl": "",
		"logs/smtp-sessions-2024-01-01.log": "", "logs/secrets-2024-01-01.jsonl": "", "logs/sessions-latest.jsonl": "",
		"logs/sessions-2024-02-30.jsonl": "", "logs/sessions-2026-11-23.jsonl.gz": "",
	})
	if got, err := d.Days(); err != nil || !slices.Equal(got, []string{"2025-01-02", day}) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestBadLines: a line that is no record costs itself only, and is counted with its place.
func TestBadLines(t *testing.T) {
	a, b := sessionLine("a"), sessionLine("b")
	bad := []string{
		"\n", "{\"v\":1,\"type\":\"sess\n", "null\n", "[]\n", `{"v":1,"type":"message","id":"a"}` + "\n", `{"v":0,"type":"session","id":"a"}` + "\n",
		`{"v":1,"type":"session"}` + "\n", `{"v":1,"type":"session","id":7}` + "\n",
		strings.Repeat("x", 3*lineBuffer) + "\n",
	}
	newer := []string{`{"v":2,"type":"session","id":{"new":1}}` + "\n", `{"v":2,"type":"other"}` + "\n"}
	text := a + strings.Join(bad, "") + strings.Join(newer, "") + b
	d := dataDir(t, map[string]string{"logs/sessions-" + day + ".jsonl": text + `{"v":1,"type":"session","id":"c"}`})
	var p Problems
	if got := sessionIDs(t, d, 0, &p); !slices.Equal(got, []string{"a", "b"}) {
		t.Error(got)
	}
	if p.Broken != len(bad) || p.Newer != len(newer) || p.Err != nil || p.Next != int64(len(text)) {
		t.Errorf("%+v", p)
	}
	for _, want := range []string{"9 lines are no record", "2 records are from a newer", fmt.Sprintf("sessions-%s.jsonl:%d, ", day, len(a)), ", …)"} {
		if !strings.Contains(p.String(), want) {
			t.Errorf("no %q in %q", want, p.String())
		}
	}
	if got := sessionIDs(t, d, int64(len(text)-len(b)), nil); !slices.Equal(got, []string{"b"}) {
		t.Errorf("from an offset on: %v", got)
	}
	if got := sessionIDs(t, d, 1<<40, new(Problems)); got != nil {
		t.Errorf("behind the end: %v", got)
	}
}

// TestLongLine: the longest record that can be written is read.
func TestLongLine(t *testing.T) {
	text := strings.Repeat("\x01", record.MaxText)
	s := record.Session{V: 1, Type: "session", ID: "long"}
	for range record.MaxDialogue {
		s.Dialogue = append(s.Dialogue, record.Entry{Text: &text})
	}
	line := string(s.AppendJSON(nil)) + "\n"
	d := dataDir(t, map[string]string{"logs/sessions-" + day + ".jsonl": line + sessionLine("b")})
	var p Problems
	if got := sessionIDs(t, d, 0, &p); !slices.Equal(got, []string{"long", "b"}) || p.String() != "" {
		t.Errorf("%v, %s", got, p.String())
	}
}

// TestFollowing: what is written later is read from where the reading stopped.
func TestFollowing(t *testing.T) {
	a, b := sessionLine("a"), sessionLine("b")
	d := dataDir(t, map[string]string{"logs/sessions-" + day + ".jsonl": a + b[:9]})
	var p Problems
	first := sessionIDs(t, d, 0, &p)
	f, err := os.OpenFile(filepath.Join(d.Dir(), "logs", "sessions-"+day+".jsonl"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(b[9:] + "broken\n"); err != nil {
		t.Fatal(err)
	}
	second := sessionIDs(t, d, p.Next, &p)
	if !slices.Equal(first, []string{"a"}) || !slices.Equal(second, []string{"b"}) || p.Next != int64(len(a+b+"broken\n")) {
		t.Errorf("%v, %v, %+v", first, second, p)
	}
}

func TestNoSymlinks(t *testing.T) {
	d := dataDir(t, map[string]string{"logs/sessions-2020-01-01.jsonl": sessionLine("a")})
	if err := os.Symlink("sessions-2020-01-01.jsonl", filepath.Join(d.Dir(), "logs", "sessions-"+day+".jsonl")); err != nil {
		t.Skip(err)
	}
	var p Problems
	if got := sessionIDs(t, d, 0, &p); got != nil || p.Err == nil || !strings.Contains(p.String(), "symbolic link") {
		t.Errorf("%v, %v", got, p.Err)
	}
}

func TestWrongPlace(t *testing.T) {
	d := dataDir(t, map[string]string{"logs/sessions-" + day + ".jsonl": sessionLine("a")})
	for _, at := range []Place{{}, {day, 0, 5}, {day, -1, 10}, {day, 0, 1 << 30}, {"../x", 0, 10}, {"2020-01-01", 0, 10}} {
		if s, err := d.Session(at); err == nil {
			t.Errorf("%+v is %+v", at, s)
		}
	}
}
