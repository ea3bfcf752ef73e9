package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
		{":25=2001:db8::1", ":25", "[2001:db8::1]:25", ""},
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

// TestListenErrors: each is one sentence that names the route.
func TestListenErrors(t *testing.T) {
	taken := listenAt(t, "tcp", "127.0.0.1:0").Addr().String()
	dir := t.TempDir()
	inUse := filepath.Join(dir, "used")
	listenAt(t, "unix", inUse)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LISTEN_PID", "")
	for _, c := range []struct{ listen, upstream, want string }{
		{taken, "192.0.2.1:25", taken + " is in use by another program; stop it (ss -lxtnp shows which one it is) or listen elsewhere"},
		{"unix:" + inUse, "192.0.2.1:25", "unix:" + inUse + " is in use by another program; stop it (ss -lxtnp shows which one it is) or listen elsewhere"},
		{"unix:" + file, "192.0.2.1:25", "unix:" + file + " is in use by another program; stop it (ss -lxtnp shows which one it is) or listen elsewhere"},
		{"unix:" + filepath.Join(dir, "none", "s"), "192.0.2.1:25", "listening failed: listen unix " + filepath.Join(dir, "none", "s") + ": bind: no such file or directory"},
		{"203.0.113.1:0", "192.0.2.1:25", "203.0.113.1:0 is no address of this host; ip addr shows those that are"},
		{"systemd", "192.0.2.1:25", "systemd has given no socket; start mailwire by a .socket unit or name an address"},
		{"127.0.0.1:0", "name.invalid:25", "the server's name name.invalid cannot be resolved: "},
	} {
		r := Route{Protocol: inspect.SMTP, Listen: c.listen, Upstream: c.upstream}
		err := listenError(t, r)
		want := "--smtp " + c.listen + "=" + c.upstream + ": " + c.want
		if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(want, ": ") && err.Error() != want || strings.Contains(err.Error(), "\n") {
			t.Errorf("the error is %q, want %q", err, want)
		}
	}
	if err := listenError(t); err == nil || err.Error() != "there is no route from a listener to a server" {
		t.Errorf("without a route the error is %v", err)
	}
	if kept, err := os.ReadFile(file); err != nil || string(kept) != "kept" {
		t.Errorf("a file in the way was removed: %v", err)
	}
}

// listenError returns why a proxy with these routes does not begin.
func listenError(t *testing.T, routes ...Route) error {
	t.Helper()
	checkLeaks(t)
	p, err := Listen(t.Context(), Options{Routes: routes, Inspect: &inspect.Config{}, Recorder: newMemory()})
	if err == nil {
		p.closeListeners()
	}
	return err
}

// freePort returns a port that nobody listened on a moment ago.
func freePort(t *testing.T) int {
	l := listenAt(t, "tcp", ":0")
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
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
					r.turnedAway()
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

// TestUnixLeftover: a socket that nobody listens on any more is no obstacle.
func TestUnixLeftover(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listenAt(t, "unix", path)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	if err := listenError(t, Route{Listen: "unix:" + path, Upstream: "192.0.2.1:25"}); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the proxy leaves its socket behind: %v", err)
	}
}
