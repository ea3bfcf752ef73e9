package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

// end is one end of a conversation: a connection to the client or to the server, or the TLS connection inside it.
type end interface {
	net.Conn
	CloseWrite() error
}

// call is a conversation that is relayed by goroutines, one for each direction.
type call struct {
	r       *route
	pump    *Pump
	ends    [2]end         // by the direction of what they send: sockets, or the TLS connections in them
	peer    netip.AddrPort // who has connected to us
	client  netip.AddrPort // for whom: a PROXY header may say so
	own     netip.AddrPort // that a PROXY header says the client has connected to
	server  netip.AddrPort
	next    hop // to the server
	begin   time.Time
	last    atomic.Int64 // time of the last octet, in nanoseconds since begin
	broken  atomic.Bool  // one side takes nothing more
	upgrade *upgrade     // nil where no STARTTLS or STLS is ours to see to

	stranger bool   // the client must not begin with a PROXY header
	first    []byte // what may become one
	given    int    // octets of it that the server has

	mu    sync.Mutex // guards what follows
	under [2]end     // the sockets
	taken [2]int64   // by their peers, when the call looked idle last
	how   inspect.End
	over  bool
	watch *time.Timer // runs lookIdle; nil until octets are relayed
}

// accept takes the connections of a route, and gives each a goroutine.
func (p *Proxy) accept(r *route) {
	for p.awaitRoom(r) {
		conn, err := r.listener.accept()
		switch {
		case errors.Is(err, net.ErrClosed), err != nil && r.retired.Load():
			return
		case err != nil:
			p.warn("accept", "a connection has to wait: "+err.Error())
			p.pause()
			continue
		}
		p.begun()
		p.relays.Go(func() {
			defer p.ended()
			newCall(r, conn.(end)).run()
		})
	}
}

// awaitRoom returns when another connection may be open, and says false when the route is to get no more.
func (p *Proxy) awaitRoom(r *route) bool {
	for p.full() && !r.retired.Load() {
		p.warnFull()
		if p.pause(); p.aborting.Err() != nil {
			return false
		}
	}
	return !r.retired.Load()
}

// warnFull says why connections have to wait. The limit of open files may have lowered MaxConnections.
func (p *Proxy) warnFull() {
	p.warn("full", fmt.Sprintf("%d connections are open; more have to wait (--max-connections, or the limit of open files: ulimit -n, LimitNOFILE=)", p.Options().MaxConnections))
}

// pause lets some time pass before something is tried again.
func (p *Proxy) pause() {
	select {
	case <-time.After(acceptPause):
	case <-p.aborting.Done():
	}
}

const acceptPause = 50 * time.Millisecond

func newCall(r *route, client end) *call {
	c := &call{r: r, begin: time.Now(), how: inspect.EndClosed, peer: addressOf(client.RemoteAddr())}
	c.client = c.peer
	c.under[wire.FromClient] = client
	return c
}

// run is the call, from its beginning to its end.
func (c *call) run() {
	stop := context.AfterFunc(c.r.p.aborting, func() { c.breakOff(inspect.EndAborted) })
	defer stop()
	defer c.close()
	if !c.readHeader() || !c.connect() {
		return
	}
	if c.r.Terminate == nil || c.beginTLS() {
		c.relay()
	}
}

// connect connects to the server.
func (c *call) connect() bool {
	servers, err := c.r.serversFor(c.peer, c.original)
	if len(servers) > 0 {
		c.server = servers[0]
	}
	var server end
	if err == nil {
		server, err = c.dial(servers)
	}
	if err == nil {
		c.connected(server)
		return true
	}
	c.pump = c.r.begin(c.client, c.server, c.begin)
	if c.r.p.aborting.Err() == nil {
		c.r.refuse(c.pump, c.r.named(c.server), cause(err))
		c.pump = nil
	}
	c.breakOff(inspect.EndAborted)
	return false
}

// dial tries the addresses of the server, one after the other.
func (c *call) dial(servers []netip.AddrPort) (conn end, err error) {
	p := c.r.p
	dialer := net.Dialer{Timeout: c.r.ConnectTimeout, KeepAlive: -1}
	dialer.SetMultipathTCP(false)
	if c.r.Transparent {
		dialer.Control = bindTo(c.client)
	}
	for _, c.server = range servers {
		if conn, err = c.dialServer(&dialer); err == nil {
			break
		}
	}
	if err == nil && p.ours.has(c.peer, c.original, hop{}) {
		_ = conn.Close()
		return nil, errCircle // the hop before has said only now that it is one
	}
	return conn, err
}

// dialServer tries one address, again where a unix socket's backlog is full just now.
func (c *call) dialServer(dialer *net.Dialer) (end, error) {
	p, begin := c.r.p, time.Now()
	network, address := "tcp", c.server.String()
	if path := c.r.unixServer(); path != "" {
		network, address = "unix", path
	}
	for {
		conn, err := dialer.DialContext(p.aborting, network, address)
		if err == nil {
			return conn.(end), nil
		}
		if !errors.Is(err, syscall.EAGAIN) || time.Since(begin) >= c.r.ConnectTimeout || p.aborting.Err() != nil {
			return nil, err
		}
		p.pause()
	}
}

// original finds out where the client wanted to go.
func (c *call) original() (netip.AddrPort, error) { return originalOf(c.under[wire.FromClient]) }

// cause says in plain words what a network error is about, without the sockets and system calls that took part in it.
func cause(err error) error {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New(e.Err)
	}
	e, ok := errors.AsType[*net.OpError](err)
	switch {
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return errLeft
	case !ok, e.Addr == nil: // crypto/tls has some without, which say which side gave up
		return err
	case e.Timeout():
		return syscall.ETIMEDOUT
	}
	if number, ok := errors.AsType[syscall.Errno](e.Err); ok {
		return number
	}
	return e.Err
}

var errLeft = errors.New("the connection has ended")

// connected begins the conversation's record, and says to the server who the client is.
func (c *call) connected(server end) {
	c.mu.Lock()
	c.under[wire.FromServer] = server
	c.ends = c.under
	if c.over { // broken off meanwhile, when nobody knew of the server's end
		_ = server.Close()
	}
	c.mu.Unlock()
	c.next = hop{addressOf(server.LocalAddr()), addressOf(server.RemoteAddr())}
	c.r.p.ours.add(c.next)
	c.pump = c.r.begin(c.client, c.server, c.begin)
	if c.r.SendProxy != 0 {
		if !c.own.IsValid() {
			c.own = c.r.wanted(addressOf(c.ends[wire.FromClient].LocalAddr()), c.server)
		}
		_, _ = server.Write(c.r.header(c.client, c.own)) // if it fails, so will what follows
	}
}

// close ends both connections, and the record.
func (c *call) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	over := c.over
	c.over = true
	if c.watch != nil {
		c.watch.Stop()
	}
	if !over {
		for _, e := range c.ends {
			if e != nil {
				_ = e.Close() // TLS says that it ends
			}
		}
	}
	for _, e := range c.under {
		if e != nil {
			_ = e.Close()
		}
	}
	c.r.p.ours.remove(c.next)
	if c.pump != nil {
		c.pump.End(time.Now(), c.how)
	}
}

// breakOff ends the call at once, with a reset for both sides. Only the first reason counts.
func (c *call) breakOff(how inspect.End) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.over, c.how = true, how
	for _, e := range c.under {
		if tcp, ok := e.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		if e != nil {
			_ = e.Close()
		}
	}
}

// relay moves octets in both directions until both have ended.
func (c *call) relay() {
	c.touch()
	c.mu.Lock()
	c.watch = time.AfterFunc(c.r.IdleTimeout, c.lookIdle)
	c.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { c.move(wire.FromServer) })
	c.move(wire.FromClient)
	both.Wait()
	if c.broken.Load() {
		c.breakOff(inspect.EndReset)
	}
}

// move relays one direction: read, show, write.
func (c *call) move(from wire.Direction) {
	var r reader
	defer r.release()
	silent := from == wire.FromServer // it has not greeted yet
	if from == wire.FromServer && c.upgrade != nil {
		defer c.upgrade.decide(failed) // if the client still waits for a decision
	}
	for {
		data, err := r.read(c.ends[from])
		if len(data) > 0 {
			c.touch()
			if silent {
				silent = false
				c.r.p.ours.remove(c.next)
			}
		}
		if from == wire.FromClient && c.stranger {
			data = c.stranded(data, err != nil)
		}
		if len(data) > 0 {
			if c.upgrade != nil && !c.upgrade.pass(from, data) || c.upgrade == nil && !c.pass(from, data) {
				return
			}
		}
		if err != nil && from == wire.FromServer && c.upgrade != nil && !c.upgrade.passKept() {
			return
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && !c.broken.Load(): // a stranger has not gone on
		case err == io.EOF && !c.broken.Load():
			c.pump.HalfClose(from, time.Now())
			_ = c.ends[from.Reverse()].CloseWrite() // the other direction tells if it is broken
			return
		case errors.Is(err, errTruncated) && !c.broken.Load():
			c.pump.HalfClose(from, time.Now())
			_ = c.under[from.Reverse()].CloseWrite() // the end of the socket only: TLS is cut off for the other side too
			return
		default:
			c.breakOff(inspect.EndReset)
			return
		}
	}
}

// pass shows octets and writes them. It says false when they cannot be written any more; what that side said last is
// still read, by the other goroutine, before the call is broken off.
func (c *call) pass(from wire.Direction, data []byte) bool {
	c.show(from, data)
	to := c.ends[from.Reverse()]
	if _, err := to.Write(data); err != nil {
		c.broken.Store(true)
		_ = to.SetReadDeadline(time.Now().Add(lastWordsTime))
		return false
	}
	c.touch()
	return true
}

// show lets the session see octets, and counts them: also those that are not passed on.
func (c *call) show(from wire.Direction, data []byte) {
	c.pump.Show(from, time.Now(), data)
	c.r.p.counts.relayed[from].Add(int64(len(data)))
}

const lastWordsTime = 5 * time.Second // for what a side said before it broke the connection

func (c *call) touch() { c.last.Store(int64(time.Since(c.begin))) }

// lookIdle ends the call if it was idle for too long.
func (c *call) lookIdle() {
	left := c.r.IdleTimeout - (time.Since(c.begin) - time.Duration(c.last.Load()))
	if left <= 0 && c.drains() {
		c.touch()
		left = c.r.IdleTimeout
	}
	if left <= 0 {
		c.breakOff(inspect.EndTimeout)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.watch.Reset(left)
	}
}

// drains says whether one side still takes what the kernel holds for it.
func (c *call) drains() (one bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, e := range c.under {
		one = endDrains(e, &c.taken[i]) || one
	}
	return one
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// addressOf returns the address of a TCP socket; zero for others.
func addressOf(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := tcp.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
