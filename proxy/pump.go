package proxy

import (
	"sync"
	"sync/atomic"
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

// Pump takes what is said in one conversation from its relay to its session. Its methods never wait for an inspector, which
// may have no processor just now: they copy, within a budget, into a batch that is in nobody else's hands meanwhile, and an
// inspector takes all that there is. The relay calls them in the order in which things happened.
type Pump struct {
	in *inspector

	batch  atomic.Pointer[batch] // what waits; nil when nothing does, or while a relay adds to it
	held   atomic.Int64          // of the budget, also by what is being inspected
	freed  atomic.Bool           // half of the budget is free, and was not when it was used up
	queued atomic.Bool           // the inspector knows that there is something

	mu   sync.Mutex // guards, for the relays of both directions, what follows
	lost [2]int64
	full bool // the budget was used up: until half of it is free nothing is taken

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

// open begins a call: it returns the batch that waits, or a new one, for close.
func (u *Pump) open() *batch {
	u.mu.Lock()
	if b := u.batch.Swap(nil); b != nil {
		return b
	}
	return batches.Get().(*batch)
}

// close ends a call: the batch waits, and the inspector is told.
func (u *Pump) close(b *batch) {
	u.batch.Store(b)
	u.mu.Unlock()
	call, hurry := !u.queued.Swap(true), u.held.Load() > hurryAt
	if call || hurry {
		u.in.add(u, call, hurry)
	}
}

// Show takes octets that one side sent; data is borrowed.
func (u *Pump) Show(dir wire.Direction, now time.Time, data []byte) {
	to := u.open()
	for len(data) > 0 {
		n := min(len(data), largeBlock)
		u.show(to, dir, now, data[:n])
		data = data[n:]
	}
	u.close(to)
}

func (u *Pump) show(to *batch, dir wire.Direction, now time.Time, data []byte) {
	var b *block
	if n := len(to.blocks); n > 0 {
		b = to.blocks[n-1]
	}
	cost := int64(stepCost)
	fits := b != nil && len(b.data)-b.used >= len(data)
	if !fits {
		cost += blockFor(len(data))
	}
	if !u.reserve(to, dir, now, len(data), cost) {
		return
	}
	if !fits {
		b = getBlock(len(data))
		to.blocks = append(to.blocks, b)
	}
	begin := b.used
	b.used += copy(b.data[begin:], data)
	u.chunk(to, dir, now, b.data[begin:b.used:b.used])
}

// Give is Show for the first n octets of a block, which is given away.
func (u *Pump) Give(dir wire.Direction, now time.Time, b *block, n int) {
	to := u.open()
	if u.reserve(to, dir, now, n, int64(len(b.data)+stepCost)) {
		b.used = len(b.data)
		to.blocks = append(to.blocks, b)
		u.chunk(to, dir, now, b.data[:n:n])
	} else {
		putBlock(b)
	}
	u.close(to)
}

// chunk appends octets, and says what was lost before them, of the other side too: it may be what they answer.
func (u *Pump) chunk(to *batch, dir wire.Direction, now time.Time, data []byte) {
	if other := dir.Reverse(); u.lost[other] > 0 {
		to.steps = append(to.steps, step{time: now, dir: other, lost: u.lost[other]})
		u.lost[other] = 0
	}
	to.steps = append(to.steps, step{time: now, dir: dir, lost: u.lost[dir], data: data})
	u.lost[dir] = 0
}

// reserve takes cost from the budget for n octets; if there is not enough left, they are lost. Each conversation has a
// budget of its own, and half of that of all is lent to whoever has more to say.
func (u *Pump) reserve(to *batch, dir wire.Direction, now time.Time, n int, cost int64) bool {
	p := u.in.p
	if u.full && u.freed.Load() {
		u.full = false
	}
	if !u.full {
		pending, limits := p.pending.Add(cost), p.Options()
		if pending <= limits.TotalBudget && (u.held.Load()+cost <= limits.SessionBudget || pending <= limits.TotalBudget/2) {
			u.held.Add(cost)
			to.cost += cost
			return true
		}
		p.pending.Add(-cost)
		u.full = true
		u.freed.Store(false)
		to.tell(now, func(s *inspect.Session, t time.Time) {
			s.Anomaly(wire.Overload, t)
			p.warn("overload", "octets go by unrecorded, since inspection is behind (--session-budget, --total-budget)")
		})
	}
	u.lost[dir] += int64(n)
	p.counts.lost[dir].Add(int64(n))
	return false
}

func (b *batch) tell(now time.Time, do func(s *inspect.Session, t time.Time)) {
	b.steps = append(b.steps, step{time: now, do: do})
}

// Tell lets the session know something else than octets, in its place among them.
func (u *Pump) Tell(now time.Time, do func(s *inspect.Session, t time.Time)) {
	b := u.open()
	b.tell(now, do)
	u.close(b)
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
	b := u.open()
	if u.lost != [2]int64{} {
		u.chunk(b, wire.FromClient, now, nil)
	}
	b.tell(now, func(s *inspect.Session, t time.Time) {
		s.Close(t, how)
		u.trace.end(t, how)
	})
	u.close(b)
}

// take returns what waits; nil if nothing does, or if a relay will say again that something does.
func (u *Pump) take() *batch {
	u.queued.Store(false)
	return u.batch.Swap(nil)
}

// taken gives back the part of the budget of a batch that has been inspected.
func (u *Pump) taken(b *batch) {
	u.in.p.pending.Add(-b.cost)
	if u.held.Add(-b.cost) <= u.in.p.Options().SessionBudget/2 {
		u.freed.Store(true)
	}
}
