package tap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/mailwire/mailwire/inspect"
)

const (
	shards       = 16        // flows are spread over so many, whatever the number of workers
	batchOctets  = 256 << 10 // a batch ends with so many octets of packets,
	batchPackets = 1024      // or with so many packets
	batches      = 4         // in flight

	tickInterval     = int64(time.Second) // packet time between two looks at the clocks
	progressInterval = 100 * time.Millisecond
)

// batch is a run of packets on its way. Its block holds their octets until everybody is done with them.
type batch struct {
	block    []byte
	used     int
	packets  int
	last     int64 // number of its last packet
	epoch    int64 // number of the last packet before the capture that it is of
	end      bool  // of the capture: flows end
	segments [shards][]segment
	stats    [shards]shardStats // as they were after this batch
	pending  sync.WaitGroup     // workers not yet done
}

func (b *batch) reset() {
	b.used, b.packets = 0, 0
	for i := range b.segments {
		clear(b.segments[i]) // payloads of their own: long packets, fragments
		b.segments[i] = b.segments[i][:0]
	}
}

// pipeline is one run of Read.
type pipeline struct {
	opts    Options
	source  Source
	ports   *ports
	decoder decoder
	packet  Packet  // being decoded
	segment segment // in it
	stats   Stats
	clock   int64 // packet time of the last tick
	first   int64 // packet time of the first packet of this file
	latest  int64 // and of the last packet
	number  int64 // of the last packet
	epoch   int64 // the number before the first packet of this capture
	shown   time.Time

	shards  [shards]*shard
	workers []chan *batch
	commits chan *batch
	free    chan *batch
	current *batch
	running sync.WaitGroup

	failed  chan struct{} // closed when the recorder failed,
	failure error         // with this
}

func read(ctx context.Context, o Options, create newConversation) (Stats, error) {
	source := openFiles(o.Files, o.Stdin)
	defer source.Close()
	return run(ctx, o, source, create)
}

func run(ctx context.Context, o Options, source Source, create newConversation) (Stats, error) {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	o.Workers = min(o.Workers, shards)
	if o.Location == nil {
		o.Location = time.UTC
	}
	p := &pipeline{
		opts: o, source: source, ports: newPorts(&o),
		workers: make([]chan *batch, o.Workers),
		commits: make(chan *batch, batches),
		free:    make(chan *batch, batches),
		failed:  make(chan struct{}),
	}
	for i := range p.shards {
		p.shards[i] = newShard(&o, p.ports, o.Recorder.Journal(), create)
	}
	for range batches {
		p.free <- new(batch)
	}
	for w := range p.workers {
		p.workers[w] = make(chan *batch, batches)
		p.running.Go(func() { p.work(w) })
	}
	p.running.Go(p.commit)
	err := p.read(ctx)
	p.finish()
	if p.failure != nil {
		err = errors.Join(err, fmt.Errorf("recording failed, so reading stopped after packet %d: %w", p.stats.Packets, p.failure))
	}
	return p.stats, err
}

// read is the reader: it takes packets until there are no more.
func (p *pipeline) read(ctx context.Context) error {
	var errs []error
	for p.opts.Packets == 0 || p.stats.Packets < p.opts.Packets {
		if p.current != nil && p.source.Waiting() {
			p.send(false)
		}
		if p.current == nil {
			select {
			case <-p.failed:
				return errors.Join(errs...)
			default:
			}
			if err := ctx.Err(); err != nil {
				return errors.Join(append(errs, fmt.Errorf("stopped after packet %d: %w", p.stats.Packets, context.Cause(ctx)))...)
			}
			p.take()
		}
		b := p.current
		var err error
		p.packet, err = p.source.Next(b.block[b.used:])
		if err == io.EOF {
			break
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if p.another(&p.packet) {
			b = p.startAnew()
		}
		p.enter(b, &p.packet)
		if b.used >= batchOctets || b.packets >= batchPackets {
			p.send(false)
		}
	}
	return errors.Join(errs...)
}

// another says whether a packet begins another capture: a file that begins earlier, or much later, than where the one before
// it stopped. Connections do not go on from one capture to another.
func (p *pipeline) another(packet *Packet) bool {
	if !packet.First {
		return false
	}
	before := p.first
	p.first = packet.Time
	passed := packet.Time - p.latest
	return p.number > 0 && (packet.Time <= before || passed < -tickInterval || passed > idleTimeout)
}

// startAnew ends every flow, and returns a batch with the packet that was just read. Ends have numbers of their own, at
// most one for each packet of the capture.
func (p *pipeline) startAnew() *batch {
	p.packet.Data = bytes.Clone(p.packet.Data)
	p.send(true)
	p.number += p.number - p.epoch
	p.epoch = p.number
	p.take()
	return p.current
}

// enter decodes one packet into the batch.
func (p *pipeline) enter(b *batch, packet *Packet) {
	p.stats.Packets++
	p.number++
	p.latest = packet.Time
	p.stats.Octets += int64(len(packet.Data))
	b.packets++
	if len(packet.Data) <= len(b.block)-b.used {
		b.used += len(packet.Data)
	}
	// The clock is looked at when a second has passed, at a place in the stream of packets that does not depend on how it
	// is cut. A clock that goes back starts anew.
	if passed := packet.Time - p.clock; passed >= tickInterval || passed <= -tickInterval {
		p.clock = packet.Time
		for i := range b.segments {
			b.segments[i] = append(b.segments[i], segment{packet: p.number, time: packet.Time, tick: true})
		}
	}
	s := &p.segment
	v := p.decoder.decode(packet, s)
	if p.decoder.fragmented {
		p.stats.Fragments++
	}
	switch v {
	case undecodable:
		p.stats.Undecodable++
	case notTCP:
		p.stats.NotTCP++
	case isSegment:
		if !p.ports.wanted(&s.key) {
			p.stats.OtherPort++
			return
		}
		p.stats.Segments++
		s.packet, s.time = p.number, packet.Time
		i := s.key.shard()
		b.segments[i] = append(b.segments[i], *s)
	}
}

// take gets a batch to fill.
func (p *pipeline) take() {
	b := <-p.free
	if b.block == nil {
		b.block = make([]byte, batchOctets+minSpace)
	}
	p.collect(b)
	b.reset()
	p.current = b
	if now := time.Now(); p.opts.Progress != nil && now.Sub(p.shown) >= progressInterval {
		p.shown = now
		p.opts.Progress(p.stats)
	}
}

// collect takes over what the shards had counted when they were done with b.
func (p *pipeline) collect(b *batch) {
	var sum shardStats
	for i := range b.stats {
		sum.add(&b.stats[i])
	}
	s := &p.stats
	s.Sessions = max(s.Sessions, sum.sessions)
	s.Lost = max(s.Lost, sum.lost)
	s.Evicted = max(s.Evicted, sum.evicted)
	s.HalfOpen = max(s.HalfOpen, sum.halfOpen)
	s.Unassembled = p.decoder.frags.unassembled
	s.Input, s.InputSize = p.source.Input()
}

// send hands the current batch to the workers and the committer.
func (p *pipeline) send(end bool) {
	b := p.current
	p.current = nil
	b.last, b.epoch, b.end = p.number, p.epoch, end
	b.pending.Add(len(p.workers))
	for _, w := range p.workers {
		w <- b
	}
	p.commits <- b
}

// finish ends every flow and waits until all is committed.
func (p *pipeline) finish() {
	if p.current == nil {
		p.take()
	}
	last := p.current
	p.send(true)
	for _, w := range p.workers {
		close(w)
	}
	close(p.commits)
	p.running.Wait()
	p.collect(last)
	if p.opts.Progress != nil {
		p.opts.Progress(p.stats)
	}
}

// work runs every len(p.workers)th shard.
func (p *pipeline) work(w int) {
	for b := range p.workers[w] {
		for i := w; i < shards; i += len(p.workers) {
			s := p.shards[i]
			for j := range b.segments[i] {
				s.take(&b.segments[i][j])
			}
			if b.end {
				s.end(b.last - b.epoch)
			}
			s.journal.Cut()
			b.stats[i] = s.stats
		}
		b.pending.Done()
	}
}

// commit lets the recorder write each batch, in order.
func (p *pipeline) commit() {
	for b := range p.commits {
		b.pending.Wait()
		if err := p.opts.Recorder.Commit(); err != nil && p.failure == nil {
			p.failure = err
			close(p.failed)
		}
		p.free <- b
	}
}

// ports knows which ports are looked at, and what they promise.
type ports struct {
	any  bool
	hint [1 << 16]inspect.Hint
}

func newPorts(o *Options) *ports {
	p := &ports{any: o.AnyPort || len(o.SMTPPorts)+len(o.POP3Ports) == 0}
	if p.any {
		for _, port := range []uint16{25, 587, 2525, 465} {
			p.hint[port] = inspect.SMTP
		}
		for _, port := range []uint16{110, 995} {
			p.hint[port] = inspect.POP3
		}
	}
	for _, port := range o.POP3Ports {
		p.hint[port] = inspect.POP3
	}
	for _, port := range o.SMTPPorts {
		p.hint[port] = inspect.SMTP
	}
	return p
}

func (p *ports) wanted(k *flowKey) bool {
	return p.any || p.hint[k.port(0)] != inspect.AnyProtocol || p.hint[k.port(1)] != inspect.AnyProtocol
}
