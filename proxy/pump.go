package proxy

import (
	"sync"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

const (
	smallBlock = 4 << 10   // holds a few commands and replies
	largeBlock = 64 << 10  // holds one read of a mail
	stepCost   = 96        // octets of the budget that a chunk costs besides its own
	hurryAt    = 256 << 10 // octets of one conversation that wait before the inspector is told not to gather more
	maxSpare   = 256       // steps that a batch may have room for when it is kept for later
)

// step is one thing that happened in a conversation: octets came, or do is to be told to the session.
type step struct {
	time time.Time
	dir  wire.Direction
	lost int64 // octets before these that did not fit
	data []byte
	do   func(s *inspect.Session, t time.Time)
}

// batch is what waits for inspection. The octets of its steps are in its blocks.
type batch struct {
	steps  []step
	blocks []*block
	cost   int64 // of the budget
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// release gives back what the batch holds; nobody may use it any more.
func (b *batch) release() {
	for _, block := range b.blocks {
		putBlock(block)
	}
	if cap(b.steps) > maxSpare {
		return
	}
	clear(b.steps)
	clear(b.blocks)
	b.steps, b.blocks, b.cost = b.steps[:0], b.blocks[:0], 0
	batches.Put(b)
}

// Pump takes what is said in one conversation from its relay to its session. Its methods never wait: they copy, within a
// budget, and an inspector takes all that there is. The relay calls them in the order in which things happened.
type Pump struct {
	in *inspector

	mu     sync.Mutex
	batch  *batch // nil when nothing waits
	held   int64  // of the budget, also by what is being inspected
	lost   [2]int64
	full   bool // the budget was used up: until half of it is free nothing is taken
	queued bool // the inspector knows that there is something

	conn    inspect.Conn
	config  *inspect.Config  // as it was at the begin
	session *inspect.Session // the inspector's, as is
	trace   *trace           // nil where none is wanted
}

// newPump begins a conversation.
func (p *Proxy) newPump(conn inspect.Conn) *Pump {
	conn.Begin = conn.Begin.In(p.Options().Location)
	in := p.inspectors[p.assigned.Add(1)%uint64(len(p.inspectors))]
	return &Pump{in: in, conn: conn, config: p.Options().Inspect}
}

// Show takes octets that one side sent; data is borrowed.
func (u *Pump) Show(dir wire.Direction, now time.Time, data []byte) {
	u.mu.Lock()
	for len(data) > 0 {
		n := min(len(data), largeBlock)
		u.show(dir, now, data[:n])
		data = data[n:]
	}
	u.wake()
}

func (u *Pump) show(dir wire.Direction, now time.Time, data []byte) {
	var b *block
	if u.batch != nil && len(u.batch.blocks) > 0 {
		b = u.batch.blocks[len(u.batch.blocks)-1]
	}
	cost := int64(stepCost)
	fits := b != nil && len(b.data)-b.used >= len(data)
	if !fits {
		cost += blockFor(len(data))
	}
	if !u.reserve(dir, now, len(data), cost) {
		return
	}
	if !fits {
		b = getBlock(len(data))
		u.batch.blocks = append(u.batch.blocks, b)
	}
	begin := b.used
	b.used += copy(b.data[begin:], data)
	u.chunk(dir, now, b.data[begin:b.used:b.used])
}

// Give is Show for the first n octets of a block, which is given away.
func (u *Pump) Give(dir wire.Direction, now time.Time, b *block, n int) {
	u.mu.Lock()
	if u.reserve(dir, now, n, int64(len(b.data)+stepCost)) {
		b.used = len(b.data)
		u.batch.blocks = append(u.batch.blocks, b)
		u.chunk(dir, now, b.data[:n:n])
	} else {
		putBlock(b)
	}
	u.wake()
}

// chunk appends octets, and says what was lost before them, of the other side too: it may be what they answer.
func (u *Pump) chunk(dir wire.Direction, now time.Time, data []byte) {
	if other := dir.Reverse(); u.lost[other] > 0 {
		u.batch.steps = append(u.batch.steps, step{time: now, dir: other, lost: u.lost[other]})
		u.lost[other] = 0
	}
	u.batch.steps = append(u.batch.steps, step{time: now, dir: dir, lost: u.lost[dir], data: data})
	u.lost[dir] = 0
}

// reserve takes cost from the budget for n octets; if there is not enough left, they are lost. Each conversation has a
// budget of its own, and half of that of all is lent to whoever has more to say.
func (u *Pump) reserve(dir wire.Direction, now time.Time, n int, cost int64) bool {
	p := u.in.p
	if !u.full {
		pending, limits := p.pending.Add(cost), p.Options()
		if pending <= limits.TotalBudget && (u.held+cost <= limits.SessionBudget || pending <= limits.TotalBudget/2) {
			u.held += cost
			u.hold().cost += cost
			return true
		}
		p.pending.Add(-cost)
	}
	if !u.full {
		u.full = true
		u.tell(now, func(s *inspect.Session, t time.Time) {
			s.Anomaly(wire.Overload, t)
			p.warn("overload", "octets go by unrecorded, since inspection is behind (--session-budget, --total-budget)")
		})
	}
	u.lost[dir] += int64(n)
	p.counts.lost[dir].Add(int64(n))
	return false
}

// hold returns the batch that is being filled.
func (u *Pump) hold() *batch {
	if u.batch == nil {
		u.batch = batches.Get().(*batch)
	}
	return u.batch
}

func (u *Pump) tell(now time.Time, do func(s *inspect.Session, t time.Time)) {
	b := u.hold()
	b.steps = append(b.steps, step{time: now, do: do})
}

// Tell lets the session know something else than octets, in its place among them.
func (u *Pump) Tell(now time.Time, do func(s *inspect.Session, t time.Time)) {
	u.mu.Lock()
	u.tell(now, do)
	u.wake()
}

// HalfClose says that one side has ended its octets.
func (u *Pump) HalfClose(dir wire.Direction, now time.Time) {
	u.Tell(now, func(s *inspect.Session, t time.Time) {
		s.HalfClose(dir, t)
		u.trace.halfClose(dir, t)
	})
}

// End says how the conversation ended. It is the last call.
func (u *Pump) End(now time.Time, how inspect.End) {
	u.mu.Lock()
	if u.lost != [2]int64{} {
		u.hold()
		u.chunk(wire.FromClient, now, nil)
	}
	u.tell(now, func(s *inspect.Session, t time.Time) {
		s.Close(t, how)
		u.trace.end(t, how)
	})
	u.wake()
}

// wake ends a call: it tells the inspector that there is something, and unlocks.
func (u *Pump) wake() {
	call := !u.queued
	u.queued = true
	hurry := u.held > hurryAt
	u.mu.Unlock()
	if call || hurry {
		u.in.add(u, call, hurry)
	}
}

// take returns what waits; nil if nothing does.
func (u *Pump) take() *batch {
	u.mu.Lock()
	defer u.mu.Unlock()
	b := u.batch
	u.batch, u.queued = nil, false
	return b
}

// taken gives back the part of the budget of a batch that has been inspected.
func (u *Pump) taken(b *batch) {
	u.in.p.pending.Add(-b.cost)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.held -= b.cost
	if u.held <= u.in.p.Options().SessionBudget/2 {
		u.full = false
	}
}
