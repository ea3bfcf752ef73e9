package tap

import (
	"slices"
	"sync"
)

const (
	maxUnsorted = 32 << 20  // octets that wait for older packets, with their overhead: beyond that the oldest waits no more
	laneBlock   = 256 << 10 // octets of memory for them that is made at once
	laneRecord  = 64        // octets that a packet takes besides its own
)

// order lets the packets of several interfaces go on in the order of their times. A tap may give each direction of a
// conversation on an interface of its own, and the kernel gives what an interface shows in blocks: without it, all that a
// server says within ringRetire can come before the first word of its client.
type order struct {
	give func(*Packet) // gets what goes on, borrowed

	mu     sync.Mutex
	lanes  []*lane
	octets int // that wait
}

// lane is what waits of one interface.
type lane struct {
	packets []Packet
	block   []byte // has their octets
	passed  int64  // what still comes is not older than that; never: nothing comes
	over    bool   // for good
}

// begin says that an interface is captured from.
func (o *order) begin(l *lane) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lanes = append(o.lanes, l)
}

// arrive takes a packet of an interface, borrowed.
func (o *order) arrive(l *lane, packet *Packet) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if l.passed = packet.Time; len(o.lanes) == 1 {
		o.give(packet)
		return
	}
	o.octets += l.keep(packet)
	o.release()
}

// pass says that what is older than a time does not come any more from an interface.
func (o *order) pass(l *lane, time int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l.passed = time
	o.release()
}

// end says that an interface is captured from no more. What waits of it goes on in its turn.
func (o *order) end(l *lane) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l.passed, l.over = never, true
	o.release()
}

// keep lets a packet wait, and returns what that takes.
func (l *lane) keep(packet *Packet) int {
	if len(packet.Data) > cap(l.block)-len(l.block) {
		l.block = make([]byte, 0, max(laneBlock, len(packet.Data)))
	}
	n := len(l.block)
	l.block = append(l.block, packet.Data...)
	kept := *packet
	kept.Data = l.block[n:len(l.block):len(l.block)]
	l.packets = append(l.packets, kept)
	return len(kept.Data) + laneRecord
}

// next returns the lane with the oldest packet; nil if there is none, or if an older one may still come and there is room
// to wait for it.
func (o *order) next() (l *lane) {
	until := int64(never)
	for _, other := range o.lanes {
		switch {
		case len(other.packets) == 0:
			until = min(until, other.passed)
		case l == nil || other.packets[0].Time < l.packets[0].Time:
			l = other
		}
	}
	if l != nil && l.packets[0].Time > until && o.octets <= maxUnsorted {
		return nil
	}
	return l
}

// release lets go on what needs not wait any more.
func (o *order) release() {
	for l := o.next(); l != nil; l = o.next() {
		o.give(&l.packets[0])
		o.octets -= len(l.packets[0].Data) + laneRecord
		l.packets[0] = Packet{} // and its block, if it was the last there
		if l.packets = l.packets[1:]; len(l.packets) == 0 {
			l.packets, l.block = nil, l.block[:0]
		}
	}
	o.lanes = slices.DeleteFunc(o.lanes, func(l *lane) bool { return l.over && len(l.packets) == 0 })
}
