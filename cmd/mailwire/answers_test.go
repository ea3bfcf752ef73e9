package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAnswers runs each command of view/README.md on the captures, and holds what it prints against what is written
// there, where [...] is anything.
func TestAnswers(t *testing.T) {
	captures, err := filepath.Glob("../../testdata/pcap/*.pcap")
	if err != nil || len(captures) == 0 {
		t.Fatal("there are no captures", err)
	}
	dir := t.TempDir()
	t.Setenv("MAILWIRE_DATA", dir)
	args := []string{
		"tap", "--utc", "--sensor", "mx1", "--record-secrets", "--local-net", "192.0.2.25/32", "--local-domain", "example.net",
	}
	for _, c := range captures {
		args = append(args, "-r", c)
	}
	if status, _, stderr := mailwire(t, nil, args...); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	page, err := os.ReadFile("../../view/README.md")
	if err != nil {
		t.Fatal(err)
	}
	const indent = "    "
	asked := 0
	command, shown, printed := "", "", ""
	check := func() {
		for i, part := range strings.Split(shown, "[...]\n") {
			_, rest, ok := strings.Cut(printed, strings.TrimSpace(part))
			if !ok {
				t.Errorf("mailwire %s does not print part %d of what the page shows:\n%s\nbut\n%s", command, i+1, part, printed)
				break
			}
			printed = rest
		}
	}
	for line := range strings.Lines(string(page)) {
		text, code := strings.CutPrefix(line, indent)
		if now, ok := strings.CutPrefix(text, "mailwire "); ok && code {
			asked++
			command, shown = strings.TrimSpace(now), ""
			status, stdout, stderr := mailwire(t, nil, strings.Fields(command)...)
			if status != 0 {
				t.Errorf("mailwire %s ends with %d: %s", command, status, stderr)
			}
			printed = stdout
			continue
		}
		switch {
		case command == "":
		case code || line == "\n":
			shown += text
		default:
			check()
			command = ""
		}
	}
	if command != "" {
		check()
	}
	if asked < 10 {
		t.Errorf("the page asks %d questions only", asked)
	}
}
