package tap

import "encoding/binary"

// What hosts put before the packets that they log or show themselves. It is not on the wire.

// pflog reads the header of OpenBSD's and FreeBSD's packet filter: its length, without what fills it up to four octets,
// comes first.
func (d *decoder) pflog() verdict {
	const shortest = 45 // FreeBSD's and macOS's, OpenBSD's before 4.9
	if len(d.data) == 0 {
		return undecodable
	}
	length := int(d.data[0])
	if length < shortest || d.take((length+3)&^3) == nil {
		return undecodable
	}
	return d.ip()
}

// nflog reads what Linux's packet filter gives to its group: a family, a version, a number, then attributes, of which one
// is the packet. Their lengths and types are in the byte order of the file, which is that of a host.
func (d *decoder) nflog() verdict {
	const inet, inet6 = 2, 10
	h := d.take(4)
	switch {
	case h == nil || h[1] != 0:
		return undecodable
	case h[0] != inet && h[0] != inet6:
		return notTCP
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if at, length, ok := nflogPayload(d.data, order); ok {
			d.take(at)
			d.trim(length)
			return d.ip()
		}
	}
	return undecodable
}

// nflogPayload finds the packet among the attributes, each of which is filled up to four octets.
func nflogPayload(b []byte, order binary.ByteOrder) (at, length int, ok bool) {
	const header, payload = 4, 9
	for len(b) >= at+header {
		n, kind := int(order.Uint16(b[at:])), order.Uint16(b[at+2:])&0x7fff
		if n < header {
			return 0, 0, false
		}
		if kind == payload {
			return at + header, n - header, true
		}
		at += (n + 3) &^ 3
	}
	return 0, 0, false
}

// pktap reads the header of macOS's packet tap: its own length, the kind of record, the link type of what follows.
func (d *decoder) pktap() verdict {
	const shortest, packet = 108, 1
	if len(d.data) < shortest || !d.deeper() {
		return undecodable
	}
	length, kind := binary.LittleEndian.Uint32(d.data), binary.LittleEndian.Uint32(d.data[4:])
	link := LinkType(binary.LittleEndian.Uint32(d.data[8:]))
	if length < shortest || length > uint32(len(d.data)) || link == LinkPKTAP || link == LinkPKTAPUser {
		return undecodable
	}
	if kind != packet {
		return notTCP
	}
	d.take(int(length))
	return d.link(link)
}

// plain steps over a header of n octets before IP.
func (d *decoder) plain(n int) verdict {
	if d.take(n) == nil {
		return undecodable
	}
	return d.ip()
}
