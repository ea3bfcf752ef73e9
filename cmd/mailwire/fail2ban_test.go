package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFail2ban has fail2ban read the auth log with the filter of view/README.md.
func TestFail2ban(t *testing.T) {
	program, err := exec.LookPath("fail2ban-regex")
	if err != nil {
		t.Skip("fail2ban is not installed: ", err)
	}
	page, err := os.ReadFile("../../view/README.md")
	if err != nil {
		t.Fatal(err)
	}
	filter := regexp.MustCompile(`(?m)^    \[Definition\]\n    failregex = .*$`).Find(page)
	if filter == nil {
		t.Fatal("the page has no filter")
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "filter.conf")
	if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(filter), "\n    ", "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"tap", "--data", dir}
	for _, c := range []string{"exim-auth", "postfix-auth", "dovecot-pop3-auth", "dovecot-pop3-clients"} {
		args = append(args, "-r", "../../testdata/pcap/"+c+".pcap")
	}
	if status, _, stderr := mailwire(t, nil, args...); status != 0 {
		t.Fatal(stderr)
	}
	var want []string
	passed := 0
	for _, s := range load(t, dir).sessions {
		for _, a := range s.Auth {
			switch {
			case a.Outcome != "failure" || a.Code/10 == 50 || a.Code/100 == 4:
				passed++
			default:
				want = append(want, s.Client.IP)
			}
		}
	}
	logs, err := filepath.Glob(filepath.Join(dir, "logs", "auth-*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatal("there is no log", err)
	}
	var got []string
	for _, l := range logs {
		out, err := exec.Command(program, "--out", "ip", l, name).Output()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.Fields(string(out))...)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) || len(want) < 10 || passed < 10 {
		t.Errorf("fail2ban finds %d failures, the records have %d, and %d that are none", len(got), len(want), passed)
	}
}
