package index

import (
	"context"
	"os"
	"time"
)

const (
	liveSessions = 200 // taken in at a time while a mailwire records
	share        = 50  // of the time that filling takes, it rests so many times as long while the host is busy
)

// Follow fills the index again and again until ctx is done. It gives way to those who relay and record: as long as the
// host is busy it takes a fiftieth of one processor at most, and leaves the rest to later, or to whoever looks. What goes
// wrong it says once, and tries again.
func (x *Index) Follow(ctx context.Context, every time.Duration) {
	var idle idleness
	idle.since()
	said := ""
	for ctx.Err() == nil {
		x.touch()
		begin := time.Now()
		_, err := x.catchUp(ctx, liveSessions, func(int) error {
			defer func() {
				x.touch()
				begin = time.Now()
			}()
			if idle.since() {
				return nil
			}
			return rest(ctx, share*time.Since(begin))
		})
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			x.warn(said)
		}
		_ = rest(ctx, every) // the loop sees its end
	}
}

// touch waits until the disk answers. SQLite writes to its -shm file as to memory (mmap), and where that does not answer, a
// thread stops that the Go runtime believes to be running: at its next garbage collection all others wait for it, who relays
// and captures too. In a system call, only who called it waits.
func (x *Index) touch() {
	now := time.Now()
	_ = os.Chtimes(x.dir, now, now) // only whether it returns matters
}

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
