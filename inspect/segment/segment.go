// Package segment writes a TCP conversation as the packets that could have carried it, for programs that read packets
// and where there were none to capture: a relay sees octets, and what is inside TLS never was in packets of its own.
//
// Addresses, times, octets and what is missing of them are the conversation's own; the rest is as plain as TCP allows.
// Both sides number their octets from 1. Each packet acknowledges all that the other side has sent so far, so that
// readers see a reply behind the command that it answers.
package segment

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"time"

	"github.com/mailwire/mailwire/inspect/wire"
)

// LinkType is what the packets begin with, LINKTYPE_RAW: an IP header.
const LinkType = 101

// packetOctets is the longest packet. With those of 64 KiB the headers would take less than the one octet in 19 that
// they take now, but many tools, and networks that the packets are replayed to, know none beyond Ethernet's.
const packetOctets = 1500

const (
	ipv4Octets = 20
	ipv6Octets = 40
	tcpOctets  = 20
	maxOctets  = ipv6Octets + tcpOctets + 8 // of a head: with the options of a SYN

	maxSkip = 1 << 30 // octets from one sequence number to the next, which a reader cannot take for a step back
)

// TCP's flags.
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
)

// Conversation writes the packets of one TCP connection. One goroutine at a time calls it.
type Conversation struct {
	ends [2]netip.AddrPort // by the direction of what they send
	emit func(t time.Time, head, data []byte)
	next [2]uint32 // sequence number of what each side sends next
	fin  [2]bool
	ip   int // octets of the IP header
	head [maxOctets]byte
}

// New returns the conversation of two addresses, of one family or of both: an IPv4 address that talks to IPv6 is
// written as IPv6's form of it. Emit gets each packet, as its head and the data behind; both are borrowed.
func New(client, server netip.AddrPort, emit func(t time.Time, head, data []byte)) *Conversation {
	c := &Conversation{ends: [2]netip.AddrPort{client, server}, emit: emit, ip: ipv4Octets}
	for i, e := range c.ends {
		if !e.IsValid() {
			e = netip.AddrPortFrom(netip.IPv4Unspecified(), e.Port())
		}
		c.ends[i] = netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
		if c.ends[i].Addr().Is6() {
			c.ip = ipv6Octets
		}
	}
	return c
}

// Open writes the handshake.
func (c *Conversation) Open(t time.Time) {
	c.packet(wire.FromClient, t, syn, nil)
	c.packet(wire.FromServer, t, syn|ack, nil)
	c.packet(wire.FromClient, t, ack, nil)
}

// Refuse writes, instead of all else, that the client asked at one time for a connection, and got none at another.
func (c *Conversation) Refuse(asked, refused time.Time) {
	c.packet(wire.FromClient, asked, syn, nil)
	c.packet(wire.FromServer, refused, rst|ack, nil)
}

// Data writes octets of one side. Lost octets before them, where their number is known, get no packet, but have their
// sequence numbers.
func (c *Conversation) Data(dir wire.Direction, t time.Time, lost int64, octets []byte) {
	for ; lost > maxSkip; lost -= maxSkip {
		c.next[dir] += maxSkip
		c.packet(dir, t, ack, nil)
	}
	c.next[dir] += uint32(max(0, lost))
	most := packetOctets - c.ip - tcpOctets
	for len(octets) > 0 {
		n := min(len(octets), most)
		c.packet(dir, t, psh|ack, octets[:n])
		octets = octets[n:]
	}
}

// HalfClose writes that one side will send no more, and that the other knows. Only its first call counts for each side.
func (c *Conversation) HalfClose(dir wire.Direction, t time.Time) {
	if c.fin[dir] {
		return
	}
	c.fin[dir] = true
	c.packet(dir, t, fin|ack, nil)
	c.packet(dir.Reverse(), t, ack, nil)
}

// Reset writes that one side broke the connection off.
func (c *Conversation) Reset(dir wire.Direction, t time.Time) {
	c.packet(dir, t, rst|ack, nil)
}

// packet writes one packet.
func (c *Conversation) packet(dir wire.Direction, t time.Time, flags uint8, data []byte) {
	head := c.head[:c.ip+tcpOctets]
	tcp := head[c.ip:]
	if flags&syn != 0 {
		// The largest window there is, since nobody says when it opens.
		head = append(head, 2, 4, 0, 0, 1, 3, 3, 14)
		binary.BigEndian.PutUint16(head[len(head)-6:], uint16(packetOctets-c.ip-tcpOctets))
		tcp = head[c.ip:]
	}
	from, to := c.ends[dir], c.ends[dir.Reverse()]
	pseudo := c.address(head, from.Addr(), to.Addr(), len(tcp)+len(data))

	binary.BigEndian.PutUint16(tcp, from.Port())
	binary.BigEndian.PutUint16(tcp[2:], to.Port())
	binary.BigEndian.PutUint32(tcp[4:], c.next[dir])
	binary.BigEndian.PutUint32(tcp[8:], 0)
	if flags&ack != 0 {
		binary.BigEndian.PutUint32(tcp[8:], c.next[dir.Reverse()])
	}
	tcp[12], tcp[13] = byte(len(tcp)/4)<<4, flags
	binary.BigEndian.PutUint16(tcp[14:], 0xffff)
	binary.BigEndian.PutUint32(tcp[16:], 0) // checksum, urgent pointer
	binary.BigEndian.PutUint16(tcp[16:], checksum(sum(data, sum(tcp, pseudo))))

	c.next[dir] += uint32(len(data))
	if flags&(syn|fin) != 0 {
		c.next[dir]++
	}
	c.emit(t, head, data)
}

// address fills in the IP header before so many octets of TCP, and returns the sum of the pseudo header.
func (c *Conversation) address(head []byte, from, to netip.Addr, octets int) uint64 {
	const tcp, hops = 6, 64
	if c.ip == ipv6Octets {
		ip, a, b := head[:ipv6Octets], from.As16(), to.As16()
		binary.BigEndian.PutUint32(ip, 6<<28)
		binary.BigEndian.PutUint16(ip[4:], uint16(octets))
		ip[6], ip[7] = tcp, hops
		copy(ip[8:], a[:])
		copy(ip[24:], b[:])
		return sum(ip[8:], uint64(octets+tcp))
	}
	ip, a, b := head[:ipv4Octets], from.As4(), to.As4()
	binary.BigEndian.PutUint32(ip, 4<<28|ipv4Octets/4<<24|uint32(ipv4Octets+octets))
	binary.BigEndian.PutUint32(ip[4:], 1<<14) // not to be fragmented, so that it needs no number (RFC 6864)
	binary.BigEndian.PutUint32(ip[8:], hops<<24|tcp<<16)
	copy(ip[12:], a[:])
	copy(ip[16:], b[:])
	binary.BigEndian.PutUint16(ip[10:], checksum(sum(ip, 0)))
	return sum(ip[12:], uint64(octets+tcp))
}

// sum adds octets, as numbers of 16 bits in network byte order, to a sum (RFC 1071).
func sum(b []byte, to uint64) uint64 {
	var carry uint64
	for ; len(b) >= 32; b = b[32:] {
		to, carry = bits.Add64(to, binary.BigEndian.Uint64(b), carry)
		to, carry = bits.Add64(to, binary.BigEndian.Uint64(b[8:]), carry)
		to, carry = bits.Add64(to, binary.BigEndian.Uint64(b[16:]), carry)
		to, carry = bits.Add64(to, binary.BigEndian.Uint64(b[24:]), carry)
	}
	to = to>>32 + to&0xffffffff + carry
	for ; len(b) >= 2; b = b[2:] {
		to += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) > 0 {
		to += uint64(b[0]) << 8
	}
	return to
}

// checksum folds a sum.
func checksum(n uint64) uint16 {
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return ^uint16(n)
}
