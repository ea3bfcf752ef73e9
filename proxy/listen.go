package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// open opens a route's listener, or shares that of the route before it, and looks for its server.
func (r *route) open(ctx context.Context, before *route) error {
	if r.Upstream == Original && !haveOriginal {
		return errors.New("where a client wanted to go can be found out on Linux only; name the server")
	}
	err := r.lookUp(ctx)
	switch {
	case err == nil:
	case before != nil && before.Upstream == r.Upstream:
		r.servers.Store(before.servers.Load())
		r.p.warn("resolve", err.Error()+"; going on with the addresses found last")
	default:
		return fmt.Errorf("%w; correct it, see to this host's resolver, or give an address", err)
	}
	switch {
	case before != nil:
		r.listener, err = before.listener, r.allow(before)
	case isSystemd(r.Listen):
		r.listener, err = r.p.activated(r.Listen)
	default:
		r.listener, err = listen(ctx, r.Route)
	}
	if err != nil {
		return err
	}
	if a, ok := r.listener.addr.(*net.TCPAddr); ok {
		r.bound = a.AddrPort()
	}
	return nil
}

// allow lets the listener of the route before take what TPROXY sends to it, if it is to from now on.
func (r *route) allow(before *route) error {
	tcp, ok := before.listener.addr.(*net.TCPAddr)
	if r.Upstream != Original || before.Upstream == Original || !ok {
		return nil
	}
	return before.listener.allowTransparent(tcp.IP.To4() == nil)
}

func listen(ctx context.Context, r Route) (*listener, error) {
	config := net.ListenConfig{KeepAlive: -1}
	config.SetMultipathTCP(false)
	if r.Upstream == Original {
		config.Control = allowTransparent
	}
	if path, ok := strings.CutPrefix(r.Listen, unixPrefix); ok {
		return listenUnix(ctx, &config, path)
	}
	l, err := config.Listen(ctx, tcpNetwork(r.Listen), r.Listen)
	unknown, isName := errors.AsType[*net.DNSError](err)
	switch {
	case err == nil:
		return newListener(l.(netListener), true), nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, inUse(r.Listen)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listening on %s is not permitted; ports below 1024 need root or CAP_NET_BIND_SERVICE", r.Listen)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s is no address of this host; ip addr shows those that are", r.Listen)
	case isName:
		return nil, fmt.Errorf("the name %s cannot be resolved: %w; give an address of this host to listen at", unknown.Name, cause(unknown))
	}
	return nil, fmt.Errorf("listening at %s failed: %w", r.Listen, cause(err))
}

// tcpNetwork keeps 0.0.0.0 to IPv4, which to package net is any address of both families, as [::] and no host are.
func tcpNetwork(address string) string {
	if a, err := netip.ParseAddrPort(address); err == nil && a.Addr().Is4() {
		return "tcp4"
	}
	return "tcp"
}

func inUse(address string) error {
	return fmt.Errorf("%s is in use by another program or route; stop it (ss -lxtnp shows which one it is) or listen elsewhere", address)
}

// socketMode lets everybody connect who may enter the socket's directory, as do Postfix's and Dovecot's sockets: a mail
// server's users are many. A client needs the right to write.
const socketMode = 0o666

// listenUnix listens at a path.
func listenUnix(ctx context.Context, config *net.ListenConfig, path string) (*listener, error) {
	removeStale(path)
	l, err := config.Listen(ctx, "unix", path)
	if err == nil {
		if err = setMode(path); err != nil {
			_ = l.Close()
			return nil, fmt.Errorf("the socket %s cannot be opened to its clients: %w", path, err)
		}
		return newListener(l.(netListener), true), nil
	}
	info, gone := os.Lstat(path)
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && gone == nil && info.Mode()&os.ModeSocket == 0:
		return nil, fmt.Errorf("%s is there already, and is no socket; move it away or listen elsewhere", path)
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, inUse(unixPrefix + path)
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("%s is no directory; make it, or listen elsewhere", filepath.Dir(path))
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("a socket in %s is not permitted; give this user the right to write there, or listen elsewhere", filepath.Dir(path))
	case errors.Is(err, syscall.EINVAL):
		return nil, fmt.Errorf("%s is too long for a socket's name; about 100 octets are allowed", path)
	}
	return nil, fmt.Errorf("listening at %s failed: %w", path, cause(err))
}

// setMode gives a new socket its mode, whatever the umask. Nobody who can write to its directory can lead this elsewhere.
func setMode(path string) error {
	if isAbstract(path) || runtime.GOOS == "windows" { // where modes mean nothing
		return nil
	}
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Chmod(filepath.Base(path), socketMode)
}

// isAbstract says whether the path is the name of no file (unix(7)).
func isAbstract(path string) bool { return strings.HasPrefix(path, "@") }

// removeStale removes a socket that nobody listens on any more, and nothing else.
func removeStale(path string) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return
	}
	c, err := net.Dial("unix", path)
	switch {
	case err == nil:
		_ = c.Close()
	case !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EACCES): // those come from one who listens
		_ = os.Remove(path)
	}
}

const firstActivated = 3 // SD_LISTEN_FDS_START

// systemdSockets returns how many sockets systemd has opened for this process (sd_listen_fds(3)), and their names.
func systemdSockets() (count int, names []string) {
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if pid := os.Getenv("LISTEN_PID"); err != nil || pid != strconv.Itoa(os.Getpid()) {
		return 0, nil
	}
	return count, strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
}

// activated returns a socket that systemd opened: the one of the name behind "systemd:", or the next one.
func (p *Proxy) activated(listen string) (*listener, error) {
	count, names := systemdSockets()
	if count == 0 {
		return nil, errors.New("systemd has given no socket; start mailwire by a .socket unit or name an address")
	}
	_, want, named := strings.Cut(listen, ":")
	for i := range count {
		if p.used[i] || named && (i >= len(names) || names[i] != want) {
			continue
		}
		p.used[i] = true
		f := os.NewFile(uintptr(firstActivated+i), listen)
		fits := isListening(f)
		l, err := net.FileListener(f)
		_ = f.Close() // it was duplicated
		if stream, ok := l.(netListener); ok && fits && err == nil {
			return newListener(stream, false), nil
		}
		return nil, errors.New("what systemd gave does not listen for connections; see ListenStream= and Accept=no in its .socket unit")
	}
	return nil, fmt.Errorf("systemd has given no (more) socket for %s; see FileDescriptorName= and ListenStream= in its .socket unit", listen)
}

// refuseUnused says so when systemd has given a socket that no route listens at: its clients would wait for ever.
func (p *Proxy) refuseUnused() error {
	count, names := systemdSockets()
	for i := range count {
		if p.used[i] {
			continue
		}
		name := fmt.Sprintf("number %d", i+1)
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		return fmt.Errorf("systemd gave the socket %s, for which there is no route; give it one of its own like --smtp systemd:NAME=SERVER, or take it out of the .socket unit", name)
	}
	return nil
}

// refuseCircles says so when a server is one of the listeners.
func refuseCircles(routes []*route) error {
	for _, r := range routes {
		for _, other := range routes {
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
		own, ok := r.listener.addr.(*net.UnixAddr)
		return r.Listen == other.Upstream || ok && sameFile(own.Name, path)
	}
	servers := other.servers.Load()
	return servers != nil && slices.ContainsFunc(*servers, func(server netip.AddrPort) bool { return r.listens(server) })
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
func (r *route) listens(address netip.AddrPort) bool {
	if address.Port() != r.bound.Port() {
		return false
	}
	bound, to := r.bound.Addr().Unmap(), address.Addr().Unmap()
	if bound.Is4() && to.Is6() {
		return false
	}
	if to.IsUnspecified() { // it is this host's loopback
		return bound.IsUnspecified() || bound.IsLoopback()
	}
	return bound == to || bound.IsUnspecified() && (r.local[to] || to.IsLoopback())
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
