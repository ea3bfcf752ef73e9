// Package proxy is the active mode: a relay in front of a mail server that changes no octet, and shows all of them to
// the inspection core.
//
// A Route joins a listener to an upstream server. Each connection is a conversation: it has two legs, and a Pump that
// takes what they say to an inspect.Session. Two relays move the octets. On Linux, loops (loop_linux.go) do so for
// plain connections: a few goroutines, each with an epoll of its own, so that an idle connection holds no buffer and no
// stack. Everywhere else, and where a connection begins with a PROXY header or TLS is terminated, a pair of goroutines
// does (relay.go).
//
// Watching never delays. A relay copies octets into its conversation's Pump, within a budget, and goes on; inspectors, a
// few goroutines, take them from there to the parsers, and one committer lets the recorder write. What does not fit into
// the budget is lost to the record, which says so, and never to the mail. No goroutine that relays or inspects touches a
// file. Where loops are busy, each keeps one of the runtime's processors to itself: GOMAXPROCS is to be so much more than
// the number of CPUs.
package proxy

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailwire/mailwire/inspect"
)

// Defaults of Options.
const (
	DefaultMaxConnections = 10000
	DefaultConnectTimeout = 10 * time.Second
	DefaultIdleTimeout    = 10 * time.Minute // RFC 5321 section 4.5.3.2.6: a server may take so long after the end of data
	DefaultDrainTimeout   = 30 * time.Second
	DefaultSessionBudget  = 1 << 20
	DefaultTotalBudget    = 64 << 20
)

// Options say what to relay and how. Zero durations and numbers are the defaults.
type Options struct {
	Routes         []Route
	Terms          // of the routes that have none of their own
	MaxConnections int
	DrainTimeout   time.Duration // for what is under way when Serve is to end

	Inspect       *inspect.Config
	Recorder      inspect.Recorder
	SessionBudget int64          // octets of one conversation that wait for inspection
	TotalBudget   int64          // of all
	Trace         bool           // give the recorder the conversations as packets too
	Location      *time.Location // of the records' times; nil is local time

	// Warn is the program's log, called by any goroutine; cause is the same for messages of one kind. It may be nil.
	Warn func(cause, message string)

	goroutines bool // relay by goroutines also where loops could
}

// Terms say how the conversations of a route are relayed. Zero durations are the defaults.
type Terms struct {
	ConnectTimeout time.Duration // for a connection to the server, and for each TLS handshake
	IdleTimeout    time.Duration // without an octet in either direction

	SendProxy   int            // the version of the PROXY header that the server gets; 0: none
	AcceptProxy []netip.Prefix // who may, and must, begin with a PROXY header
	Transparent bool           // connect to the server from the client's own address
	Terminate   *Terminate     // nil: TLS is passed on
}

// Proxy is a set of open listeners.
type Proxy struct {
	options  atomic.Pointer[Options] // in force
	changing sync.Mutex              // guards loops, used and what is said of Serve: one change at a time
	serving  bool
	ending   bool
	loops    []*loop
	used     map[int]bool // sockets of systemd

	listed sync.Mutex // guards routes
	routes []*route

	inspectors []*inspector
	ours       ours
	counts     counts
	pending    atomic.Int64 // octets of blocks that wait for inspection
	unsent     atomic.Int64 // octets held because their receiver does not take them
	active     atomic.Int64 // conversations being relayed
	assigned   atomic.Uint64
	nameless   atomic.Int64  // clients without an address
	dirty      chan struct{} // a journal was told something
	relays     sync.WaitGroup
	watchers   sync.WaitGroup
	inspecting context.Context // done when all relays have ended
	inspected  context.CancelFunc
	aborting   context.Context // done when the drain has lasted too long
	abort      context.CancelFunc
}

// counts are what Stats gives.
type counts struct {
	accepted, refused atomic.Int64
	relayed           [2]atomic.Int64
	lost              [2]atomic.Int64
	failures          atomic.Int64
}

// Stats counts since Listen. Octets are those of mail connections, by who sent them.
type Stats struct {
	Accepted   int64 // connections
	Active     int64 // connections now
	Refused    int64 // connections that were closed because the server could not be reached
	Relayed    [2]int64
	Overloaded [2]int64 // of Relayed: not inspected because the budget was used up
	Failures   int64    // of parsers
	Pending    int64    // octets that wait for inspection now
}

// Stats returns the counts so far.
func (p *Proxy) Stats() Stats {
	c := &p.counts
	return Stats{
		Accepted: c.accepted.Load(), Active: p.active.Load(), Refused: c.refused.Load(), Failures: c.failures.Load(),
		Relayed:    [2]int64{c.relayed[0].Load(), c.relayed[1].Load()},
		Overloaded: [2]int64{c.lost[0].Load(), c.lost[1].Load()},
		Pending:    p.pending.Load(),
	}
}

// Listen opens all listeners. An error is a sentence that names the route and says what to do.
func Listen(ctx context.Context, o Options) (*Proxy, error) {
	p := &Proxy{dirty: make(chan struct{}, 1), used: map[int]bool{}}
	p.aborting, p.abort = context.WithCancel(context.Background())
	p.inspecting, p.inspected = context.WithCancel(context.Background())
	o = o.withDefaults()
	p.options.Store(&o)
	err := o.prepare()
	if err != nil {
		return nil, err
	}
	if p.routes, err = p.openAll(ctx, &o); err != nil {
		return nil, err
	}
	return p, nil
}

// Options returns what is in force, which is not to be changed.
func (p *Proxy) Options() *Options { return p.options.Load() }

func (p *Proxy) warn(cause, message string) { p.Options().Warn(cause, message) }

func (o Options) withDefaults() Options {
	o.Terms = o.Terms.withDefaults()
	if o.DrainTimeout <= 0 {
		o.DrainTimeout = DefaultDrainTimeout
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = DefaultMaxConnections
	}
	if o.SessionBudget <= 0 {
		o.SessionBudget = DefaultSessionBudget
	}
	if o.TotalBudget <= 0 {
		o.TotalBudget = DefaultTotalBudget
	}
	if o.Location == nil {
		o.Location = time.Local
	}
	if o.Warn == nil {
		o.Warn = func(string, string) {}
	}
	return o
}

func (t Terms) withDefaults() Terms {
	if t.ConnectTimeout <= 0 {
		t.ConnectTimeout = DefaultConnectTimeout
	}
	if t.IdleTimeout <= 0 {
		t.IdleTimeout = DefaultIdleTimeout
	}
	return t
}

// Addrs returns the addresses of the listeners, in the order of the routes.
func (p *Proxy) Addrs() []net.Addr {
	var list []net.Addr
	for _, r := range p.allRoutes() {
		list = append(list, r.listener.addr)
	}
	return list
}

// Serve relays until ctx is done. Then it accepts no more, lets conversations end within the drain timeout, or until now
// is done, and returns when the journals were told everything; the last batches wait for the recorder's Close, as may a
// Commit that is under way.
func (p *Proxy) Serve(ctx, now context.Context) error {
	for range max(1, runtime.NumCPU()) {
		in := newInspector(p)
		p.inspectors = append(p.inspectors, in)
		p.watchers.Go(func() { in.run(p.inspecting) })
	}
	p.watchers.Go(func() { p.commit(p.inspecting) })
	go p.reloadCertificates(p.inspecting) // it may wait for a disk
	err := p.begin()
	if err == nil {
		<-ctx.Done()
	}
	p.endAccepting()
	p.drain(now)
	p.abort()
	p.stopLoops(true)
	p.relays.Wait()
	p.inspected()
	p.watchers.Wait()
	return err
}

// drain waits until no conversation is under way, for as long as the drain may take.
func (p *Proxy) drain(now context.Context) {
	deadline := time.NewTimer(p.Options().DrainTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for p.active.Load() > 0 {
		select {
		case <-deadline.C:
			return
		case <-now.Done():
			return
		case <-tick.C:
		}
	}
}

// full says whether as many connections are open as may be.
func (p *Proxy) full() bool { return p.active.Load() >= int64(p.Options().MaxConnections) }

// begun counts a new conversation; ended takes it off again.
func (p *Proxy) begun() {
	p.counts.accepted.Add(1)
	p.active.Add(1)
}

func (p *Proxy) ended() { p.active.Add(-1) }
