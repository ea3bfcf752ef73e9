//go:build !linux

package proxy

// No listener is parked where there are no loops.

func (l *listener) unpark() error { return nil }

func (l *listener) allowTransparent(bool) error { return nil }

func closeDescriptor(int) {}
