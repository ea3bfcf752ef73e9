package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestReportOnCaptures makes the report about real conversations, in each form.
func TestReportOnCaptures(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"postfix-rejected", "postfix-auth", "dovecot-pop3-clients"} {
		if status, _, stderr := mailwire(t, nil, "tap", "-r", "../../testdata/pcap/"+name+".pcap", "--utc", "--data", dir); status != 0 {
			t.Fatalf("status %d: %s", status, stderr)
		}
	}
	report := func(args ...string) string {
		t.Helper()
		status, stdout, stderr := mailwire(t, nil, append([]string{"report", "--utc", "--data", dir}, args...)...)
		if status != 0 || stderr != "" {
			t.Fatalf("status %d: %s", status, stderr)
		}
		return stdout
	}
	text := report()
	for _, want := range []string{
		"REFUSALS, THE MOST FREQUENT FIRST", "550 5.1.1 …: Recipient address rejected: User unknown in virtual mailbox table", "there is no such user",
		"greylisted@example.net", "RELAY ATTEMPTS", "MAIL THAT WAS TOO BIG", "LOGINS WITHOUT TLS", "PROCESSING TIME BY COMMAND",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report has no %q:\n%s", want, text)
		}
	}
	var parsed struct {
		Totals struct {
			Sessions int
			Failed   int `json:"failed_logins"`
		}
		Sections []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(report("--json", "--only", "replies")), &parsed); err != nil {
		t.Fatal(err)
	}
	if parsed.Totals.Sessions == 0 || parsed.Totals.Failed == 0 || len(parsed.Sections) != 1 || parsed.Sections[0].Name != "replies" {
		t.Errorf("the JSON says %+v", parsed)
	}
	page := filepath.Join(t.TempDir(), "report.html")
	if out := report("--html", page); out != "" {
		t.Errorf("standard output has %q", out)
	}
	info, err := os.Stat(page)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() == 0 {
		t.Errorf("the page is %v, %v", info, err)
	}
	if !strings.HasPrefix(report("--html", "-"), "<!DOCTYPE html>") {
		t.Error("--html - writes no page")
	}
	if out := report("--day", "2001-01-01"); !strings.Contains(out, "no sessions") {
		t.Errorf("the report about a day without sessions says %q", out)
	}
	if out := report("--day", "2026-11-22", "--client", "192.0.2.0/24", "--server", "192.0.2.25"); !strings.Contains(out, "RELAY ATTEMPTS") {
		t.Errorf("the report with filters says %q", out)
	}
}

func TestReportUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--top", "0"},
		{"--json", "--html", "x"},
		{"--html", ""},
		{"--day", "someday"},
		{"--day", "today", "--since", "1h"},
		{"--since", "1h", "--until", "2h"},
		{"--client", "nowhere"},
		{"--server", "10.0.0.0/8"},
		{"--only", "everything"},
		{"please"},
	} {
		if status, _, stderr := mailwire(t, nil, append([]string{"report", "--data", t.TempDir()}, args...)...); status != 2 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q ends with %d: %s", args, status, stderr)
		}
	}
	missing := filepath.Join(t.TempDir(), "missing")
	if status, _, stderr := mailwire(t, nil, "report", "--data", missing); status != 1 || !strings.Contains(stderr, missing) {
		t.Errorf("without a data directory it ends with %d: %s", status, stderr)
	}
}

// TestReportToDevice: a page takes the place of a file, never of a device.
func TestReportToDevice(t *testing.T) {
	dir := recordedDir(t, "postfix-rejected")
	device := filepath.Join(t.TempDir(), "device")
	if err := os.Symlink(os.DevNull, device); err != nil {
		t.Skip(err)
	}
	if status, stdout, stderr := mailwire(t, nil, "report", "--data", dir, "--html", device); status != 0 || stdout+stderr != "" {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
	if info, err := os.Lstat(device); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the device is %v, %v", info, err)
	}
	if status, _, _ := mailwire(t, nil, "report", "--data", dir, "--html", dir); status != 1 {
		t.Errorf("a page in the place of a directory: status %d", status)
	}
}

// TestReportLeavesOut: a section that is asked for and cannot be had is not left out without a word.
func TestReportLeavesOut(t *testing.T) {
	dir := recordedDir(t, "postfix-rejected")
	for args, want := range map[string]bool{
		"--client 192.0.2.7": false, "--client 192.0.2.7 --only waits": true, "--client 192.0.2.7 --only replies": false, "--only waits": false,
	} {
		status, stdout, stderr := mailwire(t, nil, append([]string{"report", "--data", dir}, strings.Fields(args)...)...)
		if said := strings.Contains(stderr, "waits and slowest are left out"); status != 0 || said != want || stdout == "" {
			t.Errorf("%s: status %d, %s", args, status, stderr)
		}
	}
}

// TestReportProblems: a damaged index is made anew, and what is left out is said.
func TestReportProblems(t *testing.T) {
	dir := recordedDir(t, "postfix-rejected")
	report := func() (stdout, stderr string) {
		t.Helper()
		status, stdout, stderr := mailwire(t, nil, "report", "--data", dir)
		if status != 0 {
			t.Fatalf("status %d: %s", status, stderr)
		}
		return stdout, stderr
	}
	whole, _ := report()
	name := filepath.Join(dir, "index", "mailwire.db")
	index, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4 << 10
	damaged := 0
	for at := page; at < len(index); at += page { // the first page is the schema
		broken := slices.Clone(index)
		for i := range page {
			broken[at+i] = 0xff
		}
		if err := os.WriteFile(name, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		stdout, stderr := report()
		if strings.Contains(stderr, "the index was damaged") {
			damaged++
			if stdout != whole {
				t.Errorf("with page %d damaged the report says %s", at/page, stdout)
			}
		}
	}
	if damaged < 10 {
		t.Errorf("%d damages were found", damaged)
	}
	f, err := os.OpenFile(filepath.Join(dir, "logs", "sessions-2026-11-21.jsonl"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, `{"v":1,"type":"sess`)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr := report(); stdout != whole || !strings.Contains(stderr, "1 line is no record") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("%s%s", stdout, stderr)
	}
}
