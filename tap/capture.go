package tap

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
)

// The readers of the two capture formats are our own, and small, because every length in a capture file is foreign: they
// hold nothing that grows with the file, believe no length beyond maxPacket, step over what they do not know, and read
// a packet straight into the batch. (pcapgo's NgReader keeps every name record and interface of a file, follows an option
// beyond the end of its block, and gives up a file at the first packet with an unknown interface.) The formats:
// draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.

const (
	pcapMicro    = 0xa1b2c3d4
	pcapNano     = 0xa1b23c4d
	pcapModified = 0xa1b2cd34 // Kuznetzov's: eight more octets in each packet's header
	ngSection    = 0x0a0d0d0a
	ngByteOrder  = 0x1a2b3c4d
)

func newPacketReader(r *bufio.Reader) (packetReader, error) {
	magic, err := r.Peek(4)
	if len(magic) < 4 {
		if err == io.EOF {
			return nil, errFormat
		}
		return nil, err
	}
	if binary.BigEndian.Uint32(magic) == ngSection {
		return newNgReader(r)
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch m := order.Uint32(magic); m {
		case pcapMicro, pcapNano, pcapModified:
			return newPcapReader(r, order, m)
		}
	}
	return nil, errFormat
}

// fill reads n octets of a packet into space, or into memory of its own that grows with what is really there.
func fill(r *bufio.Reader, space []byte, n int) ([]byte, error) {
	if n <= len(space) {
		_, err := io.ReadFull(r, space[:n])
		return space[:n:n], unexpected(err)
	}
	var data []byte
	for len(data) < n {
		had := len(data)
		data = append(data, make([]byte, min(n-had, max(minSpace, had)))...)
		if _, err := io.ReadFull(r, data[had:]); err != nil {
			return nil, unexpected(err)
		}
	}
	return data, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func tooLong(n uint32) error {
	return fmt.Errorf("it claims %d octets, more than the %d that a packet can have", n, maxPacket)
}

// pcapReader reads the classic format.
type pcapReader struct {
	r      *bufio.Reader
	order  binary.ByteOrder
	scale  int64 // nanoseconds of one unit of a packet's fraction
	header int   // octets of a packet's header
	link   LinkType
}

func newPcapReader(r *bufio.Reader, order binary.ByteOrder, magic uint32) (packetReader, error) {
	var h [24]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, unexpected(err)
	}
	if major := order.Uint16(h[4:]); major != 2 {
		return nil, fmt.Errorf("its pcap version %d is not known: convert it with editcap -F pcap", major)
	}
	p := &pcapReader{r: r, order: order, scale: 1000, header: 16}
	// The upper half of the link type says how long the frames' check sequences are.
	p.link = LinkType(order.Uint32(h[20:]) & 0xffff)
	switch magic {
	case pcapNano:
		p.scale = 1
	case pcapModified:
		p.header = 24
	}
	return p, nil
}

func (p *pcapReader) next(space []byte) (Packet, error) {
	h, err := p.r.Peek(p.header)
	if err != nil {
		if len(h) > 0 && err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return Packet{}, err
	}
	var sec, frac, n, wire uint32
	if p.order == binary.LittleEndian { // a direct call, not one through the interface
		sec, frac = binary.LittleEndian.Uint32(h), binary.LittleEndian.Uint32(h[4:])
		n, wire = binary.LittleEndian.Uint32(h[8:]), binary.LittleEndian.Uint32(h[12:])
	} else {
		sec, frac = binary.BigEndian.Uint32(h), binary.BigEndian.Uint32(h[4:])
		n, wire = binary.BigEndian.Uint32(h[8:]), binary.BigEndian.Uint32(h[12:])
	}
	if n > maxPacket {
		return Packet{}, tooLong(n)
	}
	p.r.Discard(p.header)
	data, err := fill(p.r, space, int(n))
	if err != nil {
		return Packet{}, err
	}
	return Packet{
		Time: int64(sec)*1e9 + int64(frac)*p.scale,
		Link: p.link,
		Wire: wireLength(wire, len(data)),
		Data: data,
	}, nil
}

func (p *pcapReader) whole(b []byte) bool {
	return len(b) >= p.header && int64(len(b)-p.header) >= int64(p.order.Uint32(b[8:]))
}

// wireLength is a packet's length on the wire as the file claims it, within reason.
func wireLength(claimed uint32, captured int) int {
	return max(int(min(claimed, maxPacket)), captured)
}

// ngReader reads pcapng: sections of either byte order, each with interfaces of different link types and clocks.
type ngReader struct {
	r          *bufio.Reader
	big        bool
	skip       bool // a section of a version that is not known
	interfaces []ngInterface
}

// ngInterface is what a packet needs to know of the interface that it was captured on.
type ngInterface struct {
	link   LinkType
	snap   uint32
	units  uint64 // of the clock in a second
	offset int64  // seconds
}

const (
	maxInterfaces = 4096     // of one section that are remembered
	maxBlock      = 64 << 20 // octets of the longest block that is believed; what is no packet is only stepped over
	ngTrailer     = 4        // octets: a block's length, again
)

func newNgReader(r *bufio.Reader) (packetReader, error) {
	n := &ngReader{r: r}
	// The first block is a section header, or there is no telling what the file is.
	h, err := r.Peek(12)
	if err != nil {
		return nil, unexpected(err)
	}
	if b := binary.BigEndian.Uint32(h[8:]); b != ngByteOrder && bits.ReverseBytes32(b) != ngByteOrder {
		return nil, errFormat
	}
	return n, nil
}

func (n *ngReader) u16(b []byte) uint16 {
	if n.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (n *ngReader) u32(b []byte) uint32 {
	if n.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (n *ngReader) next(space []byte) (Packet, error) {
	for {
		h, err := n.r.Peek(8)
		if err != nil {
			if len(h) > 0 && err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return Packet{}, err
		}
		kind := n.u32(h)
		if kind == ngSection {
			if err := n.section(); err != nil {
				return Packet{}, err
			}
			continue
		}
		length := n.u32(h[4:])
		if length < 12 || length%4 != 0 || length > maxBlock {
			return Packet{}, fmt.Errorf("a block claims %d octets", length)
		}
		n.r.Discard(8)
		body := int(length) - 8 - ngTrailer
		const description, packet, simple, enhanced = 1, 2, 3, 6
		switch {
		case n.skip:
			err = n.discard(body + ngTrailer)
		case kind == description:
			err = n.describe(body)
		case kind == packet, kind == simple, kind == enhanced:
			return n.packet(kind, body, space)
		default:
			err = n.discard(body + ngTrailer)
		}
		if err != nil {
			return Packet{}, err
		}
	}
}

func (n *ngReader) whole(b []byte) bool {
	return len(b) >= 8 && int64(len(b)) >= int64(n.u32(b[4:]))
}

func (n *ngReader) discard(octets int) error {
	_, err := n.r.Discard(octets)
	return unexpected(err)
}

// section begins a section: everything known of interfaces is void.
func (n *ngReader) section() error {
	h, err := n.r.Peek(16)
	if err != nil {
		return unexpected(err)
	}
	switch ngByteOrder {
	case int(binary.BigEndian.Uint32(h[8:])):
		n.big = true
	case int(binary.LittleEndian.Uint32(h[8:])):
		n.big = false
	default:
		return fmt.Errorf("a section without a byte order")
	}
	length := n.u32(h[4:])
	if length < 28 || length%4 != 0 || length > maxBlock {
		return fmt.Errorf("a block claims %d octets", length)
	}
	n.skip = n.u16(h[12:]) != 1
	n.interfaces = n.interfaces[:0]
	return n.discard(int(length))
}

// describe remembers an interface: its link type and its clock.
func (n *ngReader) describe(body int) error {
	const most = 64 << 10 // octets of a description that are looked at
	if body < 8 || len(n.interfaces) >= maxInterfaces {
		if body >= 8 {
			return fmt.Errorf("a section has more than %d interfaces", maxInterfaces)
		}
		return fmt.Errorf("an interface is described in %d octets", body)
	}
	b, err := n.r.Peek(min(body, most))
	if err != nil {
		return unexpected(err)
	}
	i := ngInterface{link: LinkType(n.u16(b)), snap: n.u32(b[4:]), units: 1e6}
	for opts := b[8:]; len(opts) >= 4; {
		code, length := n.u16(opts), int(n.u16(opts[2:]))
		opts = opts[4:]
		const end, resolution, offset = 0, 9, 14
		if code == end || length > len(opts) {
			break
		}
		switch {
		case code == resolution && length >= 1:
			i.units = unitsPerSecond(opts[0])
		case code == offset && length >= 8:
			hi, lo := n.u32(opts), n.u32(opts[4:])
			if !n.big {
				hi, lo = lo, hi
			}
			i.offset = int64(uint64(hi)<<32 | uint64(lo))
		}
		opts = opts[min((length+3)&^3, len(opts)):]
	}
	n.interfaces = append(n.interfaces, i)
	return n.discard(body + ngTrailer)
}

// unitsPerSecond reads if_tsresol: a negative power of 10, or of 2 if the highest bit is set.
func unitsPerSecond(resolution byte) uint64 {
	exponent := resolution & 0x7f
	if resolution&0x80 != 0 {
		return 1 << min(exponent, 63)
	}
	units := uint64(1)
	for range min(exponent, 19) {
		units *= 10
	}
	return units
}

// packet reads one of the three packet blocks. Of a packet of an interface that was not described nothing is read: its
// link type is unknown.
func (n *ngReader) packet(kind uint32, body int, space []byte) (p Packet, err error) {
	const packet, simple = 2, 3
	header := 20
	if kind == simple {
		header = 4
	}
	if body < header {
		return p, fmt.Errorf("a packet's block has only %d octets", body)
	}
	h, err := n.r.Peek(header)
	if err != nil {
		return p, unexpected(err)
	}
	var number, captured, wire uint32
	var clock uint64
	switch kind {
	case simple:
		wire = n.u32(h)
		captured = min(wire, uint32(body-header))
		if len(n.interfaces) > 0 && n.interfaces[0].snap != 0 {
			captured = min(captured, n.interfaces[0].snap)
		}
	case packet:
		number = uint32(n.u16(h))
		fallthrough
	default:
		if kind != packet {
			number = n.u32(h)
		}
		clock = uint64(n.u32(h[4:]))<<32 | uint64(n.u32(h[8:]))
		captured, wire = n.u32(h[12:]), n.u32(h[16:])
	}
	if captured > maxPacket {
		return p, tooLong(captured)
	}
	if int(captured) > body-header {
		return p, fmt.Errorf("it claims %d octets in a block of %d", captured, body)
	}
	n.r.Discard(header)
	rest := body - header - int(captured) + ngTrailer
	if int64(number) >= int64(len(n.interfaces)) {
		p.Link, p.Wire = linkUnknown, wireLength(wire, 0)
		return p, n.discard(int(captured) + rest)
	}
	p.Data, err = fill(n.r, space, int(captured))
	if err != nil {
		return p, err
	}
	i := n.interfaces[number]
	p.Link, p.Wire = i.link, wireLength(wire, len(p.Data))
	if kind != simple { // which has no time
		p.Time = i.time(clock)
	}
	return p, n.discard(rest)
}

// time converts the interface's clock, within what nanoseconds in 64 bits can say (the years 1678 to 2262).
func (i *ngInterface) time(clock uint64) int64 {
	const limit = math.MaxInt64/int64(1e9) - 1
	seconds := clock / i.units
	hi, lo := bits.Mul64(clock%i.units, 1e9)
	nanos, _ := bits.Div64(hi, lo, i.units)
	if seconds > uint64(limit) || i.offset > limit || i.offset < -limit {
		return 0
	}
	total := int64(seconds) + i.offset
	if total > limit || total < -limit {
		return 0
	}
	return total*1e9 + int64(nanos)
}
