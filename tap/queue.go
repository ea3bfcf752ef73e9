package tap

import (
	"bytes"
	"sort"
)

// pieceOverhead is what holding a piece costs besides its octets, so that the limits on octets held also bound the
// number of pieces.
const pieceOverhead = 128

// piece is a run of octets held back: the octets [start, end) of its stream, or what is left of them to give. data is
// shorter than that where the capture cut the packet off.
type piece struct {
	start, end int64
	origin     int64 // where the segment that brought them began,
	last       int64 // and where it ended; its FIN counts as one more octet
	need       int64 // octets of the other direction that their sender had when it sent them
	packet     int64
	time       int64
	data       []byte // in memory
	memory     []byte
}

// skip drops what is before the offset.
func (c *piece) skip(to int64) {
	c.data = c.data[min(to-c.start, int64(len(c.data))):]
	c.start = to
}

// differs says whether c and d contradict each other where both have octets.
func (c *piece) differs(d *piece) bool {
	lo := max(c.start, d.start)
	hi := min(c.start+int64(len(c.data)), d.start+int64(len(d.data)))
	return lo < hi && !bytes.Equal(c.data[lo-c.start:hi-c.start], d.data[lo-d.start:hi-d.start])
}

// outdoes says whether the octets of c, which came later, count where held has some too.
func (c *piece) outdoes(held *piece) bool {
	return c.origin < held.origin || c.origin == held.origin && c.last > held.last
}

// queue holds pieces in order; they do not overlap. It is a slice with room at both ends, so that pieces in order, and
// pieces in reverse order, each cost little; the limit on octets held bounds what one in the middle costs.
type queue struct {
	room  []*piece
	head  int // pieces are room[head:]
	cost  int
	spare *pool
}

func (q *queue) pieces() []*piece { return q.room[q.head:] }
func (q *queue) empty() bool      { return q.head == len(q.room) }

// first returns the leftmost piece; nil if there is none.
func (q *queue) first() *piece {
	if q.head == len(q.room) {
		return nil
	}
	return q.room[q.head]
}

// shift drops the first piece.
func (q *queue) shift() {
	c := q.room[q.head]
	q.room[q.head] = nil
	q.head++
	if q.head == len(q.room) {
		q.room, q.head = q.room[:0], 0
	}
	q.release(c)
}

func (q *queue) release(c *piece) {
	q.cost -= cap(c.memory) + pieceOverhead
	q.spare.givePiece(c)
}

// clear drops everything.
func (q *queue) clear() {
	for !q.empty() {
		q.shift()
	}
	*q = queue{}
}

// insert adds what is new of c and says whether c contradicts what is held.
//
// Of two segments that overlap, the one that starts leftmost gives its octets; where both start at the same place the
// longer one, and of two that are equally long the first to arrive: that is what the receiver's application gets (Linux).
func (q *queue) insert(c *piece) (conflict bool) {
	q.cost += cap(c.memory) + pieceOverhead
	pieces := q.pieces()
	i := len(pieces)
	if i > 0 && pieces[i-1].end > c.start { // not simply behind all others
		i = sort.Search(len(pieces), func(i int) bool { return pieces[i].end > c.start })
	}
	// i is the first piece that ends behind c's start.
	for ; i < len(q.pieces()) && c.start < c.end; i++ {
		held := q.pieces()[i]
		if held.start >= c.end {
			break
		}
		conflict = conflict || held.differs(c)
		// The same octets sent twice were ready to be sent at the earlier moment.
		held.need = min(held.need, c.need)
		if c.outdoes(held) { // c gives its octets
			if held.end > c.end {
				held.skip(c.end)
				break
			}
			q.remove(i)
			i--
			continue
		}
		if held.start > c.start { // c's octets before it are new
			left := q.spare.piece(int(min(held.start-c.start, int64(len(c.data)))))
			memory := left.memory
			*left = *c
			left.memory = memory
			left.data = memory[:copy(memory, c.data[:min(held.start-c.start, int64(len(c.data)))])]
			left.end = held.start
			q.cost += cap(memory) + pieceOverhead
			q.place(i, left)
			i++
		}
		if held.end >= c.end {
			c.start = c.end
			break
		}
		c.skip(held.end)
	}
	if c.start >= c.end {
		q.release(c)
		return conflict
	}
	q.place(i, c)
	return conflict
}

// place puts c before the i-th piece, moving the fewer of the others.
func (q *queue) place(i int, c *piece) {
	n := len(q.room) - q.head
	if i < n/2 || (i == 0 && n > 0) {
		if q.head == 0 { // make as much room in front as there are pieces
			room := make([]*piece, 2*n+8, 3*n+16)
			q.head = n + 8
			copy(room[q.head:], q.room)
			q.room = room
		}
		q.head--
		copy(q.room[q.head:], q.room[q.head+1:q.head+1+i])
		q.room[q.head+i] = c
		return
	}
	if len(q.room) == cap(q.room) && q.head > n { // the room in front is larger than what is in use
		copy(q.room, q.room[q.head:])
		clear(q.room[n:])
		q.room, q.head = q.room[:n], 0
	}
	q.room = append(q.room, nil)
	copy(q.room[q.head+i+1:], q.room[q.head+i:])
	q.room[q.head+i] = c
}

// remove drops the i-th piece.
func (q *queue) remove(i int) {
	if i == 0 {
		q.shift()
		return
	}
	c := q.room[q.head+i]
	copy(q.room[q.head+i:], q.room[q.head+i+1:])
	q.room[len(q.room)-1] = nil
	q.room = q.room[:len(q.room)-1]
	q.release(c)
}
