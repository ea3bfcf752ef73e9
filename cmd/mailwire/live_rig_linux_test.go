package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/sys/unix"

	"github.com/mailwire/mailwire/inspect/record"
)

// host is a network of its own. It is that of one thread, and ends with it.
type host struct {
	t     *testing.T
	tasks chan func()
	path  string // of the network's namespace
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, tasks: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		h.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		made <- unix.Unshare(unix.CLONE_NEWNET)
		for task := range h.tasks {
			task()
		}
	}()
	err := <-made
	t.Cleanup(func() { close(h.tasks) })
	if err != nil {
		t.Skip("there can be no network namespace: ", err)
	}
	h.ip("link set lo up")
	_, _ = in(h, func() (any, error) { // so that the kernel says nothing by itself
		return nil, os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	})
	return h
}

// in does what opens sockets or starts programs that are to be in h.
func in[T any](h *host, task func() (T, error)) (result T, err error) {
	done := make(chan struct{})
	h.tasks <- func() {
		defer close(done)
		result, err = task()
	}
	<-done
	return result, err
}

// ip runs ip(8).
func (h *host) ip(args string) {
	h.t.Helper()
	said, err := in(h, exec.Command("ip", strings.Fields(args)...).CombinedOutput)
	if err != nil {
		h.t.Fatalf("ip %s: %v: %s", args, err, said)
	}
}

func (h *host) dial(address string) (net.Conn, error) {
	return in(h, func() (net.Conn, error) { return net.DialTimeout("tcp", address, patience) })
}

// serve lets the demo's mail server, which takes mails of any size, listen at the addresses.
func (h *host) serve(addresses ...string) {
	h.t.Helper()
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return new(demoMailbox), nil }))
	server.Domain = mailName
	for _, address := range addresses {
		listener, err := in(h, func() (net.Listener, error) { return net.Listen("tcp", address) })
		if err != nil {
			h.t.Fatal(err)
		}
		go func() { _ = server.Serve(listener) }() // it ends with an error when it is closed
	}
	h.t.Cleanup(func() { server.Close() })
}

// send sends a mail in a session of its own.
func (h *host) send(address, mail string) error {
	conn, err := h.dial(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := smtp.NewClient(conn)
	if err := c.Hello("client.example.org"); err != nil {
		return err
	}
	if err := c.SendMail("alice@example.org", []string{"bob@example.net"}, strings.NewReader(mail)); err != nil {
		return err
	}
	return c.Quit()
}

// sends is send for the test's own goroutine, which cannot go on without.
func (h *host) sends(address, mail string) {
	h.t.Helper()
	if err := h.send(address, mail); err != nil {
		h.t.Fatal(err)
	}
}

// rawSocket is for frames that nobody but a tap takes notice of.
func (h *host) rawSocket(device string) int {
	h.t.Helper()
	fd, err := in(h, func() (int, error) {
		link, err := net.InterfaceByName(device)
		if err != nil {
			return -1, err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return -1, err
		}
		return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: link.Index})
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// captured says whether somebody captures from the interface: to see all its packets is the last that a tap asks for.
func (h *host) captured(device string) bool {
	h.t.Helper()
	said, err := in(h, exec.Command("ip", "-d", "link", "show", device).CombinedOutput)
	if err != nil {
		h.t.Fatalf("%v: %s", err, said)
	}
	return bytes.Contains(said, []byte(" promiscuity 1 "))
}

// The two ends of the cable.
const (
	clientAddress, serverAddress = "192.0.2.1", "192.0.2.2"
	smtpAddress                  = serverAddress + ":25"
)

// tapRig is a mail server with a client, each a host, and a cable between their interfaces eth0. The taps run on the server.
type tapRig struct {
	t              *testing.T
	program        string
	client, server *host
}

func newTapRig(t *testing.T, program string) *tapRig {
	t.Helper()
	r := &tapRig{t: t, program: program, client: newHost(t), server: newHost(t)}
	r.plug()
	r.server.serve("0.0.0.0:25", "0.0.0.0:2525")
	return r
}

// plug makes the cable.
func (r *tapRig) plug() {
	r.t.Helper()
	r.client.ip("link add eth0 type veth peer name eth0 netns " + r.server.path)
	for h, address := range map[*host]string{r.client: clientAddress, r.server: serverAddress} {
		h.ip("address add " + address + "/24 dev eth0")
		h.ip("link set eth0 up")
	}
}

// tapped is a running mailwire tap.
type tapped struct {
	*tapRig
	dir   string
	cmd   *exec.Cmd
	log   output // standard error
	said  output // standard output
	ended chan struct{}
}

// start runs mailwire tap on the server, by way of another command if there is one.
func (r *tapRig) start(by []string, args ...string) *tapped {
	r.t.Helper()
	dir := filepath.Join(sharedDir(r.t), "data")
	args = append(append(by, r.program, "tap", "--data", dir), args...)
	return r.startAs(exec.Command(args[0], args[1:]...), dir)
}

// startAs runs a command on the server that records under dir.
func (r *tapRig) startAs(cmd *exec.Cmd, dir string) *tapped {
	r.t.Helper()
	p := &tapped{tapRig: r, dir: dir, cmd: cmd, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if _, err := in(r.server, func() (any, error) { return nil, p.cmd.Start() }); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	r.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if r.t.Failed() {
			r.t.Logf("%s\n%s%s", p.cmd, &p.log, &p.said)
		}
	})
	return p
}

// tap is start, and waits until it captures.
func (r *tapRig) tap(args ...string) *tapped {
	r.t.Helper()
	p := r.start(nil, append(args, "--http", "127.0.0.1:0")...)
	p.says("msg=capturing")
	return p
}

// says waits until the program's log has the text.
func (p *tapped) says(text string) {
	p.t.Helper()
	await(p.t, "the log to say "+text, func() bool {
		select {
		case <-p.ended:
			p.t.Fatalf("it ended with %v: %s", p.cmd.ProcessState, &p.log)
		default:
		}
		return strings.Contains(p.log.String(), text)
	})
}

// status waits until the program has ended.
func (p *tapped) status() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatal("it does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *tapped) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// end ends it as an administrator does, and returns what it recorded.
func (p *tapped) end() recorded {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	return p.results()
}

// results are there when it has ended well.
func (p *tapped) results() recorded {
	p.t.Helper()
	if status := p.status(); status != 0 {
		p.t.Fatalf("status %d", status)
	}
	return load(p.t, p.dir)
}

// recorded waits until there are records of so many sessions.
func (p *tapped) recorded(sessions int) {
	p.t.Helper()
	await(p.t, fmt.Sprint(sessions, " sessions"), func() bool {
		return len(records[record.Session](p.t, p.dir, "sessions")) >= sessions
	})
}

var httpAddress = regexp.MustCompile(`address="?([0-9.:]+)`)

// metric returns the value of a counter of the capture.
func (p *tapped) metric(name string) int64 {
	p.t.Helper()
	at := httpAddress.FindStringSubmatch(p.log.String())
	watcher := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(_ context.Context, _, address string) (net.Conn, error) { return p.server.dial(address) },
	}}
	answer, err := watcher.Get("http://" + at[1] + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	value, known := values(string(text))["mailwire_capture_"+name]
	if err != nil || !known {
		p.t.Fatalf("no metric %s: %v", name, err)
	}
	return int64(value)
}

// memory is a line of /proc/PID/status, in octets.
func (p *tapped) memory(which string) int {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), which+":")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		p.t.Fatal(err)
	}
	return kib << 10
}

// ticks are the hundredths of a second for which it used a processor.
func (p *tapped) ticks() (sum int) {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(field)
		if err != nil {
			p.t.Fatal(err)
		}
		sum += n
	}
	return sum
}
