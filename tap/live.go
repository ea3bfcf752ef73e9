package tap

import (
	"cmp"
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
	reopenTime  = 250 * time.Millisecond // between looks whether an interface is back
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
	order   *order
	pressed atomic.Int32 // readers that have no time to spare
	ending  atomic.Int64 // when no reader was left, as that
	stopped atomic.Int64 // when the capture was to end, in nanoseconds since 1970; 0: it is not
	dropped atomic.Int64 // Stats.Dropped
	frozen  atomic.Int64 // Stats.Frozen
	config  atomic.Pointer[inspect.Config]
	readers sync.WaitGroup

	entering sync.Mutex // guards the pipeline up to the batches; no reader waits for it

	changing sync.Mutex // guards what follows
	links    []*link
	running  context.Context // nil: it does not run yet
	over     bool
}

// link is an interface that is captured from.
type link struct {
	ring    *ring
	lane    lane
	down    bool
	lost    losses
	polls   int64        // of the ring, when it was looked at last,
	looked  int64        // which was at this packet time,
	since   int          // and octets of packets since then
	late    bool         // it is pressed
	stopped atomic.Int64 // as that of the Live, for this one
}

// Listen opens the interfaces; what they show from then on waits in their rings for Run. An error is one sentence.
func Listen(o Options) (*Live, error) {
	l := newLive(&o)
	l.config.Store(o.Inspect)
	var err error
	l.links, err = l.open(o.Interfaces)
	return l, err
}

func newLive(o *Options) *Live {
	l := &Live{pipeline: newPipeline(o)}
	l.room = newRoom(cmp.Or(o.Burst, DefaultBurst()))
	l.order = newOrder(l.room)
	return l
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
		k.stopped.Store(time.Now().UnixNano())
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
	context.AfterFunc(ctx, func() { l.stopped.Store(time.Now().UnixNano()) })
	inspected := make(chan struct{})
	go func() {
		defer close(inspected)
		l.inspect()
	}()
	l.changing.Lock()
	l.running = ctx
	l.begin(l.links)
	l.changing.Unlock()
	l.readers.Wait()
	l.changing.Lock()
	l.over = true
	l.changing.Unlock()
	l.readers.Wait() // for those that were added meanwhile
	l.ending.Store(time.Now().UnixNano())
	l.order.close()
	<-inspected
	l.finish()
	l.room.close()
	return l.Stats()
}

// Stats returns what was counted so far. It may be called at any time.
func (l *Live) Stats() Stats {
	l.entering.Lock()
	defer l.entering.Unlock()
	s := l.total()
	s.Dropped, s.Frozen = l.dropped.Load(), l.frozen.Load()
	return s
}

// capture takes what one interface shows until the capture is ended, and what had come by then.
func (l *Live) capture(ctx context.Context, k *link) {
	defer k.ring.close()
	defer l.order.end(&k.lane)
	defer l.press(k, false)
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
		for _, end := range []int64{l.stopped.Load(), k.stopped.Load()} {
			if end != 0 && now > end {
				l.lose(k)
				return
			}
		}
		switch {
		case err == nil:
			l.order.arrive(&k.lane, &packet)
			l.measure(k, &packet, k.ring.polls())
		case errors.Is(err, errQuiet):
			l.order.pass(&k.lane, now)
			l.press(k, false)
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
	l.dropped.Add(sum.dropped - k.lost.dropped)
	l.frozen.Add(sum.frozen - k.lost.frozen)
	k.lost = sum
}

// reopen waits until an interface is up, and captures from it again; false if the capture was ended before.
func (l *Live) reopen(ctx context.Context, k *link) bool {
	k.ring.close()
	l.press(k, false)
	l.order.leave(&k.lane, time.Now().UnixNano())
	again := time.NewTicker(reopenTime)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-again.C:
		}
		if k.stopped.Load() != 0 {
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
		l.order.leave(&k.lane, time.Now().UnixNano())
	}
}
