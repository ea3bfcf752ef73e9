package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailwire/mailwire/archive"
)

// tracing is a running mailwire trace.
type tracing struct {
	*output
	stop  func()
	ended chan int
}

// watched is a context that tells when it is waited for.
type watched struct {
	context.Context
	wait func()
}

func (c watched) Done() <-chan struct{} {
	c.wait()
	return c.Context.Done()
}

// startTrace returns when the flags are read, some of which the library keeps where all commands would write.
func startTrace(t *testing.T, dir string, args ...string) *tracing {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &tracing{output: new(output), stop: cancel, ended: make(chan int, 1)}
	begun := make(chan struct{})
	waiting := watched{ctx, sync.OnceFunc(func() { close(begun) })}
	go func() {
		w.ended <- run(waiting, append([]string{"mailwire", "trace", "--data", dir}, args...), strings.NewReader(""), w.output, w.output)
	}()
	t.Cleanup(cancel)
	select {
	case <-begun:
	case <-time.After(patience):
		t.Fatalf("the trace does not begin:\n%s", w)
	}
	return w
}

// TestTraceCommand: a running proxy's dialogues are shown as they happen, those that were asked for, and from their beginning.
func TestTraceCommand(t *testing.T) {
	listen, server := freePort(t), smtpServer(t)
	p := relay(t, "--smtp", listen+"="+server)
	all, refused := startTrace(t, p.dir), startTrace(t, p.dir, "--errors", "--only-one", "--only-new", "--client", "127.0.0.1")
	login := startTrace(t, p.dir, "--user", "alice", "--terse", "--server", server)
	talk := func() {
		if err := errors.Join(demoTalk(listen, goodMail), demoTalk(listen, unknownUser), demoTalk(listen, wrongPassword)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the traces", func() bool {
		talk()
		return strings.Contains(all.String(), "octets of message]") && strings.Contains(login.String(), "quit=1") && len(refused.ended) == 1
	})
	for _, w := range []*tracing{all, refused, login} {
		w.stop()
		if status := <-w.ended; status != 0 {
			t.Errorf("status %d", status)
		}
	}
	lines := strings.Split(strings.TrimSpace(refused.String()), "\n")
	if !strings.Contains(lines[0], "=== connected 127.0.0.1:") || !strings.Contains(lines[len(lines)-1], "=== closed after ") ||
		!strings.Contains(refused.String(), " <** 5") {
		t.Errorf("the session that was refused something:\n%s", refused)
	}
	for _, l := range lines {
		if id := strings.Fields(lines[0])[1]; strings.Fields(l)[1] != id {
			t.Errorf("a line of another session: %s", l)
		}
	}
	if got := login.String(); !strings.Contains(got, " <** 535 ") || strings.Contains(got, "<** 550") || strings.Contains(got, "EHLO") {
		t.Errorf("the session with a login:\n%s", got)
	}
	if got := all.String(); strings.Contains(got, demoPassword) || strings.Contains(got, "mailwire:") {
		t.Errorf("all:\n%s", got)
	}
	p.stop()
	idle := startTrace(t, p.dir)
	await(t, "the word that nobody records", func() bool { return strings.Contains(idle.String(), "no mailwire records to "+p.dir) })
	idle.stop()
	if status := <-idle.ended; status != 0 {
		t.Errorf("status %d", status)
	}
}

// TestCheckCommand: what a proxy records, and has recorded, is as it should be, until somebody changes it.
func TestCheckCommand(t *testing.T) {
	listen, server := freePort(t), smtpServer(t)
	p := relay(t, "--smtp", listen+"="+server, "--trace")
	talk := func() {
		if err := errors.Join(demoTalk(listen, goodMail), demoTalk(listen, tooBig), demoTalk(listen, wrongPassword)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		talk()
		if status, stdout, stderr := mailwire(t, nil, "check", "--data", p.dir, "--deep"); status != 0 || !strings.Contains(stdout, "a mailwire is recording here") {
			t.Errorf("while it runs: status %d, %s%s", status, stdout, stderr)
		}
	}
	got := p.stop()
	status, stdout, stderr := mailwire(t, nil, "check", "--data", p.dir, "--deep")
	if status != 0 || !strings.Contains(stdout, "9 sessions, 6 messages, 6 mails") || !strings.Contains(stdout, "nothing is wrong\n") {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
	gone, changed := got.messages[0].Stored.Path, got.messages[1].Stored.Path
	if err := errors.Join(os.Remove(filepath.Join(p.dir, gone)), os.Truncate(filepath.Join(p.dir, changed), 1), os.Chmod(filepath.Join(p.dir, "logs"), 0o755)); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr = mailwire(t, nil, "check", "--data", p.dir)
	if status != 1 || !strings.Contains(stdout, gone+", which is not there\n") || !strings.Contains(stdout, changed+": it has 1 octets") ||
		!strings.Contains(stdout, "1 missing, 1 mode, 1 size\n") || strings.Count(stdout, "\n") != 4 || strings.Count(stderr, "\n") != 1 {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
	status, stdout, _ = mailwire(t, nil, "check", "--data", p.dir, "--json")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var f archive.Finding
	var sum struct {
		Type     string
		Findings int
		Kinds    map[string]int
	}
	err := errors.Join(json.Unmarshal([]byte(lines[0]), &f), json.Unmarshal([]byte(lines[len(lines)-1]), &sum))
	if status != 1 || err != nil || len(lines) != 4 || f.Kind == "" || f.File == "" || sum.Type != "summary" || sum.Findings != 3 || sum.Kinds["missing"] != 1 {
		t.Errorf("status %d, %v, %s", status, err, stdout)
	}
	if status, _, stderr := mailwire(t, nil, "check", "--data", filepath.Join(p.dir, "none")); status != 1 || strings.Count(stderr, "\n") != 1 {
		t.Errorf("no directory: status %d, %s", status, stderr)
	}
}

// TestRetentionOfProxy: what is too old goes when a proxy begins, and its log says so.
func TestRetentionOfProxy(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for _, name := range []string{"logs/smtp-sessions-2020-01-01.log", "logs/messages-2020-01-01.jsonl", "logs/other-2020-01-01.log"} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	listen := freePort(t)
	p := relay(t, "--data", dir, "--keep-days", "30", "--keep-size", "1TB", "--free-space", "1", "--smtp", listen+"="+smtpServer(t))
	p.dir = dir
	await(t, "the removal", func() bool {
		return strings.Contains(p.log.String(), "removed 2020-01-01, as it is more than 30 days old")
	})
	if err := demoTalk(listen, goodMail); err != nil {
		t.Fatal(err)
	}
	if got := p.stop(); len(got.messages) != 1 {
		t.Errorf("%d messages", len(got.messages))
	}
	for i, name := range names {
		if _, err := os.Lstat(name); (err == nil) != (i == 2) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRetentionUsage(t *testing.T) {
	for args, want := range map[string]string{
		"proxy --smtp :0=127.0.0.1:1 --keep-days 0":     "--keep-days 0: give a number of days from 1 on",
		"proxy --smtp :0=127.0.0.1:1 --keep-size much":  `--keep-size: "much" is no size; give a number with its unit, like 512MiB or 20GB`,
		"proxy --smtp :0=127.0.0.1:1 --free-space 1GHz": `--free-space: "1GHz" is no size`,
		"tap -r " + capture + " --keep-days 3":          "a capture file is kept whole",
		"check logs":                                    `check takes no argument "logs"`,
		"trace --client me":                             "--client me: give a network",
		"trace --server mx:25":                          "--server mx:25: give a network",
		"trace --protocol imap":                         "--protocol imap: choose from smtp and pop3",
		"trace now":                                     `trace takes no argument "now"`,
	} {
		status, _, stderr := mailwire(t, nil, append(strings.Fields(args), "--data", t.TempDir())...)
		if status != 2 || !strings.Contains(stderr, want) || strings.Count(stderr, "mailwire: ") != 1 {
			t.Errorf("mailwire %s: status %d, %q", args, status, stderr)
		}
	}
}
