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
// file.
package proxy

import (
	"context"
	"errors"
	"fmt"
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
	MaxConnections int
	ConnectTimeout time.Duration // for a connection to the server, and for each TLS handshake
	IdleTimeout    time.Duration // without an octet in either direction
	DrainTimeout   time.Duration // for what is under way when Serve is to end

	SendProxy   int            // the version of the PROXY header that the server gets; 0: none
	AcceptProxy []netip.Prefix // who may, and must, begin with a PROXY header
	Transparent bool           // connect to the server from the client's own address
	Terminate   *Terminate     // nil: TLS is passed on

	Inspect       *inspect.Config
	Recorder      inspect.Recorder
	SessionBudget int64          // octets of one conversation that wait for inspection
	TotalBudget   int64          // of all
	Location      *time.Location // of the records' times; nil is local time

	// Warn is the program's log, called by any goroutine; cause is the same for messages of one kind. It may be nil.
	Warn func(cause, message string)

	goroutines bool // relay by goroutines also where loops could
}

// Proxy is a set of open listeners.
type Proxy struct {
	Options
	routes     []*route
	loops      []*loop
	inspectors []*inspector
	ours       ours
	counts     counts
	pending    atomic.Int64 // octets of blocks that wait for inspection
	unsent     atomic.Int64 // octets held because their receiver does not take them
	active     atomic.Int64 // conversations being relayed
	assigned   atomic.Uint64
	nameless   atomic.Int64 // clients without an address
	local      map[netip.Addr]bool
	used       map[int]bool  // sockets of systemd
	dirty      chan struct{} // a journal was told something
	relays     sync.WaitGroup
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
	if len(o.Routes) == 0 {
		return nil, errors.New("there is no route from a listener to a server")
	}
	p := &Proxy{Options: o.withDefaults(), dirty: make(chan struct{}, 1), used: map[int]bool{}}
	p.aborting, p.abort = context.WithCancel(context.Background())
	if err := p.prepare(); err != nil {
		return nil, err
	}
	if o.Terminate != nil {
		if err := o.Terminate.load(); err != nil {
			return nil, err
		}
	}
	for _, r := range o.Routes {
		opened, err := p.open(ctx, r)
		if err != nil {
			p.closeListeners()
			return nil, fmt.Errorf("%s: %w", r, err)
		}
		p.routes = append(p.routes, opened)
	}
	if err := p.refuseCircles(); err != nil {
		p.closeListeners()
		return nil, err
	}
	if err := p.limitDescriptors(); err != nil {
		p.closeListeners()
		return nil, err
	}
	for range max(1, runtime.NumCPU()) {
		p.inspectors = append(p.inspectors, newInspector(p))
	}
	return p, nil
}

func (o Options) withDefaults() Options {
	fill := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	fill(&o.ConnectTimeout, DefaultConnectTimeout)
	fill(&o.IdleTimeout, DefaultIdleTimeout)
	fill(&o.DrainTimeout, DefaultDrainTimeout)
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

// Addrs returns the addresses of the listeners, in the order of the routes.
func (p *Proxy) Addrs() []net.Addr {
	var list []net.Addr
	for _, r := range p.routes {
		list = append(list, r.listener.Addr())
	}
	return list
}

// Serve relays until ctx is done. Then it accepts no more, lets conversations end within the drain timeout, or until now
// is done, and returns when the journals were told everything; the last batches wait for the recorder's Close.
func (p *Proxy) Serve(ctx, now context.Context) error {
	inspecting, inspected := context.WithCancel(context.Background())
	var watchers sync.WaitGroup
	for _, in := range p.inspectors {
		watchers.Go(func() { in.run(inspecting) })
	}
	watchers.Go(func() { p.commit(inspecting) })
	for _, r := range p.routes {
		watchers.Go(func() { r.resolve(inspecting) })
	}
	if p.Terminate != nil {
		watchers.Go(func() { p.Terminate.reload(inspecting, p.Warn) })
	}
	err := p.startRelays()
	if err == nil {
		<-ctx.Done()
	}
	p.closeListeners()
	p.stopLoops(false)
	p.drain(now)
	p.abort()
	p.stopLoops(true)
	p.relays.Wait()
	inspected()
	watchers.Wait()
	return err
}

// drain waits until no conversation is under way, for as long as the drain may take.
func (p *Proxy) drain(now context.Context) {
	deadline := time.NewTimer(p.DrainTimeout)
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

func (p *Proxy) closeListeners() {
	for _, r := range p.routes {
		_ = r.listener.Close() // nothing is lost with it
	}
}

// startRelays lets the loops, or a goroutine, accept the connections of each route.
func (p *Proxy) startRelays() error {
	var looped []*route
	for _, r := range p.routes {
		if haveLoops && !p.goroutines && r.plain() {
			looped = append(looped, r)
			continue
		}
		p.relays.Go(func() { p.accept(r) })
	}
	return p.startLoops(looped)
}

// full says whether as many connections are open as may be.
func (p *Proxy) full() bool { return p.active.Load() >= int64(p.MaxConnections) }

// begun counts a new conversation; ended takes it off again.
func (p *Proxy) begun() {
	p.counts.accepted.Add(1)
	p.active.Add(1)
}

func (p *Proxy) ended() { p.active.Add(-1) }
