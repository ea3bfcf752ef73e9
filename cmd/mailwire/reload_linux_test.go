package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// TestReload: mailwire proxy with a file takes what it says at SIGHUP, tells systemd so, and cuts nothing.
func TestReload(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	notified, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notified.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	told := func(want string) {
		t.Helper()
		_ = notified.SetReadDeadline(time.Now().Add(patience))
		var word [100]byte
		if n, err := notified.Read(word[:]); err != nil || !strings.HasPrefix(string(word[:n]), want) {
			t.Fatalf("systemd was told %q (%v), not %s", word[:n], err, want)
		}
	}
	first, second := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	server := smtpServer(t)
	name := configured(t, fmt.Sprintf("proxy: [{smtp: %q}]\n", "unix:"+first+"="+server))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	log, ended := &output{}, make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"mailwire", "proxy", "--config", name, "--data", data}, strings.NewReader(""), log, log)
	}()
	told("READY=1")
	conn, err := net.Dial("unix", first)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	replies := bufio.NewReader(conn)
	expect := func(code string) {
		t.Helper()
		if reply, err := replies.ReadString('\n'); err != nil || !strings.HasPrefix(reply, code) {
			t.Fatalf("the reply is %q (%v), not %s", reply, err, code)
		}
	}
	expect("220 ")
	reload := func(text, want string) {
		t.Helper()
		writeConfig(t, name, text)
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		told("RELOADING=1\nMONOTONIC_USEC=")
		told("READY=1")
		await(t, "the log to say "+want, func() bool { return strings.Contains(log.String(), want) })
	}
	reload("proxy: [{smtp: unix:/nowhere/s=127.0.0.1:25}]\n", "/nowhere is no directory")
	reload("tap: [lo]\n", "needs a route")
	reload("proxy: 3\n", "mailwire.yaml:1: proxy must have settings")
	reload(fmt.Sprintf("data: x\nlog-level: warn\nfsync: false\nproxy: [{smtp: %q, idle-timeout: 1h}]\n", "unix:"+second+"="+server), "fsync cannot change without a restart")
	await(t, "the open relay to be told again", func() bool { return strings.Count(log.String(), "sees every client as coming from this host") == 2 })
	if strings.Contains(log.String(), "data,") {
		t.Error("data, which a flag gives, is said to have changed")
	}
	if _, err := os.Stat(first); err == nil {
		t.Error("the first listener is still there")
	}
	other, err := net.Dial("unix", second)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_ = other.SetDeadline(time.Now().Add(patience))
	if greeting, err := bufio.NewReader(other).ReadString('\n'); err != nil || !strings.HasPrefix(greeting, "220 ") {
		t.Errorf("greeted by %q (%v)", greeting, err)
	}
	_ = other.Close()
	_, _ = io.WriteString(conn, "QUIT\r\n")
	expect("221 ")
	_ = conn.Close()
	stop()
	if status := <-ended; status != 0 {
		t.Errorf("status %d: %s", status, log)
	}
	told("STOPPING=1")
	if got := load(t, data).sessions; len(got) != 2 || got[0].Status != record.Closed && got[1].Status != record.Closed {
		t.Errorf("%+v", got)
	}
}
