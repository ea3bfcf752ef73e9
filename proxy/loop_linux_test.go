package proxy

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAcceptFails: where a listener fails in a way that nobody expects, a loop says so and rests, instead of asking again at
// once.
func TestAcceptFails(t *testing.T) {
	said := ""
	p := bare(Options{Warn: func(_, message string) { said = message }})
	checkLeaks(t)
	l, err := newLoop(p)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) // which does not listen
	if err != nil {
		t.Fatal(err)
	}
	l.listeners = []loopListener{{fd: fd}}
	if err := l.acceptAgain(); err != nil {
		t.Fatal(err)
	}
	l.accept(&l.listeners[0])
	if l.accepting || l.resume.IsZero() || !strings.HasPrefix(said, "a connection has to wait: ") {
		t.Errorf("it accepts on: %v; the log says %q", l.accepting, said)
	}
}

// TestNoLoop: a loop that cannot be made leaves nothing behind.
func TestNoLoop(t *testing.T) {
	checkLeaks(t)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	next, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(next)
	for room := range 2 {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(next + room), Max: limit.Max}); err != nil {
			t.Fatal(err)
		}
		_, err := newLoop(bare(Options{}))
		if e := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); e != nil {
			t.Fatal(e)
		}
		if err != unix.EMFILE {
			t.Errorf("with room for %d descriptors the error is %v", room, err)
		}
	}
}

// TestListenersOfDeadLoop: what a loop that has died is to accept from is closed.
func TestListenersOfDeadLoop(t *testing.T) {
	checkLeaks(t)
	p := bare(Options{})
	l, err := newLoop(p)
	if err != nil {
		t.Fatal(err)
	}
	l.close()
	p.loops = []*loop{l}
	listening := newListener(listenAt(t, "tcp", "127.0.0.1:0").(netListener), true)
	defer listening.close()
	if err := p.loopThrough([]*route{{p: p, listener: listening}}); err != nil {
		t.Error(err)
	}
}

// TestParked: the runtime's poller knows only of listeners that goroutines accept from.
func TestParked(t *testing.T) {
	r := newRig(t, Options{})
	r.eachAccepted(greetAndEcho)
	for range 2 {
		for name, strangers := range map[string][]netip.Prefix{"loops": nil, "goroutines": {netip.MustParsePrefix("192.0.2.0/24")}} {
			r.reconfigure(func(o *Options) { o.AcceptProxy = strangers })
			c := dialTo(t, r.Addrs()[0].String())
			converse(t, c)
			_ = c.Close()
			eventually(t, "the poller is right where "+name+" accept", func() bool {
				return (r.allRoutes()[0].listener.unparked() == nil) == (name == "loops")
			})
		}
	}
}
