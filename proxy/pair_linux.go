package proxy

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

const (
	fairReads = 4        // reads of one side before others get their turn
	giveFrom  = 16 << 10 // octets of a read from which on its block is given to the Pump instead of copied
	crowded   = 32 << 20 // octets that peers have not taken, over all, from which on reads are small
)

// pair is a conversation in a loop.
type pair struct {
	route      *route
	pump       *Pump // nil until the server is connected, or known not to be
	legs       [2]leg
	begin      time.Time
	touched    time.Time // as its list has it
	client     netip.AddrPort
	server     netip.AddrPort
	next       hop              // to the server, until it has said something
	servers    []netip.AddrPort // still to be tried
	list       *pairList
	before     *pair // in it
	after      *pair
	slot       int32
	generation int32
	connected  bool
	greeted    bool // the server has said something
	open       bool
}

// leg is one side's connection, by the direction of what it sends.
type leg struct {
	fd       int
	readable bool   // there may be octets to read
	ending   bool   // a short read does not mean that there is no more: an end or an urgent mark may have cut it
	later    bool   // it is to be read from again in its turn
	ended    bool   // it has sent all it will
	shut     bool   // and so has the other side to it
	broken   bool   // nothing can be sent to it any more
	out      []byte // what it has not taken yet
	room     *block // of out
	taken    int64  // by it, when the pair looked idle last
}

// event goes on with one side.
func (l *loop) event(pr *pair, side wire.Direction, events uint32) {
	g := &pr.legs[side]
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR|unix.EPOLLPRI) != 0 {
		g.ending = true
	}
	if events&unix.EPOLLIN != 0 || g.ending {
		g.readable = true
	}
	switch {
	case pr.connected && g.ended && events&unix.EPOLLERR != 0:
		l.reset(pr)
	case pr.connected:
		if events&unix.EPOLLOUT != 0 && len(g.out) > 0 {
			if l.flush(pr, side); !pr.open {
				return
			}
		}
		if side == wire.FromServer && !pr.greeted { // what the client has said before the greeting comes before it
			pr.greeted, pr.legs[wire.FromClient].readable = true, true
			l.move(pr, wire.FromClient)
		}
		if pr.open {
			l.move(pr, side)
		}
	case side == wire.FromServer:
		failed := events&(unix.EPOLLERR|unix.EPOLLHUP) != 0
		if (failed || events&unix.EPOLLOUT != 0) && !(failed && l.refused(pr)) {
			l.connect(pr)
		}
	case events&(unix.EPOLLHUP|unix.EPOLLERR) != 0: // the client has given up
		l.reset(pr)
	}
}

// move relays what one side has sent: read, write, show. Both directions of a pair are in one goroutine, so that what is
// shown is in the order of cause and effect.
func (l *loop) move(pr *pair, from wire.Direction) {
	src, dst := &pr.legs[from], &pr.legs[from.Reverse()]
	for range fairReads {
		if !src.readable || src.ended || dst.broken || len(dst.out) > 0 {
			return
		}
		room := l.block.data
		if l.p.unsent.Load() > crowded {
			room = room[:smallBlock]
		}
		n, err := readOctets(src.fd, room)
		switch {
		case err == unix.EAGAIN:
			src.readable = false
			return
		case err == unix.EINTR:
			continue
		case err != nil:
			l.reset(pr)
			return
		case n == 0:
			l.halfClose(pr, from)
			return
		}
		if n < len(room) && !src.ending {
			src.readable = false
		}
		l.pass(pr, from, n)
		if !pr.open {
			return
		}
	}
	if !src.later {
		src.later = true
		l.later = append(l.later, turn{pr, from})
	}
}

// pass writes n octets of the loop's block, and shows them.
func (l *loop) pass(pr *pair, from wire.Direction, n int) {
	dst, data, now := &pr.legs[from.Reverse()], l.block.data[:n], time.Now()
	m, err := writeOctets(dst.fd, data)
	if err != nil {
		m = 0
		dst.broken = err != unix.EAGAIN && err != unix.EINTR
	}
	if m < n && !dst.broken {
		l.hold(dst, data[m:])
	}
	if from == wire.FromServer && pr.next != (hop{}) {
		l.p.ours.remove(pr.next)
		pr.next = hop{}
	}
	l.p.counts.relayed[from].Add(int64(n))
	if n >= giveFrom {
		pr.pump.Give(from, now, l.block, n)
		l.block = getBlock(largeBlock)
	} else {
		pr.pump.Show(from, now, data)
	}
	l.touch(pr, now)
	if dst.broken {
		l.lastWords(pr, from.Reverse())
	}
}

// hold keeps octets until g takes them.
func (l *loop) hold(g *leg, data []byte) {
	g.room = getBlock(len(data))
	g.out = g.room.data[:copy(g.room.data, data)]
	l.p.unsent.Add(int64(len(g.room.data)))
}

// release gives back what hold has taken.
func (l *loop) release(g *leg) {
	if g.room != nil {
		l.p.unsent.Add(int64(-len(g.room.data)))
		putBlock(g.room)
		g.room = nil
	}
}

// flush writes what a leg has not taken yet; then the other side may send on.
func (l *loop) flush(pr *pair, to wire.Direction) {
	g := &pr.legs[to]
	n, err := writeOctets(g.fd, g.out)
	if err != nil {
		if g.broken = err != unix.EAGAIN && err != unix.EINTR; g.broken {
			l.lastWords(pr, to)
		}
		return
	}
	l.touch(pr, time.Now())
	if g.out = g.out[n:]; len(g.out) > 0 {
		return
	}
	l.release(g)
	if pr.legs[to.Reverse()].ended {
		l.shut(pr, to)
	} else {
		l.move(pr, to.Reverse())
	}
}

// lastWords passes on what a side said before it broke the connection. Reading then tells of the break (RFC 9293 section
// 3.10.7.4: a reset ends both directions), which breaks it for the other side too.
func (l *loop) lastWords(pr *pair, from wire.Direction) {
	g := &pr.legs[from]
	g.readable, g.ending = true, true
	if g.ended || pr.legs[from.Reverse()].broken {
		l.reset(pr)
		return
	}
	l.move(pr, from)
}

// halfClose passes on that one side has ended its octets.
func (l *loop) halfClose(pr *pair, from wire.Direction) {
	if pr.legs[from].broken {
		l.reset(pr)
		return
	}
	pr.legs[from].ended = true
	pr.pump.HalfClose(from, time.Now())
	if to := from.Reverse(); len(pr.legs[to].out) == 0 {
		l.shut(pr, to)
	}
}

func (l *loop) shut(pr *pair, to wire.Direction) {
	g := &pr.legs[to]
	if g.shut = true; g.ended && pr.legs[to.Reverse()].shut {
		l.end(pr, inspect.EndClosed)
		return
	}
	_ = unix.Shutdown(g.fd, unix.SHUT_WR) // fails where the connection is broken, as its read will tell
}

// reset ends a pair of which one side was reset: so is the other.
func (l *loop) reset(pr *pair) {
	l.end(pr, inspect.EndReset)
}

// end closes both connections: in order if both sides have ended, else so that none of them can take it for its end.
func (l *loop) end(pr *pair, how inspect.End) {
	if pr.pump == nil && how != inspect.EndRefused {
		pr.pump = pr.route.begin(pr.client, pr.server, pr.begin)
	}
	pr.list.remove(pr)
	if pr.legs[wire.FromServer].fd >= 0 {
		l.p.ours.remove(pr.next)
	}
	for i := range pr.legs {
		g := &pr.legs[i]
		if g.fd >= 0 {
			if how != inspect.EndClosed {
				resetOnClose(g.fd)
			}
			_ = unix.Close(g.fd)
		}
		l.release(g)
		*g = leg{fd: -1} // 0 would be somebody else's
	}
	l.slots[pr.slot] = nil
	l.free = append(l.free, pr.slot)
	l.open--
	pr.open = false
	if pr.pump != nil {
		pr.pump.End(time.Now(), how)
	}
	l.p.ended()
}

// touch notes that the pair is not idle.
func (l *loop) touch(pr *pair, now time.Time) {
	if now.Sub(pr.touched) >= touchTime(pr.list.patience) {
		pr.list.remove(pr)
		pr.touched = now
		pr.list.push(pr)
	}
}
