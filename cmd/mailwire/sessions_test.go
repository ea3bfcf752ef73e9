package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect/record"
)

// recordedDir records captures into a data directory.
func recordedDir(t *testing.T, captures ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	args := []string{"tap", "--utc", "--data", dir}
	for _, c := range captures {
		args = append(args, "-r", "../../testdata/pcap/"+c+".pcap")
	}
	if status, _, stderr := mailwire(t, nil, args...); status != 0 {
		t.Fatal(stderr)
	}
	return dir
}

func sessionsOf(t *testing.T, dir string, args ...string) (stdout, stderr string) {
	t.Helper()
	status, stdout, stderr := mailwire(t, nil, append([]string{"sessions", "--data", dir, "--utc"}, args...)...)
	if status != 0 {
		t.Errorf("sessions %s: status %d, %s", args, status, stderr)
	}
	return stdout, stderr
}

func TestSessions(t *testing.T) {
	dir := recordedDir(t, "postfix-rejected", "dovecot-pop3-auth")
	for _, c := range []struct {
		args string
		want []string // in the rows, in their order
	}{
		{"--code 5.7.1", []string{"a@example.org → nobody@example.net +3, 1 more", "554 5.7.1"}},
		{"--to relayed.example", nil},
		{"--errors --protocol smtp --limit 1", []string{"550 5.1.1"}},
		{"--protocol pop3 --auth-failed --user alice --limit 1", []string{"alice", "-ERR", "closed"}},
		{"greylisted --client 192.0.2.0/24", []string{"nobody@example.net"}},
		{"--since 2026-11-23", nil},
		{"--until 2026-11-01", nil},
		{"--direction inbound", nil},
	} {
		stdout, stderr := sessionsOf(t, dir, strings.Fields(c.args)...)
		if said := "mailwire: there is no such session\n"; stderr != "" && (c.want != nil || stderr != said) {
			t.Errorf("%s: %s", c.args, stderr)
		}
		if c.want == nil && stdout+stderr == "" || c.want == nil && stdout != "" {
			t.Errorf("%s: there is\n%s", c.args, stdout)
		}
		rest := stdout
		for _, w := range c.want {
			_, after, ok := strings.Cut(rest, w)
			if !ok {
				t.Errorf("%s: no %q in\n%s", c.args, w, stdout)
			}
			rest = after
		}
	}
	stdout, _ := sessionsOf(t, dir, "--limit", "3")
	rows := strings.Split(strings.TrimSpace(stdout), "\n")
	if len(rows) != 4 || !strings.HasPrefix(rows[0], "ID ") || strings.Contains(stdout, "\x1b") {
		t.Errorf("three sessions and their titles, plain:\n%s", stdout)
	}
	if !slices.IsSortedFunc(rows[1:], func(a, b string) int { return strings.Compare(b[18:37], a[18:37]) }) {
		t.Errorf("not the newest first:\n%s", stdout)
	}
}

// TestSessionsUnknownSender: a mail without MAIL is none of the null sender.
func TestSessionsUnknownSender(t *testing.T) {
	dir := recordedDir(t, "postfix-bdat", "postfix-from-exim")
	stdout, _ := sessionsOf(t, dir, "--to", "a@example.org")
	if !strings.Contains(stdout, "  <> → a@example.org  ") {
		t.Errorf("no null sender:\n%s", stdout)
	}
	stdout, _ = sessionsOf(t, dir, "--code", "521")
	if !strings.Contains(stdout, "  ?, 3 more  ") {
		t.Errorf("a sender that nobody named:\n%s", stdout)
	}
	if _, stdout, _ := mailwire(t, nil, "mail", "list", "--data", dir); !strings.Contains(stdout, "  ?\n") {
		t.Errorf("neither sender nor recipient:\n%s", stdout)
	}
}

// TestSessionsWithoutIndex: what stands in the place of the index keeps nothing from being shown.
func TestSessionsWithoutIndex(t *testing.T) {
	dir := recordedDir(t, "postfix-rejected")
	want, _ := sessionsOf(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr := sessionsOf(t, dir)
	if stdout != want || !strings.Contains(stderr, "index is something else; remove it; an index is made for this time only") {
		t.Errorf("%s%s", stdout, stderr)
	}
}

// TestSessionsTorn: a line that a crash has cut off is said to be left out, if nobody can be at it still.
func TestSessionsTorn(t *testing.T) {
	dir := recordedDir(t, "postfix-rejected")
	if _, known := archive.InUse(dir); !known {
		t.Skip("nobody knows here who records")
	}
	want, _ := sessionsOf(t, dir)
	name := filepath.Join(dir, "logs", "sessions-2026-11-22.jsonl")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(whole, `{"v":1,"type":"sess`...), 0o600); err != nil {
		t.Fatal(err)
	}
	said := fmt.Sprintf("mailwire: the last line is not whole, and left out (logs/sessions-2026-11-22.jsonl:%d)\n", len(whole))
	if stdout, stderr := sessionsOf(t, dir); stdout != want || stderr != said {
		t.Errorf("%s%s", stdout, stderr)
	}
	if status, stdout, stderr := mailwire(t, nil, "reindex", "--data", dir); status != 0 || !strings.HasPrefix(stdout, "indexed ") || stderr != said {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
	a, err := archive.Open(archive.Options{Dir: filepath.Dir(filepath.Dir(name)), Keep: archive.All})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := os.WriteFile(name, append(whole, `{"v":1,"type":"sess`...), 0o600); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr := sessionsOf(t, dir); stdout != want || stderr != "" {
		t.Errorf("while one records: %s%s", stdout, stderr)
	}
}

func TestSessionsUsage(t *testing.T) {
	dir := recordedDir(t, "postfix-simple")
	for _, c := range []struct{ args, want string }{
		{"--protocol imap", "--protocol imap: choose from smtp, lmtp, pop3, unknown"},
		{"--status open", "--status open: choose from closed,"},
		{"--direction up", "--direction up: choose from inbound,"},
		{"--client mx", "--client mx: give a network like 192.0.2.0/24"},
		{"--server 1.2.3", "--server 1.2.3: give a network"},
		{"--code 250", `"250" is no code of a reply that refuses`},
		{"--code 5.x", `"5.x" is no code`},
		{"--since soon", "--since soon: give a day like 2026-11-22"},
		{"--until never", "--until never: give a day"},
		{"--min-size big", "--min-size"},
		{"--limit -1", "--limit -1: give a number"},
		{"--json --csv", "choose one of --json and --csv"},
		{"--from=", "--from needs a value"},
		{"!!", `"!!" has no word to search for`},
	} {
		args := append([]string{"sessions", "--data", dir}, strings.Fields(c.args)...)
		status, stdout, stderr := mailwire(t, nil, args...)
		if status != 2 || stdout != "" || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, %q, want %q", c.args, status, stderr, c.want)
		}
	}
	status, _, stderr := mailwire(t, nil, "sessions", "--data", t.TempDir())
	if status != 1 || strings.Count(stderr, "\n") != 1 {
		t.Errorf("no data directory: status %d, %q", status, stderr)
	}
}

// TestSessionsJSON: the lines are those of the records.
func TestSessionsJSON(t *testing.T) {
	dir := recordedDir(t, "postfix-rejected", "dovecot-pop3-auth", "exim-smuggling")
	var want []string
	files, err := filepath.Glob(filepath.Join(dir, "logs", "sessions-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, slices.Collect(strings.Lines(string(data)))...)
	}
	stdout, _ := sessionsOf(t, dir, "--json", "--limit", "0")
	got := slices.Collect(strings.Lines(stdout))
	if slices.Sort(got); len(want) < 5 {
		t.Error("only", len(want))
	}
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("%d lines, not %d", len(got), len(want))
	}
}

// hostile writes a session in which everything foreign is meant to do harm.
func hostile(t *testing.T) string {
	t.Helper()
	const evil = "=cmd|' /C calc'!A0\x1b[2J\u202e\r\n\tx"
	begin := record.Time{Time: time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)}
	s := record.Session{
		V: 1, Type: "session", ID: evil, Mode: "tap", Protocol: "smtp", Begin: begin, End: begin, Client: record.Endpoint{IP: evil},
		Server: record.Endpoint{IP: "+1"}, Status: "@closed", Direction: "-1", Messages: 1,
		Auth:   []record.Login{{Time: begin, User: "@" + evil, Outcome: "failure"}},
		Errors: []record.Error{{Time: begin, Code: 550, Enhanced: "\t" + evil, Text: "-" + evil}},
	}
	from := evil
	m := record.Message{
		V: 1, Type: "message", ID: evil + ".1", Session: evil, Mode: "tap", Protocol: "smtp", Begin: begin, End: begin, From: &from,
		Rcpt: []record.Rcpt{{To: "\r" + evil}},
	}
	dir := t.TempDir()
	for name, line := range map[string][]byte{"sessions": s.AppendJSON(nil), "messages": m.AppendJSON(nil)} {
		if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "logs", name+"-2026-11-22.jsonl"), append(line, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestSessionsForeignText: foreign text drives no terminal, and is no formula.
func TestSessionsForeignText(t *testing.T) {
	dir := hostile(t)
	for _, flag := range []string{"--utc", "--csv", "--json"} {
		stdout, stderr := sessionsOf(t, dir, flag)
		if strings.Contains(stdout, "\x1b") || flag != "--json" && strings.Contains(stdout, "\u202e") || stderr != "" || stdout == "" {
			t.Errorf("%s: %q, %q", flag, stdout, stderr)
		}
	}
	if stdout, _ := sessionsOf(t, dir); strings.Count(stdout, "\n") != 2 || strings.Contains(stdout, "\t") {
		t.Errorf("one session is more than a line: %q", stdout)
	}
	stdout, _ := sessionsOf(t, dir, "--csv")
	rows, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%q, %v", rows, err)
	}
	defused := 0
	for _, cell := range rows[1] {
		if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
			t.Errorf("a spreadsheet would take %q for a formula", cell)
		}
		if strings.HasPrefix(cell, "'") {
			defused++
		}
	}
	if defused != 10 {
		t.Errorf("%d cells are defused: %q", defused, rows[1])
	}
}

// TestSessionsProblems: what cannot be shown is said in one sentence each, and everything else is shown.
func TestSessionsProblems(t *testing.T) {
	dir := recordedDir(t, "postfix-rejected")
	whole, _ := sessionsOf(t, dir)
	f, err := os.OpenFile(filepath.Join(dir, "logs", "sessions-2026-11-21.jsonl"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, `{"v":1,"type":"sess`)
	fmt.Fprintln(f, `{"v":9,"type":"session","id":"x"}`)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	stdout, stderr := sessionsOf(t, dir)
	if stdout != whole || !strings.Contains(stderr, "sessions-2026-11-21.jsonl") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("%s%q", stdout, stderr)
	}
	if err := os.WriteFile(filepath.Join(dir, "index", "mailwire.db"), []byte("no index"), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr = sessionsOf(t, dir)
	if stdout != whole || !strings.Contains(stderr, "the index was damaged") || strings.Count(stderr, "\n") != 2 {
		t.Errorf("%s%q", stdout, stderr)
	}
	status, said, stderr := mailwire(t, nil, "reindex", "--data", dir)
	if status != 0 || !strings.Contains(said, "indexed ") {
		t.Errorf("reindex: status %d, %s%s", status, said, stderr)
	}
	if stdout, _ = sessionsOf(t, dir); stdout != whole {
		t.Error("another index shows", stdout)
	}
}

// TestSessionsFollow: what ends later is shown when it ended, and an interrupt is no failure.
func TestSessionsFollow(t *testing.T) {
	dir := recordedDir(t, "postfix-simple")
	ctx, stop := context.WithCancel(t.Context())
	var out, errs output
	ended := make(chan int)
	go func() {
		ended <- run(ctx, []string{"mailwire", "sessions", "--data", dir, "--follow", "--json", "--protocol", "pop3"}, nil, &out, &errs)
	}()
	index := filepath.Join(dir, "index", "mailwire.db")
	await(t, "an index", func() bool { _, err := os.Stat(index); return err == nil })
	if status, _, stderr := mailwire(t, nil, "tap", "-r", "../../testdata/pcap/dovecot-pop3.pcap", "--data", dir); status != 0 {
		t.Fatal(stderr)
	}
	want, _ := sessionsOf(t, dir, "--json", "--protocol", "pop3")
	n := strings.Count(want, "\n")
	await(t, "all sessions", func() bool { return strings.Count(out.String(), "\n") >= n })
	stop()
	if status := <-ended; status != 0 || errs.String() != "" {
		t.Errorf("status %d, %s", status, errs.String())
	}
	got := slices.Sorted(strings.Lines(out.String()))
	if !slices.Equal(got, slices.Sorted(strings.Lines(want))) || n == 0 {
		t.Errorf("%d lines, not %d", len(got), n)
	}
}

// TestSessionsTable: a narrow terminal cuts columns, those first that matter least.
func TestSessionsTable(t *testing.T) {
	for _, columns := range []int{0, 200, 120, 100, 80} {
		var b bytes.Buffer
		w := sessionsWriter{out: &b, columns: columns, rows: [][]string{{
			"abcdefgh01234567", "2026-11-22 01:02:03", "192.0.2.100", "198.51.100.25", "alice@example.net",
			"somebody.long@mx.example.org → somebody.else@example.net +12", "550 5.1.1", "aborted",
		}}}
		if err := w.flush(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := len([]rune(line)) - 1; columns > 0 && n > columns {
				t.Errorf("%d characters in %d columns: %s", n, columns, line)
			}
		}
		for _, kept := range []string{"abcdefgh", "2026-11-22 01:02:03", "192.0.2.100", "550 5.1.1", "aborted"} {
			if !strings.Contains(b.String(), kept) {
				t.Errorf("%d columns: no %q in\n%s", columns, kept, b.String())
			}
		}
	}
}
