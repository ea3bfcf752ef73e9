package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

// tracing is a Recorder that keeps the packets too.
type tracing struct {
	*memory
	fail    bool
	mu      sync.Mutex
	packets []traced
}

// traced is a packet: who sent it to whom and when, and its flags, with its octets quoted behind.
type traced struct {
	from, to netip.AddrPort
	time     time.Time
	seq, ack uint32
	text     string
}

func newTracing() *tracing { return &tracing{memory: newMemory()} }

func (r *tracing) Journal() inspect.Journal { return &tracingJournal{journal{r.memory}, r} }

type tracingJournal struct {
	journal
	r *tracing
}

func (j *tracingJournal) Packet(p inspect.Packet) {
	if j.r.fail {
		panic("a failure that the test makes")
	}
	octets := slices.Concat(p.Head, p.Data)
	first := layers.LayerTypeIPv4
	if octets[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	packet := gopacket.NewPacket(octets, first, gopacket.Default)
	tcp, ok := packet.TransportLayer().(*layers.TCP)
	if !ok || p.Link != 101 || p.Wire != len(octets) {
		panic(fmt.Sprint("no packet: ", packet))
	}
	from, _ := netip.AddrFromSlice(packet.NetworkLayer().NetworkFlow().Src().Raw())
	to, _ := netip.AddrFromSlice(packet.NetworkLayer().NetworkFlow().Dst().Raw())
	k := traced{netip.AddrPortFrom(from, uint16(tcp.SrcPort)), netip.AddrPortFrom(to, uint16(tcp.DstPort)), p.Time, tcp.Seq, tcp.Ack, ""}
	for _, f := range []struct {
		set  bool
		name string
	}{{tcp.SYN, "SYN "}, {tcp.FIN, "FIN "}, {tcp.RST, "RST "}} {
		if f.set {
			k.text += f.name
		}
	}
	if len(tcp.Payload) > 0 {
		k.text += fmt.Sprintf("%q ", tcp.Payload)
	}
	j.r.mu.Lock()
	defer j.r.mu.Unlock()
	j.r.packets = append(j.r.packets, k)
}

// said is what the packets say, C: or S: in front; those that only acknowledge are left out.
func (r *tracing) said(client netip.AddrPort) string {
	var b strings.Builder
	for _, p := range r.packets {
		if p.text == "" {
			continue
		}
		side := "S: "
		if p.from == client {
			side = "C: "
		}
		b.WriteString(side + strings.TrimSuffix(p.text, " ") + "\n")
	}
	return b.String()
}

const (
	shaken = "C: SYN\nS: SYN\n"
	noop   = shaken + `S: "220 mx.example.net ESMTP\r\n"` + "\n" + `C: "NOOP\r\n"` + "\n"
)

// TestTrace: a trace has what the session is fed, in its order and with its times, and how it ended.
func TestTrace(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"client first", noop + "C: FIN\nS: FIN\n"},
		{"server first", noop + "S: FIN\nC: FIN\n"},
		{"reset", noop + "C: RST\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachRelay(t, func(t *testing.T, o Options) {
				before := time.Now()
				kept := newTracing()
				o.Recorder, o.Trace, o.Location = kept, true, time.UTC
				r := newRig(t, o)
				client, server := r.pair()
				say(t, server, client, "220 mx.example.net ESMTP\r\n")
				say(t, client, server, "NOOP\r\n")
				one, other := client, server
				switch c.name {
				case "server first":
					one, other = server, client
					fallthrough
				case "client first":
					_ = one.CloseWrite()
					receiveEnd(t, other)
					_ = other.CloseWrite()
					receiveEnd(t, one)
				case "reset":
					reset(client)
				}
				s := kept.record(t)
				r.end()
				address := addressOf(client.LocalAddr())
				if got := kept.said(address); got != c.want {
					t.Errorf("the trace says\n%swant\n%s", got, c.want)
				}
				last := before
				for _, p := range kept.packets {
					if p.from != address && p.to != address || p.from != addressOf(r.server.Addr()) && p.to != addressOf(r.server.Addr()) {
						t.Errorf("from %v to %v", p.from, p.to)
					}
					if p.time.Before(last) || p.time.After(time.Now()) || p.time.Location() != time.UTC {
						t.Errorf("at %v, behind %v", p.time, last)
					}
					last = p.time
				}
				if !kept.packets[0].time.Equal(s.Begin.Time) {
					t.Errorf("begins at %v, not %v", kept.packets[0].time, s.Begin)
				}
			})
		})
	}
}

// TestTraceRefused: what the client asked for and did not get.
func TestTraceRefused(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		kept := newTracing()
		o.Recorder, o.Trace = kept, true
		r := newRig(t, o)
		_ = r.server.Close()
		r.turnedAway()
		s := kept.record(t)
		r.end()
		if got := kept.said(netip.AddrPortFrom(netip.MustParseAddr(s.Client.IP), s.Client.Port)); got != "C: SYN\nS: RST\n" {
			t.Error(got)
		}
	})
}

// TestTraceTerminated: what was inside TLS is in clear.
func TestTraceTerminated(t *testing.T) {
	a := newAuthority(t)
	for _, b := range begins {
		terminate, certificate := a.terminate()
		kept := newTracing()
		server := listenAt(t, "tcp", "127.0.0.1:0")
		b.route.Listen, b.route.Upstream = "127.0.0.1:0", server.Addr().String()
		r := newRig(t, Options{Terms: Terms{Terminate: terminate}, Recorder: kept, Trace: true, Routes: []Route{b.route}})
		r.server = server
		c, s := r.pair()
		insideClient, insideServer := beginTLS(a, newPlayer(t, "the client", c), newPlayer(t, "the server", s), b.plain, b.command, b.agree, certificate)
		talk(insideClient, insideServer, "S: 220 mx", "C: EHLO canary", "S: 250 mx", "C: QUIT", "S: 221 bye")
		_ = insideServer.conn.Close()
		_, _ = insideClient.rest()
		_ = insideClient.conn.Close()
		kept.record(t)
		r.end()
		inside := "S: \"220 mx\\r\\n\"\nC: \"EHLO canary\\r\\n\"\nS: \"250 mx\\r\\n\"\nC: \"QUIT\\r\\n\"\nS: \"221 bye\\r\\n\"\n"
		got := kept.said(addressOf(c.LocalAddr()))
		if !strings.HasPrefix(got, shaken) || !strings.Contains(got, inside) || !strings.Contains(got, b.command[:len(b.command)/2]) {
			t.Errorf("%s: the trace says\n%s", b.how, got)
		}
	}
}

// TestTraceUnix: who has no address can still be told from others.
func TestTraceUnix(t *testing.T) {
	kept := newTracing()
	server := listenAt(t, "tcp", "127.0.0.1:0")
	path := filepath.Join(t.TempDir(), "in")
	r := newRig(t, Options{Recorder: kept, Trace: true, Routes: []Route{{Protocol: inspect.SMTP, Listen: "unix:" + path, Upstream: server.Addr().String()}}})
	serveEach(t, server, greetAndEcho)
	for range 2 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(tooLong))
		converse(t, c)
	}
	kept.records(t, 2)
	r.end()
	for n := range 2 {
		client := netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(n+1))
		if !slices.ContainsFunc(kept.packets, func(p traced) bool { return p.from == client && strings.Contains(p.text, "NOOP") }) {
			t.Errorf("nothing from %v", client)
		}
	}
}

// TestTraceOverload: what was not inspected is missing in the trace too, and its sequence numbers say so.
func TestTraceOverload(t *testing.T) {
	in := &inspector{p: bare(Options{Trace: true})}
	r := newTracing()
	in.journal = r.Journal()
	tr := in.newTrace(&inspect.Conn{Client: netip.MustParseAddrPort("192.0.2.1:5"), Server: netip.MustParseAddrPort("[2001:db8::1]:25")})
	tr.feed(wire.Chunk{Dir: wire.FromClient, Lost: 1000, Data: []byte("x")})
	tr.feed(wire.Chunk{Dir: wire.FromServer, Lost: 2000})
	tr.end(time.Time{}, inspect.EndTimeout)
	if len(r.packets) != 5 {
		t.Fatalf("%+v", r.packets)
	}
	if p := r.packets[3]; p.seq != 1001 || p.text != `"x" ` {
		t.Errorf("%+v", p)
	}
	if p := r.packets[4]; p.seq != 1002 || p.ack != 2001 || p.text != "RST " {
		t.Errorf("%+v", p)
	}
}

// TestFailingTrace: a trace that fails costs the record of its conversation, and not its mail.
func TestFailingTrace(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		kept := newTracing()
		kept.fail = true
		o.Recorder, o.Trace = kept, true
		r := newRig(t, o)
		r.talkAway(10)
		list, _ := kept.records(t, 10)
		for _, s := range list {
			if anomaly(s, wire.InspectorFailure) != 1 {
				t.Errorf("%+v", s)
			}
		}
	})
}
