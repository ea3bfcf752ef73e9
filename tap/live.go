package tap

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"

	"github.com/mailwire/mailwire/inspect"
)

// Limits and times of a live capture.
const (
	DefaultRing = 16 << 20               // octets of the kernel's memory for the packets of each interface
	flushTime   = 100 * time.Millisecond // that packets may wait for others before they are looked at,
	commitTime  = 100 * time.Millisecond // and what was said of them before it is written,
	commitAfter = 8 << 20                // unless there were so many octets
	reopenTime  = 250 * time.Millisecond // between looks whether an interface is back
	paceTime    = time.Millisecond       // between looks whether the recorder is less crowded
	workersWay  = 5                      // how nice who inspects is to who captures: what is captured late is lost,
	writersWay  = 10                     // and what is inspected or written late is not
	endPatience = 5 * time.Second        // that the end of a capture takes at most for that
)

// ErrNoInterface and ErrFilter are what was asked for wrongly.
var (
	ErrNoInterface = errors.New("there is no such interface")
	ErrFilter      = errors.New("the kernel does not take the filter")

	errQuiet = errors.New("no packet came")
	errDown  = errors.New("is down")
)

// Filter is a program for the kernel's classic BPF, which says what it lets through.
type Filter []bpf.RawInstruction

// losses count what the kernel could not give to a ring.
type losses struct {
	dropped int64 // packets for which there was no room
	frozen  int64 // times when there was none
}

// Live captures from interfaces, for months: an interface that goes down or away is captured from again when it is back.
type Live struct {
	*pipeline
	order   order
	ended   atomic.Int64 // when the capture was stopped, in nanoseconds since 1970; 0: it was not
	config  atomic.Pointer[inspect.Config]
	readers sync.WaitGroup

	changing sync.Mutex // guards what follows
	links    []*link
	running  context.Context // nil: it does not run yet
	over     bool
}

// link is an interface that is captured from.
type link struct {
	ring  *ring
	lane  lane
	down  bool
	lost  losses
	ended atomic.Int64 // as that of the Live, for this one
}

// Listen opens the interfaces; what they show from then on waits in their rings for Run. An error is one sentence.
func Listen(o Options) (*Live, error) {
	l := &Live{pipeline: newPipeline(&o)}
	l.order.give = l.arrive
	l.config.Store(o.Inspect)
	var err error
	l.links, err = l.open(o.Interfaces)
	return l, err
}

// open opens interfaces: all, or none.
func (l *Live) open(names []string) ([]*link, error) {
	var links []*link
	for _, name := range names {
		k := &link{ring: &ring{name: name, octets: l.opts.Ring, filter: l.opts.filter()}}
		err := k.ring.open()
		if k.down = errors.Is(err, errDown); k.down {
			l.opts.Warn("down "+name, err.Error()+": what it shows is recorded as soon as it is up (ip link set "+name+" up)")
		} else if err != nil {
			for _, k := range links {
				k.ring.close()
			}
			return nil, err
		}
		links = append(links, k)
	}
	return links, nil
}

// Reconfigure captures from o.Interfaces, as Listen's options say otherwise, and inspects what begins from now on as
// o.Inspect says. Conversations go on. If it fails, all stays as it was; the error is one sentence.
func (l *Live) Reconfigure(o Options) error {
	l.changing.Lock()
	defer l.changing.Unlock()
	if l.over {
		return errors.New("the capture has ended")
	}
	var kept, gone []*link
	added := slices.Clone(o.Interfaces)
	for _, k := range l.links {
		if i := slices.Index(added, k.ring.name); i >= 0 {
			added = slices.Delete(added, i, i+1)
			kept = append(kept, k)
		} else {
			gone = append(gone, k)
		}
	}
	opened, err := l.open(added)
	if err != nil {
		return err
	}
	l.config.Store(o.Inspect)
	l.links = append(kept, opened...)
	l.begin(opened)
	for _, k := range gone {
		k.ended.Store(time.Now().UnixNano())
	}
	return nil
}

// begin captures from links, if the Live runs.
func (l *Live) begin(links []*link) {
	if l.running == nil {
		return
	}
	for _, k := range links {
		l.order.begin(&k.lane)
	}
	for _, k := range links {
		l.readers.Go(func() { l.capture(l.running, k) })
	}
}

// filter is the program that the kernel gets.
func (o *Options) filter() filter {
	f := filter{Tunnels: !o.NoTunnels, Snap: uint32(o.Snap), Program: o.Filter}
	if !o.AnyPort {
		f.Ports = slices.Concat(o.SMTPPorts, o.POP3Ports)
	}
	return f
}

// Close ends the capture of a Live that is not run.
func (l *Live) Close() {
	for _, k := range l.links {
		k.ring.close()
	}
}

// Run records what comes until ctx is done, or Options.Packets have come, and returns when the recorder was told all of it.
// It does not wait for the recorder's Commit, which may wait for a disk.
func (l *Live) Run(ctx context.Context, recorder inspect.Recorder) Stats {
	l.start(recorder, func(conn inspect.Conn, sink inspect.Sink) conversation {
		return inspect.New(l.config.Load(), conn, sink)
	})
	ctx, l.enough = context.WithCancel(ctx)
	defer l.enough()
	context.AfterFunc(ctx, func() { l.ended.Store(time.Now().UnixNano()) })
	l.changing.Lock()
	l.running = ctx
	l.begin(l.links)
	l.changing.Unlock()
	l.readers.Wait()
	l.changing.Lock()
	l.over = true
	l.changing.Unlock()
	l.readers.Wait() // for those that were added meanwhile
	l.finish()
	return l.Stats()
}

// Stats returns what was counted so far. It may be called at any time.
func (l *Live) Stats() Stats {
	l.entering.Lock()
	defer l.entering.Unlock()
	return l.total()
}

// capture takes what one interface shows until the capture is ended, and what had come by then.
func (l *Live) capture(ctx context.Context, k *link) {
	defer k.ring.close()
	defer l.order.end(&k.lane)
	giveWay(0) // to nobody, but on a thread that no goroutine keeps from it
	var looked int64
	for {
		if k.down && !l.reopen(ctx, k) {
			return
		}
		packet, err := k.ring.next()
		now := packet.Time
		if err != nil { // what came just before may still be on its way
			now = time.Now().Add(-flushTime).UnixNano()
		}
		for _, end := range []int64{l.ended.Load(), k.ended.Load()} {
			if end != 0 && now > end {
				l.lose(k)
				return
			}
		}
		switch {
		case err == nil:
			l.order.arrive(&k.lane, &packet)
		case errors.Is(err, errQuiet):
			l.order.pass(&k.lane, now)
			l.quiet(now)
		default:
			k.down = true
			l.opts.Warn("down "+k.ring.name, err.Error()+": nothing is seen until it is up again")
		}
		if now-looked >= tickInterval || k.down {
			looked = now
			l.lose(k)
		}
	}
}

// lose notes what the kernel could not give.
func (l *Live) lose(k *link) {
	sum := k.ring.losses()
	l.entering.Lock()
	defer l.entering.Unlock()
	l.stats.Dropped += sum.dropped - k.lost.dropped
	l.stats.Frozen += sum.frozen - k.lost.frozen
	k.lost = sum
}

// reopen waits until an interface is up, and captures from it again; false if the capture was ended before.
func (l *Live) reopen(ctx context.Context, k *link) bool {
	k.ring.close()
	l.order.pass(&k.lane, never)
	again := time.NewTicker(reopenTime)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-again.C:
		}
		if k.ended.Load() != 0 {
			return false
		}
		switch err := k.ring.open(); {
		case err == nil:
			k.down = false
			l.order.pass(&k.lane, time.Now().UnixNano())
			l.opts.Warn("up "+k.ring.name, k.ring.name+" is up: it is captured from")
			return true
		case !errors.Is(err, errDown) && !errors.Is(err, ErrNoInterface):
			l.opts.Warn("open "+k.ring.name, err.Error())
		}
		l.quiet(time.Now().UnixNano())
	}
}

// arrive takes a packet, borrowed.
func (p *pipeline) arrive(packet *Packet) {
	p.entering.Lock()
	defer p.entering.Unlock()
	wanted := p.opts.Packets
	if wanted > 0 && p.stats.Packets >= wanted {
		return
	}
	if b := p.current; b != nil && len(packet.Data) > len(b.block)-b.used {
		p.send(false)
	}
	if p.current == nil {
		p.take()
	}
	b := p.current
	if b.begin == 0 {
		b.begin = packet.Time
	}
	packet.Data = append(b.block[b.used:b.used:len(b.block)], packet.Data...) // a longer one gets memory of its own
	p.enter(b, packet)
	if p.stats.Packets == wanted {
		p.enough()
	}
	if b.full() || packet.Time-b.begin >= int64(flushTime) {
		p.send(false)
	}
}

// quiet goes on though no packet came: what did come waits no longer, and time passes.
func (p *pipeline) quiet(now int64) {
	p.entering.Lock()
	defer p.entering.Unlock()
	if p.current == nil {
		p.take()
	}
	p.tick(p.current, now-tickInterval/2) // what came just before may still be on its way
	if p.current.packets > 0 {
		p.send(false)
	}
}

// due says whether the journals' batches end with this batch, so that they can be written: not while others are, and not
// too often.
func (p *pipeline) due(b *batch) bool {
	if !p.live {
		return true
	}
	p.uncut += int64(b.used)
	now := time.Now()
	if now.Sub(p.cut) < commitTime && p.uncut < commitAfter || !p.committing.CompareAndSwap(false, true) {
		return false
	}
	p.cut, p.uncut = now, 0
	return true
}

// pace waits while the recorder has much to write, as long as packets have room to wait in: there they take less memory
// than all that is said of them. At a disk that does not answer that room is soon used up.
func (p *pipeline) pace() {
	for p.committing.Load() && p.recorder.Crowded() && p.made.Load() < burstBatches/4*3 {
		if ending := p.ending.Load(); ending != 0 && time.Since(time.Unix(0, ending)) > endPatience {
			return
		}
		time.Sleep(paceTime)
	}
}

// commitLive lets the recorder write while the workers go on.
func (p *pipeline) commitLive() {
	giveWay(writersWay)
	for range p.writes {
		if err := p.recorder.Commit(); err != nil {
			p.opts.Warn("commit", "what was seen could not be written: "+err.Error())
		}
		p.committing.Store(false)
	}
}
