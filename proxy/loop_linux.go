package proxy

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

const haveLoops = true

const (
	maxEvents  = 128
	lingerTime = time.Millisecond      // that a loop waits for the next event before it lets others have its processor
	maxWait    = time.Hour             // for an event
	pauseTime  = 50 * time.Millisecond // between looks whether a connection can be accepted again
	interest   = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	wakeSlot   = math.MinInt32 // the event of the loop's own eventfd; listeners are -1, -2, ...
)

// loop relays the octets of its pairs in one goroutine. It waits for all of them at once with edge-triggered epoll(7), so
// that a chunk costs one wait, one read and one write.
type loop struct {
	p         *Proxy
	epoll     int
	waking    sync.Mutex
	wake      int // an eventfd; -1 once it is closed
	listeners []loopListener
	wanted    atomic.Pointer[listening] // what it is to accept from instead
	gone      chan struct{}             // closed when it has ended
	accepting bool
	resume    time.Time // not to accept before
	draining  atomic.Bool
	aborting  atomic.Bool

	slots      []*pair // by their number in events
	free       []int32
	open       int
	generation int32       // of the latest pair, so that an event is not taken for one of the pair that had the slot before
	connecting []*pairList // the longest first
	relaying   []*pairList // the longest idle first
	later      []turn      // who has more to read, after the others had their turn
	spare      []turn
	retries    []*pair // who waits to connect to the server
	retry      time.Time
	block      *block // the next read goes there
}

// Loops returns how many there are: half as many as CPUs, for the inspectors need the others. Each is woken the less often
// the more it relays.
func Loops() int { return max(1, runtime.NumCPU()/2) }

// turn is a side of a pair that is to be read from again.
type turn struct {
	pr   *pair
	from wire.Direction
}

func (p *Proxy) stopLoops(abort bool) {
	for _, l := range p.loops {
		l.draining.Store(true)
		if abort {
			l.aborting.Store(true)
		}
		l.wakeUp()
	}
}

// wakeUp may be called at any time: the loop may have ended, and its descriptor may be a file's by now.
func (l *loop) wakeUp() {
	l.waking.Lock()
	defer l.waking.Unlock()
	if l.wake >= 0 {
		_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

func newLoop(p *Proxy) (*loop, error) {
	l := &loop{p: p, wake: -1, block: getBlock(largeBlock), gone: make(chan struct{})}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err == nil {
		l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err == nil {
		err = l.watch(l.wake, unix.EPOLLIN, wakeSlot, 0)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *loop) watch(fd int, events uint32, slot, generation int32) error {
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: slot, Pad: generation})
}

// run is the goroutine.
func (l *loop) run() {
	defer l.close()
	events := make([]unix.EpollEvent, maxEvents)
	for {
		n, err := l.wait(events)
		if err != nil {
			l.p.warn("epoll", "waiting for connections failed: "+err.Error())
			return
		}
		for i := range n {
			l.dispatch(&events[i])
		}
		l.takeTurns()
		l.expire(time.Now())
		if l.done() {
			return
		}
	}
}

// done looks after accepting, and says whether the loop is to end.
func (l *loop) done() bool {
	l.relisten()
	if l.aborting.Load() {
		return true
	}
	if l.draining.Load() {
		l.closeListeners()
		return l.open == 0
	}
	if !l.accepting && !time.Now().Before(l.resume) {
		if l.p.full() {
			l.resume = time.Now().Add(pauseTime)
			return false
		}
		if err := l.acceptAgain(); err != nil {
			l.p.warn("epoll", "waiting for connections failed: "+err.Error())
			l.acceptNoMore()
		}
	}
	return false
}

// close ends what is still under way.
func (l *loop) close() {
	close(l.gone)
	l.relisten()
	l.closeListeners()
	for _, pr := range l.slots {
		if pr != nil {
			l.end(pr, inspect.EndAborted)
		}
	}
	l.waking.Lock()
	_ = unix.Close(l.wake)
	l.wake = -1
	l.waking.Unlock()
	_ = unix.Close(l.epoll)
	putBlock(l.block)
}

func (l *loop) dispatch(e *unix.EpollEvent) {
	switch {
	case e.Fd == wakeSlot:
		var count [8]byte
		_, _ = unix.Read(l.wake, count[:])
	case e.Fd < 0:
		l.accept(&l.listeners[-1-e.Fd])
	default:
		if pr := l.slots[e.Fd/2]; pr != nil && pr.generation == e.Pad {
			l.event(pr, wire.Direction(e.Fd%2), e.Events)
		}
	}
}

// wait returns how many events there are, which may be none. Where much is relayed the next event comes soon: a loop waits
// for it for a while as if it were at work, as it costs more to tell the runtime. Then it tells it, and waits on.
func (l *loop) wait(events []unix.EpollEvent) (n int, err error) {
	patience := l.patience(time.Now())
	if n, err = pollFor(l.epoll, events, min(patience, lingerTime)); n == 0 && err == nil && patience > lingerTime {
		n, err = unix.EpollWait(l.epoll, events, int(min(patience, maxWait)/time.Millisecond)+1)
	}
	if err == unix.EINTR {
		err = nil
	}
	return max(n, 0), err
}

// patience is how long there may be nothing to do but for events.
func (l *loop) patience(now time.Time) time.Duration {
	if len(l.later) > 0 {
		return 0
	}
	if next := l.next(); !next.IsZero() {
		return max(0, next.Sub(now))
	}
	return maxWait
}

// takeTurns reads on where there was more than one turn's worth.
func (l *loop) takeTurns() {
	turns := l.later
	l.later, l.spare = l.spare[:0], turns
	for _, t := range turns {
		if t.pr.open {
			t.pr.legs[t.from].later = false
			l.move(t.pr, t.from)
		}
	}
}
