package proxy

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// listening is what a loop is to accept from.
type listening struct {
	listeners []loopListener
	begun     chan struct{} // closed when it does
}

type loopListener struct {
	fd    int
	route *route
}

// loopThrough lets the loops accept the connections of these routes, and of no others, from now on. It makes the loops
// when there is something for them to do. If it fails, nothing has changed.
func (p *Proxy) loopThrough(routes []*route) error {
	loops := p.loops
	if len(loops) == 0 && len(routes) > 0 {
		for range Loops() {
			l, err := newLoop(p)
			if err != nil {
				closeLoops(loops)
				return fmt.Errorf("waiting for connections failed: %w", err)
			}
			loops = append(loops, l)
		}
	}
	all := make([]*listening, len(loops))
	for i := range loops {
		var err error
		if all[i], err = newListening(routes); err != nil {
			for _, made := range all[:i] {
				closeAll(made.listeners)
			}
			closeLoops(loops[len(p.loops):])
			return fmt.Errorf("waiting for connections failed: %w", err)
		}
	}
	for i, l := range loops {
		l.wanted.Store(all[i])
		if i >= len(p.loops) {
			p.relays.Go(l.run)
		}
		l.wakeUp()
	}
	for i, l := range loops {
		select {
		case <-all[i].begun:
		case <-l.gone: // maybe too early to take them over
			if left := l.wanted.Swap(nil); left != nil {
				closeAll(left.listeners)
			}
		}
	}
	p.loops = loops
	for _, r := range routes {
		r.listener.park()
	}
	return nil
}

// newListening returns what a loop needs to accept the connections of these routes. The loop owns the descriptors.
func newListening(routes []*route) (*listening, error) {
	wanted := &listening{begun: make(chan struct{})}
	for _, r := range routes {
		fd, err := r.listener.descriptor()
		if err != nil {
			closeAll(wanted.listeners)
			return nil, err
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // what it accepts inherits it; a unix socket has none
		wanted.listeners = append(wanted.listeners, loopListener{fd, r})
	}
	return wanted, nil
}

// closeLoops closes loops that have not run.
func closeLoops(list []*loop) {
	for _, l := range list {
		l.close()
	}
}

// acceptAgain waits for connections; a waiting loop is woken, not all of them.
func (l *loop) acceptAgain() error {
	l.accepting = true // from some of them, if it fails
	for i, listener := range l.listeners {
		if err := l.watch(listener.fd, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, int32(-1-i), 0); err != nil {
			return err
		}
	}
	return nil
}

// acceptNoMore leaves connections to the kernel's backlog, for some time at least.
func (l *loop) acceptNoMore() {
	l.resume = time.Now().Add(pauseTime)
	if !l.accepting {
		return
	}
	for _, listener := range l.listeners {
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, listener.fd, nil)
	}
	l.accepting = false
}

// closeListeners refuses connections from now on.
func (l *loop) closeListeners() {
	l.acceptNoMore()
	closeAll(l.listeners)
	l.listeners = nil
}

func closeAll(list []loopListener) {
	for _, listener := range list {
		_ = unix.Close(listener.fd)
	}
}

// relisten accepts from other listeners, if it is to.
func (l *loop) relisten() {
	wanted := l.wanted.Swap(nil)
	if wanted == nil {
		return
	}
	l.closeListeners()
	l.listeners, l.resume = wanted.listeners, time.Time{}
	close(wanted.begun)
	empty := func(list *pairList) bool { return list.first == nil }
	l.connecting, l.relaying = slices.DeleteFunc(l.connecting, empty), slices.DeleteFunc(l.relaying, empty)
}

// accept takes a connection that waits; epoll tells if there is another.
func (l *loop) accept(from *loopListener) {
	if l.p.full() {
		l.p.warnFull()
		l.acceptNoMore()
		return
	}
	fd, client, err := acceptNow(from.fd)
	switch err {
	case nil:
		l.begin(from.route, fd, client)
	case unix.EAGAIN, unix.EINTR: // another loop has it, or it comes again
	case unix.ECONNABORTED, unix.ENETDOWN, unix.EPROTO, unix.ENOPROTOOPT, unix.EHOSTDOWN, unix.ENONET, unix.EHOSTUNREACH,
		unix.EOPNOTSUPP, unix.ENETUNREACH: // of the connection, which is gone (accept(2))
	default:
		l.p.warn("accept", "a connection has to wait: "+err.Error())
		l.acceptNoMore()
	}
}
