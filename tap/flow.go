package tap

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// flow is a TCP connection as far as it was seen.
type flow struct {
	shard   *shard
	key     flowKey
	number  int64 // of its first packet
	begun   int64
	ordinal int
	streams [2]stream // of the key's a, of its b
	session conversation

	clock    int64 // time of the latest packet that took effect; it never goes back
	last     int64 // time of the latest packet
	segments int64 // that took effect
	overlaps int   // contradictions seen before there was a session
	unsure   int64 // octets lost of a session that may be no mail

	reset         bool // it was reset, and what was sent before that may still come
	resetTime     int64
	said          int64 // the time of what was given last
	resetSegments int64
	resetSide     uint8 // who reset it,
	resetAt       int64 // at which offset

	settling *settling // while it is not known where the streams begin

	client      uint8 // the side that opened it
	roles       bool  // client is known
	started     bool  // its SYN or the answer to that was seen
	answered    bool  // the answer was seen
	established bool  // and the client's acknowledgement of that
	ignored     bool  // the session wants no more
	closed      bool  // its end was said

	// Where it is in the shard.
	list          *flowList
	before, after *flow
	touched       int64
	deadline      int64
	timer         int // its place in the heap + 1
}

func (f *flow) begin(s *shard, sg *segment) {
	f.shard, f.key = s, sg.key
	f.number, f.begun, f.clock, f.last, f.touched = sg.packet, sg.time, sg.time, sg.time, sg.time
	f.ordinal = s.ordinals.next(sg.key, sg.time)
	f.deadline = never
	f.streams[0].fin, f.streams[1].fin = -1, -1
	f.streams[0].queue.spare, f.streams[1].queue.spare = &s.pool, &s.pool
}

// successor says whether sg begins another connection between the same two ends.
func (f *flow) successor(sg *segment) bool {
	me, other := &f.streams[sg.side], &f.streams[1-sg.side]
	switch {
	case sg.flags&rst != 0:
		return false
	case sg.flags&syn == 0:
		// A segment of a connection that ended is late, unless it cannot be one of it.
		if f.settling != nil {
			return len(sg.payload) > 0 && f.settling.over() && f.settling.foreign(sg)
		}
		if !f.closed || !me.based || len(sg.payload) == 0 {
			return false
		}
		off := me.offset(sg.seq)
		return off < -lateOctets || off > me.next+lateOctets
	case me.syn && sg.seq+1 == me.base:
		return false // a repetition
	case f.settling != nil:
		return !f.settling.fits(sg)
	case sg.flags&ack == 0:
		if me.based && !me.syn && !f.closed { // its own SYN, late
			off := me.offset(sg.seq + 1)
			return off < -lateOctets || off > 0 || f.segments > reorderSegments
		}
		return f.closed || me.syn || !other.syn || f.answered // otherwise both open at the same time
	case f.closed:
		return true
	case other.syn:
		// An answer to another SYN than the one that was seen: to one that was replaced, or to one that was missed.
		return sg.ack != other.base && f.answered
	case me.based:
		off := me.offset(sg.seq + 1)
		return off < -lateOctets || off > 0
	}
	return false
}

// take processes a segment.
func (f *flow) take(sg *segment) {
	f.last = max(f.last, sg.time)
	if f.closed {
		return
	}
	list := f.list
	if len(sg.payload) > 0 || f.established {
		list = &f.shard.open
	}
	f.shard.touch(f, list)
	me := &f.streams[sg.side]
	switch {
	case f.settling != nil, !me.based && sg.flags&(syn|rst) == 0:
		f.settle(sg)
	default:
		f.receive(sg)
	}
}

// receive lets a segment take effect: the bases of both streams are known, or sg is a SYN or RST.
func (f *flow) receive(sg *segment) {
	f.clock = max(f.clock, sg.time)
	f.segments++
	if f.ignored {
		f.skim(sg)
		return
	}
	me, other := &f.streams[sg.side], &f.streams[1-sg.side]
	seq := sg.seq
	if sg.flags&syn != 0 {
		if !f.open(sg) {
			return
		}
		seq++
	}
	need := f.acknowledge(sg, other)
	if sg.flags&rst != 0 {
		f.abort(sg, need)
		return
	}
	me.seen = true
	if f.answered && !f.established && sg.side == f.client && sg.flags&ack != 0 {
		f.established = true
		f.shard.touch(f, &f.shard.open)
	}
	if n := int64(len(sg.payload)) + int64(sg.snapped); n > 0 {
		f.data(sg, me.offset(seq), n, need)
		if f.ignored {
			return
		}
	}
	if sg.flags&fin != 0 {
		at := me.offset(seq) + int64(len(sg.payload)) + int64(sg.snapped)
		if me.fin < 0 && at >= me.next && at-me.next <= maxWindow {
			me.fin, me.finNeed, me.finTime = at, need, f.clock
			me.top = max(me.top, at+1)
		}
	}
	if f.waits() {
		f.pump()
	}
}

// open reads a SYN; false if it is not to be believed.
func (f *flow) open(sg *segment) bool {
	me, other := &f.streams[sg.side], &f.streams[1-sg.side]
	if me.based && sg.seq+1 != me.base {
		// Another answer to the same SYN counts as long as nothing has come of the first.
		if sg.flags&ack == 0 || !me.syn || me.top > 0 || !other.syn || sg.ack != other.base {
			return false
		}
		me.based = false
	}
	if sg.flags&ack != 0 && other.syn && !f.answered && sg.ack != other.base && sg.ack-other.base > uint32(other.top) {
		return false // it answers a SYN that was replaced
	}
	if !me.based {
		me.start(sg.seq + 1)
	}
	me.syn, f.started = true, true
	switch {
	case sg.flags&ack == 0 && !f.roles:
		f.client, f.roles = sg.side, true
	case sg.flags&ack != 0:
		f.answered = true
		if !f.roles {
			f.client, f.roles = 1-sg.side, true
		}
		if !other.based {
			other.start(sg.ack)
			other.syn = true
		}
	}
	return true
}

// acknowledge notes what sg says its sender has of the other stream, and returns that.
func (f *flow) acknowledge(sg *segment, other *stream) int64 {
	if sg.flags&ack == 0 {
		return 0
	}
	if !other.based {
		if !other.heard || int32(sg.ack-other.low) < 0 {
			other.low = sg.ack
		}
		if !other.heard || int32(sg.ack-other.high) > 0 {
			other.high = sg.ack
		}
		other.heard = true
		return 0
	}
	off := other.offset(sg.ack)
	if off > other.top+maxAckAhead {
		return 0
	}
	if other.fin >= 0 {
		off = min(off, other.fin+1)
	}
	other.acked = max(other.acked, off)
	return off
}

// abort reads a RST. Its sequence number must be near what was seen: a blind one is not believed (RFC 5961, 3).
func (f *flow) abort(sg *segment, need int64) {
	me, other := &f.streams[sg.side], &f.streams[1-sg.side]
	if !me.based {
		if sg.flags&ack == 0 || !other.syn || !other.seen {
			return
		}
		if need < 0 || need > other.top+1 {
			return
		}
		how := inspect.EndReset
		if !f.answered && sg.side != f.client {
			how = inspect.EndRefused
		}
		f.resetTime = f.clock
		f.finish(how)
		f.retire()
		return
	}
	off := me.offset(sg.seq)
	if off < -1 || off < me.next-lateOctets || off > max(me.top, me.acked)+lateOctets {
		return
	}
	if !f.waits() && off == me.next && other.acked <= other.next {
		f.resetTime = f.clock
		f.finish(inspect.EndReset)
		f.retire()
		return
	}
	if !f.reset {
		f.reset, f.resetTime, f.resetSegments = true, f.clock, f.segments
		f.resetSide, f.resetAt = sg.side, off
	}
	f.pump()
}

// skim follows a flow whose session wants no more, to its end.
func (f *flow) skim(sg *segment) {
	me := &f.streams[sg.side]
	if sg.flags&fin != 0 {
		me.ended = true
	}
	if me.based && sg.flags&(syn|rst) == 0 {
		if end := me.offset(sg.seq) + int64(len(sg.payload)); end > me.next && end-me.next <= maxWindow {
			me.next = end
		}
	}
	if sg.flags&rst != 0 || (f.streams[0].ended && f.streams[1].ended) {
		f.closed = true
		f.retire()
	}
}

// hint is what the server's port promises.
func (f *flow) hint() inspect.Hint { return f.shard.ports.hint[f.key.port(1-f.client)] }

func (f *flow) at(t int64) time.Time { return time.Unix(0, t).In(f.shard.location) }

// saying is the time of what is told now: it never goes back, nor before the begin.
func (f *flow) saying() time.Time { return f.at(max(f.said, f.begun)) }

func (f *flow) direction(side uint8) wire.Direction { return wire.Direction(side ^ f.client) }

// speak returns the session, which begins now if it has not yet.
func (f *flow) speak() conversation {
	if f.session == nil {
		f.shard.stats.sessions++
		f.session = f.shard.create(inspect.Conn{
			Client: f.end(f.client), Server: f.end(1 - f.client),
			Begin: f.at(f.begun), Ordinal: f.ordinal, Mode: record.ModeTap,
			Hint: f.hint(), Started: f.started,
		}, f.shard.journal)
		for ; f.overlaps > 0; f.overlaps-- {
			f.session.Anomaly(wire.Overlap, f.saying())
		}
	}
	return f.session
}

// end is the address of one side.
func (f *flow) end(side uint8) netip.AddrPort {
	hi, lo := f.key.aHi, f.key.aLo
	if side == 1 {
		hi, lo = f.key.bHi, f.key.bLo
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return netip.AddrPortFrom(netip.AddrFrom16(b).Unmap(), f.key.port(side))
}

// promised says whether the flow is worth a session though it had no octet: its port is a mail server's and the handshake
// was seen.
func (f *flow) promised() bool { return f.established && f.hint() != inspect.AnyProtocol }

// close says the end of the flow, if there is somebody to say it to.
func (f *flow) close(how inspect.End) {
	if f.closed {
		return
	}
	f.closed = true
	if !f.ignored && (f.session != nil || f.promised() || (how == inspect.EndRefused && f.hint() != inspect.AnyProtocol)) {
		s := f.speak()
		f.sayLost(0)
		f.sayLost(1)
		s.Close(f.at(f.endTime(how)), how)
		if !s.Ignored() {
			f.shard.stats.lost += f.unsure
		}
	}
	f.forget()
	f.release()
}

// forget lets go of the session, which has ended or wants no more.
func (f *flow) forget() {
	if f.session != nil {
		f.session = nil
		f.shard.stats.ended++
	}
}

// endTime returns when the flow ended: at the packet that ended it, not when nothing before that was waited for any more.
func (f *flow) endTime(how inspect.End) int64 {
	switch how {
	case inspect.EndClosed:
		return max(f.said, f.streams[0].finTime, f.streams[1].finTime)
	case inspect.EndReset, inspect.EndRefused:
		return max(f.said, f.resetTime)
	}
	return max(f.said, f.last)
}

// release frees what the flow holds.
func (f *flow) release() {
	for i := range f.streams {
		s := &f.streams[i]
		f.shard.held -= s.queue.cost
		s.queue.clear()
		s.queue.spare = &f.shard.pool
		s.lag = nil
	}
	if f.settling != nil {
		f.shard.held -= f.settling.cost
		f.settling = nil
	}
	f.shard.timers.set(f, never)
}

// retire keeps the flow for a while, so that what comes late does not look like a connection.
func (f *flow) retire() {
	if f.list != &f.shard.closed {
		f.shard.retire(f)
	}
}
