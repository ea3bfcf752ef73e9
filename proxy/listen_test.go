package proxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailwire/mailwire/inspect"
)

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
	long := filepath.Join(dir, strings.Repeat("x", 108))
	t.Setenv("LISTEN_PID", "")
	_, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip", "name.invalid") // what a host without a name server says
	noSuchHost := cause(err).Error()
	for _, c := range []struct{ listen, upstream, want string }{
		{taken, "192.0.2.1:25", taken + " is in use by another program or route; stop it (ss -lxtnp shows which one it is) or listen elsewhere"},
		{"unix:" + inUse, "192.0.2.1:25", "unix:" + inUse + " is in use by another program or route; stop it (ss -lxtnp shows which one it is) or listen elsewhere"},
		{"unix:" + file, "192.0.2.1:25", file + " is there already, and is no socket; move it away or listen elsewhere"},
		{"unix:" + filepath.Join(dir, "none", "s"), "192.0.2.1:25", filepath.Join(dir, "none") + " is no directory; make it, or listen elsewhere"},
		{"unix:" + filepath.Join(file, "s"), "192.0.2.1:25", file + " is no directory; make it, or listen elsewhere"},
		{"unix:" + long, "192.0.2.1:25", long + " is too long for a socket's name; about 100 octets are allowed"},
		{"name.invalid:25", "192.0.2.1:25", "the name name.invalid cannot be resolved: " + noSuchHost + "; give an address of this host to listen at"},
		{"203.0.113.1:0", "192.0.2.1:25", "203.0.113.1:0 is no address of this host; ip addr shows those that are"},
		{"systemd", "192.0.2.1:25", "systemd has given no socket; start mailwire by a .socket unit or name an address"},
		{"127.0.0.1:0", "name.invalid:25", "the server's name name.invalid cannot be resolved: " + noSuchHost + "; correct it, see to this host's resolver, or give an address"},
	} {
		r := Route{Protocol: inspect.SMTP, Listen: c.listen, Upstream: c.upstream}
		err := listenError(t, r)
		want := "--smtp " + c.listen + "=" + c.upstream + ": " + c.want
		if err == nil || err.Error() != want {
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

// TestListenFamily: 0.0.0.0 is any address of IPv4, and of no other family.
func TestListenFamily(t *testing.T) {
	for _, c := range []struct {
		listen string
		both   bool
	}{{"0.0.0.0:0", false}, {"[::]:0", true}, {":0", true}} {
		l, err := listen(t.Context(), Route{Listen: c.listen})
		if err != nil {
			t.Fatal(err)
		}
		port := fmt.Sprint(l.addr.(*net.TCPAddr).Port)
		for host, want := range map[string]bool{"127.0.0.1": true, "::1": c.both} {
			conn, err := net.Dial("tcp", net.JoinHostPort(host, port))
			if err == nil {
				_ = conn.Close()
			}
			if (err == nil) != want {
				t.Errorf("%s: a connection to %s: %v", c.listen, host, err)
			}
		}
		l.close()
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

// TestUnixTaken: a socket that has taken the place of the proxy's own is another's, and stays.
func TestUnixTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	p, err := Listen(t.Context(), Options{
		Routes:  []Route{{Protocol: inspect.SMTP, Listen: "unix:" + path, Upstream: "192.0.2.1:25"}},
		Inspect: &inspect.Config{}, Recorder: newMemory(),
	})
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	listenAt(t, "unix", path)
	p.Close()
	if c, err := net.Dial("unix", path); err != nil {
		t.Error(err)
	} else {
		_ = c.Close()
	}
}

// TestUnixMode: whatever the umask, everybody may connect to the socket who may enter its directory; a link in its place
// leads nowhere.
func TestUnixMode(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "s"), filepath.Join(t.TempDir(), "other")
	p, err := Listen(t.Context(), Options{
		Routes:  []Route{{Protocol: inspect.SMTP, Listen: "unix:" + path, Upstream: "192.0.2.1:25"}},
		Inspect: &inspect.Config{}, Recorder: newMemory(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.closeListeners()
	if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o666 {
		t.Errorf("the socket is %v (%v)", info.Mode(), err)
	}
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	err = setMode(filepath.Join(dir, "link"))
	if info, serr := os.Stat(other); err == nil || serr != nil || info.Mode() != 0o600 {
		t.Errorf("the link's file is %v now (%v, %v)", info.Mode(), err, serr)
	}
	if err := listenError(t, Route{Listen: "unix:@mailwire-" + filepath.Base(dir) + fmt.Sprint(os.Getpid()), Upstream: "192.0.2.1:25"}); err != nil && haveLoops {
		t.Error("a name that is no file's:", err)
	}
}

// TestUnusedSocket: a socket of systemd that nobody would serve is told at the start.
func TestUnusedSocket(t *testing.T) {
	t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
	t.Setenv("LISTEN_FDS", "2")
	const want = "systemd gave the socket %s, for which there is no route; give it one of its own like --smtp systemd:NAME=SERVER, or take it out of the .socket unit"
	for _, c := range []struct {
		names, unused string
		used          map[int]bool
	}{
		{"smtp:pop3", "smtp", nil},
		{"smtp:pop3", "pop3", map[int]bool{0: true}},
		{"smtp", "number 2", map[int]bool{0: true}},
		{"", "number 1", nil},
		{"smtp:pop3", "", map[int]bool{0: true, 1: true}},
	} {
		t.Setenv("LISTEN_FDNAMES", c.names)
		err := (&Proxy{used: c.used}).refuseUnused()
		if c.unused == "" && err != nil || c.unused != "" && (err == nil || err.Error() != fmt.Sprintf(want, c.unused)) {
			t.Errorf("%s: the error is %v", c.names, err)
		}
	}
	if err := listenError(t, Route{Listen: "127.0.0.1:0", Upstream: "192.0.2.1:25"}); err == nil || err.Error() != fmt.Sprintf(want, "smtp") {
		t.Errorf("a proxy with no route for it: %v", err)
	}
}
