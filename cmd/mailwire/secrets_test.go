package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSecrets: a password shows only where it was recorded, and not before the audit log says who asked.
func TestSecrets(t *testing.T) {
	t.Setenv("SSH_CLIENT", "192.0.2.7 5 22\nforged")
	t.Setenv("SUDO_USER", "carol")
	file := "../../testdata/pcap/dovecot-apop.pcap"
	got := record1(t, file)
	status, stdout, stderr := mailwire(t, nil, "secrets", got.sessions[0].ID, "--data", got.dir)
	if status != 1 || stdout != "" || !strings.Contains(stderr, "--record-secrets") {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
	want := readOracle(t, strings.Replace(file, ".pcap", ".json", 1))
	for _, name := range []string{"exim-auth", "postfix-auth", "opensmtpd-auth"} {
		if len(want.Secrets) > 0 {
			break
		}
		file = "../../testdata/pcap/" + name + ".pcap"
		if _, err := os.Stat(file); err == nil {
			want = readOracle(t, strings.Replace(file, ".pcap", ".json", 1))
		}
	}
	got = record1(t, file, "--record-secrets")
	shown, audited := "", 0
	for _, s := range got.sessions {
		if len(s.Auth) == 0 {
			continue
		}
		status, stdout, stderr := mailwire(t, nil, "secrets", s.ID, "--data", got.dir)
		if status != 0 && !strings.Contains(stderr, "no password was recorded") {
			t.Errorf("status %d, %s", status, stderr)
		}
		shown += stdout
		audited++
	}
	any := false
	for _, secret := range want.Secrets {
		any = any || strings.Contains(shown, "password "+secret+"\n")
	}
	if !any {
		t.Errorf("none of %q in\n%s", want.Secrets, shown)
	}
	name := filepath.Join(got.dir, "logs", "audit.log")
	audit, err := os.ReadFile(name)
	if err != nil || strings.Count(string(audit), "\n") != audited {
		t.Errorf("%d asked: %v\n%s", audited, err, audit)
	}
	for line := range strings.Lines(string(audit)) {
		if !strings.Contains(line, " SECRETS session=") || !strings.Contains(line, `sudo="carol"`) || !strings.Contains(line, `ssh="192.0.2.7 5 22\x0aforged"`) ||
			!strings.Contains(line, ` uid="`) {
			t.Error(line)
		}
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(name, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, s := range got.sessions {
		status, stdout, stderr := mailwire(t, nil, "secrets", s.ID, "--data", got.dir)
		if status != 1 || stdout != "" || !strings.Contains(stderr, "without it no password is shown") {
			t.Errorf("status %d, %s%s", status, stdout, stderr)
		}
	}
}

// TestSecretsOfUser: who lost a password is known, the session in which it was sent is not.
func TestSecretsOfUser(t *testing.T) {
	got := record1(t, "../../testdata/pcap/dovecot-pop3-clients.pcap", "--record-secrets", "--utc")
	status, stdout, stderr := mailwire(t, nil, "secrets", "--user", "ALICE", "--data", got.dir)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if status != 0 || len(lines) < 2 || !slices.IsSortedFunc(lines, func(a, b string) int { return strings.Compare(a[27:], b[27:]) }) {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
	for _, l := range lines {
		session, _, _ := strings.Cut(l, " ")
		if _, of, _ := mailwire(t, nil, "secrets", session, "--data", got.dir); !strings.Contains(of, l[27:]) || !strings.Contains(l, "  user alice  password ") {
			t.Errorf("%s is not of its session, which has %s", l, of)
		}
	}
	if !strings.Contains(stdout, "  success  2026-") {
		t.Errorf("none is right: %s", stdout)
	}
	for _, l := range lines {
		if strings.Contains(l, "  success  ") && strings.Contains(l, "wrong") || strings.Contains(l, "  failure  ") && !strings.Contains(l, "wrong") {
			t.Error(l)
		}
	}
	audit, err := os.ReadFile(filepath.Join(got.dir, "logs", "audit.log"))
	if err != nil || !strings.Contains(string(audit), ` SECRETS of="ALICE" user=`) {
		t.Errorf("%v, %s", err, audit)
	}
	for args, want := range map[string]int{"--user nobody": 1, "--user alice abc": 2, "": 2} {
		status, stdout, stderr := mailwire(t, nil, append([]string{"secrets", "--data", got.dir}, strings.Fields(args)...)...)
		if status != want || stdout != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, %s%s", args, status, stdout, stderr)
		}
	}
}
