package tap

import (
	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

// data takes the n octets at an offset of sg's stream; need is what their sender had of the other one.
func (f *flow) data(sg *segment, off, n, need int64) {
	me, other := &f.streams[sg.side], &f.streams[1-sg.side]
	end := off + n
	if me.fin >= 0 {
		end = min(end, me.fin)
	}
	if end <= me.next || off >= end || off-me.next > maxWindow {
		return // old, beyond the end, or not of this connection
	}
	me.top = max(me.top, end)
	payload := sg.payload[:min(int64(len(sg.payload)), end-off)]
	if me.queue.empty() && off <= me.next && other.has(need) {
		payload = payload[min(me.next-off, int64(len(payload))):]
		f.give(sg.side, payload, end, f.clock)
		return
	}
	start := max(off, me.next)
	payload = payload[min(start-off, int64(len(payload))):]
	c := f.shard.pool.piece(len(payload))
	c.start, c.end, c.origin, c.last, c.need, c.packet, c.time = start, end, off, off+n, need, sg.packet, f.clock
	if sg.flags&fin != 0 {
		c.last++
	}
	c.data = c.memory[:copy(c.memory, payload)]
	before := me.queue.cost
	conflict := me.queue.insert(c)
	f.shard.held += me.queue.cost - before
	if conflict {
		if f.session != nil {
			f.session.Anomaly(wire.Overlap, f.saying())
		} else {
			f.overlaps++
		}
	}
}

// give hands on the next octets of a stream, up to end; data is shorter than that where the capture cut it off. They came
// at time t; where they had to wait for a retransmission, that was given before them and its later time stands.
func (f *flow) give(side uint8, data []byte, end, t int64) {
	me := &f.streams[side]
	f.said = max(f.said, t)
	missing := end - me.next - int64(len(data))
	me.next, me.progress = end, f.clock
	f.sayLost(1 - side)
	if len(data) > 0 {
		f.say(side, data)
	}
	me.lost += missing
}

// say feeds the session.
func (f *flow) say(side uint8, data []byte) {
	if f.ignored {
		return
	}
	me := &f.streams[side]
	s := f.speak()
	lost := me.lost
	me.lost = 0
	f.countLost(lost)
	s.Feed(wire.Chunk{Dir: f.direction(side), Time: f.saying(), Lost: lost, Data: data})
	if s.Ignored() {
		f.ignored = true
		f.forget()
		f.release()
	}
}

// countLost counts octets of a session that are missing. On a port that promises nothing it counts once the session has
// ended and is recorded: until then it may be no mail.
func (f *flow) countLost(lost int64) {
	if f.hint() == inspect.AnyProtocol {
		f.unsure += lost
	} else {
		f.shard.stats.lost += lost
	}
}

// sayLost says what was lost of a stream behind the last octets said, if somebody listens.
func (f *flow) sayLost(side uint8) {
	if f.streams[side].lost > 0 && (f.session != nil || f.promised()) {
		f.say(side, nil)
	}
}

// waits says whether anything of the flow is held back.
func (f *flow) waits() bool {
	a, b := &f.streams[0], &f.streams[1]
	return !a.queue.empty() || !b.queue.empty() || f.reset || (a.fin >= 0 && !a.ended) || (b.fin >= 0 && !b.ended)
}

// pump gives what can be given, gives up what is lost, and sets the time at which to look again.
func (f *flow) pump() {
	for {
		f.deliver()
		if f.closed || f.ignored || !f.giveUp() {
			break
		}
	}
	if f.closed || f.ignored {
		return
	}
	if f.reset && (!f.incomplete() || f.clock-f.resetTime >= reorderTime || f.segments-f.resetSegments >= reorderSegments) {
		f.finish(inspect.EndReset)
		f.retire()
		return
	}
	deadline := int64(never)
	if f.reset {
		deadline = f.resetTime + reorderTime
	}
	for side := range f.streams {
		if s := &f.streams[side]; s.lag != nil {
			deadline = min(deadline, s.lag.due(s.next, s.acked), f.patience(side))
		}
	}
	f.shard.timers.set(f, deadline)
}

// deliver gives what is in order and not before its cause.
func (f *flow) deliver() {
	for {
		moved := f.advance(0)
		moved = f.advance(1) || moved
		if f.closed || f.ignored {
			return
		}
		if f.streams[0].ended && f.streams[1].ended {
			f.close(inspect.EndClosed)
			f.retire()
			return
		}
		if !moved && !f.unlock() {
			return
		}
	}
}

// advance gives what it can of one stream.
func (f *flow) advance(side uint8) (moved bool) {
	me, other := &f.streams[side], &f.streams[1-side]
	for c := me.queue.first(); c != nil && c.start <= me.next && !f.ignored; c = me.queue.first() {
		if c.end > me.next {
			if !other.has(c.need) {
				return moved
			}
			if c.start < me.next {
				c.skip(me.next)
			}
			f.give(side, c.data, c.end, c.time)
			if f.ignored {
				return true
			}
		}
		before := me.queue.cost
		me.queue.shift()
		f.shard.held += me.queue.cost - before
		moved = true
	}
	if me.fin == me.next && !me.ended && me.queue.empty() && other.has(me.finNeed) {
		me.ended = true
		me.next++
		moved = true
		if f.session != nil || f.promised() {
			s := f.speak()
			f.sayLost(0)
			f.sayLost(1)
			if !f.ignored {
				f.said = max(f.said, me.finTime)
				s.HalfClose(f.direction(side), f.saying())
			}
		}
	}
	return moved
}

// blocked returns the packet that waits at the front of a stream, with nothing missing before it, for octets of
// the other; 0 if there is none.
func (f *flow) blocked(side int) (packet, need int64) {
	me, other := &f.streams[side], &f.streams[1-side]
	if c := me.queue.first(); c != nil {
		if c.start <= me.next && !other.has(c.need) {
			return c.packet, c.need
		}
		return 0, 0
	}
	if me.fin == me.next && !me.ended && !other.has(me.finNeed) {
		return never, me.finNeed
	}
	return 0, 0
}

// unlock lets the earlier of two packets go that wait for each other, which no orderly conversation has.
func (f *flow) unlock() bool {
	a, _ := f.blocked(0)
	b, _ := f.blocked(1)
	if a == 0 || b == 0 {
		return false
	}
	me := &f.streams[0]
	if b < a {
		me = &f.streams[1]
	}
	if c := me.queue.first(); c != nil {
		c.need = 0
	} else {
		me.finNeed = 0
	}
	return true
}
