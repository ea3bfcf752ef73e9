package proxy

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

// begin takes an accepted connection and connects to the server.
func (l *loop) begin(r *route, fd int, client netip.AddrPort) {
	l.p.begun()
	now := time.Now()
	pr := &pair{route: r, begin: now, touched: now, client: client, open: true}
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
	l.queue(&l.connecting, r.ConnectTimeout, pr)
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
		l.p.ours.remove(pr.next)
	}
	if len(pr.servers) == 0 {
		l.unreachable(pr, cause)
		return
	}
	pr.server, pr.servers = pr.servers[0], pr.servers[1:]
	pr.list.remove(pr)
	pr.touched = time.Now()
	pr.list.push(pr)
	l.tryServer(pr)
}

// tryServer begins a connection to the server. Where that needs what is used up just now, a descriptor or the room in a
// unix socket's backlog, it is tried again until the connect timeout ends the pair.
func (l *loop) tryServer(pr *pair) {
	fd, own, err := l.dial(pr)
	switch {
	case isUsedUp(err):
		l.p.warn("connect", "a connection to the server has to wait: "+err.Error())
		l.retries = append(l.retries, pr)
	case err != nil:
		l.nextServer(pr, err)
	default:
		pr.legs[wire.FromServer].fd = fd
		pr.next = hop{own, loopedBack(pr.server)}
		l.p.ours.add(pr.next)
		if err := l.watch(fd, interest, pr.slot*2+int32(wire.FromServer), pr.generation); err != nil {
			l.nextServer(pr, err)
		}
	}
}

// dial begins a connection to the server, and returns its own address.
func (l *loop) dial(pr *pair) (fd int, own netip.AddrPort, err error) {
	address, family := sockaddr(pr.server), unix.AF_INET
	if path := pr.route.unixServer(); path != "" {
		address, family = &unix.SockaddrUnix{Name: path}, unix.AF_UNIX
	} else if pr.server.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, own, err
	}
	if family != unix.AF_UNIX {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		if err == nil && pr.route.Transparent {
			err = dialFrom(fd, pr.client)
		}
	}
	if err == nil {
		err = unix.Connect(fd, address)
	}
	if own = ownAddress(fd); own.IsValid() && own == loopedBack(pr.server) { // nobody listens there, so that the port was free
		err = unix.ECONNREFUSED
	}
	if err != nil && err != unix.EINPROGRESS {
		_ = unix.Close(fd)
		return -1, own, err
	}
	return fd, own, nil
}

// unreachable ends a pair whose server could not be connected to. The client sees a reset, as it would have seen.
func (l *loop) unreachable(pr *pair, cause error) {
	pr.pump = pr.route.begin(pr.client, pr.server, pr.begin)
	pr.route.refuse(pr.pump, pr.route.named(pr.server), cause)
	pr.pump = nil
	l.end(pr, inspect.EndRefused)
}

// refused goes on with the next server where the kernel says that there will be no connection to this one.
func (l *loop) refused(pr *pair) bool {
	errno, err := unix.GetsockoptInt(pr.legs[wire.FromServer].fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && errno != 0 {
		err = unix.Errno(errno)
	}
	if err != nil {
		l.nextServer(pr, err)
	}
	return err != nil
}

// connect goes on when the connection is there.
func (l *loop) connect(pr *pair) {
	g := &pr.legs[wire.FromServer]
	client := pr.legs[wire.FromClient].fd
	if l.p.ours.has(pr.client, func() (netip.AddrPort, error) { return originalServer(client) }, pr.next) {
		l.unreachable(pr, errCircle) // the hop before has said only now that it is one
		return
	}
	pr.connected = true
	pr.list.remove(pr)
	pr.touched = time.Now()
	l.queue(&l.relaying, pr.route.IdleTimeout, pr)
	pr.pump = pr.route.begin(pr.client, pr.server, pr.begin)
	if pr.route.SendProxy != 0 {
		l.hold(g, pr.route.header(pr.client, pr.route.wanted(ownAddress(client), pr.server)))
		l.flush(pr, wire.FromServer)
	}
	for _, from := range []wire.Direction{wire.FromClient, wire.FromServer} {
		if pr.open {
			l.move(pr, from)
		}
	}
}
