package tap

import "slices"

// settling keeps the first segments of a flow whose beginning was missed, or comes late, until it is known where its
// streams begin: when its SYN turns up, or when the reorder window has passed. Then they take effect, each at its
// own time.
type settling struct {
	segments []segment
	cost     int
	sides    [2]settlingSide
	reset    bool
}

// settlingSide is what is known of one side's segments.
type settlingSide struct {
	any    bool   // there are segments
	begun  bool   // with octets, or a FIN
	lowest uint32 // sequence number of those
	fin    bool
}

// settle keeps sg.
func (f *flow) settle(sg *segment) {
	if f.settling == nil {
		f.settling = new(settling)
		f.shard.timers.set(f, sg.time+reorderTime)
	}
	s := f.settling
	switch {
	case sg.flags&syn != 0:
		f.open(sg)
	case s.over() && s.foreign(sg):
		return // an acknowledgement that belongs to what comes next
	}
	kept := *sg
	kept.payload = slices.Clone(sg.payload)
	s.segments = append(s.segments, kept)
	s.note(sg)
	cost := len(kept.payload) + pieceOverhead
	s.cost += cost
	f.shard.held += cost
	passed := sg.time - s.segments[0].time
	if s.known(f) || passed >= reorderTime || len(s.segments) >= reorderSegments || s.cost > maxHeldStream {
		f.replay()
	}
}

// note keeps what must be known at once.
func (s *settling) note(sg *segment) {
	s.reset = s.reset || sg.flags&rst != 0
	side := &s.sides[sg.side]
	side.any = true
	side.fin = side.fin || sg.flags&fin != 0
	if sg.flags&(syn|rst) != 0 || (len(sg.payload) == 0 && sg.flags&fin == 0) {
		return
	}
	if !side.begun || int32(sg.seq-side.lowest) < 0 {
		side.begun, side.lowest = true, sg.seq
	}
}

// known says whether it is known where each stream begins of which there are segments.
func (s *settling) known(f *flow) bool {
	return (f.streams[0].based || !s.sides[0].any) && (f.streams[1].based || !s.sides[1].any)
}

// fits says whether a SYN can be the one of the segments kept.
func (s *settling) fits(sg *segment) bool {
	me, other := &s.sides[sg.side], &s.sides[1-sg.side]
	if me.begun && !near(sg.seq+1, me.lowest) {
		return false
	}
	return sg.flags&ack == 0 || !other.begun || near(sg.ack, other.lowest)
}

// over says whether the connection has ended.
func (s *settling) over() bool { return s.reset || (s.sides[0].fin && s.sides[1].fin) }

// foreign says whether sg is too far from the segments kept of its side to be of the same connection.
func (s *settling) foreign(sg *segment) bool {
	me := &s.sides[sg.side]
	return me.begun && !near(sg.seq, me.lowest) && !near(me.lowest, sg.seq)
}

// near says whether seq is at or a little behind base.
func near(base, seq uint32) bool { return seq-base <= lateOctets }

// base decides where a stream begins whose SYN was not seen: at the first octet that was, or, if the other side's SYN
// says that the connection was young, at the first one that the other side acknowledged.
func (s *settling) base(f *flow, side uint8) (base uint32, ok bool) {
	base, ok = s.sides[side].lowest, s.sides[side].begun
	for i := range s.segments {
		sg := &s.segments[i]
		switch {
		case sg.flags&rst != 0:
		case sg.side == side && !ok:
			base, ok = sg.seq, true
		case sg.side != side && sg.flags&ack != 0 && f.started && ok && near(sg.ack, base):
			base = sg.ack
		}
	}
	if me := &f.streams[side]; me.heard && f.started && ok && near(me.low, base) {
		base = me.low
	}
	if ok && !f.started && s.keptAlive(side, base) {
		base++
	}
	return base, ok
}

// keptAlive says whether the octet at base is garbage: that of a keep-alive, which may carry one before the next octet of
// the stream (RFC 9293 section 3.8.4). The receiver had acknowledged it before, or it is a NUL, which mail has none of,
// and the stream goes on behind it.
func (s *settling) keptAlive(side uint8, base uint32) bool {
	garbage, nul, acked, behind := false, false, false, false
	for i := range s.segments {
		sg := &s.segments[i]
		switch n := len(sg.payload) + int(sg.snapped); {
		case sg.flags&(syn|rst) != 0:
		case sg.side != side:
			acked = acked || sg.flags&ack != 0 && near(base+1, sg.ack)
		case n == 0 && sg.flags&fin == 0:
		case sg.seq != base:
			behind = true
		case n > 1 || sg.flags&fin != 0:
			return false
		default:
			garbage = garbage || acked
			nul = string(sg.payload) == "\x00"
		}
	}
	return garbage || nul && (acked || behind)
}

// replay lets the segments kept take effect.
func (f *flow) replay() {
	s := f.settling
	f.settling = nil
	f.shard.held -= s.cost
	f.shard.timers.set(f, never)
	for side := range uint8(2) {
		if me := &f.streams[side]; !me.based {
			if base, ok := s.base(f, side); ok {
				me.start(base)
			}
		}
	}
	for side := range f.streams {
		f.streams[side].seen = f.streams[side].seen || s.sides[side].any
	}
	if !f.roles {
		f.guessRoles(s.segments[0].side)
	}
	for i := range s.segments {
		if f.closed {
			return
		}
		f.receive(&s.segments[i])
	}
}

// guessRoles decides who is the client where no SYN says it: not the side with a mail server's port, or else with the lower
// one, or else the side that spoke first.
func (f *flow) guessRoles(first uint8) {
	f.roles = true
	a, b := f.key.port(0), f.key.port(1)
	hintA, hintB := f.shard.ports.hint[a] != 0, f.shard.ports.hint[b] != 0
	switch {
	case hintA != hintB:
		f.client = 1
		if hintB {
			f.client = 0
		}
	case a != b:
		f.client = 1
		if b < a {
			f.client = 0
		}
	default:
		f.client = first
	}
}
