package archive

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

const (
	retainEvery = time.Minute
	retainRest  = 20                    // times as long as it has worked: reading names takes 5 % of a processor at most
	retainTurn  = 10 * maxAsk           // to leave those alone that were asked in vain
	maxTurns    = 5                     // to ask them; then the next minute tries again
	maxHold     = 10 * time.Millisecond // that Commit may have to wait for a removal
	spaceRest   = time.Hour             // from a removal for want of space that brought none to the next
)

// Retention says what need not be kept for ever. The oldest day goes first, with all that is of it; today never goes. The
// zero value keeps everything.
type Retention struct {
	Days int   // keep today and so many days before it; 0 is no limit
	Size int64 // keep so many octets of mails, logs and traces
	Free int64 // keep so many octets of the disk free

	Location *time.Location // whose days the mails of a flat archive are sorted into; nil is time.Local
}

func (r Retention) limited() bool { return r.Days > 0 || r.Size > 0 || r.Free > 0 }

// ParseSize reads a number of octets with a unit: 512MiB, 20GB, or K, M, G and T for the powers of 1,000.
func ParseSize(s string) (int64, error) {
	end := len(s)
	if i := strings.IndexFunc(s, func(c rune) bool { return c != '.' && (c < '0' || c > '9') }); i >= 0 {
		end = i
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	unit, base := strings.ToUpper(strings.TrimSpace(s[end:])), 1000.0
	if bare, binary := strings.CutSuffix(unit, "IB"); binary && bare != "" {
		unit, base = bare, 1024
	} else {
		unit = strings.TrimSuffix(unit, "B")
	}
	power := strings.Index("KMGT", unit) + 1 // Index of nothing is 0
	if unit == "" {
		power = 0
	}
	n *= math.Pow(base, float64(power))
	if known := unit == "" || power > 0 && len(unit) == 1; err != nil || !known || n < 1 || n >= 1<<62 {
		return 0, fmt.Errorf("%q is no size; give a number with its unit, like 512MiB or 20GB", s)
	}
	return int64(n), nil
}

// keeper holds an archive to its Retention, in a goroutine of its own. Commit may wait for it as long as it takes to
// remove some files, about maxHold, or for one fsync of a directory; nobody else waits.
type keeper struct {
	a        *Archive
	limits   Retention
	measured map[string]measure // mail folders
	promised promise
	end      chan struct{}
	ended    chan struct{}
}

func newKeeper(a *Archive, limits Retention) *keeper {
	if limits.Location == nil {
		limits.Location = time.Local
	}
	return &keeper{a: a, limits: limits, measured: map[string]measure{}, end: make(chan struct{}), ended: make(chan struct{})}
}

// run looks at once, and then every minute.
func (k *keeper) run() {
	defer close(k.ended)
	for {
		begin := time.Now()
		k.look(begin)
		if !k.pause(max(retainEvery, retainRest*time.Since(begin))) {
			return
		}
	}
}

// stop returns when nothing is removed any more. What is half removed, the next process removes.
func (k *keeper) stop() {
	close(k.end)
	<-k.ended
}

// pause is false if the archive is to be closed.
func (k *keeper) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-k.end:
		return false
	case <-t.C:
		return true
	}
}

// look removes the days that need not be kept.
func (k *keeper) look(now time.Time) {
	held, err := k.holdings(now)
	if err != nil {
		k.trouble(err)
		return
	}
	for _, h := range held.days {
		why, err := k.reason(&held, h, now)
		if err != nil {
			k.trouble(err)
			return
		}
		if why == "" {
			return
		}
		gone, err := k.remove(h.day)
		switch {
		case err == errLater:
			return
		case err != nil:
			k.trouble(fmt.Errorf("%s cannot be removed: %w", h.day, err))
			continue
		case gone.whole:
			k.promised.removed(now, &held, h.octets)
			k.a.counts.removedDays.Add(1)
			k.say(fmt.Sprintf("removed %s, as %s: %d mails and %d other files", h.day, why, gone.mails, gone.files))
		}
		held.octets -= h.octets
		held.freed += h.octets
	}
	k.unreachable(&held)
}

// reason says why a day has to go; "" if it may stay, and with it all that come after it.
func (k *keeper) reason(held *holdings, h holding, now time.Time) (string, error) {
	switch l := k.limits; {
	case h.begun:
		return "its removal had begun", nil
	case l.Days > 0 && h.day < dayOf(record.Time{Time: now.In(l.Location).AddDate(0, 0, -l.Days)}):
		return fmt.Sprintf("it is more than %d days old", l.Days), nil
	case l.Size > 0 && held.octets > l.Size:
		return fmt.Sprintf("%d octets are kept, more than %d", held.octets, l.Size), nil
	case l.Free > 0:
		free, err := k.a.disk.Free(k.a.dir)
		if err != nil {
			return "", fmt.Errorf("the free space of the disk cannot be found out: %w", err)
		}
		if held.freed == 0 {
			held.free = free
		}
		if max(free, held.free+held.freed) >= l.Free {
			return "", nil
		}
		if k.promised.broken(now, free) {
			return "", fmt.Errorf("%d octets of the disk are free, less than %d, and removing older days brought no room: "+
				"something else fills the disk, or keeps what was removed", free, l.Free)
		}
		return fmt.Sprintf("%d octets of the disk are free, less than %d", free, l.Free), nil
	}
	return "", nil
}

// promise is how much room a removal was to bring. Where snapshots, an open file or a slow file system keep it, or another
// program takes it, all days would go and still bring none.
type promise struct {
	free int64 // half of it, and what was free before
	made time.Time
}

func (p *promise) removed(now time.Time, held *holdings, octets int64) {
	if held.free > 0 {
		*p = promise{held.free + (held.freed+octets)/2, now}
	}
}

func (p *promise) broken(now time.Time, free int64) bool {
	return now.After(p.made) && now.Sub(p.made) < spaceRest && free < p.free
}

// unreachable says that a limit cannot be kept, since only today is left.
func (k *keeper) unreachable(held *holdings) {
	if l := k.limits; l.Size > 0 && held.octets > l.Size {
		k.trouble(fmt.Errorf("today alone has %d octets, more than the %d that are to be kept; it is not removed", held.octets, l.Size))
	}
	if l := k.limits; l.Free > 0 {
		if free, err := k.a.disk.Free(k.a.dir); err == nil && free < l.Free {
			k.trouble(fmt.Errorf("%d octets of the disk are free, less than %d, and there is no older day to remove", free, l.Free))
		}
	}
}

func (k *keeper) say(msg string) {
	if k.a.options.Say != nil {
		k.a.options.Say(msg)
	}
}

func (k *keeper) trouble(err error) {
	k.a.warner.warn("retention"+reason(err), "what is old may not be removed: "+err.Error())
}

// holdings is what there is of each day before today, the oldest first, and the octets of all days.
type holdings struct {
	days   []holding
	octets int64
	free   int64 // octets of the disk before anything was removed, if that is limited
	freed  int64 // octets removed since
}

type holding struct {
	day    day
	octets int64
	begun  bool // its removal
}

// holdings looks at the names of all files. Where today is another day in UTC, both are today.
func (k *keeper) holdings(now time.Time) (holdings, error) {
	octets, begun := map[day]int64{}, map[day]bool{}
	for _, dir := range []string{"logs", "trace"} {
		err := k.each(dir, func(e fs.DirEntry) error {
			d, _, buried, ok := dayOfLog(dir + "/" + e.Name())
			if !ok || !e.Type().IsRegular() {
				return nil
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil {
				octets[d] += info.Size()
				begun[d] = begun[d] || buried
			}
			return err
		})
		if err != nil {
			return holdings{}, err
		}
	}
	if err := k.measureMails(octets); err != nil {
		return holdings{}, err
	}
	today := min(dayOf(record.Time{Time: now.In(k.limits.Location)}), dayOf(record.Time{Time: now.UTC()}))
	var all holdings
	for d, n := range octets {
		all.octets += n
		if d < today {
			all.days = append(all.days, holding{d, n, begun[d]})
		}
	}
	slices.SortFunc(all.days, func(a, b holding) int {
		if a.begun != b.begun { // what was begun is ended first
			if a.begun {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.day, b.day)
	})
	return all, nil
}

// each calls do for what is in a directory, and stops at its error. One that is not there, or is a symbolic link, is empty.
func (k *keeper) each(dir string, do func(fs.DirEntry) error) error {
	name := k.a.path(dir)
	info, err := k.a.disk.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil
	}
	if err != nil {
		return err
	}
	err = k.a.disk.Entries(name, do)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// measure is what a mail folder has of each day, as of when it was changed last.
type measure struct {
	changed time.Time
	octets  map[day]int64
}

// measureMails adds the octets of mails, as their names tell them.
func (k *keeper) measureMails(octets map[day]int64) error {
	folders, err := k.folders()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, f := range folders {
		for _, part := range mailParts {
			dir := path.Join(f.dir, part)
			info, err := k.a.disk.Lstat(k.a.path(dir))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			seen[dir] = true
			m, known := k.measured[dir]
			if !known || !m.changed.Equal(info.ModTime()) {
				m = measure{info.ModTime(), map[day]int64{}}
				if err := k.each(dir, func(e fs.DirEntry) error {
					if name, ok := parseMailName(e.Name()); ok {
						m.octets[f.dayOf(name, k.limits.Location)] += name.octets
					}
					return nil
				}); err != nil {
					return err
				}
				k.measured[dir] = m
			}
			for d, n := range m.octets {
				octets[d] += n
			}
		}
		if !f.flat { // it goes, though it be empty
			octets[f.day] += 0
		}
	}
	for dir := range k.measured {
		if !seen[dir] {
			delete(k.measured, dir)
		}
	}
	return nil
}
