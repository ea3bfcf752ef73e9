package main

import (
	"bytes"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mailwire runs the program as a user does.
func mailwire(t *testing.T, stdin []byte, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), append([]string{"mailwire"}, args...), bytes.NewReader(stdin), &out, &errs)
	return status, out.String(), errs.String()
}

const capture = "../../testdata/pcap/postfix-simple.pcap"

func TestUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"tap", "tap needs an interface or a capture file: mailwire tap -i IFACE, or mailwire tap -r FILE"},
		{"tap mail.pcap", `tap takes no argument "mail.pcap"; a capture file is named by -r FILE`},
		{"tap --nonsense", "flag provided but not defined: -nonsense; see mailwire tap --help"},
		{"proxy --idle-timeout 3", "mailwire: --idle-timeout: give a number with its unit, like 3s or 10m"},
		{"proxy --max-connections many", "--max-connections: give a whole number"},
		{
			"proxy --smtp :25=unix:/a --tls terminate --tls-cert x --tls-key x",
			"--smtp :25=unix:/a: a socket has no name that the server's certificate could be for; give it by --upstream-name NAME, or believe any certificate by --upstream-insecure",
		},
		{"tap -r x -c -1", "-c -1: give the number of packets to stop after"},
		{"tap -r x --smtp-port 25,smtp", "--smtp-port smtp: give port numbers from 1 to 65535"},
		{"tap -r x --pop3-port 65536", "--pop3-port 65536: give port numbers from 1 to 65535"},
		{"tap -r x --local-net ours", "--local-net ours: give a network like 192.0.2.0/24 or 2001:db8::/32, or an address"},
		{"tap -r x --archive some", `--archive: "some" is no kind of mail`},
		{"tap -r x --maildir week", "--maildir week: choose from day and flat"},
		{"tap -r x --log-level loud", "--log-level loud: choose from error, warn, info and debug"},
		{"tap -r x --log-format xml", "--log-format xml: choose from text and json"},
		{"nonsense", `there is no command "nonsense"; mailwire help lists those there are`},
		{"mail nonsense", `mail has no "nonsense"; try mailwire mail list`},
		{"completion", "name your shell, bash, zsh or fish"},
	} {
		t.Chdir(t.TempDir())
		status, _, stderr := mailwire(t, nil, strings.Fields(c.args)...)
		if status != 2 || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("mailwire %s: status %d, %q, want 2 and %q", c.args, status, stderr, c.want)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range []string{"", "help", "tap --help", "demo --help", "version", "completion bash", "completion zsh", "completion fish"} {
		status, stdout, stderr := mailwire(t, nil, strings.Fields(args)...)
		if status != 0 || stderr != "" || !strings.Contains(stdout, "mailwire") {
			t.Errorf("mailwire %s: status %d, %q on standard error, %q", args, status, stderr, stdout)
		}
	}
}

// TestBadInput: one sentence that says what to do, exit status 1, and what could be read is recorded.
func TestBadInput(t *testing.T) {
	whole, err := os.ReadFile(capture)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"empty.pcap": nil, "text.pcap": []byte("this is no capture at all\n"), "cut.pcap": whole[:len(whole)-7],
		"lies.pcap": append(bytes.Clone(whole), bytes.Repeat([]byte{0x7f}, 16)...),
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		kept := filepath.Join(dir, name+".data")
		status, stdout, stderr := mailwire(t, nil, "tap", "-r", file, "--data", kept)
		if status != 1 || !strings.Contains(stderr, name) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, %q on standard error", name, status, stderr)
		}
		if (name == "cut.pcap" || name == "lies.pcap") && !strings.Contains(stdout, "2 sessions, 2 mails") {
			t.Errorf("%s: what could be read is not recorded: %s", name, stdout)
		}
	}
	status, _, stderr := mailwire(t, nil, "tap", "-r", filepath.Join(dir, "none.pcap"), "--data", filepath.Join(dir, "none"))
	if status != 1 || strings.Count(stderr, "\n") != 1 {
		t.Errorf("a file that is not there: status %d, %q", status, stderr)
	}
	status, _, stderr = mailwire(t, nil, "tap", "-r", capture, "--data", "/dev/null/data")
	if status != 1 || strings.Count(stderr, "\n") != 1 {
		t.Errorf("a data directory that cannot be: status %d, %q", status, stderr)
	}
}

// TestStdin: a capture may come by a pipe.
func TestStdin(t *testing.T) {
	whole, err := os.ReadFile(capture)
	if err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := mailwire(t, whole, "tap", "-r", "-", "--data", t.TempDir())
	if status != 0 || !strings.Contains(stdout, "2 sessions, 2 mails") {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
}

// TestSameOutput: neither the number of workers nor reading again changes a file; only the process id in the log lines is
// another in each process.
func TestSameOutput(t *testing.T) {
	captures, err := filepath.Glob("../../testdata/pcap/*.pcap")
	if err != nil || len(captures) == 0 {
		t.Fatal("no captures", err)
	}
	var args []string
	for _, c := range captures {
		args = append(args, "-r", c)
	}
	read := func(dir, workers string) map[string]string {
		status, _, stderr := mailwire(t, nil, append([]string{"tap", "--utc", "--data", dir, "--workers", workers}, args...)...)
		if status != 0 {
			t.Fatalf("status %d: %s", status, stderr)
		}
		return files(t, dir)
	}
	first := t.TempDir()
	want := read(first, "1")
	if len(want) < 50 {
		t.Fatalf("only %d files", len(want))
	}
	for _, workers := range []string{"2", "3", "16"} {
		compareFiles(t, workers+" workers", read(t.TempDir(), workers), want)
	}
	compareFiles(t, "read again", read(first, "2"), want)
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		data, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func compareFiles(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for name, data := range want {
		if got[name] != data {
			t.Errorf("%s: %s is another: %d octets, not %d", what, name, len(got[name]), len(data))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %s is new", what, name)
		}
	}
}

func TestDemo(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip("no loopback interface for the demo's mail server:", err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Skip("the loopback interface is down:", err)
	}
	c.Close()
	dir := filepath.Join(t.TempDir(), "demo")
	for range 2 {
		status, stdout, stderr := mailwire(t, nil, "demo", "--data", dir, capture)
		if status != 0 || stderr != "" {
			t.Fatalf("status %d, %q", status, stderr)
		}
		for _, want := range []string{"AUTH-FAIL", "AUTH-OK", "MAIL accepted", "MAIL rejected", "6 sessions and 5 mails", "mutt -f "} {
			if !strings.Contains(stdout, want) {
				t.Errorf("no %q in:\n%s", want, stdout)
			}
		}
		if !strings.Contains(stdout, " sessions --errors --data "+dir) || !strings.Contains(stdout, " report --data "+dir) {
			t.Errorf("%s does not say how to go on", stdout)
		}
		if strings.Contains(stdout, "letmein") || strings.Contains(stdout, demoPassword) {
			t.Error("a password shows")
		}
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := mailwire(t, nil, "demo", "--data", other); status != 1 || !strings.Contains(stderr, "something else than a demo") {
		t.Errorf("status %d, %q: a directory that is no demo's is not removed", status, stderr)
	}
}

// TestUnrelatedCaptures: files are one capture only where one goes on where the other stopped.
func TestUnrelatedCaptures(t *testing.T) {
	status, stdout, stderr := mailwire(t, nil, "tap", "-r", capture, "-r", capture, "-r", capture, "--data", t.TempDir())
	if status != 0 || !strings.Contains(stdout, "2 sessions, 2 mails") || !strings.Contains(stdout, "skipped   4 records") {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
}
