package archive

import (
	"fmt"
	"sync"
	"time"
)

const (
	warnEvery = time.Minute // at most one message of a cause in this time
	maxCauses = 100         // causes told apart; a cause is an operation and the system's word for its error
)

// warner says what goes wrong to the program's log, once a cause and minute.
type warner struct {
	say    func(string)
	mu     sync.Mutex
	causes map[string]*cause
}

type cause struct {
	said   time.Time
	silent int // messages not said since
}

func (w *warner) warn(what, msg string) {
	if w.say == nil {
		return
	}
	w.mu.Lock()
	c := w.causes[what]
	now := time.Now()
	switch {
	case c == nil:
		if w.causes == nil || len(w.causes) >= maxCauses {
			w.causes = map[string]*cause{}
		}
		c = new(cause)
		w.causes[what] = c
	case now.Sub(c.said) < warnEvery:
		c.silent++
		w.mu.Unlock()
		return
	}
	if c.silent > 0 {
		msg = fmt.Sprintf("%s (and %d times more since the last such message)", msg, c.silent)
	}
	*c = cause{said: now}
	w.mu.Unlock()
	w.say(msg)
}
