package tap

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func be16(v ...uint16) []byte {
	var b []byte
	for _, v := range v {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

func join(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case []byte:
			b = append(b, p...)
		case string:
			b = append(b, p...)
		case int:
			b = append(b, byte(p))
		}
	}
	return b
}

func zeros(n int) []byte { return make([]byte, n) }

func etherFrame(t uint16, payload []byte) []byte { return join(zeros(12), be16(t), payload) }

func udpPacket(port uint16, payload []byte) []byte {
	return join(be16(40000, port, uint16(8+len(payload)), 0), payload)
}

var (
	four = [2]netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("198.51.100.9")}
	six  = [2]netip.Addr{netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("2001:db8::9")}
)

// frame is a packet in a table of tests.
type frame struct {
	name string
	link LinkType
	data []byte
}

// wrapped is one segment in everything that is understood.
func wrapped() []frame {
	tcp := tcpSegment(51514, 25, 7, 9, psh|ack, []byte("EHLO x\r\n"))
	ip4, ip6 := ipPacket(four[0], four[1], protoTCP, tcp), ipPacket(six[0], six[1], protoTCP, tcp)
	tunnel := func(protocol byte, payload []byte) []byte {
		return ipPacket(netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2"), protocol, payload)
	}
	options := join(tcpSegment(51514, 25, 7, 9, psh|ack, nil), zeros(12), "EHLO x\r\n")
	options[12] = 8 << 4
	tso := slices.Clone(ip4)
	tso[2], tso[3] = 0, 0
	tso6 := slices.Clone(ip6)
	tso6[4], tso6[5] = 0, 0
	ipOptions := slices.Clone(ip4)
	ipOptions = slices.Insert(ipOptions, 20, zeros(8)...)
	ipOptions[0] = 0x47
	binary.BigEndian.PutUint16(ipOptions[2:], uint16(len(ipOptions)))
	extended := ipPacket(six[0], six[1], protoHopByHop, join(protoDest, 0, zeros(6), protoRouting, 1, zeros(14), protoFragment, 0, zeros(6), protoTCP, 0, zeros(6), tcp))
	authenticated := ipPacket(six[0], six[1], protoAH, join(protoTCP, 4, zeros(22), tcp))
	snap := join(zeros(12), be16(uint16(8+len(ip4))), 0xaa, 0xaa, 3, 0, 0, 0, be16(etherIPv4), ip4)
	return []frame{
		{"Ethernet", LinkEthernet, etherFrame(etherIPv4, ip4)},
		{"Ethernet IPv6", LinkEthernet, etherFrame(etherIPv6, ip6)},
		{"padding", LinkEthernet, join(etherFrame(etherIPv4, ip4), "padding")},
		{"padding IPv6", LinkEthernet, join(etherFrame(etherIPv6, ip6), "padding")},
		{"VLAN", LinkEthernet, etherFrame(etherVLAN, join(be16(5, etherIPv4), ip4))},
		{"QinQ", LinkEthernet, etherFrame(etherQinQ, join(be16(5, etherVLAN, 6, etherIPv6), ip6))},
		{"QinQ 9100", LinkEthernet, etherFrame(etherQinQ9100, join(be16(5, etherQinQ9200, 7, etherVLAN, 6, etherIPv6), ip6))},
		{"SNAP", LinkEthernet, snap},
		{"MPLS", LinkEthernet, etherFrame(etherMPLS, join(be16(1, 0x0040, 1, 0x0140), ip4))},
		{"MPLS pseudowire", LinkEthernet, etherFrame(etherMPLS, join(be16(1, 0x0140), zeros(4), etherFrame(etherIPv4, ip4)))},
		{"MPLS pseudowire, no control word", LinkEthernet, etherFrame(etherMPLS, join(be16(1, 0x0140), 0, 0x1b, etherFrame(etherIPv4, ip4)[2:]))},
		{"PPPoE", LinkEthernet, etherFrame(etherPPPoE, join(0x11, 0, be16(1, uint16(2+len(ip4)), 0x0021), ip4))},
		{"PPPoE IPv6", LinkEthernet, etherFrame(etherPPPoE, join(0x11, 0, be16(1, uint16(2+len(ip6)), 0x0057), ip6, "padding"))},
		{"IPv4 options", LinkEthernet, etherFrame(etherIPv4, ipOptions)},
		{"TCP options", LinkEthernet, etherFrame(etherIPv4, ipPacket(four[0], four[1], protoTCP, options))},
		{"TSO", LinkEthernet, etherFrame(etherIPv4, tso)},
		{"TSO IPv6", LinkEthernet, etherFrame(etherIPv6, tso6)},
		{"IPv6 extensions", LinkEthernet, etherFrame(etherIPv6, extended)},
		{"IPv6 authentication header", LinkEthernet, etherFrame(etherIPv6, authenticated)},
		{"IPv4 authentication header", LinkRaw, ipPacket(four[0], four[1], protoAH, join(protoTCP, 4, zeros(22), tcp))},
		{"SLL", LinkSLL, join(zeros(14), be16(etherIPv4), ip4)},
		{"SLL VLAN", LinkSLL, join(zeros(14), be16(etherVLAN, 3, etherIPv4), ip4)},
		{"SLL2", LinkSLL2, join(be16(etherIPv6), zeros(18), ip6)},
		{"raw", LinkRaw, ip4},
		{"raw IPv6", LinkRaw, ip6},
		{"raw 12", LinkRaw12, ip4},
		{"raw 14", LinkRaw14, ip6},
		{"IPv4", LinkIPv4, ip4},
		{"IPv6", LinkIPv6, ip6},
		{"null little-endian", LinkNull, join(2, zeros(3), ip4)},
		{"null big-endian", LinkNull, join(zeros(3), 30, ip6)},
		{"loop", LinkLoop, join(zeros(3), 24, ip6)},
		{"PPP", LinkPPP, join(0xff, 3, be16(0x0021), ip4)},
		{"PPP compressed", LinkPPP, join(0x21, ip4)},
		{"PPP HDLC MPLS", LinkPPPHDLC, join(0xff, 3, be16(0x0281, 1, 0x0140), ip6)},
		{"PPPoE link", LinkPPPoE, join(0x11, 0, be16(1, uint16(2+len(ip4)), 0x0021), ip4)},
		{"C-HDLC", LinkCHDLC, join(0x0f, 0, be16(etherIPv4), ip4)},
		{"inside IPsec", LinkENC, join(zeros(12), ip4)},
		{"Solaris's IP", LinkIPNET, join(1, 2, zeros(22), ip4)},
		{"packet filter's log", LinkPFLOG, join(61, 2, zeros(62), ip4)},
		{"packet filter's log, IPv6", LinkPFLOG, join(45, 24, zeros(46), ip6)},
		{"Linux's log", LinkNFLOG, join(2, 0, 0, 9, 7, 0, 10, 0, "mx", 0, 0, len(ip4)+4, 0, 9, 0, ip4, 0, 0)},
		{"Linux's log, of a host with another byte order", LinkNFLOG, join(2, 0, 0, 9, be16(7, 10), "mx", 0, 0, be16(uint16(len(ip4)+4), 9), ip4, 0, 0)},
		{"macOS's interface", LinkPKTAP, join(108, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, zeros(96), etherFrame(etherIPv4, ip4))},
		{"macOS's loopback", LinkPKTAPUser, join(112, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, zeros(100), 2, 0, 0, 0, ip4)},
		{"IP-in-IP", LinkRaw, tunnel(protoIPIP, ip4)},
		{"6in4", LinkRaw, tunnel(protoIPv6, ip6)},
		{"4in6", LinkRaw, ipPacket(six[1], six[0], protoIPIP, ip4)},
		{"GRE", LinkRaw, tunnel(protoGRE, join(be16(0, etherIPv4), ip4))},
		{"GRE key, checksum, sequence", LinkRaw, tunnel(protoGRE, join(be16(0xb000, etherIPv6), zeros(12), ip6))},
		{"GRE bridging", LinkRaw, tunnel(protoGRE, join(be16(0, etherBridged), etherFrame(etherIPv4, ip4)))},
		{"PPTP", LinkRaw, tunnel(protoGRE, join(be16(0x3081, 0x880b, 9, 9), zeros(8), 0xff, 3, be16(0x0021), ip4))},
		{"ERSPAN I", LinkRaw, tunnel(protoGRE, join(be16(0, etherERSPAN2), etherFrame(etherIPv4, ip4)))},
		{"ERSPAN II", LinkRaw, tunnel(protoGRE, join(be16(0x1000, etherERSPAN2), zeros(12), etherFrame(etherIPv4, ip4)))},
		{"ERSPAN III", LinkRaw, tunnel(protoGRE, join(be16(0x1000, etherERSPAN3), zeros(16), etherFrame(etherIPv4, ip4)))},
		{"ERSPAN III subheader", LinkRaw, tunnel(protoGRE, join(be16(0x1000, etherERSPAN3), zeros(15), 1, zeros(8), etherFrame(etherIPv4, ip4)))},
		{"ERSPAN III of IP", LinkRaw, tunnel(protoGRE, join(be16(0x1000, etherERSPAN3), zeros(14), 2<<2, 1, zeros(8), ip4))},
		{"VXLAN", LinkRaw, tunnel(protoUDP, udpPacket(portVXLAN, join(8, zeros(7), etherFrame(etherIPv4, ip4))))},
		{"VXLAN 8472", LinkRaw, tunnel(protoUDP, udpPacket(portVXLANLinux, join(8, zeros(7), etherFrame(etherVLAN, join(be16(1, etherIPv6), ip6)))))},
		{"Geneve", LinkRaw, tunnel(protoUDP, udpPacket(portGeneve, join(0, 0, be16(etherBridged), zeros(4), etherFrame(etherIPv4, ip4))))},
		{"Geneve options", LinkRaw, tunnel(protoUDP, udpPacket(portGeneve, join(2, 0, be16(etherIPv6), zeros(12), ip6)))},
		{"L2TP", LinkRaw, tunnel(protoUDP, udpPacket(portL2TP, join(be16(0x0002, 5, 6), 0xff, 3, be16(0x0021), ip4)))},
		{"L2TP from its port", LinkRaw, tunnel(protoUDP, join(be16(portL2TP, 40000, 0, 0, 0x0002, 5, 6, 0x0057), ip6))},
		{"L2TP length", LinkRaw, tunnel(protoUDP, udpPacket(portL2TP, join(be16(0x4002, uint16(10+len(ip4)), 5, 6, 0x0021), ip4, "padding")))},
		{"L2TP length, sequence, offset", LinkRaw, tunnel(protoUDP, udpPacket(portL2TP,
			join(be16(0x4a02, uint16(20+len(tso6)), 5, 6, 1, 2, 3), zeros(3), 0xff, 3, 0x57, tso6, "padding")))},
		{"L2TP priority, empty offset", LinkRaw, tunnel(protoUDP, udpPacket(portL2TP, join(be16(0x0302, 5, 6, 0, 0x0021), ip4)))},
	}
}

func TestDecode(t *testing.T) {
	for _, c := range wrapped() {
		t.Run(c.name, func(t *testing.T) {
			var d decoder
			var s segment
			p := Packet{Link: c.link, Wire: len(c.data), Data: c.data}
			if v := d.decode(&p, &s); v != isSegment || !c.link.understood() {
				t.Fatalf("verdict %d, link type %v", v, c.link)
			}
			f := flow{key: s.key}
			from, to := f.end(s.side), f.end(1-s.side)
			ends := four
			if from.Addr().Is6() {
				ends = six
			}
			if from != netip.AddrPortFrom(ends[0], 51514) || to != netip.AddrPortFrom(ends[1], 25) {
				t.Error(from, to)
			}
			if s.seq != 7 || s.ack != 9 || s.flags != psh|ack || s.snapped != 0 || string(s.payload) != "EHLO x\r\n" {
				t.Errorf("%+v %q", s, s.payload)
			}
			// Cut anywhere, it is a segment with a hole or nothing, but no panic.
			whole := p.Data
			for n := range whole {
				p.Data = whole[:n:n]
				if v := d.decode(&p, &s); v == isSegment && len(s.payload)+int(s.snapped) != 8 {
					t.Errorf("%d octets: %d of payload and %d cut off", n, len(s.payload), s.snapped)
				}
			}
		})
	}
}

func TestDecodeOther(t *testing.T) {
	ip4 := ipPacket(four[0], four[1], protoTCP, tcpSegment(1, 2, 3, 4, ack, nil))
	deep := ip4
	for range maxLayers + 1 {
		deep = ipPacket(four[0], four[1], protoIPIP, deep)
	}
	gre := func(data []byte) []byte { return ipPacket(four[0], four[1], protoGRE, data) }
	l2tp := func(data []byte) []byte { return ipPacket(four[0], four[1], protoUDP, udpPacket(portL2TP, data)) }
	tags := etherFrame(etherVLAN, slices.Repeat(be16(1, etherVLAN), 10000))
	for _, c := range []struct {
		name string
		want verdict
		link LinkType
		data []byte
	}{
		{"nothing", undecodable, LinkEthernet, nil},
		{"ARP", notTCP, LinkEthernet, etherFrame(0x0806, zeros(28))},
		{"spanning tree", notTCP, LinkEthernet, join(zeros(12), be16(38), 0x42, 0x42, 3, zeros(35))},
		{"UDP", notTCP, LinkRaw, ipPacket(four[0], four[1], protoUDP, udpPacket(53, zeros(12)))},
		{"ICMP", notTCP, LinkRaw, ipPacket(four[0], four[1], 1, zeros(8))},
		{"PPTP acknowledgment", notTCP, LinkRaw, gre(be16(0x2081, 0x880b, 0, 9, 0, 7))},
		{"PPTP acknowledgment and padding", notTCP, LinkRaw, gre(join(be16(0x2081, 0x880b, 0, 9, 0, 7), 0x21, ip4))},
		{"GRE version 1 of no PPP", notTCP, LinkRaw, gre(join(be16(0x3001, 0x880c, 0, 9, 0, 7), 0x21, ip4))},
		{"PPTP encrypted", notTCP, LinkRaw, gre(join(be16(0x3001, 0x880b, 0, 9, 0, 7), 0xff, 3, be16(0x00fd), zeros(40)))},
		{"GRE keepalive", notTCP, LinkRaw, gre(be16(0, 0))},
		{"L2TP control", notTCP, LinkRaw, l2tp(join(be16(0xc802, 12, 5, 0, 1, 1)))},
		{"L2TP control with a message", notTCP, LinkRaw, l2tp(join(be16(0xc802, uint16(14+len(ip4)), 5, 0, 1, 1, 0x0021), ip4))},
		{"L2TP version 3", notTCP, LinkRaw, l2tp(join(be16(0x0003, 0, 5, 6, 0x0021), ip4))},
		{"L2F", notTCP, LinkRaw, l2tp(join(be16(0x0001, 0x0021), ip4))},
		{"L2TP of PPP's own", notTCP, LinkRaw, l2tp(be16(0x0002, 5, 6, 0xff03, 0xc021, 0x0901, 4))},
		{"L2TP shorter than its header", undecodable, LinkRaw, l2tp(join(be16(0x4002, 3, 5, 6, 0x0021), ip4))},
		{"L2TP offset beyond the packet", undecodable, LinkRaw, l2tp(join(be16(0x0202, 5, 6, 999, 0x0021), ip4))},
		{"VXLAN from its port", notTCP, LinkRaw, ipPacket(four[0], four[1], protoUDP, join(be16(portVXLAN, 53, 0, 0), 8, zeros(7), etherFrame(etherIPv4, ip4)))},
		{"Geneve from its port", notTCP, LinkRaw, ipPacket(four[0], four[1], protoUDP, join(be16(portGeneve, 53, 0, 0), be16(0, etherIPv4, 0, 0), ip4))},
		{"PPPoE discovery", notTCP, LinkEthernet, etherFrame(etherPPPoE, join(0x11, 9, zeros(4)))},
		{"too deep", undecodable, LinkRaw, deep},
		{"tags without end", undecodable, LinkEthernet, tags},
		{"unknown link type", undecodable, LinkType(147), ip4},
		{"shorter log header than any", undecodable, LinkPFLOG, join(20, 2, zeros(18), ip4)},
		{"log of a bridge", notTCP, LinkNFLOG, join(7, 0, 0, 9, len(ip4)+4, 0, 9, 0, ip4)},
		{"log's attribute without a header", undecodable, LinkNFLOG, join(2, 0, 0, 9, 0, 0, 0, 0, ip4)},
		{"log without a packet", undecodable, LinkNFLOG, join(2, 0, 0, 9, 8, 0, 10, 0, be16(0, 0))},
		{"macOS's interface within itself", undecodable, LinkPKTAP, join(108, 0, 0, 0, 1, 0, 0, 0, 149, 0, 0, 0, zeros(96), ip4)},
		{"macOS's header beyond the packet", undecodable, LinkPKTAP, join(255, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, zeros(96), ip4)},
		{"macOS's record that is no packet", notTCP, LinkPKTAP, join(108, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, zeros(96), ip4)},
		{"IP version 5", undecodable, LinkRaw, []byte{0x55}},
		{"TCP header of 8 octets", undecodable, LinkRaw, func() []byte { b := slices.Clone(ip4); b[32] = 2 << 4; return b }()},
		{"TCP header longer than the packet", undecodable, LinkRaw, func() []byte { b := slices.Clone(ip4); b[32] = 15 << 4; return b }()},
		{"IPv4 header of 8 octets", undecodable, LinkRaw, func() []byte { b := slices.Clone(ip4); b[0] = 0x42; return b }()},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d decoder
			var s segment
			if v := d.decode(&Packet{Link: c.link, Wire: len(c.data), Data: c.data}, &s); v != c.want {
				t.Errorf("verdict %d", v)
			}
		})
	}
}

// fragmentsOf cuts a datagram's payload into fragments of so many octets.
func fragmentsOf(version int, id uint16, payload []byte, size int) [][]byte {
	var out [][]byte
	for at := 0; at < len(payload); at += size {
		end := min(at+size, len(payload))
		more := end < len(payload)
		if version == 4 {
			b := ipPacket(four[0], four[1], protoTCP, payload[at:end])
			binary.BigEndian.PutUint16(b[4:], id)
			f := uint16(at / 8)
			if more {
				f |= 0x2000
			}
			binary.BigEndian.PutUint16(b[6:], f)
			out = append(out, b)
			continue
		}
		f := uint16(at)
		if more {
			f |= 1
		}
		out = append(out, ipPacket(six[0], six[1], protoFragment, join(protoTCP, 0, be16(f, 0, id), payload[at:end])))
	}
	return out
}

func TestFragments(t *testing.T) {
	payload := tcpSegment(51514, 25, 7, 9, ack, []byte(strings.Repeat("0123456789", 500)))
	r := rand.New(rand.NewPCG(1, 1))
	for _, version := range []int{4, 6} {
		for _, size := range []int{8, 16, 512, 1480, 4096} {
			var d decoder
			var s segment
			parts := fragmentsOf(version, 77, payload, size)
			parts = append(parts, parts[:len(parts)-1]...) // all but the last twice
			for round := range 5 {
				if round > 0 {
					r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
				}
				whole := 0
				for _, data := range parts {
					switch v := d.decode(&Packet{Link: LinkRaw, Wire: len(data), Data: data}, &s); v {
					case isSegment:
						whole++
						if string(s.payload) != string(payload[20:]) {
							t.Fatal("not what was sent")
						}
					case fragment:
					default:
						t.Fatal(v)
					}
				}
				if whole != 1 {
					t.Errorf("version %d size %d: whole %d times", version, size, whole)
				}
				// What is left of the repetitions goes after its time.
				d.frags.now(d.frags.clock + fragmentTimeout + 1)
				if d.frags.held != 0 || len(d.frags.open) != 0 || len(d.frags.order) != 0 {
					t.Errorf("%d octets in %d datagrams held", d.frags.held, len(d.frags.open))
				}
			}
		}
	}
}

func TestFragmentsBounded(t *testing.T) {
	payload := tcpSegment(51514, 25, 7, 9, ack, zeros(60000))
	var d decoder
	var s segment
	for id := range 100_000 {
		parts := fragmentsOf(4, uint16(id), payload[:20000], 8000)
		p := parts[id%2+1]
		d.decode(&Packet{Time: int64(id), Link: LinkRaw, Wire: len(p), Data: p}, &s)
		if d.frags.held > maxFragmentOctets {
			t.Fatal(d.frags.held)
		}
	}
	if len(d.frags.order) > 2*len(d.frags.open)+65 {
		t.Error(len(d.frags.order))
	}
	// Overlapping fragments make a datagram void.
	d = decoder{}
	parts := fragmentsOf(4, 1, payload[:4000], 800)
	evil := slices.Clone(parts[1])
	binary.BigEndian.PutUint16(evil[6:], 0x2000|(800/8-1))
	for _, p := range append([][]byte{parts[0], evil}, parts[1:]...) {
		if v := d.decode(&Packet{Link: LinkRaw, Wire: len(p), Data: p}, &s); v == isSegment {
			t.Error("whole though it was void")
		}
	}
	// The ping of death.
	b := ipPacket(four[0], four[1], protoTCP, zeros(1000))
	binary.BigEndian.PutUint16(b[6:], 0x1fff)
	if v := d.decode(&Packet{Link: LinkRaw, Wire: len(b), Data: b}, &s); v != undecodable {
		t.Error(v)
	}
}

func TestFragmentedSession(t *testing.T) {
	l := newLine().open()
	l.s("220 mx\r\n")
	l.c(strings.Repeat("x", 3000))
	l.close()
	var packets []Packet
	for i, p := range l.packets {
		if i != 4 {
			packets = append(packets, p)
			continue
		}
		for _, b := range fragmentsOf(4, 9, p.Data[20:], 1200) {
			packets = append(packets, Packet{Time: p.Time, Link: LinkRaw, Wire: len(b), Data: b})
		}
	}
	r, stats := play(t, packets)
	r.one(t).exact(t, l)
	if stats.Fragments != 3 || stats.Undecodable != 0 {
		t.Errorf("%+v", stats)
	}
}

func FuzzDecode(f *testing.F) {
	tcp := tcpSegment(51514, 25, 7, 9, psh|ack, []byte("EHLO x\r\n"))
	ip4, ip6 := ipPacket(four[0], four[1], protoTCP, tcp), ipPacket(six[0], six[1], protoTCP, tcp)
	f.Add(1, etherFrame(etherIPv4, ip4))
	f.Add(1, etherFrame(etherVLAN, join(be16(1, etherIPv6), ip6)))
	f.Add(101, ipPacket(four[0], four[1], protoGRE, join(be16(0x1000, etherERSPAN2), zeros(12), etherFrame(etherIPv4, ip4))))
	f.Add(101, ipPacket(four[0], four[1], protoUDP, udpPacket(portGeneve, join(2, 0, be16(etherIPv6), zeros(12), ip6))))
	f.Add(9, join(0xff, 3, be16(0x0281, 1, 0x0140), ip6))
	f.Add(101, fragmentsOf(6, 5, tcp, 16)[1])
	f.Fuzz(func(t *testing.T, link int, data []byte) {
		var d decoder
		for range 2 { // the second time, fragments are repetitions
			var s segment
			p := Packet{Time: day.UnixNano(), Link: LinkType(link), Wire: len(data) + 3, Data: data}
			if v := d.decode(&p, &s); v == isSegment && (len(s.payload) > len(data) && !d.fragmented || s.snapped < 0 || int(s.snapped) > p.Wire) {
				t.Fatalf("%d octets of payload and %d cut off, of %d", len(s.payload), s.snapped, len(data))
			}
			if d.frags.held > maxFragmentOctets {
				t.Fatal("not bounded")
			}
		}
	})
}
