package tap

import (
	"cmp"
	"math"
	"slices"
)

// flowList is a list of flows, linked through them.
type flowList struct {
	first, last *flow
	n           int
}

func (l *flowList) push(f *flow) {
	f.list, f.before, f.after = l, l.last, nil
	if l.last != nil {
		l.last.after = f
	} else {
		l.first = f
	}
	l.last = f
	l.n++
}

func (l *flowList) remove(f *flow) {
	if f.before != nil {
		f.before.after = f.after
	} else {
		l.first = f.after
	}
	if f.after != nil {
		f.after.before = f.before
	} else {
		l.last = f.before
	}
	f.list, f.before, f.after = nil, nil, nil
	l.n--
}

func sortByBegin(flows []*flow) {
	slices.SortFunc(flows, func(a, b *flow) int { return cmp.Compare(a.number, b.number) })
}

const never = math.MaxInt64

// timers is a heap of the flows that have a deadline, the earliest first (then the one that began first).
type timers []*flow

func (t timers) less(i, j int) bool {
	if t[i].deadline != t[j].deadline {
		return t[i].deadline < t[j].deadline
	}
	return t[i].number < t[j].number
}

func (t timers) swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].timer, t[j].timer = i+1, j+1
}

// set gives f a deadline, or none.
func (t *timers) set(f *flow, deadline int64) {
	if deadline == f.deadline {
		return
	}
	f.deadline = deadline
	h := *t
	switch {
	case deadline == never:
		i, last := f.timer-1, len(h)-1
		h.swap(i, last)
		h[last] = nil
		*t = h[:last]
		f.timer = 0
		if i < last {
			t.fix(i)
		}
	case f.timer == 0:
		*t = append(h, f)
		f.timer = len(*t)
		t.fix(f.timer - 1)
	default:
		t.fix(f.timer - 1)
	}
}

func (t timers) fix(i int) {
	for i > 0 && t.less(i, (i-1)/2) {
		t.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		least := i
		for _, c := range [2]int{2*i + 1, 2*i + 2} {
			if c < len(t) && t.less(c, least) {
				least = c
			}
		}
		if least == i {
			return
		}
		t.swap(i, least)
		i = least
	}
}

const (
	maxPooledPieces = 1024
	maxPooledFlows  = 1024
	maxPooledOctets = 2048 // of a piece's memory that is kept
)

// pool keeps what a shard will need again.
type pool struct {
	flows  []*flow
	pieces []*piece
}

func (p *pool) flow() *flow {
	if n := len(p.flows); n > 0 {
		f := p.flows[n-1]
		p.flows = p.flows[:n-1]
		return f
	}
	return new(flow)
}

func (p *pool) giveFlow(f *flow) {
	*f = flow{}
	if len(p.flows) < maxPooledFlows {
		p.flows = append(p.flows, f)
	}
}

// piece makes a piece with room for n octets.
func (p *pool) piece(n int) *piece {
	var c *piece
	if last := len(p.pieces) - 1; last >= 0 {
		c = p.pieces[last]
		p.pieces = p.pieces[:last]
	} else {
		c = new(piece)
	}
	if cap(c.memory) < n {
		c.memory = make([]byte, n)
	}
	return c
}

func (p *pool) givePiece(c *piece) {
	memory := c.memory
	if len(p.pieces) >= maxPooledPieces || cap(memory) > maxPooledOctets {
		return
	}
	*c = piece{memory: memory}
	p.pieces = append(p.pieces, c)
}
