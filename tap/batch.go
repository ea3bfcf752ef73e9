package tap

import (
	"sync"
	"time"
)

const (
	batchOctets  = 256 << 10 // a batch ends with so many octets of packets,
	batchPackets = 1024      // or with so many packets
	batches      = 4         // in flight,
	burstBatches = 256       // or, of a Live, so many while more comes than can be recorded: 64 MiB of packets
)

// batch is a run of packets on its way. Its block holds their octets until everybody is done with them.
type batch struct {
	block    []byte
	used     int
	packets  int
	last     int64 // number of its last packet
	epoch    int64 // number of the last packet before the capture that it is of
	end      bool  // of the capture: flows end
	begin    int64 // packet time of its first packet
	cut      bool  // the journals' batches end with it
	segments []segment
	of       [shards][]uint16   // which of them are a shard's
	stats    [shards]shardStats // as they were after this batch
	pending  sync.WaitGroup     // workers not yet done
}

func (b *batch) reset() {
	b.used, b.packets, b.begin = 0, 0, 0
	clear(b.segments) // payloads of their own: long packets, fragments
	b.segments = b.segments[:0]
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
func (b *batch) full() bool { return b.used >= batchOctets || b.packets >= batchPackets }

// take gets a batch to fill.
func (p *pipeline) take() {
	b := p.unused()
	if b.block == nil {
		room := batchOctets
		if !p.live {
			room += minSpace
		}
		b.block = make([]byte, room)
	}
	b.reset()
	p.current = b
	if now := time.Now(); p.opts.Progress != nil && now.Sub(p.shown) >= progressInterval {
		p.shown = now
		p.opts.Progress(p.total())
	}
}

// unused returns a batch that nobody uses, as soon as there is one.
func (p *pipeline) unused() *batch {
	most := int32(batches)
	if p.live {
		most = burstBatches
	}
	select {
	case b := <-p.free:
		return b
	default:
	}
	if p.made.Load() < most { // only the reader makes more of them
		p.made.Add(1)
		return new(batch)
	}
	return <-p.free
}

// done gives a batch back. After a burst there are too many.
func (p *pipeline) done(b *batch) {
	select {
	case p.free <- b:
	default:
		p.made.Add(-1)
	}
}
