package proxy

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

// next is when something is due though nothing happens; zero for never.
func (l *loop) next() (due time.Time) {
	sooner := func(t time.Time) {
		if due.IsZero() || t.Before(due) {
			due = t
		}
	}
	if !l.accepting && !l.draining.Load() {
		sooner(l.resume)
	}
	if len(l.retries) > 0 {
		sooner(l.retry)
	}
	for _, list := range l.connecting {
		if pr := list.first; pr != nil {
			sooner(pr.touched.Add(list.patience))
		}
	}
	for _, list := range l.relaying {
		if pr := list.first; pr != nil {
			sooner(pr.touched.Add(list.patience + touchTime(list.patience)))
		}
	}
	return due
}

// expire ends what has waited for too long, and tries again what can be.
func (l *loop) expire(now time.Time) {
	if len(l.retries) > 0 && !now.Before(l.retry) {
		l.retry = now.Add(pauseTime)
		waiting := l.retries
		l.retries = nil
		for _, pr := range waiting {
			if pr.open && pr.legs[wire.FromServer].fd < 0 {
				l.tryServer(pr)
			}
		}
	}
	for _, list := range l.connecting {
		for pr := list.first; pr != nil && now.Sub(pr.touched) >= list.patience; pr = list.first {
			l.nextServer(pr, unix.ETIMEDOUT)
		}
	}
	for _, list := range l.relaying {
		idle := list.patience + touchTime(list.patience)
		for pr := list.first; pr != nil && now.Sub(pr.touched) >= idle; pr = list.first {
			if pr.drains() {
				l.touch(pr, now)
			} else {
				l.end(pr, inspect.EndTimeout)
			}
		}
	}
}

// drains says whether one side still takes what the kernel holds for it, of which no event tells.
func (pr *pair) drains() (one bool) {
	for i := range pr.legs {
		g := &pr.legs[i]
		one = drains(g.fd, &g.taken) || one
	}
	return one
}

// touchTime is how exact the order of idle pairs is.
func touchTime(patience time.Duration) time.Duration { return min(time.Second, patience/8) }

// pairList is a list of pairs in the order of their touched. Each may wait for as long as the others.
type pairList struct {
	patience    time.Duration
	first, last *pair
}

// queue puts a pair into the one of the lists that has its patience.
func (l *loop) queue(lists *[]*pairList, patience time.Duration, pr *pair) {
	i := slices.IndexFunc(*lists, func(list *pairList) bool { return list.patience == patience })
	if i < 0 {
		i = len(*lists)
		*lists = append(*lists, &pairList{patience: patience})
	}
	pr.list = (*lists)[i]
	pr.list.push(pr)
}

func (list *pairList) push(pr *pair) {
	pr.before, pr.after = list.last, nil
	if list.last != nil {
		list.last.after = pr
	} else {
		list.first = pr
	}
	list.last = pr
}

func (list *pairList) remove(pr *pair) {
	if pr.before != nil {
		pr.before.after = pr.after
	} else {
		list.first = pr.after
	}
	if pr.after != nil {
		pr.after.before = pr.before
	} else {
		list.last = pr.before
	}
	pr.before, pr.after = nil, nil
}
