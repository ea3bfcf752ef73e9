package wire

import "time"

const (
	// MaxPending is how many unanswered commands are kept. RFC 2920 sets no limit; servers stop reading far below it.
	MaxPending = 1000
	// maxPendingLine is how much of an unanswered command's line is kept, to stand beside its reply.
	maxPendingLine = 512
	// usualPending is how many are pipelined usually. Room for more is given back when nothing waits any more.
	usualPending = 16
)

// Pending is a command that waits for its reply.
type Pending struct {
	N    int    // the command's number; 0 for octets that were lost, which may have held a command
	Verb string // or a pseudo-verb
	Line []byte // as in the Command event; owned by the Pipeline, valid until the next Push
	Time time.Time
}

// Lost says that the pending command is none that was kept: octets that were lost, or one beyond MaxPending.
func (p *Pending) Lost() bool { return p.N == 0 && p.Verb == "" }

// Pipeline is the queue of commands that wait for a reply (RFC 2920): replies come in the order of the commands. Its zero
// value is empty. It reuses its memory, which MaxPending bounds.
type Pipeline struct {
	ring []Pending
	head int
	size int
	over int // commands behind those in the ring that are only counted
}

// Len returns how many commands wait.
func (q *Pipeline) Len() int { return q.size + q.over }

// Push adds a command. It returns false where it is only counted, as MaxPending wait already.
func (q *Pipeline) Push(n int, verb string, line []byte, t time.Time) bool {
	if q.size == MaxPending || q.over > 0 {
		q.over++
		return false
	}
	if q.size == len(q.ring) {
		q.grow()
	}
	p := &q.ring[(q.head+q.size)%len(q.ring)]
	p.N, p.Verb, p.Time = n, verb, t
	p.Line = append(p.Line[:0], line[:min(len(line), maxPendingLine)]...)
	q.size++
	return true
}

// Head returns the command that the next reply answers, nil if none waits.
func (q *Pipeline) Head() *Pending {
	switch {
	case q.size > 0:
		return &q.ring[q.head]
	case q.over > 0:
		return new(Pending)
	}
	return nil
}

// Pop takes the command that the next reply answers; nil if none waits.
func (q *Pipeline) Pop() *Pending {
	p := q.Head()
	switch {
	case q.size > 0:
		q.drop()
	case q.over > 0:
		q.over--
	}
	return p
}

// Seek drops what waits before the first command that suits, and says whether there is one; else it drops nothing.
func (q *Pipeline) Seek(suits func(*Pending) bool) bool {
	for i := range q.size {
		if suits(&q.ring[(q.head+i)%len(q.ring)]) {
			for range i {
				q.drop()
			}
			return true
		}
	}
	return false
}

// Clear forgets all.
func (q *Pipeline) Clear() {
	q.size, q.over = 0, 0
	q.shrink()
}

func (q *Pipeline) drop() {
	q.head = (q.head + 1) % len(q.ring)
	q.size--
	q.shrink()
}

func (q *Pipeline) shrink() {
	if q.size == 0 && len(q.ring) > usualPending {
		q.ring, q.head = nil, 0
	}
}

func (q *Pipeline) grow() {
	const first, octets = 2, 64 // places, each with room for a line
	ring := make([]Pending, max(first, 2*len(q.ring)))
	if q.ring == nil {
		room := make([]byte, first*octets)
		for i := range ring {
			ring[i].Line = room[i*octets : i*octets : (i+1)*octets]
		}
	}
	for i := range q.size {
		ring[i] = q.ring[(q.head+i)%len(q.ring)]
	}
	q.ring, q.head = ring, 0
}
