package tap

import (
	"time"

	"github.com/mailwire/mailwire/inspect"
)

// Limits of all shards together; each has its sixteenth.
const (
	maxFlows       = 65536     // connections that are open or being opened
	maxClosedFlows = 16384     // that are remembered after their end
	maxHeld        = 256 << 20 // octets held back, over all
)

// Timeouts, in packet time.
const (
	idleTimeout     = 30 * int64(time.Minute) // SMTP lets a server take 10 minutes, and keep-alives may be rare
	halfOpenTimeout = 2 * int64(time.Minute)  // a SYN is repeated for about as long
	closedTimeout   = 2 * int64(time.Minute)  // TIME-WAIT: twice the life of a segment
	touchInterval   = int64(time.Second)      // how exact the order of idle flows is
)

// shardStats are a shard's part of Stats.
type shardStats struct{ sessions, ended, lost, evicted, halfOpen int64 }

func (s *shardStats) add(t *shardStats) {
	s.sessions += t.sessions
	s.ended += t.ended
	s.lost += t.lost
	s.evicted += t.evicted
	s.halfOpen += t.halfOpen
}

// shard is a table of flows with everything that they share. One goroutine at a time runs it.
type shard struct {
	ports    *ports
	location *time.Location
	journal  inspect.Journal
	create   newConversation

	flows    map[flowKey]*flow
	half     flowList // being opened: no payload, and no handshake yet; the least recently touched first
	open     flowList // the longest idle first
	closed   flowList // the earliest closed first
	timers   timers   // flows that wait for something
	ordinals ordinals
	pool     pool
	held     int // octets held back
	stats    shardStats

	// Limits, so that tests can reach them sooner.
	maxFlows, maxClosed, maxHeld int
}

func newShard(o *Options, ports *ports, journal inspect.Journal, create newConversation) *shard {
	s := &shard{
		ports: ports, location: o.Location, journal: journal, create: create,
		flows:    make(map[flowKey]*flow),
		maxFlows: maxFlows / shards, maxClosed: maxClosedFlows / shards, maxHeld: maxHeld / shards,
	}
	return s
}

// take processes the next segment or tick.
func (s *shard) take(sg *segment) {
	s.journal.Stamp(sg.packet)
	if sg.tick {
		s.tick(sg.time)
		return
	}
	f := s.flows[sg.key]
	if f == nil || f.successor(sg) {
		if f = s.replace(f, sg); f == nil {
			return
		}
	}
	f.take(sg)
	for s.held > s.maxHeld && len(s.timers) > 0 {
		s.timers[0].yield()
	}
}

// replace begins a flow with sg, if it is worth one, and ends old, which had the same addresses.
func (s *shard) replace(old *flow, sg *segment) *flow {
	const useless = fin | rst
	if sg.flags&rst != 0 || (sg.flags&useless != 0 && sg.flags&syn == 0 && len(sg.payload) == 0) {
		return nil
	}
	if old != nil {
		old.finish(inspect.EndUnknown)
		s.remove(old)
	}
	for s.half.n+s.open.n >= s.maxFlows {
		s.evict()
	}
	f := s.pool.flow()
	f.begin(s, sg)
	s.flows[sg.key] = f
	s.half.push(f)
	return f
}

// evict makes room: the connection attempt that waits longest goes first, then the connection that is idle longest.
func (s *shard) evict() {
	f := s.half.first
	if f != nil {
		s.stats.halfOpen++
	} else {
		f = s.open.first
		s.stats.evicted++
	}
	f.finish(inspect.EndUnknown)
	s.remove(f)
}

// remove forgets f altogether.
func (s *shard) remove(f *flow) {
	delete(s.flows, f.key)
	f.list.remove(f)
	f.release()
	s.timers.set(f, never)
	s.pool.giveFlow(f)
}

// retire keeps f, which has ended, for a while, so that what comes late does not look like a connection.
func (s *shard) retire(f *flow) {
	f.list.remove(f)
	s.closed.push(f)
	if s.closed.n > s.maxClosed {
		s.remove(s.closed.first)
	}
}

// touch notes that something came for f.
func (s *shard) touch(f *flow, list *flowList) {
	if f.list != list || f.last-f.touched >= touchInterval {
		f.list.remove(f)
		list.push(f)
		f.touched = f.last
	}
}

// tick looks at the clocks.
func (s *shard) tick(now int64) {
	for len(s.timers) > 0 && s.timers[0].deadline <= now {
		s.timers[0].due(now)
	}
	for f := s.half.first; f != nil && now-f.last > halfOpenTimeout; f = s.half.first {
		f.finish(inspect.EndTimeout)
		s.remove(f)
	}
	for f := s.open.first; f != nil && now-f.touched > idleTimeout; f = s.open.first {
		if now-f.last <= idleTimeout { // it was touched since, a little
			f.touched = f.last
			s.open.remove(f)
			s.open.push(f)
			continue
		}
		f.finish(inspect.EndTimeout)
		s.remove(f)
	}
	for f := s.closed.first; f != nil && now-f.last > closedTimeout; f = s.closed.first {
		s.remove(f)
	}
}

// end ends every flow, in the order in which they began. packets is how many the capture had.
func (s *shard) end(packets int64) {
	flows := make([]*flow, 0, s.half.n+s.open.n)
	for _, list := range []*flowList{&s.half, &s.open} {
		for f := list.first; f != nil; f = f.after {
			flows = append(flows, f)
		}
	}
	sortByBegin(flows)
	for _, f := range flows {
		s.journal.Stamp(packets + f.number)
		f.finish(inspect.EndUnknown)
		s.remove(f)
	}
	for s.closed.first != nil {
		s.remove(s.closed.first)
	}
	s.ordinals = ordinals{}
}

// ordinals tell apart connections with the same addresses that begin in the same microsecond.
type ordinals struct {
	micros int64 // the latest
	count  map[ordinalKey]int
	others int // given out when there was no room
}

type ordinalKey struct {
	key    flowKey
	micros int64
}

const maxOrdinals = 4096 // connections of one microsecond that are told apart by their addresses

func (o *ordinals) next(key flowKey, begin int64) int {
	micros := begin / 1000
	if o.count == nil || micros != o.micros {
		if o.count == nil {
			o.count = make(map[ordinalKey]int)
		}
		clear(o.count)
		o.micros, o.others = micros, 0
	}
	k := ordinalKey{key, micros}
	n, ok := o.count[k]
	if !ok && len(o.count) >= maxOrdinals {
		o.others++
		return o.others
	}
	o.count[k] = n + 1
	return n
}
