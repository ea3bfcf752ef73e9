package proxy

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// park takes the socket away from package net. If it cannot be, it stays there, and all works the same.
func (l *listener) park() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		return
	}
	if fd, err := l.duplicate(); err == nil {
		_ = l.open.Close()
		l.open, l.parked = nil, fd
	}
}

// unpark gives it back. If it fails, nothing has changed.
func (l *listener) unpark() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.parked < 0 {
		return nil
	}
	fd, err := l.duplicate()
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), l.addr.String())
	defer file.Close()
	open, err := net.FileListener(file)
	if err != nil {
		return err
	}
	closeDescriptor(l.parked)
	l.open, l.parked = open.(netListener), -1
	return nil
}

// descriptor returns one of the socket that the caller owns.
func (l *listener) descriptor() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.duplicate()
}

func (l *listener) duplicate() (fd int, err error) {
	if l.open == nil {
		return unix.FcntlInt(uintptr(l.parked), unix.F_DUPFD_CLOEXEC, 0)
	}
	raw, err := l.open.SyscallConn()
	if err != nil {
		return -1, err
	}
	if e := raw.Control(func(f uintptr) { fd, err = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		return -1, e
	}
	return fd, err
}

// allowTransparent lets it take what TPROXY sends to it. Without the right to, REDIRECT still works.
func (l *listener) allowTransparent(v6 bool) error {
	fd, err := l.descriptor()
	if err == nil {
		_ = setTransparent(fd, v6)
		closeDescriptor(fd)
	}
	return err
}

func closeDescriptor(fd int) { _ = unix.Close(fd) }
