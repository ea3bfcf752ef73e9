package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Reconfigure puts other options in force, without ending a conversation. Those that are under way go on as they began.
// A listener that the new routes have too stays open, and its next connections are relayed as the new route says; others
// are opened, or closed. Recorder, Trace, Location and Warn stay as they are. If it fails, all stays as it was; the error
// is a sentence like those of Listen. Once ctx is done, it fails.
func (p *Proxy) Reconfigure(ctx context.Context, o Options) error {
	if err := o.prepare(); err != nil {
		return err
	}
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.ending {
		return errEnding
	}
	before := p.Options()
	o.Recorder, o.Trace, o.Location, o.Warn, o.goroutines = before.Recorder, before.Trace, before.Location, before.Warn, before.goroutines
	o = o.withDefaults()
	routes, err := p.openAll(ctx, &o)
	if err != nil {
		return err
	}
	old := p.allRoutes()
	if ctx.Err() != nil {
		err = errEnding
	} else if p.serving {
		err = p.relay(routes)
	}
	if err != nil {
		closeNew(routes, old)
		return err
	}
	p.options.Store(&o)
	p.list(routes)
	closeNew(old, routes)
	return nil
}

var errEnding = errors.New("the proxy is about to end")

// openAll opens the routes of o. What is open for a route already stays so, and is shared with it.
func (p *Proxy) openAll(ctx context.Context, o *Options) (routes []*route, err error) {
	if len(o.Routes) == 0 {
		return nil, errors.New("there is no route from a listener to a server")
	}
	local, err := localAddresses()
	if err != nil {
		return nil, err
	}
	old := p.allRoutes()
	defer func() {
		if err != nil {
			closeNew(routes, old)
		}
	}()
	open := append([]*route(nil), old...)
	for _, r := range o.Routes {
		opened := &route{Route: r, Terms: o.Terms, p: p, local: local}
		if r.Own != nil {
			opened.Terms = r.Own.withDefaults()
		}
		if err := opened.open(ctx, takeOpen(&open, r.Listen)); err != nil {
			return routes, fmt.Errorf("%s: %w", r, err)
		}
		routes = append(routes, opened)
	}
	for _, r := range open {
		if isSystemd(r.Listen) {
			return routes, fmt.Errorf("systemd gave the socket %s, which cannot be given back; take it out of the .socket unit and restart", r.Listen)
		}
	}
	if err := p.refuseUnused(); err != nil {
		return routes, err
	}
	if err := refuseCircles(routes); err != nil {
		return routes, err
	}
	return routes, p.limitDescriptors(o)
}

// prepare makes sure that the terms of all routes can be kept. It may wait for a disk, and so holds no lock.
func (o *Options) prepare() error {
	for _, r := range o.Routes {
		terms := &o.Terms
		if r.Own != nil {
			terms = r.Own
		}
		if terms.Transparent {
			if err := mayBeTransparent(); err != nil {
				return err
			}
		}
		if terms.Terminate != nil {
			if err := terms.Terminate.load(); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeOpen takes the route that listens there out of the list; nil if there is none.
func takeOpen(list *[]*route, listen string) *route {
	for i, r := range *list {
		if r.Listen == listen {
			*list = append((*list)[:i], (*list)[i+1:]...)
			return r
		}
	}
	return nil
}

// closeNew closes the listeners of routes that others do not share.
func closeNew(routes, others []*route) {
	shared := map[*listener]bool{}
	for _, r := range others {
		shared[r.listener] = true
	}
	for _, r := range routes {
		if !shared[r.listener] {
			r.listener.close()
		}
	}
}

func (p *Proxy) allRoutes() []*route {
	p.listed.Lock()
	defer p.listed.Unlock()
	return p.routes
}

func (p *Proxy) list(routes []*route) {
	p.listed.Lock()
	defer p.listed.Unlock()
	p.routes = routes
}

// begin accepts connections.
func (p *Proxy) begin() error {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.serving = true
	return p.relay(p.allRoutes())
}

// relay lets the loops, or goroutines, accept the connections of these routes, and of no others.
func (p *Proxy) relay(routes []*route) error {
	var looped, others []*route
	for _, r := range routes {
		if haveLoops && !p.Options().goroutines && r.plain() {
			looped = append(looped, r)
		} else {
			others = append(others, r)
		}
	}
	for _, r := range others {
		if err := r.listener.unpark(); err != nil {
			return fmt.Errorf("%s: waiting for connections failed: %w", r, err)
		}
	}
	if err := p.loopThrough(looped); err != nil {
		return err
	}
	for _, r := range p.allRoutes() {
		r.retire()
	}
	for _, r := range routes {
		r.life, r.end = context.WithCancel(p.inspecting)
		p.watchers.Go(func() { r.resolve(r.life) })
	}
	for _, r := range others {
		r.accepting.Add(1)
		p.relays.Go(func() {
			defer r.accepting.Done()
			p.accept(r)
		})
	}
	return nil
}

// retire ends what a route does, but for its conversations. Its listener can be another's then.
func (r *route) retire() {
	if r.life == nil {
		return
	}
	r.end()
	r.retired.Store(true)
	r.listener.setDeadline(time.Now())
	r.accepting.Wait()
	r.listener.setDeadline(time.Time{})
}

// endAccepting refuses connections from now on.
func (p *Proxy) endAccepting() {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.ending = true
	p.closeListeners()
	p.stopLoops(false)
}

// Close closes the listeners of a Proxy that is not served.
func (p *Proxy) Close() { p.closeListeners() }

func (p *Proxy) closeListeners() {
	for _, r := range p.allRoutes() {
		r.listener.close()
	}
}
