package tap

import "math"

// Limits of one stream, and how long a hole in it is waited for.
const (
	maxHeldStream = 1 << 20 // octets held back of one direction, with their overhead
	maxWindow     = 1 << 30 // octets: TCP's largest window (RFC 7323, 2.3); what is further ahead is not of this connection

	// An acknowledgement may run ahead of all that was seen, where the capture missed it, but a wild one must not make
	// a giant loss: more than this is in flight on no mail connection.
	maxAckAhead = 16 << 20

	// Octets that the receiver acknowledged are there, or the capture missed them. It may also just be in disorder, by up
	// to 512 segments; one that comes 512 too early and one that comes 512 too late are 1,024 apart.
	reorderSegments = 1100
	reorderTime     = 2e9
	sampleSegments  = 64
	sampleTime      = 250e6

	blindTime   = 5e9      // for a hole, where the receiver's acknowledgements are not in the capture
	patientTime = 5 * 60e9 // for a retransmission that the receiver has not acknowledged yet
	lateOctets  = 1 << 20  // how far behind a segment of a connection may come
)

// stream is one direction of a flow. Offset 0 is the first octet after the SYN, or the first one known.
type stream struct {
	queue    queue
	base     uint32 // sequence number of offset 0
	next     int64  // offset of the next octet to give
	top      int64  // highest offset seen, with the FIN
	acked    int64  // highest offset that the receiver acknowledged
	fin      int64  // offset of the FIN; -1 until it was seen
	finNeed  int64  // as piece.need
	finTime  int64
	lost     int64  // octets given up and not said yet
	progress int64  // when octets were given last
	lag      *lag   // while something is missing
	low      uint32 // while nothing of this direction was seen: what the other acknowledged, lowest
	high     uint32 // and highest
	heard    bool   // low and high are set
	seen     bool
	based    bool
	syn      bool // base is that of the SYN
	ended    bool // the FIN was given
}

func (s *stream) start(base uint32) {
	s.base, s.based, s.fin = base, true, -1
}

// offset is where a sequence number is in the stream; numbers wrap around after 4 GiB, offsets do not.
func (s *stream) offset(seq uint32) int64 {
	return s.next + int64(int32(seq-s.base-uint32(s.next)))
}

// has says whether the stream was given up to an offset, or will never be: nothing of it was seen, or it ended.
func (s *stream) has(offset int64) bool { return offset <= s.next || !s.seen || s.ended }

// lag remembers what the receiver had acknowledged a reorder window ago: octets before that which did not come since
// will not come any more.
type lag struct {
	samples [32]sample
	from, n int
	settled int64 // acknowledged, and the window has passed
	last    sample
}

type sample struct{ acked, segments, time int64 }

// note takes the newest acknowledgement.
func (l *lag) note(acked, segments, now int64) {
	if acked > l.last.acked && (segments-l.last.segments >= sampleSegments || now-l.last.time >= sampleTime) {
		l.last = sample{acked, segments, now}
		if l.n == len(l.samples) {
			l.settled = l.samples[l.from].acked
			l.from, l.n = (l.from+1)%len(l.samples), l.n-1
		}
		l.samples[(l.from+l.n)%len(l.samples)] = l.last
		l.n++
	}
	for l.n > 0 {
		s := &l.samples[l.from]
		if segments-s.segments < reorderSegments && now-s.time < reorderTime {
			break
		}
		l.settled = s.acked
		l.from, l.n = (l.from+1)%len(l.samples), l.n-1
	}
}

// due is when to look again for an acknowledgement beyond next that has settled. acked is the newest.
func (l *lag) due(next, acked int64) int64 {
	for i := range l.n {
		if s := &l.samples[(l.from+i)%len(l.samples)]; s.acked > next {
			return s.time + reorderTime
		}
	}
	if acked > next {
		return l.last.time + sampleTime // when it will be noted
	}
	return never
}

func newLag() *lag {
	l := &lag{settled: math.MinInt64}
	l.last = sample{math.MinInt64, math.MinInt64 / 2, math.MinInt64 / 2}
	return l
}
