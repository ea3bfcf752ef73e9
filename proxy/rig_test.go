package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect"
)

// tooLong is how long anything may take before it counts as hung.
const tooLong = 30 * time.Second

// full says whether the tests run with the numbers that a release must show, which takes minutes.
func full() bool { return os.Getenv("MAILWIRE_FULL") != "" }

// scaled returns the number for a full run, or the one for every day.
func scaled(daily, whole int) int {
	if full() {
		return whole
	}
	return daily
}

// eachRelay runs a test with the loops, where there are any, and with the goroutines.
func eachRelay(t *testing.T, test func(t *testing.T, o Options)) {
	if haveLoops {
		t.Run("loops", func(t *testing.T) { test(t, Options{}) })
	}
	t.Run("goroutines", func(t *testing.T) { test(t, Options{goroutines: true}) })
}

// bare returns a proxy that neither listens nor serves.
func bare(o Options) *Proxy {
	p := &Proxy{dirty: make(chan struct{}, 1)}
	o = o.withDefaults()
	p.options.Store(&o)
	return p
}

// rig is a proxy that serves, between a client and a server that the test plays.
type rig struct {
	*Proxy
	t      testing.TB
	memory *memory
	server net.Listener // what the first route leads to; nil where the test gave routes
	stop   context.CancelFunc
	kill   context.CancelFunc
	done   chan error
}

// newRig starts a proxy with the options. Without routes there is one for SMTP from a free port to the rig's server.
func newRig(t testing.TB, o Options) *rig {
	t.Helper()
	r := &rig{t: t, done: make(chan error, 1)}
	checkLeaks(t)
	if o.Routes == nil {
		r.server = listenAt(t, "tcp", "127.0.0.1:0")
		o.Routes = []Route{{Protocol: inspect.SMTP, Listen: "127.0.0.1:0", Upstream: r.server.Addr().String()}}
	}
	if o.Recorder == nil {
		o.Recorder = newMemory()
	}
	r.memory, _ = o.Recorder.(*memory)
	if o.Inspect == nil {
		o.Inspect = &inspect.Config{}
	}
	var err error
	if r.Proxy, err = Listen(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	var ctx, now context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	now, r.kill = context.WithCancel(context.Background())
	go func() { r.done <- r.Serve(ctx, now) }()
	t.Cleanup(r.end)
	return r
}

// end lets the proxy drain, and waits until it has.
func (r *rig) end() {
	r.t.Helper()
	r.stop()
	r.ended()
	r.kill()
}

// ended waits until Serve returns.
func (r *rig) ended() {
	r.t.Helper()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Error(err)
		}
		r.done <- nil
	case <-time.After(tooLong):
		r.kill()
		r.t.Errorf("Serve does not return: %+v", r.Stats())
	}
}

// dial connects a client to the first route.
func (r *rig) dial() *net.TCPConn { return dialTo(r.t, r.Addrs()[0].String()) }

// pair begins a conversation and returns what its client and its server hold of it.
func (r *rig) pair() (client, server *net.TCPConn) {
	r.t.Helper()
	client = r.dial()
	return client, r.accept()
}

// hangUp ends a conversation in order.
func hangUp(t testing.TB, client, server *net.TCPConn) {
	t.Helper()
	_ = client.Close()
	receiveEnd(t, server)
	_ = server.Close()
}

// turnedAway is a client that connects, may say something, and is reset without a word.
func (r *rig) turnedAway(says ...string) {
	r.t.Helper()
	c, err := net.Dial("tcp", r.Addrs()[0].String())
	if err == nil {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(tooLong))
		for _, text := range says {
			send(r.t, c, text)
		}
		_, err = c.Read(make([]byte, 1))
	}
	if !isReset(err) {
		r.t.Errorf("the client sees %v", err)
	}
}

func (r *rig) accept() *net.TCPConn {
	r.t.Helper()
	c, err := acceptFrom(r.server)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// acceptFrom accepts a connection that ends before it could hang.
func acceptFrom(l net.Listener) (net.Conn, error) {
	_ = l.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now().Add(tooLong))
	c, err := l.Accept()
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(tooLong))
	}
	return c, err
}

// eachAccepted lets serve have every connection to the rig's server.
func (r *rig) eachAccepted(serve func(c *net.TCPConn)) { serveEach(r.t, r.server, serve) }

// serveEach lets serve have every connection to a listener, in goroutines that the test waits for.
func serveEach(t testing.TB, l net.Listener, serve func(c *net.TCPConn)) {
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(tooLong))
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
}

// greetAndEcho is a server that says everything twice.
func greetAndEcho(c *net.TCPConn) {
	_, _ = io.WriteString(c, smtpGreeting)
	_, _ = io.Copy(c, struct{ io.Reader }{c})
}

// converse has a short conversation with greetAndEcho.
func converse(t testing.TB, c net.Conn) {
	t.Helper()
	receive(t, c, smtpGreeting)
	say(t, c, c, "NOOP\r\n")
	_ = c.Close()
}

func listenAt(t testing.TB, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func dialTo(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(tooLong))
	return c.(*net.TCPConn)
}

// reset closes a connection by a reset.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// isReset says whether an error tells of a reset.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// send writes s to one end; receive expects s, and nothing else so far, at the other.
func send(t testing.TB, to net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(to, s); err != nil {
		t.Fatalf("sending %.60q: %v", s, err)
	}
}

func receive(t testing.TB, from net.Conn, s string) {
	t.Helper()
	got := make([]byte, len(s))
	if n, err := io.ReadFull(from, got); err != nil || string(got) != s {
		t.Fatalf("received %.60q of %.60q: %v", got[:n], s, err)
	}
}

// receiveEnd expects that the other side has ended.
func receiveEnd(t testing.TB, from net.Conn) {
	t.Helper()
	if n, err := from.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("received %d octets and %v at the end", n, err)
	}
}

// say sends s from one end to the other.
func say(t testing.TB, from, to net.Conn, s string) {
	t.Helper()
	send(t, from, s)
	receive(t, to, s)
}

// eventually waits for what nobody tells of.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(tooLong); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("not so after %v: %s", tooLong, what)
			return
		}
	}
}

// checkLeaks fails a test that leaves goroutines or descriptors behind.
func checkLeaks(t testing.TB) {
	_ = listenAt(t, "tcp", "127.0.0.1:0").Close() // the runtime keeps what it needs to wait from the first socket on
	goroutines, descriptors := runtime.NumGoroutine(), openDescriptors()
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		eventually(t, "the goroutines of the test have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
		eventually(t, "the descriptors of the test are closed", func() bool { return openDescriptors() <= descriptors })
		if t.Failed() {
			stacks := make([]byte, 1<<20)
			t.Logf("%d goroutines, were %d; %d descriptors, were %d\n%s", runtime.NumGoroutine(), goroutines,
				openDescriptors(), descriptors, stacks[:runtime.Stack(stacks, true)])
		}
	})
}

// openDescriptors counts the open files of the process, 0 where it cannot.
func openDescriptors() int {
	list, _ := os.ReadDir("/proc/self/fd")
	return len(list)
}

// noise is an endless source of octets of all values that a seed determines.
type noise struct{ *rand.ChaCha8 }

func newNoise(seed uint64) noise {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	return noise{rand.NewChaCha8(key)}
}

// digest reads n octets, or all for a negative n, and returns their hash and number.
func digest(from io.Reader, n int64) (sum [sha256.Size]byte, read int64, err error) {
	h := sha256.New()
	if n >= 0 {
		from = io.LimitReader(from, n)
	}
	read, err = io.Copy(h, struct{ io.Reader }{from})
	return [sha256.Size]byte(h.Sum(nil)), read, err
}
