package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSystemd starts the program as systemd does: with a listening socket by its name, and a socket to notify.
func TestSystemd(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "mailwire")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	socket, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	notified, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notified.Close()
	told := func(want string) {
		t.Helper()
		_ = notified.SetReadDeadline(time.Now().Add(20 * time.Second))
		var word [64]byte
		if n, err := notified.Read(word[:]); err != nil || string(word[:n]) != want {
			t.Fatalf("systemd was told %q (%v), not %s", word[:n], err, want)
		}
	}

	// The shell becomes the program, so that LISTEN_PID is right.
	program := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, bin, "proxy",
		"--smtp", "systemd:mail="+smtpServer(t), "--data", filepath.Join(dir, "data"))
	program.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=mail", "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	program.ExtraFiles = []*os.File{socket}
	var said output
	program.Stderr = &said
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer program.Process.Kill()
	told("READY=1")
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	replies := bufio.NewReader(conn)
	if greeting, err := replies.ReadString('\n'); err != nil || !strings.HasPrefix(greeting, "220 ") {
		t.Errorf("greeted by %q (%v)", greeting, err)
	}
	if err := program.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "HELO client\r\n")
	if reply, err := replies.ReadString('\n'); err != nil || !strings.HasPrefix(reply, "250 ") {
		t.Errorf("after SIGHUP the reply is %q (%v)", reply, err)
	}
	_ = conn.Close()
	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	told("STOPPING=1")
	if err := program.Wait(); err != nil {
		t.Errorf("it ended with %v: %s", err, said.String())
	}
}

// TestWrongSocket: what systemd gives where Accept=yes, or a datagram socket, is told at the start.
func TestWrongSocket(t *testing.T) {
	bin := buildProgram(t)
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pair[1])
	datagram, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, fd := range map[string]int{"a connection": pair[0], "datagrams": datagram} {
		socket := os.NewFile(uintptr(fd), name)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		program := exec.CommandContext(ctx, "sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, bin, "proxy", "--smtp", "systemd=127.0.0.1:25", "--data", t.TempDir())
		program.Env = append(os.Environ(), "LISTEN_FDS=1")
		program.ExtraFiles = []*os.File{socket}
		said, err := program.CombinedOutput()
		const want = "what systemd gave does not listen for connections; see ListenStream= and Accept=no in its .socket unit\n"
		if program.ProcessState.ExitCode() != 1 || !strings.HasSuffix(string(said), want) {
			t.Errorf("%s: %v: %s", name, err, said)
		}
		cancel()
		_ = socket.Close()
	}
}

// TestNotBySystemd: without systemd, its sockets cannot be asked for.
func TestNotBySystemd(t *testing.T) {
	status, _, stderr := mailwire(t, nil, "proxy", "--smtp", "systemd=127.0.0.1:25", "--data", t.TempDir())
	if status != 1 || !strings.Contains(stderr, "systemd has given no socket; start mailwire by a .socket unit or name an address") {
		t.Errorf("status %d: %s", status, stderr)
	}
}
