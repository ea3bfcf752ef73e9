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
	last       time.Time // that an octet came
	touched    time.Time // as its list has it
	client     netip.AddrPort
	server     netip.AddrPort
	outgoing   netip.AddrPort   // our address towards the server
	servers    []netip.AddrPort // still to be tried
	before     *pair
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
}

// begin takes an accepted connection and connects to the server.
func (l *loop) begin(r *route, fd int, client netip.AddrPort) {
	l.p.begun()
	now := time.Now()
	pr := &pair{route: r, begin: now, touched: now, last: now, client: client, open: true}
	pr.legs[wire.FromClient].fd, pr.legs[wire.FromServer].fd = fd, -1
	if n := len(l.free); n > 0 {
		pr.slot, l.free = l.free[n-1], l.free[:n-1]
	} else {
		pr.slot = int32(len(l.slots))
		l.slots = append(l.slots, nil)
	}
	l.generation++
	pr.generation = l.generation
	l.slots[pr.slot] = pr
	l.open++
	l.connecting.push(pr)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // a unix socket has none
	err := l.watch(fd, interest, pr.slot*2+int32(wire.FromClient), pr.generation)
	if err == nil {
		pr.servers, err = r.serversFor(client, func() (netip.AddrPort, error) { return originalServer(fd) })
	}
	if err != nil {
		if len(pr.servers) > 0 {
			pr.server = pr.servers[0]
		}
		l.unreachable(pr, err)
		return
	}
	l.nextServer(pr, nil)
}

// nextServer tries the next address of the server; cause says why the one before did not do.
func (l *loop) nextServer(pr *pair, cause error) {
	g := &pr.legs[wire.FromServer]
	if g.fd >= 0 {
		_ = unix.Close(g.fd)
		g.fd = -1
		l.p.ours.remove(pr.outgoing)
	}
	if len(pr.servers) == 0 {
		l.unreachable(pr, cause)
		return
	}
	pr.server, pr.servers = pr.servers[0], pr.servers[1:]
	l.connecting.remove(pr)
	pr.touched = time.Now()
	l.connecting.push(pr)
	l.tryServer(pr)
}

// tryServer begins a connection to the server. Where that needs what is used up just now, a descriptor or the room in a
// unix socket's backlog, it is tried again until the connect timeout ends the pair.
func (l *loop) tryServer(pr *pair) {
	fd, err := l.dial(pr)
	switch {
	case isUsedUp(err):
		l.p.Warn("connect", "a connection to the server has to wait: "+err.Error())
		l.retries = append(l.retries, turn{pr: pr, generation: pr.generation})
	case err != nil:
		l.nextServer(pr, err)
	default:
		pr.legs[wire.FromServer].fd = fd
		pr.outgoing = ownAddress(fd)
		l.p.ours.add(pr.outgoing, loopedBack(pr.server))
		if err := l.watch(fd, interest, pr.slot*2+int32(wire.FromServer), pr.generation); err != nil {
			l.nextServer(pr, err)
		}
	}
}

// dial begins a connection to the server.
func (l *loop) dial(pr *pair) (fd int, err error) {
	address, family := sockaddr(pr.server), unix.AF_INET
	if path := pr.route.unixServer(); path != "" {
		address, family = &unix.SockaddrUnix{Name: path}, unix.AF_UNIX
	} else if pr.server.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if family != unix.AF_UNIX {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		if err == nil && l.p.Transparent {
			err = dialFrom(fd, pr.client)
		}
	}
	if err == nil {
		err = unix.Connect(fd, address)
	}
	if err != nil && err != unix.EINPROGRESS {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// unreachable ends a pair whose server could not be connected to. The client sees a reset, as it would have seen.
func (l *loop) unreachable(pr *pair, cause error) {
	pr.pump = pr.route.begin(pr.client, pr.server, pr.begin)
	pr.route.refuse(pr.pump, pr.route.named(pr.server), cause)
	pr.pump = nil
	l.end(pr, inspect.EndRefused)
}

// connect goes on when the kernel says that the connection is there, or will never be.
func (l *loop) connect(pr *pair) {
	g := &pr.legs[wire.FromServer]
	errno, err := unix.GetsockoptInt(g.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && errno != 0 {
		err = unix.Errno(errno)
	}
	if err != nil {
		l.nextServer(pr, err)
		return
	}
	client := pr.legs[wire.FromClient].fd
	if l.p.ours.has(pr.client, func() (netip.AddrPort, error) { return originalServer(client) }) {
		l.unreachable(pr, errCircle) // the hop before has said only now that it is one
		return
	}
	pr.connected = true
	l.connecting.remove(pr)
	pr.last = time.Now()
	pr.touched = pr.last
	l.relaying.push(pr)
	pr.pump = pr.route.begin(pr.client, pr.server, pr.begin)
	if l.p.SendProxy != 0 {
		l.hold(g, pr.route.header(pr.client, pr.route.wanted(ownAddress(client), pr.server)))
		l.flush(pr, wire.FromServer)
	}
	for _, from := range []wire.Direction{wire.FromClient, wire.FromServer} {
		if pr.open {
			l.move(pr, from)
		}
	}
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
			l.flush(pr, side)
		}
		if side == wire.FromServer && !pr.greeted { // what the client has said before the greeting comes before it
			pr.greeted, pr.legs[wire.FromClient].readable = true, true
			l.move(pr, wire.FromClient)
		}
		if pr.open {
			l.move(pr, side)
		}
	case side == wire.FromServer:
		if events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			l.connect(pr)
		}
	case events&(unix.EPOLLHUP|unix.EPOLLERR) != 0: // the client has given up
		l.reset(pr)
	}
}

// move relays what one side has sent: read, write, show. Both directions of a pair are in one thread, so that what is
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
		l.later = append(l.later, turn{pr, pr.generation, from})
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
	_ = unix.Shutdown(g.fd, unix.SHUT_WR) // fails where the connection is broken, as its read will tell
	g.shut = true
	if g.ended && pr.legs[to.Reverse()].shut {
		l.end(pr, inspect.EndClosed)
	}
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
	if pr.connected {
		l.relaying.remove(pr)
	} else {
		l.connecting.remove(pr)
	}
	if pr.legs[wire.FromServer].fd >= 0 {
		l.p.ours.remove(pr.outgoing)
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
		*g = leg{}
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
	pr.last = now
	if now.Sub(pr.touched) >= l.p.touchTime() {
		l.relaying.remove(pr)
		pr.touched = now
		l.relaying.push(pr)
	}
}
