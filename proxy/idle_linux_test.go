package proxy

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailwire/mailwire/inspect/wire"
)

// TestIdleDrains: a conversation is not idle while one side still takes what the kernel holds for it, though nothing is read
// or written meanwhile; it is when that side takes nothing more.
func TestIdleDrains(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, own *net.TCPConn, side wire.Direction) (goesOn func() bool){
		"loops": idlePair, "goroutines": idleCall,
	} {
		for _, side := range []wire.Direction{wire.FromClient, wire.FromServer} {
			t.Run(name+" "+side.String(), func(t *testing.T) {
				checkLeaks(t)
				l := listenAt(t, "tcp", "127.0.0.1:0")
				peer := dialTo(t, l.Addr().String())
				own, err := acceptFrom(l)
				if err != nil {
					t.Fatal(err)
				}
				defer own.Close()
				_ = peer.SetReadBuffer(64 << 10) // much less than is taken between two looks
				for err == nil {
					_ = own.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
					_, err = own.Write(make([]byte, 1<<20))
				}
				goesOn := begin(t, own.(*net.TCPConn), side)
				for range 3 {
					if !goesOn() {
						t.Fatal("a conversation ends while one side takes octets")
					}
					if _, err := io.CopyN(io.Discard, struct{ io.Reader }{peer}, 512<<10); err != nil {
						t.Fatal(err)
					}
				}
				eventually(t, "a conversation ends when nobody takes anything", func() bool { return !goesOn() })
			})
		}
	}
}

// idlePair returns what lets the idle timeout of a loop's pair pass, and says whether it goes on.
func idlePair(t *testing.T, own *net.TCPConn, side wire.Direction) func() bool {
	p := idlePump(1<<20, 64<<20).in.p
	raw, err := own.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	if e := raw.Control(func(f uintptr) { fd, err = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 0) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	l, now := &loop{p: p, accepting: true}, time.Now()
	pr := &pair{route: &route{p: p}, connected: true, open: true, begin: now, touched: now}
	pr.legs[side].fd, pr.legs[side.Reverse()].fd = fd, -1
	l.slots = []*pair{pr}
	l.queue(&l.relaying, DefaultIdleTimeout, pr)
	p.begun()
	return func() bool {
		now = now.Add(DefaultIdleTimeout + touchTime(DefaultIdleTimeout))
		l.expire(now)
		return pr.open
	}
}

// idleCall is idlePair for a call.
func idleCall(t *testing.T, own *net.TCPConn, side wire.Direction) func() bool {
	c := newCall(&route{p: idlePump(1<<20, 64<<20).in.p, Terms: Terms{}.withDefaults()}, own)
	c.under = [2]end{}
	c.under[side] = own
	c.watch = time.AfterFunc(time.Hour, c.lookIdle)
	t.Cleanup(func() { c.watch.Stop() })
	return func() bool {
		c.begin = c.begin.Add(-DefaultIdleTimeout)
		c.lookIdle()
		return !c.over
	}
}
