package main

import (
	"fmt"
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

// rareLog is the program's log for what can happen a thousand times a second: a message of one cause a minute, and how
// many were left out. Nobody waits for it: standard error may be a pipe that nobody reads.
type rareLog struct {
	lines   chan string
	written chan struct{} // closed when all lines are

	mu     sync.Mutex
	causes map[string]*cause // nil: it has ended
}

type cause struct {
	said    time.Time
	left    int
	message string // the last one that was left out
}

func newRareLog(log *logrus.Logger) *rareLog {
	r := &rareLog{lines: make(chan string, maxLines), written: make(chan struct{}), causes: map[string]*cause{}}
	go func() {
		defer close(r.written)
		for line := range r.lines {
			log.Warn(line)
		}
	}()
	return r
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

// say is false where too many lines wait already.
func (r *rareLog) say(c *cause, message string) bool {
	if c.left > 0 {
		message += fmt.Sprintf(" (and %d times more since this was said last)", c.left)
	}
	select {
	case r.lines <- message:
		return true
	default:
		return false
	}
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
	close(r.lines)
	select {
	case <-r.written:
	case <-time.After(lastLineTime):
	}
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
