package proxy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// deaf returns the address of a server that neither accepts nor refuses connections: its backlog is full.
func deaf(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = unix.Listen(fd, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	address := ownAddress(fd)
	for {
		c, err := net.DialTimeout("tcp", address.String(), 100*time.Millisecond)
		if isTimeout(err) {
			return address
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

// TestBusySocket: a unix socket whose backlog is full has a listener, and is not removed.
func TestBusySocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Listen(fd, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for err == nil {
		var c net.Conn
		if c, err = net.Dial("unix", path); err == nil {
			defer c.Close()
		}
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	err = listenError(t, Route{Protocol: inspect.SMTP, Listen: "unix:" + path, Upstream: "192.0.2.1:25"})
	if err == nil || !strings.Contains(err.Error(), "is in use by another program") {
		t.Errorf("the error is %v", err)
	}
}

// TestConnectTimeout: a server that does not answer is as one that cannot be reached; if it has another address, that is
// tried.
func TestConnectTimeout(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		o.ConnectTimeout = 50 * time.Millisecond
		nobody := deaf(t)
		r := newRig(t, o)
		live := *r.routes[0].servers.Load()
		r.routes[0].servers.Store(&[]netip.AddrPort{nobody, live[0]})
		client, server := r.pair()
		say(t, server, client, smtpGreeting)
		_ = client.Close()
		receiveEnd(t, server)
		_ = server.Close()
		if s := r.memory.record(t); s.Server.Port != live[0].Port() {
			t.Errorf("the record says %+v", s.Server)
		}
		r.memory.forget()
		r.routes[0].servers.Store(&[]netip.AddrPort{nobody})
		r.turnedAway()
		if s := r.memory.record(t); s.Status != record.Refused || s.DurationMS < 50 {
			t.Errorf("the record says %s after %v ms", s.Status, s.DurationMS)
		}
	})
}

// TestLeavingEarly: a client that leaves before the server has answered leaves one record and nothing else; and so does
// the end of the proxy then.
func TestLeavingEarly(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		nobody := deaf(t)
		for name, leave := range map[string]func(r *rig, c *net.TCPConn){
			"reset":    func(_ *rig, c *net.TCPConn) { reset(c) },
			"close":    func(_ *rig, c *net.TCPConn) { _ = c.Close() },
			"speaking": func(r *rig, c *net.TCPConn) { send(r.t, c, "QUIT\r\n"); _ = c.Close() },
			"drain":    func(r *rig, c *net.TCPConn) { r.stop(); r.kill() },
		} {
			t.Run(name, func(t *testing.T) {
				o := o
				o.ConnectTimeout = 100 * time.Millisecond
				if name == "drain" {
					o.ConnectTimeout = time.Hour
				}
				o.Routes = []Route{{Protocol: inspect.SMTP, Listen: "127.0.0.1:0", Upstream: nobody.String()}}
				r := newRig(t, o)
				c := r.dial()
				eventually(t, "it was accepted", func() bool { return r.Stats().Active == 1 })
				leave(r, c)
				s := r.memory.record(t)
				if want := nobody.Port(); s.Server.Port != want {
					t.Errorf("the record says %+v", s.Server)
				}
				if s.Status != record.Refused && s.Status != record.Reset && s.Status != record.Aborted {
					t.Errorf("the record says %s", s.Status)
				}
			})
		}
	})
}

// TestUrgent: urgent octets are out of band; those around them arrive.
func TestUrgent(t *testing.T) {
	eachSide(t, func(t *testing.T, o Options, side wire.Direction) {
		r := newRig(t, o)
		ends := [2]*net.TCPConn{}
		ends[wire.FromClient], ends[wire.FromServer] = r.pair()
		from, to := ends[side], ends[side.Reverse()]
		raw, err := from.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			before, behind := fmt.Sprintf("before %d", i), fmt.Sprintf("behind %d", i)
			send(t, from, before)
			if e := raw.Control(func(fd uintptr) { err = unix.Sendto(int(fd), []byte("!"), unix.MSG_OOB, nil) }); e != nil || err != nil {
				t.Fatal(e, err)
			}
			send(t, from, behind)
			receive(t, to, before+behind)
		}
		_ = from.Close()
		receiveEnd(t, to)
		_ = to.Close()
		r.memory.record(t)
	})
}

// TestIdleOrder: pairs of a loop end when nothing was said for the idle timeout, never earlier and not much later,
// whatever was said in the others.
func TestIdleOrder(t *testing.T) {
	u := idlePump(1<<20, 64<<20)
	p := u.in.p
	const patience = 10 * time.Second
	l := &loop{p: p, accepting: true}
	begin := time.Now()
	last := map[*pair]time.Time{} // that something was said
	for range 50 {
		pr := &pair{route: &route{p: p}, slot: int32(len(l.slots)), connected: true, open: true, begin: begin, touched: begin}
		pr.legs[wire.FromClient].fd, pr.legs[wire.FromServer].fd = -1, -1
		l.slots = append(l.slots, pr)
		l.queue(&l.relaying, patience, pr)
		last[pr] = begin
		p.begun()
	}
	pairs := append([]*pair(nil), l.slots...)
	for now := begin; p.active.Load() > 0; now = now.Add(time.Duration(rand.Int64N(int64(200 * time.Millisecond)))) {
		if due := l.next(); now.After(due) {
			now = due
		}
		l.expire(now)
		for _, pr := range pairs {
			idle := now.Sub(last[pr])
			switch {
			case pr.open && idle > patience+touchTime(patience):
				t.Fatalf("a pair is open after %v", idle)
			case !pr.open && pr.route != nil && idle < patience:
				t.Fatalf("a pair has ended after %v", idle)
			case !pr.open:
				pr.route = nil // it was looked at
			}
		}
		if now.Sub(begin) > time.Minute {
			continue
		}
		for range rand.IntN(3) {
			if pr := pairs[rand.IntN(len(pairs))]; pr.open {
				l.touch(pr, now)
				last[pr] = now
			}
		}
	}
	if p.active.Load() != 0 || l.open != -len(pairs) {
		t.Errorf("%d are active", p.active.Load())
	}
}

// TestReservedDescriptors: the more routes there are, the fewer conversations have room for their descriptors.
func TestReservedDescriptors(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	lowered := func(routes int) int {
		o := Options{MaxConnections: 1<<30 - 1000, Routes: make([]Route, routes)}
		if err := bare(Options{}).limitDescriptors(&o); err != nil {
			t.Fatal(err)
		}
		return o.MaxConnections
	}
	if few, many, want := lowered(1), lowered(101), (1+Loops())*100/descriptors; few-many != want {
		t.Errorf("with 100 routes more there are %d connections less, want %d", few-many, want)
	}
}
