package tap

import (
	"sync"
	"time"
)

const (
	batchOctets  = 256 << 10 // a batch ends with so many octets of packets,
	batchPackets = 1024      // or with so many packets
	batches      = 4         // in flight
)

// batch is a run of packets on its way. Their octets are in its memory, or of a Live in blocks, of which it holds those
// that end in it, until everybody is done with them.
type batch struct {
	memory   []byte
	held     []*block
	octets   int
	packets  int
	last     int64 // number of its last packet
	epoch    int64 // number of the last packet before the capture that it is of
	end      bool  // of the capture: flows end
	cut      bool  // the journals' batches end with it
	segments []segment
	of       [shards][]uint16   // which of them are a shard's
	stats    [shards]shardStats // as they were after this batch
	pending  sync.WaitGroup     // workers not yet done
}

func (b *batch) reset() {
	b.octets, b.packets = 0, 0
	clear(b.segments) // payloads of their own: long packets, fragments
	clear(b.held)
	b.segments, b.held = b.segments[:0], b.held[:0]
	for i := range b.of {
		b.of[i] = b.of[i][:0]
	}
}

// add appends a segment for a shard.
func (b *batch) add(shard int, s *segment) {
	b.of[shard] = append(b.of[shard], uint16(len(b.segments)))
	b.segments = append(b.segments, *s)
}

// full says whether the batch has enough.
func (b *batch) full() bool { return b.octets >= batchOctets || b.packets >= batchPackets }

// take gets a batch to fill.
func (p *pipeline) take() {
	p.current = p.unused()
	if now := time.Now(); p.opts.Progress != nil && now.Sub(p.shown) >= progressInterval {
		p.shown = now
		p.opts.Progress(p.total())
	}
}

// unused returns a batch that nobody uses, as soon as there is one.
func (p *pipeline) unused() *batch {
	select {
	case b := <-p.free:
		return b
	default:
	}
	if p.made == batches {
		return <-p.free
	}
	p.made++
	if p.room != nil {
		return new(batch)
	}
	return &batch{memory: make([]byte, batchOctets+minSpace)}
}

// done gives a batch back.
func (p *pipeline) done(b *batch) {
	if len(b.held) > 0 {
		p.room.give(b.held)
	}
	b.reset()
	p.free <- b
}
