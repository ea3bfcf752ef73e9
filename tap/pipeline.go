package tap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailwire/mailwire/inspect"
)

const (
	shards = 16 // flows are spread over so many, whatever the number of workers

	tickInterval     = int64(time.Second) // packet time between two looks at the clocks
	progressInterval = 100 * time.Millisecond
)

// pipeline is one run of Read, or of a Live.
type pipeline struct {
	opts    Options
	source  Source // nil: live
	ports   *ports
	decoder decoder
	packet  Packet  // being decoded
	segment segment // in it
	stats   Stats   // the reader's part
	clock   int64   // packet time of the last tick
	first   int64   // packet time of the first packet of this file
	latest  int64   // and of the last packet
	number  int64   // of the last packet
	epoch   int64   // the number before the first packet of this capture
	shown   time.Time

	shards  [shards]*shard
	workers []chan *batch
	commits chan *batch
	free    chan *batch
	made    int // batches
	current *batch
	running sync.WaitGroup

	counting sync.Mutex // guards counted
	counted  shardStats // by all shards

	recorder inspect.Recorder
	trace    inspect.Journal // takes the packets; nil: they are not wanted
	failed   chan struct{}   // closed when the recorder failed,
	failure  error           // with this

	// Of a Live.
	room       *room         // nil: not live
	enough     func()        // ends the capture
	committing atomic.Bool   // the recorder writes
	writes     chan struct{} // it is to
	cut        time.Time     // when the journals' batches ended last
	uncut      int64         // octets of packets since then
}

func read(ctx context.Context, o Options, create newConversation) (Stats, error) {
	source := openFiles(o.Files, o.Stdin)
	defer source.Close()
	return run(ctx, o, source, create)
}

func run(ctx context.Context, o Options, source Source, create newConversation) (Stats, error) {
	p := newPipeline(&o)
	p.source = source
	p.start(o.Recorder, create)
	err := p.read(ctx)
	p.finish()
	if p.failure != nil {
		err = errors.Join(err, fmt.Errorf("recording failed, so reading stopped after packet %d: %w", p.stats.Packets, p.failure))
	}
	return p.total(), err
}

func newPipeline(o *Options) *pipeline {
	p := &pipeline{
		opts: *o, ports: newPorts(o),
		commits: make(chan *batch, batches),
		free:    make(chan *batch, batches),
		failed:  make(chan struct{}),
		writes:  make(chan struct{}, 1),
	}
	if p.opts.Workers <= 0 {
		p.opts.Workers = runtime.GOMAXPROCS(0)
	}
	p.opts.Workers = min(p.opts.Workers, shards)
	if p.opts.Location == nil {
		p.opts.Location = time.UTC
	}
	p.decoder.noTunnels = o.NoTunnels
	return p
}

// start makes the shards and lets the workers and the committer run.
func (p *pipeline) start(recorder inspect.Recorder, create newConversation) {
	p.recorder = recorder
	if p.opts.Trace {
		p.trace = recorder.Journal()
	}
	for i := range p.shards {
		p.shards[i] = newShard(&p.opts, p.ports, recorder.Journal(), create)
	}
	p.workers = make([]chan *batch, p.opts.Workers)
	for w := range p.workers {
		p.workers[w] = make(chan *batch, batches)
		p.running.Go(func() { p.work(w) })
	}
	p.running.Go(p.commit)
	if p.room != nil {
		go p.commitLive()
	}
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
		p.packet, err = p.source.Next(b.memory[b.octets:])
		if err == io.EOF {
			break
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if p.anew(&p.packet) {
			b = p.startAnew()
		}
		p.enter(b, &p.packet)
		if b.full() {
			p.send(false)
		}
	}
	return errors.Join(errs...)
}

// anew says whether a packet begins another capture: a file that begins earlier, or much later, than where the one before
// it stopped. Connections do not go on from one capture to another.
func (p *pipeline) anew(packet *Packet) bool {
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
	b.octets += len(packet.Data)
	p.tick(b, packet.Time)
	s := &p.segment
	v := p.decoder.decode(packet, s)
	if p.decoder.fragmented {
		p.stats.Fragments++
	}
	if p.trace != nil && (p.decoder.fragmented || v == isSegment && p.ports.wanted(&s.key)) {
		p.keep(packet)
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
		b.add(s.key.shard(), s)
	}
}

// keep puts a packet into the trace.
func (p *pipeline) keep(packet *Packet) {
	p.trace.Stamp(p.number)
	p.trace.Packet(inspect.Packet{
		Time: time.Unix(0, packet.Time).In(p.opts.Location), Link: int(packet.Link), Wire: packet.Wire, Data: packet.Data,
	})
}

// tick lets the shards look at their clocks when a second has passed, at a place in the stream of packets that does not
// depend on how it is cut. A clock that goes back starts anew.
func (p *pipeline) tick(b *batch, now int64) {
	passed := now - p.clock
	if passed < tickInterval && passed > -tickInterval {
		return
	}
	p.clock = now
	b.packets++
	for i := range shards {
		b.add(i, &segment{packet: p.number, time: now, tick: true})
	}
}

// count takes over what the shards had counted when they were done with b.
func (p *pipeline) count(b *batch) {
	var sum shardStats
	for i := range b.stats {
		sum.add(&b.stats[i])
	}
	p.counting.Lock()
	defer p.counting.Unlock()
	p.counted = sum
}

// total returns all that was counted so far. The reader calls it, or who keeps it from reading.
func (p *pipeline) total() Stats {
	s := p.stats
	p.counting.Lock()
	c := p.counted
	p.counting.Unlock()
	s.Sessions, s.Active, s.Lost, s.Evicted, s.HalfOpen = c.sessions, c.sessions-c.ended, c.lost, c.evicted, c.halfOpen
	s.Unassembled = p.decoder.frags.unassembled
	if p.source != nil {
		s.Input, s.InputSize = p.source.Input()
	}
	return s
}

// send gives the current batch to the workers and the committer.
func (p *pipeline) send(end bool) {
	b := p.current
	p.current = nil
	b.last, b.epoch, b.end = p.number, p.epoch, end
	if b.cut = p.due(b); b.cut && p.trace != nil {
		p.trace.Cut()
	}
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
	p.send(true)
	for _, w := range p.workers {
		close(w)
	}
	close(p.commits)
	p.running.Wait()
	if p.opts.Progress != nil {
		p.opts.Progress(p.total())
	}
}

// work runs every len(p.workers)th shard.
func (p *pipeline) work(w int) {
	if p.room != nil {
		giveWay(workersWay)
	}
	for b := range p.workers[w] {
		for i := w; i < shards; i += len(p.workers) {
			s := p.shards[i]
			for _, j := range b.of[i] {
				s.take(&b.segments[j])
			}
			if b.end {
				s.end(b.last - b.epoch)
			}
			if b.cut {
				s.journal.Cut()
			}
			b.stats[i] = s.stats
		}
		b.pending.Done()
	}
}

// commit lets the recorder write each batch, in order. Of a Live, only what is due.
func (p *pipeline) commit() {
	defer close(p.writes)
	for b := range p.commits {
		b.pending.Wait()
		p.count(b)
		switch {
		case p.room == nil:
			if err := p.recorder.Commit(); err != nil && p.failure == nil {
				p.failure = err
				close(p.failed)
			}
		case b.cut:
			p.writes <- struct{}{}
		}
		p.done(b)
	}
}
