package tap

import (
	"bytes"
	"testing"
)

// plainDatagram is a datagram as RFC 791 and RFC 5722 have it, octet by octet: the reference for what fragments puts together.
type plainDatagram struct {
	octets  map[int]byte
	top     int // where the farthest fragment ended
	length  int // -1: not known yet
	refused bool
}

// add returns the datagram if the fragment completes it.
func (d *plainDatagram) add(offset int, more bool, part []byte) []byte {
	end := offset + len(part)
	known := 0
	for i := offset; i < (end+7)/8*8; i++ { // a fragment's unit is eight octets
		if _, ok := d.octets[i]; ok {
			known++
		}
	}
	switch {
	case d.refused:
		return nil
	case d.length >= 0 && (end > d.length || !more && end != d.length), !more && end < d.top:
		d.refused = true // two lengths
		return nil
	case known == (end+7)/8*8-offset: // it repeats what is there
		return nil
	case known > 0:
		d.refused = true // it overlaps
		return nil
	}
	for i := offset; i < (end+7)/8*8; i++ {
		d.octets[i] = 0
		if i < end {
			d.octets[i] = part[i-offset]
		}
	}
	d.top = max(d.top, end)
	if !more {
		d.length = end
	}
	if d.length < 0 || len(d.octets) != (d.length+7)/8*8 {
		return nil
	}
	whole := make([]byte, d.length)
	for i := range whole {
		whole[i] = d.octets[i]
	}
	return whole
}

// FuzzFragments: what fragments puts together is what the reference does, and memory stays bounded.
func FuzzFragments(f *testing.F) {
	f.Add([]byte{0x80, 0, 3, 0x80, 3, 3, 0x00, 6, 2})             // in order
	f.Add([]byte{0x00, 6, 2, 0x80, 3, 3, 0x80, 3, 3, 0x80, 0, 3}) // backwards, with a repetition
	f.Add([]byte{0x80, 0, 3, 0x80, 2, 3, 0x00, 5, 2})             // overlapping
	f.Add([]byte{0x00, 1, 1, 0x00, 3, 1, 0x80, 0, 1})             // two ends
	f.Add([]byte{0x81, 0, 1, 0x80, 0, 1, 0x01, 1, 1, 0x00, 1, 1}) // two datagrams
	f.Fuzz(func(t *testing.T, script []byte) {
		var got fragments
		want := map[uint32]*plainDatagram{}
		for n := 0; n < 64 && len(script) >= 3; n++ {
			id, more, offset, octets := uint32(script[0]&3), script[0]&0x80 != 0, int(script[1])*8, int(script[2])
			script = script[3:]
			if more {
				octets *= 8
			}
			part := bytes.Repeat([]byte{byte(n + 1)}, octets)
			got.now(int64(n))
			whole, _, ok := got.add(fragmentKey{id: id, version: 4}, offset, more, protoTCP, part)
			if ok != (octets > 0) {
				t.Fatalf("fragment %d of %d octets: ok %t", n, octets, ok)
			}
			if !ok {
				continue
			}
			d := want[id]
			if d == nil {
				d = &plainDatagram{octets: map[int]byte{}, length: -1}
				want[id] = d
			}
			expected := d.add(offset, more, part)
			if !bytes.Equal(whole, expected) || (whole == nil) != (expected == nil) {
				t.Fatalf("after fragment %d of datagram %d: %d octets %x, want %d octets %x", n, id, len(whole), whole, len(expected), expected)
			}
			if expected != nil {
				delete(want, id)
			}
			if got.held > maxFragmentOctets || len(got.open) != len(want) {
				t.Fatalf("%d octets of %d datagrams held, of %d", got.held, len(got.open), len(want))
			}
		}
	})
}
