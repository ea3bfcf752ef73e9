package tap

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// maxApart is how far the times are apart that interfaces have passed, unless the clock is set.
const maxApart = int64(time.Minute)

// order lets the packets of several interfaces go on in the order of their times. A tap may give each direction of a
// conversation on an interface of its own, and the kernel gives what an interface shows in blocks: without it, all that a
// server says within ringRetire can come before the first word of its client.
//
// Each interface's reader fills blocks; one goroutine takes packets out of them.
type order struct {
	room *room // lends the blocks

	mu      sync.Mutex
	changed sync.Cond
	news    bool // since somebody waited last
	lanes   []*lane
	closed  bool // no more of them begin
}

// lane is what waits of one interface.
type lane struct {
	filling *block // the reader's
	waiting []*block
	passed  int64 // what still comes is not older than that,
	away    bool  // unless it comes after a while,
	over    bool  // or not at all
}

func newOrder(r *room) *order {
	o := &order{room: r}
	o.changed.L = &o.mu
	return o
}

// begin says that an interface is captured from.
func (o *order) begin(l *lane) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lanes = append(o.lanes, l)
}

// arrive takes a packet of an interface, borrowed. It waits for others, to go on with them, for flushTime at most.
func (o *order) arrive(l *lane, packet *Packet) {
	if l.filling != nil && !l.filling.add(packet) {
		o.mu.Lock()
		o.submit(l, l.filling.last)
		o.mu.Unlock()
	}
	if l.filling == nil {
		l.filling = o.room.take()
		l.filling.add(packet)
	}
	if age := packet.Time - l.filling.first; age >= int64(flushTime) || age <= -int64(flushTime) { // the clock may step back
		o.pass(l, packet.Time)
	}
}

// pass says that what is older than a time does not come any more from an interface. What waits of it goes on, unless
// something went on before and nobody takes it: few packets are not to have a block each then, as long as newer ones of
// other interfaces have room to wait for them.
func (o *order) pass(l *lane, time int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if l.away = false; l.filling == nil || len(l.waiting) == 0 || len(o.lanes) > 1 && o.room.beyond(1, 2) {
		o.submit(l, time)
	}
}

// leave says that nothing comes from an interface until it passes another time.
func (o *order) leave(l *lane, time int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.submit(l, time)
	l.away = true
}

// end says that an interface is captured from no more. What waits of it goes on in its turn.
func (o *order) end(l *lane) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.submit(l, l.passed)
	l.over = true
}

// close says that no more interfaces begin.
func (o *order) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.news = true, true
	o.changed.Signal()
}

func (o *order) submit(l *lane, passed int64) {
	if l.filling != nil {
		l.waiting = append(l.waiting, l.filling)
		l.filling = nil
	}
	l.passed, o.news = passed, true
	o.changed.Signal()
}

// next returns the oldest packet, borrowed from its block, and the block if it was the last there; false if there is none,
// or if an older one may still come and there is room to wait for it.
func (o *order) next() (packet Packet, ended *block, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var first *lane
	until := int64(never)
	for _, l := range o.lanes {
		switch {
		case len(l.waiting) > 0:
			if first == nil || l.waiting[0].time() < first.waiting[0].time() {
				first = l
			}
		case !l.away && !l.over:
			until = min(until, l.passed)
		}
	}
	if first == nil || older(first.waiting[0].time(), until) && !o.room.beyond(1, 2) {
		return Packet{}, nil, false
	}
	b := first.waiting[0]
	packet, last := b.next()
	if last {
		first.waiting[0] = nil
		first.waiting, ended = first.waiting[1:], b
	}
	return packet, ended, true
}

// older says whether an older packet than one of a time may come where all have passed another. Interfaces are never as far
// apart as maxApart: then the clock was set back, and what came before that need not wait until it is there again.
func older(t, passed int64) bool {
	return t > passed && (passed == 0 || t-passed < maxApart)
}

// wait returns when there is news, or false when there will be none.
func (o *order) wait() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lanes = slices.DeleteFunc(o.lanes, func(l *lane) bool { return l.over && len(l.waiting) == 0 })
	for !o.news {
		if o.closed && len(o.lanes) == 0 {
			return false
		}
		o.changed.Wait()
	}
	o.news = false
	return true
}

// passed returns the time that all interfaces have passed; 0 if they have not.
func (o *order) passed() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.lanes) == 0 {
		return 0
	}
	return slices.MinFunc(o.lanes, func(a, b *lane) int { return cmp.Compare(a.passed, b.passed) }).passed
}
