package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
)

// ours are the connections of this proxy to servers that have not said anything yet. One that comes in again leads in a
// circle, by the packet filter or by a route, and nobody greets there. One to a server that has greeted leads in none: with
// Transparent it is from the client's own address, and a client may come from any of its ports, also from that one.
type ours struct {
	mu  sync.Mutex
	set map[netip.AddrPort][]netip.AddrPort // the servers, by the address of ours; one may lead to several
}

// hop is a connection from an address of ours.
type hop struct{ own, server netip.AddrPort }

func (o *ours) add(h hop) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.set == nil {
		o.set = map[netip.AddrPort][]netip.AddrPort{}
	}
	o.set[h.own] = append(o.set[h.own], h.server)
}

func (o *ours) remove(h hop) {
	o.mu.Lock()
	defer o.mu.Unlock()
	servers := o.set[h.own]
	switch i := slices.Index(servers, h.server); {
	case i < 0:
	case len(servers) == 1:
		delete(o.set, h.own)
	default:
		o.set[h.own] = slices.Delete(servers, i, i+1)
	}
}

// has says whether the connection from client to what original tells is one of ours. It is not if next, the hop to which
// it has led, only looks the same. Original is asked only where the client's address is ours.
func (o *ours) has(client netip.AddrPort, original func() (netip.AddrPort, error), next hop) bool {
	servers := o.serversOf(client)
	if len(servers) == 0 {
		return false
	}
	wanted, err := original()
	return err == nil && hop{client, wanted} != next && slices.Contains(servers, wanted)
}

// serversOf returns where the connections from an address of ours lead.
func (o *ours) serversOf(own netip.AddrPort) []netip.AddrPort {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.set[own])
}

// loopedBack returns where a connection to server arrives: what is unspecified is this host's loopback.
func loopedBack(server netip.AddrPort) netip.AddrPort {
	switch server.Addr() {
	case netip.IPv4Unspecified():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), server.Port())
	case netip.IPv6Unspecified():
		return netip.AddrPortFrom(netip.IPv6Loopback(), server.Port())
	}
	return server
}

// noAddress stands for an end that has none: a unix socket.
var noAddress = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)

// begin tells a conversation's session who speaks. Server is where the connection goes, or would have gone.
func (r *route) begin(client, server netip.AddrPort, now time.Time) *Pump {
	if !client.IsValid() {
		client = noAddress
	}
	if !server.IsValid() {
		server = noAddress
	}
	return r.p.newPump(inspect.Conn{
		Client: client, Server: server, Begin: now, Mode: record.ModeProxy, Hint: r.Protocol, Started: true,
		Ordinal: r.p.ordinal(client),
	})
}

// ordinal tells apart conversations whose clients have no address.
func (p *Proxy) ordinal(client netip.AddrPort) int {
	if client != noAddress {
		return 0
	}
	return int(p.nameless.Add(1))
}

// refuse ends a conversation whose server could not be reached; the client gets what it would have got.
func (r *route) refuse(u *Pump, server string, cause error) {
	r.p.counts.refused.Add(1)
	advice := ""
	if r.Transparent && errors.Is(cause, syscall.ETIMEDOUT) {
		advice = "; with --transparent its replies must come back through this host"
	}
	r.p.warn("unreachable "+server, fmt.Sprintf("the server %s cannot be reached: %v%s", server, cause, advice))
	now := time.Now()
	u.Tell(now, func(s *inspect.Session, t time.Time) {
		s.Note(t, "the server %s could not be reached: %v", server, cause)
	})
	u.End(now, inspect.EndRefused)
}

// isUsedUp says whether something failed for want of what will be there again.
func isUsedUp(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) ||
		errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EAGAIN)
}
