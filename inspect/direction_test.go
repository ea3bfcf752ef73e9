package inspect

import (
	"net/netip"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

// TestMessageDirection: the domains of the envelope tell where a mail goes; an address without one is of the side that
// it belongs to.
func TestMessageDirection(t *testing.T) {
	cfg := &Config{LocalNets: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, LocalDomains: []string{"example.org"}}
	ours, theirs := netip.MustParseAddrPort("192.0.2.7:25"), netip.MustParseAddrPort("198.51.100.9:25")
	for _, c := range []struct {
		client, server netip.AddrPort
		from, to, want string
	}{
		{ours, theirs, "a@example.org", "b@example.net", record.Outbound},
		{ours, theirs, "", "b@example.net", record.Outbound},
		{theirs, ours, "a@example.org", "b@example.net", record.Outbound},
		{theirs, ours, "a@example.net", "b@sub.example.org", record.Inbound},
		{theirs, ours, "", "b@example.org", record.Inbound},
		{theirs, ours, "a@example.net", "postmaster", record.Inbound},
		{ours, ours, "", "b@example.org", record.Internal},
		{theirs, theirs, "", "b@example.net", record.External},
	} {
		s := New(cfg, Conn{Client: c.client, Server: c.server, Mode: record.ModeTap}, new(textSink))
		m := &record.Message{From: &c.from, Rcpt: []record.Rcpt{{To: c.to}}}
		if got := s.messageDirection(m); got != c.want {
			t.Errorf("%s to %s, <%s> to <%s>: %s, want %s", c.client, c.server, c.from, c.to, got, c.want)
		}
	}
}
