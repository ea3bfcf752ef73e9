package proxy

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	haveOriginal = true

	soOriginalDst = 80  // SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST (linux/netfilter_ipv4.h)
	descriptors   = 2   // of a conversation
	reserve       = 160 // descriptors for the archive (mails and logs), the listeners and the rest
)

// mayBeTransparent says whether the process may use addresses that are not this host's.
func mayBeTransparent() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = setTransparent(fd, false)
	_ = unix.Close(fd)
	if err != nil {
		return fmt.Errorf("--transparent needs the right CAP_NET_ADMIN; run as root, or setcap cap_net_admin,cap_net_bind_service+ep: %w", err)
	}
	return nil
}

// reservedFor returns how many descriptors are not for conversations. Each listener is one, and each loop has two, and one
// of each listener.
func reservedFor(routes int) int { return reserve + routes + Loops()*(2+routes) }

// limitDescriptors raises the limit of open files to what MaxConnections needs, as far as it may, and lowers
// MaxConnections to what is left.
func (p *Proxy) limitDescriptors(o *Options) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	reserved := reservedFor(len(o.Routes))
	want := uint64(o.MaxConnections*descriptors + reserved)
	if limit.Cur < want {
		raised := unix.Rlimit{Cur: want, Max: max(want, limit.Max)}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err != nil {
			raised = unix.Rlimit{Cur: min(want, limit.Max), Max: limit.Max}
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err != nil {
				raised = limit
			}
		}
		limit = raised
	}
	if limit.Cur < want {
		if o.MaxConnections = (int(limit.Cur) - reserved) / descriptors; o.MaxConnections < 1 {
			return fmt.Errorf("no more than %d files may be open at once, which is too few; raise the limit (ulimit -n, LimitNOFILE=)", limit.Cur)
		}
		p.warn("descriptors", fmt.Sprintf("no more than %d files may be open at once, so no more than %d connections are relayed at a time; "+
			"raise the limit (ulimit -n, LimitNOFILE=) for more", limit.Cur, o.MaxConnections))
	}
	return nil
}

// isListening says whether a file is a socket that accepts connections: package net takes one that is connected for it too.
func isListening(f *os.File) bool {
	n, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && n == 1
}

// allowTransparent lets a listener take what TPROXY sends to it. Without the right to, REDIRECT still works.
func allowTransparent(network, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = setTransparent(int(fd), network == "tcp6") })
}

// setTransparent lets a socket use addresses that are not this host's.
func setTransparent(fd int, v6 bool) error {
	if v6 {
		if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1); err != nil {
			return err
		}
	}
	return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1)
}

// originalServer returns where the client of an accepted socket wanted to go: the packet filter remembers what REDIRECT
// changed, and TPROXY leaves it as the socket's own address.
func originalServer(fd int) (netip.AddrPort, error) {
	own := ownAddress(fd)
	level := unix.SOL_IP
	if own.Addr().Is6() {
		level = unix.SOL_IPV6
	}
	var name rawAddress
	length := uint32(unsafe.Sizeof(name))
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), soOriginalDst, uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&length)), 0); errno == 0 {
		return name.addrPort(), nil
	}
	if !own.IsValid() {
		return own, errors.New("where the client wanted to go is not known")
	}
	return own, nil
}

// ownAddress returns the address of a socket on this side; zero for a unix socket.
func ownAddress(fd int) netip.AddrPort {
	var name rawAddress
	length := uint32(unsafe.Sizeof(name))
	if _, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&length))); errno != 0 {
		return netip.AddrPort{}
	}
	return name.addrPort()
}

// sockaddr is the reverse of addrPort; v6 asks for the form of an IPv6 socket.
func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if addr := a.Addr().Unmap(); addr.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: addr.As4()}
	}
	zone := uint32(0)
	_, _ = fmt.Sscanf(a.Addr().Zone(), "%d", &zone)
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: zone}
}

// dialFrom prepares a socket that is to connect to the server from the client's address.
func dialFrom(fd int, client netip.AddrPort) error {
	if !client.Addr().IsValid() {
		return errors.New("the client has no address that could be used")
	}
	if err := setTransparent(fd, client.Addr().Is6()); err != nil {
		return err
	}
	// The port is chosen when the socket connects, so that two connections can share one.
	_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	return unix.Bind(fd, sockaddr(netip.AddrPortFrom(client.Addr(), 0)))
}

// resetOnClose makes the close of a socket a reset.
func resetOnClose(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// drains says whether the peer of a socket has octets still to take, and has taken some since the time before, as taken
// says. The first time it is believed to have.
func drains(fd int, taken *int64) bool {
	before := *taken
	*taken = 0
	queued, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil || queued == 0 {
		return false
	}
	if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
		*taken = int64(info.Bytes_acked)
	} else { // a unix socket's
		*taken = math.MaxInt32 - int64(queued)
	}
	return *taken > before
}

// endDrains is drains for a connection.
func endDrains(e end, taken *int64) (well bool) {
	if conn, ok := e.(syscall.Conn); ok {
		if raw, err := conn.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { well = drains(int(fd), taken) }) // it may be closed
		}
	}
	return well
}

// originalOf is originalServer for an accepted connection.
func originalOf(e end) (server netip.AddrPort, err error) {
	conn, ok := e.(syscall.Conn)
	if !ok {
		return server, errors.ErrUnsupported
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return server, err
	}
	if e := raw.Control(func(fd uintptr) { server, err = originalServer(int(fd)) }); e != nil {
		return server, e
	}
	return server, err
}

// bindTo lets a dialer connect from the client's address.
func bindTo(client netip.AddrPort) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { err = dialFrom(int(fd), client) }); e != nil {
			return e
		}
		return err
	}
}
