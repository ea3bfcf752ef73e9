package tap

import "github.com/mailwire/mailwire/inspect"

// missing returns up to where a stream must come for something to go on; 0 and false if nothing is missing.
func (f *flow) missing(side int) (to int64, ok bool) {
	me := &f.streams[side]
	if c := me.queue.first(); c != nil {
		if c.start <= me.next {
			return 0, false
		}
		to = c.start
	} else if me.fin > me.next {
		to = me.fin
	}
	if _, need := f.blocked(1 - side); need > me.next && (to == 0 || need < to) {
		to = need
		if me.fin >= 0 {
			to = min(to, me.fin)
		}
	}
	return to, to > me.next
}

// incomplete says whether something that was sent before the reset may still come.
func (f *flow) incomplete() bool {
	for side := range f.streams {
		if _, ok := f.missing(side); ok {
			return true
		}
		if s := &f.streams[side]; s.seen && s.acked > s.next {
			return true
		}
	}
	return f.streams[f.resetSide].next < f.resetAt
}

// giveUp gives up one hole that has been waited for long enough, and says whether it did.
func (f *flow) giveUp() bool {
	for side := range f.streams {
		me := &f.streams[side]
		to, ok := f.missing(side)
		if !ok {
			me.lag = nil
			continue
		}
		if me.lag == nil {
			me.lag = newLag()
		}
		me.lag.note(me.acked, f.segments, f.clock)
		switch {
		case me.lag.settled > me.next:
			f.lose(side, min(to, me.lag.settled))
			return true
		case f.clock >= f.patience(side), me.queue.cost > maxHeldStream, f.streams[1-side].queue.cost > maxHeldStream:
			f.lose(side, to)
			return true
		}
	}
	return false
}

// patience is when a hole is given up of which it is not known that the receiver has the octets.
func (f *flow) patience(side int) int64 {
	me, other := &f.streams[side], &f.streams[1-side]
	since := me.finTime
	if c := me.queue.first(); c != nil {
		since = c.time
		if c.start-me.next > maxHeldStream { // a lone segment far ahead must not stop a stream that goes on
			since = max(since, me.progress)
		}
	} else if me.fin <= me.next {
		return never // only the other side waits, for octets that it has
	}
	if other.seen {
		return since + patientTime
	}
	return since + blindTime
}

// lose gives up the octets of a stream up to an offset.
func (f *flow) lose(side int, to int64) {
	me, other := &f.streams[side], &f.streams[1-side]
	if me.queue.empty() && me.fin < 0 && other.fin >= 0 && to == me.acked {
		// Its FIN is missing too: who ends a connection has acknowledged the other's end.
		to--
		me.fin, me.finTime = to, f.clock
	}
	me.lost += to - me.next
	me.next, me.progress = to, f.clock
}

// due is called when the flow's deadline is over.
func (f *flow) due(now int64) {
	if f.settling != nil {
		f.replay()
	} else {
		f.clock = max(f.clock, now)
		f.pump()
	}
	if f.deadline <= now {
		f.shard.timers.set(f, now+int64(tickInterval))
	}
}

// yield gives up something so that less is held.
func (f *flow) yield() {
	if f.settling != nil {
		f.replay()
		return
	}
	before := f.shard.held
	for f.shard.held >= before && !f.closed && !f.ignored {
		lost := false
		for side := range f.streams {
			if to, ok := f.missing(side); ok {
				f.lose(side, to)
				lost = true
				break
			}
		}
		if !lost {
			break
		}
		f.pump()
	}
	if f.shard.held >= before {
		f.release()
	}
}

// finish gives what is still held, with what is missing before it, and ends the flow.
func (f *flow) finish(how inspect.End) {
	if f.settling != nil {
		f.replay()
	}
	if f.reset {
		how = inspect.EndReset
	}
	for !f.closed && !f.ignored {
		f.deliver()
		if f.closed || f.ignored {
			break
		}
		side, to := f.earliest()
		if side < 0 {
			break
		}
		if me := &f.streams[side]; to-me.next > maxAckAhead && me.acked < to {
			// It was never acknowledged and is too far ahead to be true.
			f.shard.held -= me.queue.cost
			me.queue.clear()
			me.queue.spare = &f.shard.pool
			if me.fin > me.next {
				me.fin = -1
			}
			continue
		}
		f.lose(side, to)
	}
	for side := range f.streams {
		f.loseTail(side)
	}
	if !f.closed && !f.ignored {
		f.deliver() // a FIN that was missed
	}
	f.close(how)
}

// earliest picks the hole to give up first at the end: the one before the earlier packet.
func (f *flow) earliest() (side int, to int64) {
	side = -1
	first := int64(never)
	for i := range f.streams {
		t, ok := f.missing(i)
		if !ok {
			continue
		}
		packet := int64(never)
		if c := f.streams[i].queue.first(); c != nil {
			packet = c.packet
		}
		if p, _ := f.blocked(1 - i); p > 0 {
			packet = min(packet, p)
		}
		if side < 0 || packet < first {
			side, to, first = i, t, packet
		}
	}
	return side, to
}

// loseTail gives up what the receiver acknowledged beyond everything that was seen.
func (f *flow) loseTail(side int) {
	me := &f.streams[side]
	if f.closed || f.ignored {
		return
	}
	if !me.based && f.started && me.heard && me.high-me.low < maxWindow {
		// Nothing of this direction was seen, but how much there was.
		me.start(me.low)
		me.acked = int64(me.high - me.low)
	}
	if me.based && me.acked > me.next && me.fin < 0 {
		f.lose(side, me.acked)
	}
}
