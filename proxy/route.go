package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailwire/mailwire/inspect"
)

// Original, as an upstream, is where the client wanted to go before the packet filter redirected it.
const Original = "original"

const (
	unixPrefix    = "unix:"
	systemdPrefix = "systemd"
)

// Route joins a listener to a server.
type Route struct {
	Protocol inspect.Hint
	TLS      bool   // both sides begin with TLS (SMTPS, POP3S)
	Listen   string // HOST:PORT, :PORT, unix:PATH, or systemd or systemd:NAME for a socket that systemd has opened
	Upstream string // HOST:PORT, unix:PATH, or Original
	Own      *Terms // nil: those of the Options
}

// ParseRoute reads LISTEN=UPSTREAM. A host without a port has the port that is given.
func ParseRoute(s string, r Route, port int) (Route, error) {
	listen, upstream, ok := strings.Cut(s, "=")
	if !ok || listen == "" || upstream == "" {
		return r, fmt.Errorf("%q is no route; write LISTEN=UPSTREAM, as in :%d=mail.example.net:%d", s, port, port)
	}
	r.Listen, r.Upstream = listen, upstream
	if listen == unixPrefix || upstream == unixPrefix {
		return r, fmt.Errorf("%q names no path; write unix:/run/mail.sock", s)
	}
	if !strings.HasPrefix(listen, unixPrefix) && !isSystemd(listen) {
		if err := checkAddress(listen, true); err != nil {
			return r, fmt.Errorf("%q: %w", s, err)
		}
	}
	if strings.HasPrefix(upstream, Original+":") {
		return r, fmt.Errorf("%q: %s takes no port, since the client has named one; write %s=%s", s, Original, listen, Original)
	}
	if !strings.HasPrefix(upstream, unixPrefix) && upstream != Original {
		if !strings.Contains(upstream, ":") || strings.HasPrefix(upstream, "[") && strings.HasSuffix(upstream, "]") {
			r.Upstream = net.JoinHostPort(strings.Trim(upstream, "[]"), strconv.Itoa(port))
		}
		if err := checkAddress(r.Upstream, false); err != nil {
			return r, fmt.Errorf("%q: %w", s, err)
		}
	}
	return r, nil
}

func isSystemd(listen string) bool {
	return listen == systemdPrefix || strings.HasPrefix(listen, systemdPrefix+":")
}

func checkAddress(address string, listen bool) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is no address; write HOST:PORT, or [HOST]:PORT for IPv6", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 && !listen {
		return fmt.Errorf("%q is no port; give a number from 1 to 65535", port)
	}
	if host == "" && !listen {
		return fmt.Errorf("%q names no host to connect to", address)
	}
	if _, err := netip.ParseAddr(host); err != nil && !isName(host) {
		return fmt.Errorf("%q is no name of a host, nor an address; write HOST:PORT, or [HOST]:PORT for IPv6", host)
	}
	return nil
}

// isName says whether s has only what names of hosts have (RFC 1123 section 2.1), and the underscore that some have too.
func isName(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool {
		return c != '.' && c != '-' && c != '_' && !('0' <= c && c <= '9') && !('a' <= c|0x20 && c|0x20 <= 'z')
	})
}

// String names the route as the user wrote it.
func (r Route) String() string {
	name := "--smtp"
	if r.Protocol == inspect.POP3 {
		name = "--pop3"
	}
	if r.TLS {
		name += "s"
	}
	return name + " " + r.Listen + "=" + r.Upstream
}

// route is an open Route.
type route struct {
	Route
	Terms
	p        *Proxy
	listener *listener
	bound    netip.AddrPort      // of the listener; zero for a unix socket
	local    map[netip.Addr]bool // this host's addresses
	servers  atomic.Pointer[[]netip.AddrPort]

	life      context.Context // done when another route, or none, has its connections; nil: it was not begun
	end       context.CancelFunc
	retired   atomic.Bool
	accepting sync.WaitGroup // the goroutine that does, if one does
}

// plain says whether conversations need nothing but octets moved.
func (r *route) plain() bool { return r.Terminate == nil && len(r.AcceptProxy) == 0 }

// unixServer returns the path of the server's socket, "" if it has none.
func (r *route) unixServer() string {
	path, ok := strings.CutPrefix(r.Upstream, unixPrefix)
	if !ok {
		return ""
	}
	return path
}

const (
	resolveInterval = time.Minute
	resolveTimeout  = 10 * time.Second
)

// lookUp finds the addresses of the server. Conversations use those that were found last.
func (r *route) lookUp(ctx context.Context) error {
	if r.Upstream == Original || r.unixServer() != "" {
		return nil
	}
	if server, err := netip.ParseAddrPort(r.Upstream); err == nil {
		addr := server.Addr().Unmap()
		if i, err := net.InterfaceByName(addr.Zone()); err == nil { // the kernel knows zones by their number
			addr = addr.WithZone(strconv.Itoa(i.Index))
		}
		r.servers.Store(&[]netip.AddrPort{netip.AddrPortFrom(addr, server.Port())})
		return nil
	}
	host, port, err := net.SplitHostPort(r.Upstream)
	if err != nil {
		return err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err == nil && len(addrs) == 0 {
		err = errors.New("it has no address")
	}
	if err != nil {
		return fmt.Errorf("the server's name %s cannot be resolved: %w", host, cause(err))
	}
	servers := make([]netip.AddrPort, 0, len(addrs))
	for _, a := range addrs {
		servers = append(servers, netip.AddrPortFrom(a.Unmap(), uint16(number)))
	}
	r.servers.Store(&servers)
	return nil
}

// resolve looks up the server's name again and again, so that a relay never waits for a name.
func (r *route) resolve(ctx context.Context) {
	if r.unixServer() != "" {
		return
	}
	host, _, err := net.SplitHostPort(r.Upstream)
	if _, perr := netip.ParseAddr(host); err != nil || perr == nil {
		return
	}
	tick := time.NewTicker(resolveInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := r.lookUp(ctx); err != nil && ctx.Err() == nil {
				r.p.warn("resolve", err.Error()+"; going on with the addresses found last")
			}
		case <-ctx.Done():
			return
		}
	}
}

var errCircle = errors.New("the connection would come back to this proxy; let the packet filter not redirect what the proxy itself sends, " +
	"and let clients not connect to a listener for redirected connections")

// serversFor returns the addresses of the server of a client, to be tried in this order. original finds out where it
// wanted to go.
func (r *route) serversFor(client netip.AddrPort, original func() (netip.AddrPort, error)) ([]netip.AddrPort, error) {
	servers, err := []netip.AddrPort{noAddress}, error(nil)
	switch {
	case r.Upstream == Original:
		if servers[0], err = original(); err == nil && r.listens(servers[0]) {
			err = errCircle
		}
	case r.unixServer() == "":
		servers = *r.servers.Load()
	}
	if err == nil && r.p.ours.has(client, original, hop{}) {
		err = errCircle
	}
	return servers, err
}

// named returns the server as a message to the administrator names it.
func (r *route) named(server netip.AddrPort) string {
	if r.Upstream == Original && server.IsValid() {
		return server.String()
	}
	return strings.TrimPrefix(r.Upstream, unixPrefix)
}
