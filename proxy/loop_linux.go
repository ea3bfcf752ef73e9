package proxy

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

const haveLoops = true

const (
	maxEvents   = 128
	fairAccepts = 8                     // connections that are accepted before other things get their turn
	pauseTime   = 50 * time.Millisecond // between looks whether a connection can be accepted again
	interest    = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	wakeSlot    = math.MinInt32 // the event of the loop's own eventfd; listeners are -1, -2, ...
)

// loop relays the octets of its pairs in one goroutine. It waits for all of them at once with edge-triggered epoll(7), so
// that a chunk costs one wait, one read and one write. The runtime's poller waits for the epoll itself: a goroutine that
// blocked in epoll_wait(2) would keep its processor from others until the runtime takes it away.
type loop struct {
	p         *Proxy
	epoll     *os.File
	raw       syscall.RawConn // of epoll
	fd        int
	deadline  time.Time // that epoll has
	wake      int       // an eventfd
	listeners []loopListener
	accepting bool
	resume    time.Time // not to accept before
	draining  atomic.Bool
	aborting  atomic.Bool

	slots      []*pair // by their number in events
	free       []int32
	open       int
	generation int32    // of the latest pair, so that an event is not taken for one of the pair that had the slot before
	connecting pairList // the longest first
	relaying   pairList // the longest idle first
	later      []turn   // who has more to read, after the others had their turn
	spare      []turn
	retries    []*pair // who waits to connect to the server
	retry      time.Time
	block      *block // the next read goes there
}

type loopListener struct {
	fd    int
	route *route
}

// turn is a side of a pair that is to be read from again.
type turn struct {
	pr   *pair
	from wire.Direction
}

// startLoops makes the loops, if there is anything for them to do.
func (p *Proxy) startLoops(routes []*route) error {
	if len(routes) == 0 {
		return nil
	}
	for range max(1, runtime.NumCPU()) {
		l, err := newLoop(p, routes)
		if err != nil {
			return fmt.Errorf("waiting for connections failed: %w", err)
		}
		p.loops = append(p.loops, l)
		p.relays.Go(l.run)
	}
	return nil
}

func (p *Proxy) stopLoops(abort bool) {
	for _, l := range p.loops {
		l.draining.Store(true)
		if abort {
			l.aborting.Store(true)
		}
		_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

func newLoop(p *Proxy, routes []*route) (*loop, error) {
	l := &loop{p: p, block: getBlock(largeBlock)}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(fd, true) // so that os.NewFile gives it to the runtime's poller
	}
	if err != nil {
		return nil, err
	}
	l.epoll, l.fd = os.NewFile(uintptr(fd), "epoll"), fd
	if l.raw, err = l.epoll.SyscallConn(); err != nil {
		return nil, err
	}
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, err
	}
	if err := l.watch(l.wake, unix.EPOLLIN, wakeSlot, 0); err != nil {
		return nil, err
	}
	for _, r := range routes {
		fd, err := duplicate(r.listener)
		if err != nil {
			return nil, err
		}
		l.listeners = append(l.listeners, loopListener{fd, r})
	}
	return l, l.acceptAgain()
}

// duplicate returns a descriptor of the listener's that the loop owns.
func duplicate(of listener) (fd int, err error) {
	raw, err := of.SyscallConn()
	if err != nil {
		return 0, err
	}
	if e := raw.Control(func(f uintptr) { fd, err = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		return 0, e
	}
	return fd, err
}

func (l *loop) watch(fd int, events uint32, slot, generation int32) error {
	return unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: slot, Pad: generation})
}

// acceptAgain waits for connections; a waiting loop is woken, not all of them.
func (l *loop) acceptAgain() error {
	for i, listener := range l.listeners {
		if err := l.watch(listener.fd, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, int32(-1-i), 0); err != nil {
			return err
		}
	}
	l.accepting = true
	return nil
}

// acceptNoMore leaves connections to the kernel's backlog, for some time at least.
func (l *loop) acceptNoMore() {
	l.resume = time.Now().Add(pauseTime)
	if !l.accepting {
		return
	}
	for _, listener := range l.listeners {
		_ = unix.EpollCtl(l.fd, unix.EPOLL_CTL_DEL, listener.fd, nil)
	}
	l.accepting = false
}

// closeListeners refuses connections from now on.
func (l *loop) closeListeners() {
	l.acceptNoMore()
	for _, listener := range l.listeners {
		_ = unix.Close(listener.fd)
	}
	l.listeners = nil
}

// run is the goroutine.
func (l *loop) run() {
	defer l.close()
	events := make([]unix.EpollEvent, maxEvents)
	for {
		n, err := l.wait(events)
		if err != nil {
			l.p.Warn("epoll", "waiting for connections failed: "+err.Error())
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
			l.p.Warn("epoll", "waiting for connections failed: "+err.Error())
		}
	}
	return false
}

// close ends what is still under way.
func (l *loop) close() {
	l.closeListeners()
	for _, pr := range l.slots {
		if pr != nil {
			l.end(pr, inspect.EndAborted)
		}
	}
	_ = unix.Close(l.wake)
	_ = l.epoll.Close()
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

// accept takes some of the connections that wait.
func (l *loop) accept(from *loopListener) {
	for range fairAccepts {
		if l.p.full() {
			l.p.Warn("full", fmt.Sprintf("%d connections are open; more have to wait (--max-connections)", l.p.MaxConnections))
			l.acceptNoMore()
			return
		}
		fd, client, err := acceptNow(from.fd)
		switch {
		case err == nil:
			l.begin(from.route, fd, client)
		case err == unix.EAGAIN:
			return
		case isUsedUp(err):
			l.p.Warn("accept", "a connection has to wait: "+err.Error())
			l.acceptNoMore()
			return
		}
	}
}

// wait returns how many events there are, which may be none.
func (l *loop) wait(events []unix.EpollEvent) (n int, err error) {
	if len(l.later) > 0 {
		return l.ready(events)
	}
	// A deadline that comes too early does no harm, so that it need not be set for each wait.
	if next := l.next(); !l.deadline.Equal(next) && (l.deadline.IsZero() || next.Before(l.deadline) || !l.deadline.After(time.Now())) {
		l.deadline = next
		if err := l.epoll.SetReadDeadline(next); err != nil {
			return 0, err
		}
	}
	var failed error
	err = l.raw.Read(func(uintptr) bool {
		n, failed = l.ready(events)
		return n > 0 || failed != nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return n, errors.Join(err, failed)
}

// ready returns the events that are there.
func (l *loop) ready(events []unix.EpollEvent) (int, error) {
	n, err := pollNow(l.fd, events)
	if err == unix.EINTR {
		err = nil
	}
	return n, err
}

// next is when something is due though nothing happens; zero for never.
func (l *loop) next() (due time.Time) {
	sooner := func(t time.Time) {
		if due.IsZero() || t.Before(due) {
			due = t
		}
	}
	if !l.accepting && !l.draining.Load() {
		sooner(l.resume)
	}
	if len(l.retries) > 0 {
		sooner(l.retry)
	}
	if pr := l.connecting.first; pr != nil {
		sooner(pr.touched.Add(l.p.ConnectTimeout))
	}
	if pr := l.relaying.first; pr != nil {
		sooner(pr.touched.Add(l.p.IdleTimeout + l.p.touchTime()))
	}
	return due
}

// expire ends what has waited for too long, and tries again what can be.
func (l *loop) expire(now time.Time) {
	if len(l.retries) > 0 && !now.Before(l.retry) {
		l.retry = now.Add(pauseTime)
		waiting := l.retries
		l.retries = nil
		for _, pr := range waiting {
			if pr.open && pr.legs[wire.FromServer].fd < 0 {
				l.tryServer(pr)
			}
		}
	}
	for pr := l.connecting.first; pr != nil && now.Sub(pr.touched) >= l.p.ConnectTimeout; pr = l.connecting.first {
		l.nextServer(pr, unix.ETIMEDOUT)
	}
	idle := l.p.IdleTimeout + l.p.touchTime()
	for pr := l.relaying.first; pr != nil && now.Sub(pr.touched) >= idle; pr = l.relaying.first {
		l.end(pr, inspect.EndTimeout)
	}
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

// touchTime is how exact the order of idle pairs is.
func (p *Proxy) touchTime() time.Duration { return min(time.Second, p.IdleTimeout/8) }

// pairList is a list of pairs in the order of their touched.
type pairList struct{ first, last *pair }

func (list *pairList) push(pr *pair) {
	pr.before, pr.after = list.last, nil
	if list.last != nil {
		list.last.after = pr
	} else {
		list.first = pr
	}
	list.last = pr
}

func (list *pairList) remove(pr *pair) {
	if pr.before != nil {
		pr.before.after = pr.after
	} else {
		list.first = pr.after
	}
	if pr.after != nil {
		pr.after.before = pr.before
	} else {
		list.last = pr.before
	}
	pr.before, pr.after = nil, nil
}
