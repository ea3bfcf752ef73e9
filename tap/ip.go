package tap

import "encoding/binary"

// IP protocol numbers.
const (
	protoHopByHop = 0
	protoIPIP     = 4
	protoTCP      = 6
	protoUDP      = 17
	protoIPv6     = 41
	protoRouting  = 43
	protoFragment = 44
	protoGRE      = 47
	protoAH       = 51
	protoDest     = 60
	protoMobility = 135
	protoHIP      = 139
	protoShim6    = 140
)

// maxExtensions bounds the extension headers of one IPv6 packet.
const maxExtensions = 16

// ip reads IPv4 or IPv6, whichever the first octet says.
func (d *decoder) ip() verdict {
	if len(d.data) == 0 {
		return undecodable
	}
	switch d.data[0] >> 4 {
	case 4:
		return d.ipv4()
	case 6:
		return d.ipv6()
	}
	return undecodable
}

func (d *decoder) ipv4() verdict {
	if len(d.data) < 20 {
		return undecodable
	}
	h := d.data
	length, total := int(h[0]&15)*4, int(binary.BigEndian.Uint16(h[2:]))
	if length < 20 || len(h) < length {
		return undecodable
	}
	// A frame that the card still has to cut up has a total length of 0. One that is longer than the frame is not
	// believed: the receiver drops the packet, and a file that hides the true length only makes a hole behind it.
	if total != 0 {
		if total < length {
			return undecodable
		}
		d.trim(total)
	}
	src := address{0, 0xffff<<32 | uint64(binary.BigEndian.Uint32(h[12:]))}
	dst := address{0, 0xffff<<32 | uint64(binary.BigEndian.Uint32(h[16:]))}
	protocol := h[9]
	d.take(length)
	if offset := binary.BigEndian.Uint16(h[6:]); offset&0x3fff != 0 {
		key := fragmentKey{src, dst, uint32(binary.BigEndian.Uint16(h[4:])), protocol, 4}
		return d.fragment(key, int(offset&0x1fff)*8, offset&0x2000 != 0, protocol)
	}
	return d.transport(protocol, src, dst)
}

func (d *decoder) ipv6() verdict {
	h := d.take(40)
	if h == nil {
		return undecodable
	}
	// A length of 0 is that of a jumbogram, or of a frame that the card still has to cut up.
	if length := int(binary.BigEndian.Uint16(h[4:])); length != 0 {
		d.trim(length)
	}
	src := address{binary.BigEndian.Uint64(h[8:]), binary.BigEndian.Uint64(h[16:])}
	dst := address{binary.BigEndian.Uint64(h[24:]), binary.BigEndian.Uint64(h[32:])}
	return d.extensions(h[6], src, dst)
}

// extensions walks IPv6's extension headers (RFC 8200, 4).
func (d *decoder) extensions(next byte, src, dst address) verdict {
	for range maxExtensions {
		length := 0
		switch next {
		case protoHopByHop, protoRouting, protoDest, protoMobility, protoHIP, protoShim6:
			if len(d.data) < 8 {
				return undecodable
			}
			length = (int(d.data[1]) + 1) * 8
		case protoAH:
			if len(d.data) < 8 {
				return undecodable
			}
			length = (int(d.data[1]) + 2) * 4
		case protoFragment:
			h := d.take(8)
			if h == nil {
				return undecodable
			}
			offset := binary.BigEndian.Uint16(h[2:])
			if offset&0xfff9 == 0 { // an atomic fragment is whole (RFC 6946)
				next = h[0]
				continue
			}
			key := fragmentKey{src, dst, binary.BigEndian.Uint32(h[4:]), 0, 6}
			return d.fragment(key, int(offset&^7), offset&1 != 0, h[0])
		default:
			return d.transport(next, src, dst)
		}
		h := d.take(length)
		if h == nil {
			return undecodable
		}
		next = h[0]
	}
	return undecodable
}

// fragment takes a part of a datagram; when that makes it whole, it is read on.
func (d *decoder) fragment(key fragmentKey, offset int, more bool, protocol byte) verdict {
	d.fragmented = true
	if len(d.data) < d.wire || d.seg == nil {
		return undecodable // cut off by the snap length: it can never be made whole
	}
	whole, first, ok := d.frags.add(key, offset, more, protocol, d.data)
	if !ok {
		return undecodable
	}
	if whole == nil {
		return fragment
	}
	d.data, d.wire = whole, len(whole)
	if !d.deeper() {
		return undecodable
	}
	if key.version == 6 {
		return d.extensions(first, key.src, key.dst)
	}
	return d.transport(first, key.src, key.dst)
}

// address is an IP address, IPv4 as ::ffff:a.b.c.d.
type address struct{ hi, lo uint64 }

func (d *decoder) transport(protocol byte, src, dst address) verdict {
	switch protocol {
	case protoTCP:
		return d.tcp(src, dst)
	case protoAH:
		if len(d.data) < 8 {
			return undecodable
		}
		h := d.take((int(d.data[1]) + 2) * 4)
		if h == nil || !d.deeper() {
			return undecodable
		}
		return d.transport(h[0], src, dst)
	}
	if d.noTunnels {
		return notTCP
	}
	switch protocol {
	case protoIPIP, protoIPv6:
		if !d.deeper() {
			return undecodable
		}
		return d.ip()
	case protoGRE:
		return d.gre()
	case protoUDP:
		return d.udp()
	}
	return notTCP
}

// tcp reads the TCP header (RFC 9293, 3.1). Its checksum is never asked for: hosts with offloads leave it to the card.
func (d *decoder) tcp(src, dst address) verdict {
	h := d.data
	if len(h) < 20 {
		return undecodable
	}
	length := int(h[12]>>4) * 4
	if length < 20 || length > d.wire {
		return undecodable
	}
	s := d.seg
	from, to := uint64(binary.BigEndian.Uint16(h)), uint64(binary.BigEndian.Uint16(h[2:]))
	s.seq, s.ack, s.flags = binary.BigEndian.Uint32(h[4:]), binary.BigEndian.Uint32(h[8:]), h[13]
	if src.hi < dst.hi || (src.hi == dst.hi && (src.lo < dst.lo || (src.lo == dst.lo && from <= to))) {
		s.key = flowKey{src.hi, src.lo, dst.hi, dst.lo, from<<16 | to}
		s.side = 0
	} else {
		s.key = flowKey{dst.hi, dst.lo, src.hi, src.lo, to<<16 | from}
		s.side = 1
	}
	payload := min(length, len(h)) // the options may be cut off
	s.payload = h[payload:]
	s.snapped = int32(d.wire - length - len(s.payload))
	s.tick = false
	return isSegment
}
