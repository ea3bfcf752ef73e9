package tap

import (
	"math/bits"
	"slices"
)

const (
	maxFragmentOctets = 8 << 20         // memory of all datagrams that are not whole yet
	maxDatagram       = 64 << 10        // octets of one datagram
	fragmentTimeout   = 30 * int64(1e9) // packet time within which a datagram must become whole
	datagramOverhead  = 512             // octets of memory that a datagram costs besides its own
)

// fragmentKey tells datagrams apart (RFC 791, 3.2; RFC 8200, 4.5).
type fragmentKey struct {
	src, dst address
	id       uint32
	protocol byte // IPv4's only
	version  byte
}

// datagram is one that is not whole yet. A fragment that repeats what is there already is ignored; one that overlaps it
// otherwise makes the datagram void, as receivers do (RFC 5722): which octets would win is anybody's guess.
type datagram struct {
	key      fragmentKey
	begin    int64
	protocol byte     // of the first fragment
	data     []byte   // as far as fragments reached
	have     []uint64 // a bit for each eight octets of data
	octets   int      // of those, how many are there
	length   int      // of the whole; -1 until the last fragment came
	void     bool
	done     bool // whole, void or given up: skipped in order
}

// fragments puts IP datagrams together again.
type fragments struct {
	open        map[fragmentKey]*datagram
	order       []*datagram // by begin; the front may be done
	held        int         // octets of memory
	clock       int64
	unassembled int64 // datagrams given up
}

// now moves the clock on and gives up what took too long.
func (f *fragments) now(t int64) {
	f.clock = t
	for len(f.order) > 0 && (f.order[0].done || t-f.order[0].begin > fragmentTimeout) {
		f.drop()
	}
}

// drop gives up the oldest datagram.
func (f *fragments) drop() {
	d := f.order[0]
	f.order[0] = nil
	f.order = f.order[1:]
	if !d.done {
		f.unassembled++
		f.forget(d)
	}
}

func (f *fragments) forget(d *datagram) {
	d.done = true
	f.held -= d.memory()
	d.data, d.have = nil, nil
	delete(f.open, d.key)
	if len(f.order) > 2*len(f.open)+64 {
		f.order = slices.DeleteFunc(f.order, func(d *datagram) bool { return d.done })
	}
}

func (d *datagram) memory() int { return cap(d.data) + 8*cap(d.have) + datagramOverhead }

// add takes a fragment, borrowed. It returns the whole datagram, if this fragment completes it, with the protocol
// of its first octets. It is not ok if the fragment makes no sense.
func (f *fragments) add(key fragmentKey, offset int, more bool, protocol byte, part []byte) (whole []byte, first byte, ok bool) {
	end := offset + len(part)
	if len(part) == 0 || end > maxDatagram || (more && len(part)%8 != 0) {
		return nil, 0, false
	}
	d := f.open[key]
	if d == nil {
		d = &datagram{key: key, begin: f.clock, length: -1}
		if f.open == nil {
			f.open = make(map[fragmentKey]*datagram)
		}
		f.open[key] = d
		f.order = append(f.order, d)
		f.held += d.memory()
	}
	f.held -= d.memory()
	d.take(offset, more, protocol, part)
	f.held += d.memory()
	if d.octets == d.length && !d.void {
		whole = d.data
		f.forget(d)
		return whole, d.protocol, true
	}
	for f.held > maxFragmentOctets {
		f.drop()
	}
	return nil, 0, true
}

func (d *datagram) take(offset int, more bool, protocol byte, part []byte) {
	end := offset + len(part)
	if d.void || (d.length >= 0 && (end > d.length || (!more && end != d.length))) || (!more && end < len(d.data)) {
		d.void = true
		d.data, d.have = nil, nil
		return
	}
	lo, hi := offset/8, (end+7)/8
	if end > len(d.data) {
		d.grow(end, hi)
	}
	count := 0
	for i := lo; i < hi; i++ {
		count += bits.OnesCount64(d.have[i/64] & (1 << (i % 64)))
	}
	if count == hi-lo {
		return // a repetition, or the datagram is about to differ: the first octets stay
	}
	if count > 0 {
		d.void = true
		d.data, d.have = nil, nil
		return
	}
	for i := lo; i < hi; i++ {
		d.have[i/64] |= 1 << (i % 64)
	}
	copy(d.data[offset:], part)
	d.octets += len(part)
	if offset == 0 {
		d.protocol = protocol
	}
	if !more {
		d.length = end
	}
}

// grow makes room up to end; memory at least doubles, so that many small fragments cost no more than one large one.
func (d *datagram) grow(end, units int) {
	if end > cap(d.data) {
		size := max(2048, 1<<bits.Len(uint(end-1)))
		data := make([]byte, end, size)
		copy(data, d.data)
		d.data = data
		have := make([]uint64, size/8/64)
		copy(have, d.have)
		d.have = have
	}
	d.data = d.data[:end]
}
