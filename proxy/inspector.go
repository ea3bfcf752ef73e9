package proxy

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

const (
	gatherTime = 10 * time.Millisecond  // that an inspector lets work gather, so that it is woken rarely
	commitTime = 250 * time.Millisecond // that the committer lets lines gather, unless there are a lot of them
)

// inspector runs the sessions of its share of the conversations, in one goroutine.
type inspector struct {
	p      *Proxy
	waking chan struct{} // there is something in the queue
	urgent chan struct{} // and a lot of it

	mu    sync.Mutex
	queue []*Pump // whose batches wait
	spare []*Pump

	using   sync.Mutex // of the journal
	journal inspect.Journal
}

func newInspector(p *Proxy) *inspector {
	return &inspector{
		p: p, journal: p.Options().Recorder.Journal(),
		waking: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
	}
}

// add puts a Pump with something new into the queue; hurry does not let it wait.
func (in *inspector) add(u *Pump, queue, hurry bool) {
	first := false
	if queue {
		in.mu.Lock()
		first = len(in.queue) == 0
		in.queue = append(in.queue, u)
		in.mu.Unlock()
	}
	if first {
		signal(in.waking)
	}
	if hurry {
		signal(in.urgent)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run inspects until ctx is done and nothing waits.
func (in *inspector) run(ctx context.Context) {
	gather := time.NewTimer(gatherTime)
	defer gather.Stop()
	for {
		select {
		case <-in.waking:
			gather.Reset(gatherTime)
			select {
			case <-gather.C:
			case <-in.urgent:
			case <-ctx.Done():
			}
		case <-in.urgent:
		case <-ctx.Done():
			in.round()
			return
		}
		in.round()
	}
}

// round inspects all that waits now.
func (in *inspector) round() {
	in.mu.Lock()
	queue := in.queue
	in.queue, in.spare = in.spare[:0], queue
	in.mu.Unlock()
	for i, u := range queue {
		queue[i] = nil
		if b := u.take(); b != nil {
			in.using.Lock()
			for i := range b.steps {
				in.step(u, &b.steps[i])
			}
			in.using.Unlock()
			u.taken(b)
			b.release()
		}
	}
	if len(queue) > 0 {
		signal(in.p.dirty)
	}
}

// step lets the session of u know one thing.
func (in *inspector) step(u *Pump, s *step) {
	t := s.time.In(in.p.Options().Location)
	defer func() {
		if cause := recover(); cause != nil {
			in.abandon(u, t, cause)
		}
	}()
	in.journal.Stamp(t.UnixNano())
	if u.session == nil {
		u.session, u.trace = inspect.New(u.config, u.conn, in.journal), in.newTrace(&u.conn)
	}
	if s.do != nil {
		s.do(u.session, t)
		return
	}
	c := wire.Chunk{Dir: s.dir, Time: t, Lost: s.lost, Data: s.data}
	u.trace.feed(c)
	u.session.Feed(c)
}

// abandon goes on after a panic of the parser or of what it talks to: it costs this conversation the rest of its record,
// and nothing else.
func (in *inspector) abandon(u *Pump, t time.Time, cause any) {
	in.p.counts.failures.Add(1)
	in.p.warn("inspector", fmt.Sprintf("a session could not be inspected to its end; its mail went on: %v\n%s", cause, debug.Stack()))
	for range maxAbandons {
		if u.session == nil || abandoned(u.session, t) {
			return
		}
	}
}

// maxAbandons bounds the attempts to give up a session when its sink panics again and again.
const maxAbandons = 10

// abandoned gives up a session, and says whether that went well.
func abandoned(s *inspect.Session, t time.Time) (well bool) {
	defer func() { _ = recover() }()
	s.Abandon(t)
	return true
}

// commit lets the recorder write what the journals were told.
func (p *Proxy) commit(ctx context.Context) {
	wanted, written := make(chan struct{}), make(chan struct{}, 1)
	defer close(wanted)
	go p.write(wanted, written)
	gather := time.NewTimer(commitTime)
	defer gather.Stop()
	for {
		select {
		case <-p.dirty:
		case <-ctx.Done():
			return
		}
		gather.Reset(commitTime)
		for gathering := true; gathering; {
			select {
			case <-gather.C:
				gathering = false
			case <-p.dirty:
				gathering = !p.Options().Recorder.Crowded()
			case <-ctx.Done():
				return
			}
		}
		for _, in := range p.inspectors {
			in.using.Lock()
			in.journal.Cut()
			in.using.Unlock()
		}
		wanted <- struct{}{}
		select {
		case <-written:
		case <-ctx.Done(): // the disk may never answer; who closes the recorder waits for it
			return
		}
	}
}

// write is the goroutine that waits for the disk.
func (p *Proxy) write(wanted <-chan struct{}, written chan<- struct{}) {
	for range wanted {
		if err := p.Options().Recorder.Commit(); err != nil {
			p.warn("commit", "what was seen could not be written: "+err.Error())
		}
		written <- struct{}{}
	}
}
