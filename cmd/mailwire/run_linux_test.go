package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"

	"github.com/mailwire/mailwire/inspect/record"
)

// testRun: listeners and interfaces in one process, and the file read again while a conversation goes on.
func testRun(t *testing.T, r *tapRig) {
	dir := sharedDir(t)
	name, data := filepath.Join(dir, "mailwire.yaml"), filepath.Join(dir, "data")
	const before = "sensor: one\nproxy: [{smtp: \":2526=127.0.0.1:2525\"}]\ntap: [eth0]\nhttp: 127.0.0.1:0\n"
	writeConfig(t, name, before)
	p := r.startAs(exec.Command(r.program, "run", "--config", name, "--data", data), data)
	p.says("msg=capturing")

	r.client.sends(smtpAddress, "Subject: captured\r\n\r\n")
	r.client.sends(serverAddress+":2526", "Subject: relayed\r\n\r\n")
	p.recorded(2)
	conn, err := r.client.dial(serverAddress + ":2526")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	replies := bufio.NewReader(conn)
	expect := func(code string) {
		t.Helper()
		if reply, err := replies.ReadString('\n'); err != nil || !strings.HasPrefix(reply, code) {
			t.Fatalf("the reply is %q (%v), not %s", reply, err, code)
		}
	}
	expect("220 ")

	writeConfig(t, name, "sensr: x\n")
	p.signal(syscall.SIGHUP)
	p.says("is not in force, and what was before still is")
	p.says("did you mean sensor?")
	_, _ = io.WriteString(conn, "NOOP\r\n")
	expect("250 ")
	r.client.sends(serverAddress+":2526", "Subject: relayed as before\r\n\r\n")

	writeConfig(t, name, "sensor: two\nmaildir: flat\nproxy: [{smtp: \":2527=127.0.0.1:25\"}]\ntap: [eth0, lo]\n")
	p.signal(syscall.SIGHUP)
	p.says("http, maildir cannot change without a restart; until then the old value stays")
	_, _ = io.WriteString(conn, "NOOP\r\n")
	expect("250 ")
	if c, err := r.client.dial(serverAddress + ":2526"); err == nil {
		c.Close()
		t.Error("a listener that is gone takes connections")
	}
	r.client.sends(serverAddress+":2527", "Subject: relayed and captured on the way\r\n\r\n")
	p.recorded(5)
	writeConfig(t, name, "sensor: three\nproxy: [{smtp: \":2527=127.0.0.1:25\"}]\n")
	p.signal(syscall.SIGHUP)
	p.says("that needs a restart")
	_, _ = io.WriteString(conn, "QUIT\r\n")
	expect("221 ")
	conn.Close()

	sessions := map[string]int{}
	for _, s := range p.end().sessions {
		if s.Status == record.Unknown && s.Mode == record.ModeTap {
			continue // what the proxy had begun to say to the server when lo was not captured from
		}
		if s.Status != record.Closed {
			t.Errorf("a session is %s", s.Status)
		}
		sessions[s.Mode+" "+s.Sensor]++
	}
	for kind, want := range map[string]int{"tap one": 1, "proxy one": 3, "proxy two": 1, "tap two": 1} {
		if sessions[kind] != want {
			t.Errorf("%d sessions of %s, want %d: %v", sessions[kind], kind, want, sessions)
		}
	}
}

// TestLogReaderGone: mail goes on where nobody reads the program's log any more.
func TestLogReaderGone(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "mailwire")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	log, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	listen := freePort(t)
	program := exec.Command(bin, "proxy", "--smtp", listen+"="+freePort(t), "--data", filepath.Join(dir, "data"))
	program.Stderr = stderr
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer program.Process.Kill()
	_ = log.Close()
	_ = stderr.Close()
	await(t, "a connection, of which the log would say that no server is there", func() bool {
		conn, err := net.Dial("tcp", listen)
		if err != nil {
			return false
		}
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
		return err != nil
	})
	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}

// TestLogUnread: mail goes, and the program ends, where standard error is full and nobody reads it.
func TestLogUnread(t *testing.T) {
	bin := buildProgram(t)
	unread, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unread.Close()
	_ = stderr.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	for err == nil {
		_, err = stderr.Write(make([]byte, 1<<10))
	}
	listen := freePort(t)
	program := exec.Command(bin, "proxy", "--smtp", listen+"="+smtpServer(t), "--data", t.TempDir())
	program.Stderr = stderr
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(30*time.Second, func() { _ = program.Process.Kill() })
	defer late.Stop()
	await(t, "a greeting", func() bool {
		conn, err := net.Dial("tcp", listen)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err = conn.Read(make([]byte, 1))
		return err == nil
	})
	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}

// TestConfinedRelay: who relays and captures may still open a unix listener where one was at the start, and nowhere else.
func TestConfinedRelay(t *testing.T) {
	if dir := os.Getenv(confinedVariable); dir != "" {
		sockets := filepath.Join(dir, "sockets")
		if err := os.Mkdir(sockets, 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := confine(true, sockets); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", filepath.Join(sockets, "s"))
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		if version, err := ll.LandlockGetABIVersion(); err == nil && version >= firstLandlock {
			_, err = net.Listen("unix", filepath.Join(dir, "s"))
			denied(t, "a listener elsewhere", err)
		}
		return
	}
	needUser(t)
	confined(t, t.TempDir(), "")
}

// TestOnceMore: a second signal counts also while the first one is being told.
func TestOnceMore(t *testing.T) {
	signals := make(chan os.Signal, 1) // as main has them
	signal.Notify(signals, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, first := context.WithCancel(t.Context())
	again, stop := onceMore(ctx, func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		<-signals
	})
	defer stop()
	first()
	select {
	case <-again.Done():
	case <-time.After(patience):
		t.Error("it is lost")
	}
}
