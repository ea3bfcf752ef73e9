package index

import (
	"context"
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
		begin := time.Now()
		_, err := x.catchUp(ctx, liveSessions, func(int) error {
			defer func() { begin = time.Now() }()
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
