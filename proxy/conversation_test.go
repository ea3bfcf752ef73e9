package proxy

import (
	"net/netip"
	"testing"
)

// TestOurs: a connection is ours from both its addresses, and leads in a circle if it is not the very hop that is looked at.
func TestOurs(t *testing.T) {
	own, other := netip.MustParseAddrPort("192.0.2.7:40000"), netip.MustParseAddrPort("192.0.2.7:40001")
	one, two := netip.MustParseAddrPort("198.51.100.1:25"), netip.MustParseAddrPort("198.51.100.2:25")
	var o ours
	has := func(client, server netip.AddrPort, next hop) bool {
		return o.has(client, func() (netip.AddrPort, error) { return server, nil }, next)
	}
	o.add(hop{own, one})
	o.add(hop{own, two})
	if !has(own, one, hop{}) || !has(own, two, hop{other, two}) {
		t.Error("a connection is not known")
	}
	if has(other, one, hop{}) {
		t.Error("a connection from another port is taken for ours")
	}
	if has(own, one, hop{own, one}) {
		t.Error("a connection whose next hop has the client's port is taken for a circle")
	}
	o.remove(hop{own, one})
	if has(own, one, hop{}) || !has(own, two, hop{}) {
		t.Error("of two connections from one port, the wrong one is known")
	}
}

// TestGreetedIsNoCircle: a connection to a server that has greeted is not looked for any more.
func TestGreetedIsNoCircle(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		r := newRig(t, o)
		known := func() int {
			r.ours.mu.Lock()
			defer r.ours.mu.Unlock()
			return len(r.ours.set)
		}
		client, server := r.pair()
		say(t, client, server, "EHLO early\r\n")
		if n := known(); n != 1 {
			t.Errorf("before the greeting %d connections are known", n)
		}
		say(t, server, client, smtpGreeting)
		eventually(t, "behind the greeting no connection is known", func() bool { return known() == 0 })
		hangUp(t, client, server)
	})
}

// TestCircleNamesServer: who is told of a circle is told the server that the client wanted.
func TestCircleNamesServer(t *testing.T) {
	client, server := netip.MustParseAddrPort("192.0.2.7:40000"), netip.MustParseAddrPort("198.51.100.1:25")
	r := &route{Route: Route{Upstream: Original}, p: bare(Options{})}
	r.p.ours.add(hop{client, server})
	servers, err := r.serversFor(client, func() (netip.AddrPort, error) { return server, nil })
	if err != errCircle || len(servers) != 1 || r.named(servers[0]) != server.String() {
		t.Errorf("the servers are %v, %v", servers, err)
	}
	if name := r.named(netip.AddrPort{}); name != Original {
		t.Errorf("a server that is not known is called %s", name)
	}
}
