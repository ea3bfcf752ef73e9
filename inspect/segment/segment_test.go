package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/mailwire/mailwire/inspect/wire"
)

var families = []struct {
	name           string
	client, server string
	from, to       string // as the packets have them
}{
	{"IPv4", "192.0.2.7:51514", "198.51.100.9:25", "192.0.2.7", "198.51.100.9"},
	{"IPv6", "[2001:db8::7]:51514", "[2001:db8:1::9]:25", "2001:db8::7", "2001:db8:1::9"},
	{"both", "192.0.2.7:51514", "[2001:db8:1::9]:25", "192.0.2.7", "2001:db8:1::9"},
	{"IPv4 in IPv6", "[::ffff:192.0.2.7]:51514", "[::ffff:198.51.100.9]:25", "192.0.2.7", "198.51.100.9"},
	{"zone", "[fe80::1%eth0]:51514", "[fe80::2%eth0]:25", "fe80::1", "fe80::2"},
}

// seen is a packet as gopacket decodes it.
type seen struct {
	dir      wire.Direction
	time     time.Time
	flags    string
	seq, ack uint32
	data     string
	window   int
}

func (s seen) String() string {
	return fmt.Sprintf("%s %d/%d %s %d", strings.TrimSpace(s.dir.String()[:1]+" "+s.flags), s.seq, s.ack, s.time.Format("5.000"), len(s.data))
}

// reader decodes packets, and holds each to be right by itself.
type reader struct {
	t        testing.TB
	from, to string
	packets  []seen
}

func (r *reader) emit(at time.Time, head, data []byte) {
	r.t.Helper()
	octets := slices.Concat(head, data)
	if len(octets) > packetOctets {
		r.t.Fatalf("a packet of %d octets", len(octets))
	}
	first := layers.LayerTypeIPv4
	if octets[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(octets, first, gopacket.Default)
	if err := p.ErrorLayer(); err != nil {
		r.t.Fatal(err.Error())
	}
	tcp := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if err := tcp.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
		r.t.Fatal(err)
	}
	if err, wrong := p.VerifyChecksums(); err != nil || len(wrong) > 0 {
		r.t.Fatalf("checksums: %v, %v", err, wrong)
	}
	from, to := addresses(r.t, p.NetworkLayer(), len(octets))
	s := seen{time: at, seq: tcp.Seq, ack: tcp.Ack, data: string(tcp.Payload), window: int(tcp.Window)}
	switch {
	case from == r.from && to == r.to && tcp.SrcPort == 51514 && tcp.DstPort == 25:
	case from == r.to && to == r.from && tcp.SrcPort == 25 && tcp.DstPort == 51514:
		s.dir = wire.FromServer
	default:
		r.t.Fatalf("from %s:%d to %s:%d", from, tcp.SrcPort, to, tcp.DstPort)
	}
	for _, f := range []struct {
		set  bool
		name string
	}{{tcp.SYN, "S"}, {tcp.FIN, "F"}, {tcp.RST, "R"}, {tcp.PSH, "P"}, {tcp.ACK, "."}} {
		if f.set {
			s.flags += f.name
		}
	}
	if tcp.URG || tcp.ECE || tcp.CWR || tcp.NS || tcp.Urgent != 0 || tcp.SYN != (len(tcp.Options) == 3) || !tcp.ACK && tcp.Ack != 0 {
		r.t.Fatalf("%+v", tcp)
	}
	r.packets = append(r.packets, s)
}

// addresses returns those of a packet, and holds its header to be plain.
func addresses(t testing.TB, ip gopacket.NetworkLayer, octets int) (from, to string) {
	t.Helper()
	switch ip := ip.(type) {
	case *layers.IPv4:
		if int(ip.Length) != octets || ip.IHL != 5 || ip.Flags != layers.IPv4DontFragment || ip.TTL != 64 || ip.FragOffset != 0 {
			t.Fatalf("%+v", ip)
		}
		from, to = ip.SrcIP.String(), ip.DstIP.String()
	case *layers.IPv6:
		if int(ip.Length)+40 != octets || ip.HopLimit != 64 || ip.FlowLabel != 0 || ip.TrafficClass != 0 {
			t.Fatalf("%+v", ip)
		}
		from, to = ip.SrcIP.String(), ip.DstIP.String()
	}
	return from, to
}

// streams puts the packets together again, with zeros for what is missing.
func (r *reader) streams() (octets [2][]byte) {
	r.t.Helper()
	var next [2]uint32
	for i, p := range r.packets {
		if strings.Contains(p.flags, "S") {
			next[p.dir] = p.seq + 1
			continue
		}
		octets[p.dir] = append(octets[p.dir], make([]byte, p.seq-next[p.dir])...)
		octets[p.dir] = append(octets[p.dir], p.data...)
		next[p.dir] = p.seq + uint32(len(p.data))
		if strings.Contains(p.flags, "F") {
			next[p.dir]++
		}
		if int32(p.ack-next[p.dir.Reverse()]) < 0 {
			r.t.Errorf("packet %d acknowledges %d, but %d were sent", i, p.ack, next[p.dir.Reverse()])
		}
	}
	return octets
}

func newReader(t testing.TB, family int) (*reader, *Conversation) {
	f := families[family]
	r := &reader{t: t, from: f.from, to: f.to}
	return r, New(netip.MustParseAddrPort(f.client), netip.MustParseAddrPort(f.server), r.emit)
}

func second(n int) time.Time { return time.Unix(int64(n), 0).UTC() }

// TestConversation shows all packets of a short one.
func TestConversation(t *testing.T) {
	for i, f := range families {
		r, c := newReader(t, i)
		c.Open(second(1))
		c.Data(wire.FromServer, second(2), 0, []byte("220 mx\r\n"))
		c.Data(wire.FromClient, second(3), 0, []byte("QUIT\r\n"))
		c.Data(wire.FromServer, second(4), 10, []byte("221\r\n"))
		c.Data(wire.FromClient, second(4), wire.LostUnknown, []byte("x"))
		c.Data(wire.FromClient, second(4), 3, nil)
		c.HalfClose(wire.FromServer, second(5))
		c.HalfClose(wire.FromServer, second(6))
		c.HalfClose(wire.FromClient, second(7))
		want := "[c S 0/0 1.000 0 s S. 0/1 1.000 0 c . 1/1 1.000 0 s P. 1/1 2.000 8 c P. 1/9 3.000 6 s P. 19/7 4.000 5 c P. 7/24 4.000 1 " +
			"s F. 24/11 5.000 0 c . 11/25 5.000 0 c F. 11/25 7.000 0 s . 25/12 7.000 0]"
		if got := fmt.Sprint(r.packets); got != want {
			t.Errorf("%s:\n got %s\nwant %s", f.name, got, want)
		}
	}
}

func TestBrokenOff(t *testing.T) {
	r, c := newReader(t, 0)
	c.Refuse(second(1), second(2))
	if got := fmt.Sprint(r.packets); got != "[c S 0/0 1.000 0 s R. 0/1 2.000 0]" {
		t.Error(got)
	}
	r, c = newReader(t, 1)
	c.Open(second(1))
	c.Reset(wire.FromClient, second(2))
	if got := fmt.Sprint(r.packets[3:]); got != "[c R. 1/1 2.000 0]" {
		t.Error(got)
	}
}

// TestNoAddress: an end without an address has the one that stands for none.
func TestNoAddress(t *testing.T) {
	var heads [][]byte
	c := New(netip.AddrPort{}, netip.AddrPort{}, func(_ time.Time, head, _ []byte) { heads = append(heads, bytes.Clone(head)) })
	c.Open(second(1))
	if len(heads) != 3 || !bytes.Equal(heads[0][12:24], make([]byte, 12)) {
		t.Errorf("%x", heads)
	}
}

// TestRandom: whatever is said, what is put together again from the packets is what was said.
func TestRandom(t *testing.T) {
	for i := range families {
		random := rand.New(rand.NewPCG(1, uint64(i)))
		for range 30 {
			r, c := newReader(t, i)
			c.Open(second(0))
			var want [2][]byte
			for n := range 30 {
				dir := wire.Direction(random.IntN(2))
				lost := random.IntN(3) * random.IntN(2000)
				data := make([]byte, random.IntN(1<<random.IntN(15)))
				for k := range data {
					data[k] = byte(random.IntN(256))
				}
				want[dir] = append(append(want[dir], make([]byte, lost)...), data...)
				before := bytes.Clone(data)
				c.Data(dir, second(n), int64(lost), data)
				if !bytes.Equal(before, data) {
					t.Fatal("the octets were changed")
				}
			}
			c.HalfClose(wire.FromClient, second(100))
			c.HalfClose(wire.FromServer, second(100))
			got := r.streams()
			if !bytes.Equal(got[0], want[0]) || !bytes.Equal(got[1], want[1]) {
				t.Fatalf("%d and %d octets, not %d and %d", len(got[0]), len(got[1]), len(want[0]), len(want[1]))
			}
		}
	}
}

// TestWrap: sequence numbers begin again behind 4 GiB, and no reader can take a hole for a step back.
func TestWrap(t *testing.T) {
	r, c := newReader(t, 0)
	c.Open(second(0))
	c.Data(wire.FromClient, second(1), 5<<30, []byte("behind"))
	c.Data(wire.FromServer, second(2), 0, []byte("250"))
	var last uint32
	for _, p := range r.packets[2:] {
		if p.dir == wire.FromClient {
			if step := p.seq - last; step > maxSkip+1 {
				t.Errorf("from %d to %d", last, p.seq)
			}
			last = p.seq
		}
	}
	end := r.packets[len(r.packets)-2:]
	if end[0].seq != 1+1<<30 || end[1].ack != 7+1<<30 {
		t.Errorf("%v", end)
	}

	var octets, seq uint32
	c = New(netip.AddrPort{}, netip.AddrPort{}, func(_ time.Time, head, data []byte) {
		octets += uint32(len(data))
		seq = binary.BigEndian.Uint32(head[24:])
	})
	c.Open(second(0))
	c.next[wire.FromClient] -= 1000
	c.Data(wire.FromClient, second(1), 0, make([]byte, 4000))
	if octets != 4000 || seq != 1+2*1460-1000 {
		t.Errorf("%d octets, the last packet at %d", octets, seq)
	}
}

// TestAllocations: packets cost none.
func TestAllocations(t *testing.T) {
	octets := 0
	for _, f := range families {
		c := New(netip.MustParseAddrPort(f.client), netip.MustParseAddrPort(f.server), func(_ time.Time, head, data []byte) { octets += len(head) + len(data) })
		c.Open(second(0))
		data := make([]byte, 65536)
		if n := testing.AllocsPerRun(10, func() { c.Data(wire.FromClient, second(1), 1, data) }); n != 0 {
			t.Errorf("%s: %v allocations", f.name, n)
		}
	}
}

// TestSum holds the sum of any octets to be that of RFC 1071, computed as it is written there.
func TestSum(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 3))
	for n := range 200 {
		b := bytes.Repeat([]byte{0xff}, n)
		for i := range n * random.IntN(2) {
			b[i] = byte(random.IntN(256))
		}
		var want uint32
		for i, c := range b {
			want += uint32(c) << (8 * (1 - i%2))
		}
		for want > 0xffff {
			want = want&0xffff + want>>16
		}
		if got := checksum(sum(b, 0)); got != ^uint16(want) {
			t.Fatalf("%x: %04x, not %04x", b, got, ^uint16(want))
		}
	}
}

func BenchmarkData(b *testing.B) {
	octets := 0
	c := New(netip.MustParseAddrPort("192.0.2.7:5"), netip.MustParseAddrPort("192.0.2.8:25"), func(_ time.Time, head, data []byte) { octets += len(head) + len(data) })
	data := make([]byte, 64<<10)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		c.Data(wire.FromClient, second(1), 0, data)
	}
}
