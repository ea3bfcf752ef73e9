package main

import (
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	sayAgain  = time.Minute // after which a cause is said again
	maxCauses = 1000        // that are remembered
)

// rareLog is the program's log for what can happen a thousand times a second: a message of one cause a minute, and how
// many were left out.
type rareLog struct {
	log    *logrus.Logger
	mu     sync.Mutex
	causes map[string]*cause
}

type cause struct {
	said time.Time
	left int
}

func newRareLog(log *logrus.Logger) *rareLog {
	return &rareLog{log: log, causes: map[string]*cause{}}
}

func (r *rareLog) warn(of, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.causes[of]
	if c == nil {
		if len(r.causes) >= maxCauses {
			clear(r.causes)
		}
		c = new(cause)
		r.causes[of] = c
	}
	now := time.Now()
	if !c.said.IsZero() && now.Sub(c.said) < sayAgain {
		c.left++
		return
	}
	if c.left > 0 {
		message += fmt.Sprintf(" (and %d times more since this was said last)", c.left)
	}
	c.said, c.left = now, 0
	r.log.Warn(message)
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
