package proxy

import (
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// netListener accepts connections by package net: TCP or unix.
type netListener interface {
	net.Listener
	syscall.Conn
	SetDeadline(t time.Time) error
}

// listener is a listening socket of one route, and of those that take its place. Goroutines accept from it by package net.
// While loops do so it is parked, a descriptor that the runtime does not know of: its poller would wake a thread at each
// connection.
type listener struct {
	addr net.Addr
	file os.FileInfo // of a unix socket, to be removed with it; nil if there is nothing to remove

	mu     sync.Mutex
	open   netListener // nil while parked
	parked int         // the descriptor; -1 if it is not parked
}

// newListener takes over what was opened; owned says that its name, if it has one, is this process's to remove.
func newListener(open netListener, owned bool) *listener {
	l := &listener{addr: open.Addr(), open: open, parked: -1}
	if u, ok := open.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
		if owned && !isAbstract(l.addr.String()) {
			l.file, _ = os.Lstat(l.addr.String()) // fails if it is gone already
		}
	}
	return l
}

// unparked returns what goroutines may accept from; nil if there is nothing.
func (l *listener) unparked() netListener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// accept waits for a connection.
func (l *listener) accept() (net.Conn, error) {
	if open := l.unparked(); open != nil {
		return open.Accept()
	}
	return nil, net.ErrClosed
}

// setDeadline ends, or allows, accept.
func (l *listener) setDeadline(t time.Time) {
	if open := l.unparked(); open != nil {
		_ = open.SetDeadline(t)
	}
}

// close closes the socket; nothing is lost with it.
func (l *listener) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now, err := os.Lstat(l.addr.String()); l.file != nil && err == nil && os.SameFile(now, l.file) {
		_ = os.Remove(l.addr.String()) // before somebody else can listen there
	}
	l.file = nil
	if l.open != nil {
		_ = l.open.Close()
	}
	if l.parked >= 0 {
		closeDescriptor(l.parked)
	}
	l.open, l.parked = nil, -1
}
