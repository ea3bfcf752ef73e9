package tap

import "encoding/binary"

// mpls steps over a label stack (RFC 3032). What follows has no type: it is IP, or an Ethernet frame of a pseudowire with
// or without a control word, whose first two octets are 0 (RFC 4448, 4.6).
func (d *decoder) mpls() verdict {
	if !d.deeper() {
		return undecodable
	}
	for range maxLayers {
		h := d.take(4)
		if h == nil {
			return undecodable
		}
		if h[2]&1 == 0 {
			continue // not the bottom of the stack
		}
		if len(d.data) == 0 {
			return notTCP
		}
		switch version := d.data[0] >> 4; {
		case version == 4 || version == 6:
			return d.ip()
		case len(d.data) >= 4 && binary.BigEndian.Uint16(d.data) == 0:
			d.take(4)
		}
		return d.ethernet()
	}
	return undecodable
}

// pppoe reads the header of a PPPoE session (RFC 2516).
func (d *decoder) pppoe() verdict {
	h := d.take(6)
	if h == nil || !d.deeper() {
		return undecodable
	}
	if h[1] != 0 { // discovery
		return notTCP
	}
	d.trim(int(binary.BigEndian.Uint16(h[4:])))
	return d.ppp()
}

// ppp reads PPP's protocol field, which may be compressed to one octet, behind HDLC's address and control if they are
// there (RFC 1661, 2; RFC 1662, 3.1).
func (d *decoder) ppp() verdict {
	if len(d.data) >= 2 && d.data[0] == 0xff && d.data[1] == 0x03 {
		d.take(2)
	}
	if len(d.data) < 2 {
		return undecodable
	}
	protocol := uint16(d.data[0])
	d.take(1)
	if protocol&1 == 0 {
		protocol = protocol<<8 | uint16(d.take(1)[0])
	}
	switch protocol {
	case 0x0021, 0x0057:
		return d.ip()
	case 0x0281, 0x0283:
		return d.mpls()
	}
	return notTCP
}

// gre reads a GRE header (RFC 2784, RFC 2890; version 1 is PPTP's, RFC 2637) and ERSPAN's behind it.
func (d *decoder) gre() verdict {
	h := d.take(4)
	if h == nil || !d.deeper() {
		return undecodable
	}
	flags, protocol := binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
	const checksum, routing, key, sequence, acknowledged = 0x8000, 0x4000, 0x2000, 0x1000, 0x0080
	options := 0
	if flags&(checksum|routing) != 0 {
		options += 4
	}
	if flags&key != 0 {
		options += 4
	}
	if flags&sequence != 0 {
		options += 4
	}
	version := flags & 7
	if version == 1 && flags&acknowledged != 0 {
		options += 4
	}
	if d.take(options) == nil && options > 0 {
		return undecodable
	}
	switch {
	case flags&routing != 0 || version > 1:
		return notTCP
	case version == 1 && (flags&sequence == 0 || protocol != 0x880b): // without a payload it only acknowledges
		return notTCP
	case version == 1:
		return d.ppp()
	case protocol == etherERSPAN2 && flags&sequence == 0: // type I has no header of its own
		return d.ethernet()
	case protocol == etherERSPAN2:
		if d.take(8) == nil {
			return undecodable
		}
		return d.ethernet()
	case protocol == etherERSPAN3:
		h := d.take(12)
		if h == nil {
			return undecodable
		}
		if h[11]&1 != 0 && d.take(8) == nil { // with its platform's subheader
			return undecodable
		}
		if h[10]>>2&0x1f == 2 { // no Ethernet frame
			return d.ip()
		}
		return d.ethernet()
	}
	return d.etherType(protocol)
}

// Ports of tunnels over UDP.
const (
	portVXLAN      = 4789 // RFC 7348
	portVXLANLinux = 8472
	portGeneve     = 6081 // RFC 8926
	portL2TP       = 1701 // RFC 2661
)

func (d *decoder) udp() verdict {
	h := d.take(8)
	if h == nil {
		return undecodable
	}
	source, destination := binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
	switch destination { // their source ports say nothing
	case portVXLAN, portVXLANLinux:
		h := d.take(8)
		if h == nil || h[0]&0x08 == 0 { // the flag of a valid network identifier
			return notTCP
		}
		if !d.deeper() {
			return undecodable
		}
		return d.ethernet()
	case portGeneve:
		h := d.take(8)
		if h == nil || h[0]>>6 != 0 {
			return notTCP
		}
		if d.take(int(h[0]&0x3f)*4) == nil && h[0]&0x3f != 0 {
			return notTCP
		}
		if !d.deeper() {
			return undecodable
		}
		return d.etherType(binary.BigEndian.Uint16(h[2:]))
	}
	if source == portL2TP || destination == portL2TP { // the other end may have any port
		return d.l2tp()
	}
	return notTCP
}

// l2tp reads the header of L2TP's version 2 (RFC 2661, 3.1). Control messages carry no PPP.
func (d *decoder) l2tp() verdict {
	h := d.take(2)
	if h == nil {
		return undecodable
	}
	flags := binary.BigEndian.Uint16(h)
	const control, length, sequence, offset, version = 0x8000, 0x4000, 0x0800, 0x0200, 0x000f
	if flags&control != 0 || flags&version != 2 {
		return notTCP
	}
	if !d.deeper() {
		return undecodable
	}
	if flags&length != 0 {
		h := d.take(2)
		if h == nil || binary.BigEndian.Uint16(h) < 4 {
			return undecodable
		}
		d.trim(int(binary.BigEndian.Uint16(h)) - 4)
	}
	numbers := 4 // of the tunnel and the session
	if flags&sequence != 0 {
		numbers += 4
	}
	if d.take(numbers) == nil {
		return undecodable
	}
	if flags&offset != 0 {
		h := d.take(2)
		if h == nil {
			return undecodable
		}
		padding := int(binary.BigEndian.Uint16(h))
		if d.take(padding) == nil && padding > 0 {
			return undecodable
		}
	}
	return d.ppp()
}
