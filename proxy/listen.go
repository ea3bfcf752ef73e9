package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// listener is a socket that accepts connections: TCP or unix.
type listener interface {
	net.Listener
	syscall.Conn
}

// open opens a route's listener and looks for its server.
func (p *Proxy) open(ctx context.Context, r Route) (*route, error) {
	if r.Upstream == Original && !haveOriginal {
		return nil, errors.New("where a client wanted to go can be found out on Linux only; name the server")
	}
	opened := &route{Route: r, p: p}
	if err := opened.lookUp(ctx); err != nil {
		return nil, err
	}
	var err error
	if isSystemd(r.Listen) {
		opened.listener, err = p.activated(r.Listen)
	} else {
		opened.listener, err = p.listen(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	if a, ok := opened.listener.Addr().(*net.TCPAddr); ok {
		opened.bound = a.AddrPort()
	}
	return opened, nil
}

func (p *Proxy) listen(ctx context.Context, r Route) (listener, error) {
	config := net.ListenConfig{KeepAlive: -1}
	config.SetMultipathTCP(false)
	if r.Upstream == Original {
		config.Control = allowTransparent
	}
	network, address := "tcp", r.Listen
	if path, ok := strings.CutPrefix(r.Listen, unixPrefix); ok {
		network, address = "unix", path
		removeStale(path)
	}
	l, err := config.Listen(ctx, network, address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is in use by another program; stop it (ss -lxtnp shows which one it is) or listen elsewhere", r.Listen)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listening on %s is not permitted; ports below 1024 need root or CAP_NET_BIND_SERVICE", r.Listen)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s is no address of this host; ip addr shows those that are", r.Listen)
	case err != nil:
		return nil, fmt.Errorf("listening failed: %w", err)
	}
	return l.(listener), nil
}

// removeStale removes a socket that nobody listens on any more, and nothing else.
func removeStale(path string) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return
	}
	_ = os.Remove(path)
}

const firstActivated = 3 // SD_LISTEN_FDS_START

// activated returns a socket that systemd opened (sd_listen_fds(3)): the one of the name behind "systemd:", or the
// next one.
func (p *Proxy) activated(listen string) (listener, error) {
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if pid := os.Getenv("LISTEN_PID"); err != nil || pid != strconv.Itoa(os.Getpid()) {
		return nil, errors.New("systemd has given no socket; start mailwire by a .socket unit or name an address")
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	_, want, named := strings.Cut(listen, ":")
	for i := range count {
		if p.used[i] || named && (i >= len(names) || names[i] != want) {
			continue
		}
		p.used[i] = true
		f := os.NewFile(uintptr(firstActivated+i), listen)
		l, err := net.FileListener(f)
		_ = f.Close() // it was duplicated
		if err != nil {
			return nil, fmt.Errorf("what systemd gave is no listening socket: %w", err)
		}
		stream, ok := l.(listener)
		if !ok {
			return nil, errors.New("what systemd gave is no stream socket")
		}
		return stream, nil
	}
	return nil, fmt.Errorf("systemd has given no (more) socket for %s; see FileDescriptorName= and ListenStream= in its .socket unit", listen)
}

// refuseCircles says so when a server is one of the listeners.
func (p *Proxy) refuseCircles() error {
	var err error
	p.local, err = localAddresses()
	if err != nil {
		return err
	}
	for _, r := range p.routes {
		for _, other := range p.routes {
			if other.isServerOf(r) {
				return fmt.Errorf("%s: the server is this proxy itself (%s); name the mail server's address and port", r, other.Listen)
			}
		}
	}
	return nil
}

// isServerOf says whether the connections of another route would come to this one.
func (r *route) isServerOf(other *route) bool {
	if path := other.unixServer(); path != "" {
		own, ok := r.listener.Addr().(*net.UnixAddr)
		return r.Listen == other.Upstream || ok && sameFile(own.Name, path)
	}
	servers := other.servers.Load()
	return servers != nil && slices.ContainsFunc(*servers, func(server netip.AddrPort) bool { return r.listens(server, r.p.local) })
}

// sameFile says whether two names are of one file.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// listens says whether a connection to address would come to this route.
func (r *route) listens(address netip.AddrPort, local map[netip.Addr]bool) bool {
	if address.Port() != r.bound.Port() {
		return false
	}
	bound, to := r.bound.Addr().Unmap(), address.Addr().Unmap()
	if to.IsUnspecified() { // it is this host's loopback
		return bound.IsUnspecified() || bound.IsLoopback()
	}
	return bound == to || bound.IsUnspecified() && (local[to] || to.IsLoopback())
}

// localAddresses are those of this host.
func localAddresses() (map[netip.Addr]bool, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("the addresses of this host cannot be listed: %w", err)
	}
	local := map[netip.Addr]bool{}
	for _, a := range list {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			local[prefix.Addr().Unmap()] = true
		}
	}
	return local, nil
}
