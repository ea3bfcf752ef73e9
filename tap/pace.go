package tap

import "time"

// A Live takes packets first, inspects them as there is time, and writes what was said of them last: what is taken late is
// lost, and what is inspected or written late is not. Packets that wait take less memory than all that is said of them.
const (
	maxBurst    = 512 << 20              // octets of packets that wait by default,
	burstPart   = 8                      // unless that is more than such a part of the host's memory,
	minBurst    = 16 << 20               // which is not to be less
	runPackets  = 256                    // packets that are inspected between two looks whether others go before,
	paceTime    = time.Millisecond       // and the time between two if they do
	commitTime  = 100 * time.Millisecond // that what was said waits before it is written,
	commitAfter = 8 << 20                // unless there were so many octets of packets
	workersWay  = 5                      // how nice who inspects is to who takes packets,
	writersWay  = 10                     // and who writes
	endPatience = 5 * time.Second        // that the end of a capture lets others go before
)

// DefaultBurst returns how many octets of packets wait in memory if the options do not say it.
func DefaultBurst() int { return burstOf(hostMemory()) }

func burstOf(memory int) int { return max(minBurst, min(maxBurst, memory/burstPart)) }

// measure looks whether the kernel had packets ready all the time that a reader took those of two blocks of the ring: then
// more came than it took. Where that was so, and they come slowly now, it looks again without waiting for as many.
func (l *Live) measure(k *link, packet *Packet, polls int64) {
	k.since += len(packet.Data)
	if k.since < 2*ringBlock && !(k.late && packet.Time-k.looked >= int64(flushTime)) {
		return
	}
	l.press(k, polls == k.polls)
	k.polls, k.since, k.looked = polls, 0, packet.Time
}

// press notes whether a reader has no time to spare.
func (l *Live) press(k *link, late bool) {
	if late == k.late {
		return
	}
	if k.late = late; late {
		l.pressed.Add(1)
	} else {
		l.pressed.Add(-1)
	}
}

// inspect takes what the interfaces show, in order, until they have ended.
func (l *Live) inspect() {
	giveWay(workersWay)
	for {
		l.pace()
		if !l.run() && !l.order.wait() {
			return
		}
	}
}

// run takes the next packets; false if there are no more now.
func (l *Live) run() bool {
	l.entering.Lock()
	defer l.entering.Unlock()
	for range runPackets {
		packet, ended, ok := l.order.next()
		if !ok {
			l.quiet()
			return false
		}
		l.arrive(&packet, ended)
	}
	return true
}

// arrive takes a packet, borrowed from a block, and the block if it ends there.
func (l *Live) arrive(packet *Packet, ended *block) {
	if l.current == nil {
		l.take()
	}
	b := l.current
	if wanted := l.opts.Packets; wanted == 0 || l.stats.Packets < wanted {
		l.enter(b, packet)
		if l.stats.Packets == wanted {
			l.enough()
		}
	}
	if ended != nil {
		b.held = append(b.held, ended)
	}
	if b.full() {
		l.send(false)
	}
}

// quiet goes on though no packet came: what did come waits no longer, and time passes.
func (l *Live) quiet() {
	if l.current == nil {
		l.take()
	}
	if passed := l.order.passed(); passed != 0 {
		l.tick(l.current, passed-tickInterval/2) // what came just before may still be on its way
	}
	if l.current.packets > 0 {
		l.send(false)
	}
}

// pace waits while readers have no time to spare, or the recorder has much to write, as long as there is room for packets
// to wait: there they take less memory, and time, than all that is said of them. At a disk that does not answer that room
// is soon used up.
func (l *Live) pace() {
	for (l.pressed.Load() > 0 || l.committing.Load() && l.recorder.Crowded()) && !l.room.beyond(7, 8) {
		if ending := l.ending.Load(); ending != 0 && time.Since(time.Unix(0, ending)) > endPatience {
			return
		}
		time.Sleep(paceTime)
	}
}

// due says whether the journals' batches end with this batch, so that they can be written: not while others are, and not
// too often.
func (p *pipeline) due(b *batch) bool {
	if p.room == nil {
		return true
	}
	p.uncut += int64(b.octets)
	now := time.Now()
	if now.Sub(p.cut) < commitTime && p.uncut < commitAfter || !p.committing.CompareAndSwap(false, true) {
		return false
	}
	p.cut, p.uncut = now, 0
	return true
}

// commitLive lets the recorder write while the workers go on.
func (p *pipeline) commitLive() {
	giveWay(writersWay)
	for range p.writes {
		if err := p.recorder.Commit(); err != nil {
			p.opts.Warn("commit", "what was seen could not be written: "+err.Error())
		}
		p.committing.Store(false)
	}
}
