package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
)

func TestParseRoute(t *testing.T) {
	const example = `; write LISTEN=UPSTREAM, as in :25=mail.example.net:25`
	for _, c := range []struct{ in, listen, upstream, err string }{
		{":25=mail.example.net:2525", ":25", "mail.example.net:2525", ""},
		{":25=mail.example.net", ":25", "mail.example.net:25", ""},
		{"127.0.0.1:0=192.0.2.1", "127.0.0.1:0", "192.0.2.1:25", ""},
		{"[::1]:25=[2001:db8::1]:25", "[::1]:25", "[2001:db8::1]:25", ""},
		{"[::]:25=[2001:db8::1]", "[::]:25", "[2001:db8::1]:25", ""},
		{":25=mail_1.example.net", ":25", "mail_1.example.net:25", ""},
		{":25=[fe80::1%eth0]:25", ":25", "[fe80::1%eth0]:25", ""},
		{":25=2001:db8::1", "", "", `":25=2001:db8::1": "2001:db8::1" is no address; write HOST:PORT, or [HOST]:PORT for IPv6`},
		{":25=2001:db8::1:2525", "", "", `":25=2001:db8::1:2525": "2001:db8::1:2525" is no address; write HOST:PORT, or [HOST]:PORT for IPv6`},
		{":25=fe80::1:25", "", "", `":25=fe80::1:25": "fe80::1:25" is no address; write HOST:PORT, or [HOST]:PORT for IPv6`},
		{":25=a=b:25", "", "", `":25=a=b:25": "a=b" is no name of a host, nor an address; write HOST:PORT, or [HOST]:PORT for IPv6`},
		{":25=host with space:25", "", "", `":25=host with space:25": "host with space" is no name of a host, nor an address; write HOST:PORT, or [HOST]:PORT for IPv6`},
		{"my host:25=mail:25", "", "", `"my host:25=mail:25": "my host" is no name of a host, nor an address; write HOST:PORT, or [HOST]:PORT for IPv6`},
		{":25=original:25", "", "", `":25=original:25": original takes no port, since the client has named one; write :25=original`},
		{":25=unix:/run/mail=1.sock", ":25", "unix:/run/mail=1.sock", ""},
		{"unix:/run/mail.sock=localhost:24", "unix:/run/mail.sock", "localhost:24", ""},
		{":25=original", ":25", "original", ""},
		{"systemd=mail:25", "systemd", "mail:25", ""},
		{"systemd:smtp=mail:25", "systemd:smtp", "mail:25", ""},
		{"", "", "", `"" is no route` + example},
		{":25", "", "", `":25" is no route` + example},
		{"=mail:25", "", "", `"=mail:25" is no route` + example},
		{":25=", "", "", `":25=" is no route` + example},
		{"25=mail:25", "", "", `"25=mail:25": "25" is no address; write HOST:PORT, or [HOST]:PORT for IPv6`},
		{"::1=mail:25", "", "", `"::1=mail:25": "::1" is no address; write HOST:PORT, or [HOST]:PORT for IPv6`},
		{":smtp=mail:25", "", "", `":smtp=mail:25": "smtp" is no port; give a number from 1 to 65535`},
		{":=mail:25", "", "", `":=mail:25": "" is no port; give a number from 1 to 65535`},
		{":65536=mail:25", "", "", `":65536=mail:25": "65536" is no port; give a number from 1 to 65535`},
		{":25=mail:0", "", "", `":25=mail:0": "0" is no port; give a number from 1 to 65535`},
		{":25=mail:-1", "", "", `":25=mail:-1": "-1" is no port; give a number from 1 to 65535`},
		{":25=:25", "", "", `":25=:25": ":25" names no host to connect to`},
		{":25=unix:", "", "", `":25=unix:" names no path; write unix:/run/mail.sock`},
		{"unix:=mail:25", "", "", `"unix:=mail:25" names no path; write unix:/run/mail.sock`},
	} {
		r, err := ParseRoute(c.in, Route{Protocol: inspect.SMTP}, 25)
		switch {
		case c.err != "" && (err == nil || err.Error() != c.err):
			t.Errorf("%q: the error is %q, want %q", c.in, err, c.err)
		case c.err == "" && (err != nil || r != Route{Protocol: inspect.SMTP, Listen: c.listen, Upstream: c.upstream}):
			t.Errorf("%q: got %+v, %v", c.in, r, err)
		}
	}
}

// TestCircles: a proxy whose server is itself does not begin.
func TestCircles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	if err := os.Symlink(dir, filepath.Join(dir, "same")); err != nil {
		t.Fatal(err)
	}
	var own netip.Addr // of this host, that is not the loopback's
	addrs, _ := localAddresses()
	for a := range addrs {
		if a.Is4() && !a.IsLoopback() {
			own = a
		}
	}
	for _, c := range []struct{ listen, upstream string }{
		{"127.0.0.1:%d", "127.0.0.1:%d"},
		{"127.0.0.1:%d", "localhost:%d"},
		{"127.0.0.1:%d", "0.0.0.0:%d"},
		{"127.0.0.1:%d", "[::ffff:127.0.0.1]:%d"},
		{"0.0.0.0:%d", "127.0.0.1:%d"},
		{"0.0.0.0:%d", "127.0.0.2:%d"},
		{"0.0.0.0:%d", "0.0.0.0:%d"},
		{":%d", "127.0.0.1:%d"},
		{":%d", "localhost:%d"},
		{":%d", "[::1]:%d"},
		{":%d", "[::]:%d"},
		{"[::1]:%d", "[::1]:%d"},
		{"[::1]:%d", "[::]:%d"},
		{":%d", own.String() + ":%d"},
		{own.String() + ":%d", own.String() + ":%d"},
		{"unix:" + path, "unix:" + path},
		{"unix:" + path, "unix:" + filepath.Join(dir, "same", "s")},
		{"unix:" + path, "unix:" + dir + "/./s"},
	} {
		if strings.HasPrefix(c.listen, "invalid") || strings.HasPrefix(c.upstream, "invalid") {
			continue // this host has no other address
		}
		port := freePort(t)
		fill := func(s string) string { return strings.ReplaceAll(s, "%d", fmt.Sprint(port)) }
		r := Route{Protocol: inspect.SMTP, Listen: fill(c.listen), Upstream: fill(c.upstream)}
		want := r.String() + ": the server is this proxy itself (" + r.Listen + "); name the mail server's address and port"
		if err := listenError(t, r); err == nil || err.Error() != want {
			t.Errorf("%s: the error is %v", r, err)
		}
	}
	one, two := freePort(t), freePort(t)
	err := listenError(t, Route{Listen: fmt.Sprintf("127.0.0.1:%d", one), Upstream: fmt.Sprintf("127.0.0.1:%d", two)},
		Route{Protocol: inspect.POP3, Listen: fmt.Sprintf(":%d", two), Upstream: "192.0.2.1:25"})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("the server is this proxy itself (:%d)", two)) {
		t.Errorf("by another route: the error is %v", err)
	}
	for _, c := range []Route{ // these only look like circles
		{Listen: "127.0.0.1:0", Upstream: "127.0.0.2:25"},
		{Listen: fmt.Sprintf("127.0.0.1:%d", one), Upstream: fmt.Sprintf("127.0.0.2:%d", one)},
		{Listen: fmt.Sprintf("0.0.0.0:%d", one), Upstream: fmt.Sprintf("[::1]:%d", one)},
		{Listen: fmt.Sprintf("0.0.0.0:%d", one), Upstream: fmt.Sprintf("[::]:%d", one)},
		{Listen: fmt.Sprintf("[::1]:%d", one), Upstream: fmt.Sprintf("127.0.0.1:%d", one)},
		{Listen: "unix:" + path, Upstream: "unix:" + path + "2"},
	} {
		if err := listenError(t, c); err != nil {
			t.Errorf("the error is %v", err)
		}
	}
}

// TestLateCircles: what leads back to the proxy only later ends at once all the same.
func TestLateCircles(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		for name, begin := range map[string]func(t *testing.T) *rig{
			"the server's name has changed": func(t *testing.T) *rig {
				r := newRig(t, o)
				own := r.Addrs()[0].(*net.TCPAddr).AddrPort()
				r.routes[0].servers.Store(&[]netip.AddrPort{own})
				return r
			},
			"the proxy believes its own PROXY header": func(t *testing.T) *rig {
				o := o
				o.AcceptProxy, o.SendProxy = localhost, 1
				r := newRig(t, o)
				own := r.Addrs()[0].(*net.TCPAddr).AddrPort()
				r.routes[0].servers.Store(&[]netip.AddrPort{own})
				return r
			},
			"nobody redirected the client": func(t *testing.T) *rig {
				o := o
				o.Routes = []Route{{Protocol: inspect.SMTP, Listen: "127.0.0.1:0", Upstream: Original}}
				return newRig(t, o)
			},
		} {
			t.Run(name, func(t *testing.T) {
				r := begin(t)
				for n := range 20 {
					before := r.Stats().Accepted
					if len(r.Options().AcceptProxy) > 0 {
						r.turnedAway("PROXY UNKNOWN\r\n")
					} else {
						r.turnedAway()
					}
					eventually(t, "all has ended", func() bool { return r.Stats().Active == 0 })
					if hops := r.Stats().Accepted - before; hops > 16 { // a loop can be quicker than another one
						t.Fatalf("connection %d came back %d times", n, hops)
					}
				}
				sessions, _ := r.memory.records(t, int(r.Stats().Accepted))
				refused := 0
				for _, s := range sessions {
					if s.Status == record.Refused {
						refused++
					}
				}
				if refused < 20 {
					t.Errorf("%d of %d records say that the server was refused", refused, len(sessions))
				}
			})
		}
	})
}

// TestAddresses: all kinds of listeners and servers.
func TestAddresses(t *testing.T) {
	for name, c := range map[string]struct{ listen, server, dial string }{
		"IPv4":                 {"127.0.0.1:0", "127.0.0.1:0", ""},
		"IPv6":                 {"[::1]:0", "[::1]:0", ""},
		"IPv4 to IPv6":         {"127.0.0.1:0", "[::1]:0", ""},
		"IPv6 to IPv4":         {"[::1]:0", "127.0.0.1:0", ""},
		"both families, by v4": {":0", "127.0.0.1:0", "127.0.0.1"},
		"both families, by v6": {":0", "127.0.0.1:0", "::1"},
		"IPv4 of any address":  {"0.0.0.0:0", "127.0.0.1:0", "127.0.0.1"},
		"to both families":     {"127.0.0.1:0", ":0", ""},
		"unix":                 {"unix", "unix", ""},
		"unix to IPv4":         {"unix", "127.0.0.1:0", ""},
		"IPv6 to unix":         {"[::1]:0", "unix", ""},
	} {
		t.Run(name, func(t *testing.T) {
			eachRelay(t, func(t *testing.T, o Options) {
				dir := t.TempDir()
				route := Route{Protocol: inspect.SMTP, Listen: c.listen}
				if c.listen == "unix" {
					route.Listen = "unix:" + filepath.Join(dir, "in")
				}
				var server net.Listener
				if c.server == "unix" {
					path := filepath.Join(dir, "out")
					server, route.Upstream = listenAt(t, "unix", path), "unix:"+path
				} else {
					server = listenAt(t, "tcp", c.server)
					route.Upstream = strings.Replace(server.Addr().String(), "[::]", "127.0.0.1", 1)
				}
				o.Routes = []Route{route}
				r := newRig(t, o)
				address := r.Addrs()[0]
				to := address.String()
				if c.dial != "" {
					to = net.JoinHostPort(c.dial, fmt.Sprint(address.(*net.TCPAddr).Port))
				}
				for range 2 {
					client, err := net.Dial(address.Network(), to)
					if err != nil {
						t.Fatal(err)
					}
					accepted, err := acceptFrom(server)
					if err != nil {
						t.Fatal(err)
					}
					say(t, accepted, client, smtpGreeting)
					say(t, client, accepted, "QUIT\r\n")
					_ = client.Close()
					receiveEnd(t, accepted)
					_ = accepted.Close()
					if local := client.LocalAddr(); local.Network() == "tcp" {
						own := local.(*net.TCPAddr).AddrPort()
						sessions, _ := r.memory.records(t, 1)
						if s := sessions[0]; s.Client != (record.Endpoint{IP: own.Addr().Unmap().String(), Port: own.Port()}) {
							t.Errorf("the record says %+v of client %v", s.Client, own)
						}
						r.memory.forget()
					}
				}
				if c.listen != "unix" {
					return
				}
				sessions, _ := r.memory.records(t, 2)
				if sessions[0].ID == sessions[1].ID {
					t.Error("two sessions have the same id")
				}
			})
		})
	}
}

// TestRoutes: each route has its server, its protocol and its listener.
func TestRoutes(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		protocols := []inspect.Hint{inspect.SMTP, inspect.POP3, inspect.SMTP}
		var servers []net.Listener
		for _, protocol := range protocols {
			l := listenAt(t, "tcp", "127.0.0.1:0")
			servers = append(servers, l)
			o.Routes = append(o.Routes, Route{Protocol: protocol, Listen: "127.0.0.1:0", Upstream: l.Addr().String()})
		}
		r := newRig(t, o)
		for i, address := range r.Addrs() {
			client := dialTo(t, address.String())
			server, err := acceptFrom(servers[i])
			if err != nil {
				t.Fatal(err)
			}
			_ = client.Close()
			receiveEnd(t, server)
			_ = server.Close()
			s := r.memory.record(t)
			if want := map[inspect.Hint]string{inspect.SMTP: record.SMTP, inspect.POP3: record.POP3}[protocols[i]]; s.Protocol != want {
				t.Errorf("route %d: the record says %s", i, s.Protocol)
			}
			if want := servers[i].Addr().(*net.TCPAddr).Port; int(s.Server.Port) != want {
				t.Errorf("route %d: the record says %+v", i, s.Server)
			}
			r.memory.forget()
		}
	})
}

// TestNextAddress: where the server's first addresses do not answer, the next one is tried.
func TestNextAddress(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		r := newRig(t, o)
		live := r.server.Addr().(*net.TCPAddr).AddrPort()
		dead := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 9}), live.Port())
		dead6 := netip.AddrPortFrom(netip.IPv6Loopback(), live.Port())
		r.routes[0].servers.Store(&[]netip.AddrPort{dead, dead6, live})
		client, server := r.pair()
		say(t, server, client, smtpGreeting)
		_ = client.Close()
		receiveEnd(t, server)
		_ = server.Close()
		if s := r.memory.record(t); s.Server.IP != live.Addr().String() || s.Status == record.Refused {
			t.Errorf("the record says %s, %+v", s.Status, s.Server)
		}
		r.memory.forget()
		r.routes[0].servers.Store(&[]netip.AddrPort{dead, dead6})
		r.turnedAway()
		if s := r.memory.record(t); s.Status != record.Refused || s.Server.IP != dead6.Addr().String() {
			t.Errorf("the record says %s, %+v", s.Status, s.Server)
		}
	})
}

// TestUnreachable: both relays say in the same plain words why a server cannot be reached.
func TestUnreachable(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		const dead = "127.0.0.1:1" // a port that was free just now could be the proxy's own
		said := make(chan string, 1)
		o.MaxConnections, o.Warn = 10, func(_, message string) { said <- message }
		o.Routes = []Route{{Protocol: inspect.SMTP, Listen: "127.0.0.1:0", Upstream: dead}}
		newRig(t, o).turnedAway()
		if got, want := <-said, "the server "+dead+" cannot be reached: connection refused"; got != want {
			t.Errorf("the log says %q, want %q", got, want)
		}
	})
}

// TestNothingToResolve: where the server has no name, nobody looks it up again and again.
func TestNothingToResolve(t *testing.T) {
	for _, upstream := range []string{"unix:/run/mail.sock", "192.0.2.1:25", "[2001:db8::1]:25", Original} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			if (&route{Route: Route{Upstream: upstream}}).resolve(ctx); ctx.Err() != nil {
				t.Errorf("%s is looked up", upstream)
			}
		})
	}
}

// TestTransparentTimeout: where the server answers the client itself, past the proxy, the administrator is told so.
func TestTransparentTimeout(t *testing.T) {
	u := idlePump(1<<20, 64<<20)
	p := u.in.p
	said := ""
	p.Options().Warn = func(_, message string) { said = message }
	r := &route{p: p}
	r.refuse(u, "192.0.2.25:25", syscall.ETIMEDOUT)
	if strings.Contains(said, "--transparent") {
		t.Errorf("without it, the log says %q", said)
	}
	r.Transparent = true
	r.refuse(idlePump(1<<20, 64<<20), "192.0.2.25:25", syscall.ETIMEDOUT)
	if want := "the server 192.0.2.25:25 cannot be reached: connection timed out; with --transparent its replies must come back through this host"; said != want {
		t.Errorf("the log says %q, want %q", said, want)
	}
}

// TestCause: what is said of a network error has no sockets and system calls in it.
func TestCause(t *testing.T) {
	a, b := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7025}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 57697}
	for _, c := range []struct {
		err  error
		want string
	}{
		{&net.OpError{Op: "read", Net: "tcp", Source: a, Addr: b, Err: os.ErrDeadlineExceeded}, "connection timed out"},
		{&net.OpError{Op: "dial", Net: "tcp", Addr: b, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "connection refused"},
		{fmt.Errorf("dialing: %w", &net.OpError{Op: "dial", Net: "tcp", Addr: b, Err: net.ErrClosed}), "use of closed network connection"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, "remote error: tls: bad certificate"},
		{&net.DNSError{Err: "no such host", Name: "name.invalid", Server: "127.0.0.53:53", IsNotFound: true}, "no such host"},
		{io.ErrUnexpectedEOF, "the connection has ended"},
		{errCircle, errCircle.Error()},
	} {
		if got := cause(c.err).Error(); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}
