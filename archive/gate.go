package archive

import (
	"errors"
	"time"
)

const (
	maxAsk   = 200 * time.Millisecond // that other processes wait at the door for one that asks to be alone
	askAgain = time.Millisecond       // while it asks
)

// gate keeps a process that removes mails apart from those that may be between a mail and its record. Who writes comes
// through the door into the room; who wants to be alone closes the door first, or others who come and go all the time would
// never leave the room empty. Both are locks of directories that are there anyway.
type gate struct{ door, room lock }

func (a *Archive) openGate() (g gate, err error) {
	if g.door, err = lockDir(a.dir); err == nil {
		g.room, err = lockDir(a.path("logs"))
	}
	return g, err
}

// enter waits for one that is alone, or asks to be.
func (g gate) enter() error {
	if err := g.door.share(); err != nil {
		return err
	}
	defer g.door.release()
	return g.room.share()
}

func (g gate) leave() { g.room.release() }

// tryAlone keeps the others out until leave is called, unless one stays in the room for longer than maxAsk.
func (g gate) tryAlone() bool {
	until := time.Now().Add(maxAsk)
	if !g.door.ask(until) {
		return false
	}
	defer g.door.release()
	return g.room.ask(until)
}

// ask tries to be alone until then.
func (l lock) ask(until time.Time) bool {
	for !l.tryAlone() {
		if !time.Now().Before(until) {
			return false
		}
		time.Sleep(askAgain)
	}
	return true
}

func (g gate) close() error { return errors.Join(g.door.Close(), g.room.Close()) }
