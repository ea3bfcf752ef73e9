package proxy

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAcceptFails: where a listener fails in a way that nobody expects, a loop says so and rests, instead of asking again at
// once.
func TestAcceptFails(t *testing.T) {
	said := ""
	p := bare(Options{Warn: func(_, message string) { said = message }})
	checkLeaks(t)
	l, err := newLoop(p)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) // which does not listen
	if err != nil {
		t.Fatal(err)
	}
	l.listeners = []loopListener{{fd: fd}}
	if err := l.acceptAgain(); err != nil {
		t.Fatal(err)
	}
	l.accept(&l.listeners[0])
	if l.accepting || l.resume.IsZero() || !strings.HasPrefix(said, "a connection has to wait: ") {
		t.Errorf("it accepts on: %v; the log says %q", l.accepting, said)
	}
}
