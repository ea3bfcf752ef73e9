package tap

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// LinkType says what a packet begins with, as in the registry of draft-ietf-opsawg-pcaplinktype.
type LinkType int

// The link types that are understood.
const (
	LinkNull     LinkType = 0   // an address family in the byte order of some host
	LinkEthernet LinkType = 1   // with VLAN and QinQ tags, MPLS, PPPoE
	LinkPPP      LinkType = 9   // with or without HDLC framing
	LinkRaw12    LinkType = 12  // LinkRaw, as most systems number it in their own files
	LinkRaw14    LinkType = 14  // LinkRaw, as OpenBSD numbers it
	LinkPPPHDLC  LinkType = 50  // PPP in HDLC-like framing
	LinkPPPoE    LinkType = 51  // a PPPoE header, then PPP
	LinkRaw      LinkType = 101 // IPv4 or IPv6
	LinkCHDLC    LinkType = 104 // Cisco's HDLC
	LinkLoop     LinkType = 108 // an address family in network byte order
	LinkENC      LinkType = 109 // OpenBSD's inside of IPsec
	LinkSLL      LinkType = 113 // Linux's "any" interface
	LinkPFLOG    LinkType = 117 // what OpenBSD's packet filter logs
	LinkIPNET    LinkType = 226 // Solaris's IP layer
	LinkIPv4     LinkType = 228
	LinkIPv6     LinkType = 229
	LinkNFLOG    LinkType = 239 // what Linux's packet filter logs
	LinkPKTAP    LinkType = 258 // macOS's interfaces, several at once
	LinkSLL2     LinkType = 276

	LinkPKTAPUser LinkType = 149 // LinkPKTAP, as macOS numbers it in its own files

	linkUnknown LinkType = -1
)

// String gives the number, and the name of what is usual besides what is understood.
func (l LinkType) String() string {
	names := map[LinkType]string{
		105: "IEEE 802.11", 107: "Frame Relay", 119: "IEEE 802.11 with Prism headers", 127: "IEEE 802.11 with radiotap headers",
		187: "Bluetooth", 189: "USB", 192: "PPI", 220: "USB", 249: "USB",
	}
	if name := names[l]; name != "" {
		return fmt.Sprintf("%d (%s)", int(l), name)
	}
	return strconv.Itoa(int(l))
}

// understood says whether packets of this link type can be decoded.
func (l LinkType) understood() bool {
	switch l {
	case LinkNull, LinkEthernet, LinkPPP, LinkRaw12, LinkRaw14, LinkPPPHDLC, LinkPPPoE, LinkRaw, LinkCHDLC, LinkLoop, LinkENC,
		LinkSLL, LinkPFLOG, LinkPKTAPUser, LinkIPNET, LinkIPv4, LinkIPv6, LinkNFLOG, LinkPKTAP, LinkSLL2:
		return true
	}
	return false
}

// maxLayers bounds the encapsulations of one packet: tags, label stacks, tunnels.
const maxLayers = 8

// TCP's flags.
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
)

// segment is one TCP segment, or (tick) a moment of packet time at which the shards look at their clocks.
type segment struct {
	key      flowKey
	packet   int64 // its number in the stream of packets
	time     int64
	payload  []byte // in the batch's memory, or in a block
	snapped  int32  // octets of the payload that were on the wire and not captured
	seq, ack uint32
	flags    uint8
	side     uint8 // who sent it: 0 is the key's a, 1 its b
	tick     bool
}

// flowKey is the two ends of a connection, the lower one first, so that it is the same for both directions.
type flowKey struct {
	aHi, aLo, bHi, bLo uint64 // addresses, IPv4 as ::ffff:a.b.c.d
	ports              uint64 // a's << 16 | b's
}

func (k *flowKey) port(side uint8) uint16 {
	if side == 0 {
		return uint16(k.ports >> 16)
	}
	return uint16(k.ports)
}

// shard spreads the flows. It is no secret: limits are per shard, so who aims at one shard harms only that one.
func (k *flowKey) shard() int {
	h := (k.aHi ^ k.bHi) * 0x9e3779b97f4a7c15
	h = (h ^ h>>29 ^ k.aLo) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>32 ^ k.bLo) * 0x94d049bb133111eb
	h = (h ^ h>>29 ^ k.ports) * 0x9e3779b97f4a7c15
	return int(h >> 60) // shards is 16
}

// verdict says what a packet turned out to be.
type verdict uint8

const (
	undecodable verdict = iota // it makes no sense, or is cut off before its TCP header ends
	notTCP
	fragment  // a part of a datagram that is not whole yet
	isSegment // a TCP segment
)

// decoder finds the TCP segment in a packet. What remains of the packet is data, which had wire octets on the wire.
type decoder struct {
	frags     fragments
	noTunnels bool // of encapsulations only VLANs are looked into

	seg        *segment
	data       []byte
	wire       int
	layers     int
	fragmented bool // this packet was a fragment, whatever came of it
}

// decode fills in seg, but for its packet number and time. A decoder that fails on a packet costs that packet.
func (d *decoder) decode(p *Packet, seg *segment) (v verdict) {
	defer func() {
		if recover() != nil {
			v = undecodable
		}
	}()
	d.seg, d.data, d.wire, d.layers, d.fragmented = seg, p.Data, max(p.Wire, len(p.Data)), 0, false
	d.frags.now(p.Time)
	return d.link(p.Link)
}

// take gives the next n octets; nil if they were not captured.
func (d *decoder) take(n int) []byte {
	if len(d.data) < n {
		return nil
	}
	b := d.data[:n:n]
	d.data, d.wire = d.data[n:], d.wire-n
	return b
}

// trim drops what follows the next n octets: a frame's padding, a trailer.
func (d *decoder) trim(n int) {
	if n < d.wire {
		d.wire = n
		d.data = d.data[:min(n, len(d.data))]
	}
}

// deeper counts an encapsulation and says whether that is still reasonable.
func (d *decoder) deeper() bool {
	d.layers++
	return d.layers <= maxLayers
}

func (d *decoder) link(link LinkType) verdict {
	switch link {
	case LinkEthernet:
		return d.ethernet()
	case LinkSLL:
		if h := d.take(16); h != nil {
			return d.etherType(binary.BigEndian.Uint16(h[14:]))
		}
	case LinkSLL2:
		if h := d.take(20); h != nil {
			return d.etherType(binary.BigEndian.Uint16(h))
		}
	case LinkNull, LinkLoop:
		if h := d.take(4); h != nil {
			return d.family(h)
		}
	case LinkRaw, LinkRaw12, LinkRaw14, LinkIPv4, LinkIPv6:
		return d.ip()
	case LinkPPP, LinkPPPHDLC:
		return d.ppp()
	case LinkPPPoE:
		return d.pppoe()
	case LinkCHDLC:
		if h := d.take(4); h != nil {
			return d.etherType(binary.BigEndian.Uint16(h[2:]))
		}
	case LinkENC:
		return d.plain(12)
	case LinkIPNET:
		return d.plain(24)
	case LinkPFLOG:
		return d.pflog()
	case LinkNFLOG:
		return d.nflog()
	case LinkPKTAP, LinkPKTAPUser:
		return d.pktap()
	}
	return undecodable
}

// family reads BSD's loopback header. Its byte order is that of the host that captured; the families are small numbers
// that differ between systems for IPv6.
func (d *decoder) family(h []byte) verdict {
	f := binary.BigEndian.Uint32(h)
	if f > 0xffff {
		f = binary.LittleEndian.Uint32(h)
	}
	switch f {
	case 2, 10, 23, 24, 28, 30:
		return d.ip()
	}
	return notTCP
}

func (d *decoder) ethernet() verdict {
	h := d.take(14)
	if h == nil {
		return undecodable
	}
	return d.etherType(binary.BigEndian.Uint16(h[12:]))
}

// EtherTypes.
const (
	etherIPv4      = 0x0800
	etherIPv6      = 0x86dd
	etherVLAN      = 0x8100
	etherQinQ      = 0x88a8
	etherQinQ9100  = 0x9100
	etherQinQ9200  = 0x9200
	etherMPLS      = 0x8847
	etherMPLSMulti = 0x8848
	etherPPPoE     = 0x8864
	etherBridged   = 0x6558 // Ethernet within GRE or Geneve
	etherERSPAN2   = 0x88be
	etherERSPAN3   = 0x22eb
)

func (d *decoder) etherType(t uint16) verdict {
	for {
		switch t {
		case etherIPv4, etherIPv6:
			return d.ip()
		case etherVLAN, etherQinQ, etherQinQ9100, etherQinQ9200:
			h := d.take(4)
			if h == nil || !d.deeper() {
				return undecodable
			}
			t = binary.BigEndian.Uint16(h[2:])
			continue
		}
		if d.noTunnels && t >= 0x0600 {
			return notTCP
		}
		switch t {
		case etherMPLS, etherMPLSMulti:
			return d.mpls()
		case etherPPPoE:
			return d.pppoe()
		case etherBridged:
			if !d.deeper() {
				return undecodable
			}
			return d.ethernet()
		}
		if t >= 0x0600 {
			return notTCP
		}
		// IEEE 802.3: a length, then LLC; only SNAP carries IP.
		h := d.take(8)
		if h == nil || h[0] != 0xaa || h[1] != 0xaa || h[2] != 3 || !d.deeper() {
			return notTCP
		}
		t = binary.BigEndian.Uint16(h[6:])
	}
}
