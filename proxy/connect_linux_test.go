package proxy

import (
	"net/netip"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSelfConnect: a connection whose own port the kernel has chosen to be the server's is with itself (RFC 9293 section
// 3.5), and so with nobody.
func TestSelfConnect(t *testing.T) {
	var alone, err error
	var own netip.AddrPort
	done := make(chan struct{})
	go func() { // its thread ends with it, and with that the network namespace
		defer close(done)
		runtime.LockOSThread()
		if alone = ownNetwork("40000 40000"); alone != nil {
			return
		}
		var fd int
		if fd, _, err = new(loop).dial(&pair{route: &route{}, server: netip.MustParseAddrPort("127.0.0.1:40000")}); err == nil {
			own = ownAddress(fd)
			_ = unix.Close(fd)
		}
	}()
	<-done
	if alone != nil {
		t.Skip("no network of the test's own: ", alone)
	}
	if err != unix.ECONNREFUSED {
		t.Errorf("the error is %v, and the connection is from %v", err, own)
	}
}

// ownNetwork gives the thread a network in which there is only the loopback interface and these ports for who connects.
func ownNetwork(ports string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte(ports), 0)
}
