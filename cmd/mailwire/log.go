package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	sayAgain     = time.Minute // after which a cause is said again
	maxCauses    = 1000        // that are remembered
	maxLines     = 100         // that wait for who reads standard error
	lastLineTime = time.Second // that they have at the end
)

// unhurried writes a log for which nobody waits: standard error may be a pipe that nobody reads.
type unhurried struct {
	lines   chan []byte
	written chan struct{} // closed when all lines are
}

func newUnhurried(to io.Writer) *unhurried {
	u := &unhurried{lines: make(chan []byte, maxLines), written: make(chan struct{})}
	go func() {
		defer close(u.written)
		for line := <-u.lines; line != nil; line = <-u.lines {
			_, _ = to.Write(line) // nobody to tell
		}
	}()
	return u
}

// Write leaves out what there is no room for.
func (u *unhurried) Write(line []byte) (int, error) {
	select {
	case u.lines <- bytes.Clone(line):
	default:
	}
	return len(line), nil
}

// full says whether a line would be left out.
func (u *unhurried) full() bool { return len(u.lines) == maxLines }

// end writes what waits, if it can be written soon.
func (u *unhurried) end() {
	late := time.After(lastLineTime)
	select {
	case u.lines <- nil:
	case <-late:
		return
	}
	select {
	case <-u.written:
	case <-late:
	}
}

// rareLog is the program's log for what can happen a thousand times a second: a message of one cause a minute, and how
// many were left out, also for want of room.
type rareLog struct {
	log  *logrus.Logger
	full func() bool // there is no room

	mu     sync.Mutex
	causes map[string]*cause // nil: it has ended
}

type cause struct {
	said    time.Time
	left    int
	message string // the last one that was left out
}

func newRareLog(log *logrus.Logger, full func() bool) *rareLog {
	return &rareLog{log: log, full: full, causes: map[string]*cause{}}
}

func (r *rareLog) warn(of, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.causes == nil {
		return
	}
	c := r.causes[of]
	if c == nil {
		if len(r.causes) >= maxCauses {
			r.sayLeft()
		}
		c = new(cause)
		r.causes[of] = c
	}
	now := time.Now()
	if !c.said.IsZero() && now.Sub(c.said) < sayAgain || !r.say(c, message) {
		c.left, c.message = c.left+1, message
		return
	}
	c.said, c.left = now, 0
}

// say is false where there is no room.
func (r *rareLog) say(c *cause, message string) bool {
	if c.left > 0 {
		message += fmt.Sprintf(" (and %d times more since this was said last)", c.left)
	}
	if r.full() {
		return false
	}
	r.log.Warn(message)
	return true
}

// end says what was left out.
func (r *rareLog) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.causes == nil {
		return
	}
	r.sayLeft()
	r.causes = nil
}

// sayLeft says of each cause what was left out, and forgets it.
func (r *rareLog) sayLeft() {
	for _, of := range slices.Sorted(maps.Keys(r.causes)) {
		if c := r.causes[of]; c.left > 0 {
			c.left--
			r.say(c, c.message)
		}
	}
	clear(r.causes)
}

// notify tells systemd about the state of the service (sd_notify(3)); without systemd it does nothing.
func notify(state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(state)) // nobody to tell
}
