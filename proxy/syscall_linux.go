package proxy

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// These are system calls that never wait, or not for long, so that the runtime need not know of them; those of x/sys/unix
// tell it, and ask the kernel once more for the protocol of each address.

func readOctets(fd int, p []byte) (int, error)  { return octets(unix.SYS_READ, fd, p) }
func writeOctets(fd int, p []byte) (int, error) { return octets(unix.SYS_WRITE, fd, p) }

func octets(call uintptr, fd int, p []byte) (int, error) {
	n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// pollFor returns how many events there are, and waits for the first one. The processor is kept from other goroutines
// meanwhile.
func pollFor(epoll int, events []unix.EpollEvent, patience time.Duration) (int, error) {
	ms := (patience + time.Millisecond - 1) / time.Millisecond
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(ms), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// acceptNow accepts a connection that is there.
func acceptNow(listener int) (fd int, client netip.AddrPort, err error) {
	var name rawAddress
	length := uint32(unsafe.Sizeof(name))
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&length)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, client, errno
	}
	return int(n), name.addrPort(), nil
}

// rawAddress is a socket's address as the kernel lays it out.
type rawAddress unix.RawSockaddrAny

// addrPort returns the address; zero for one that is not of IP.
func (a *rawAddress) addrPort() netip.AddrPort {
	switch a.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(a))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), networkOrder(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(a))
		addr := netip.AddrFrom16(in.Addr).Unmap()
		if in.Scope_id != 0 && addr.Is6() {
			addr = addr.WithZone(strconv.FormatUint(uint64(in.Scope_id), 10))
		}
		return netip.AddrPortFrom(addr, networkOrder(in.Port))
	}
	return netip.AddrPort{}
}

// networkOrder reads a port as the kernel lays it out.
func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}
