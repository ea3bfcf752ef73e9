package proxy

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// piped is a call between two pipes, in a bubble of testing/synctest: what one side writes is relayed, and heard, before the
// next write.
type piped struct {
	t              *testing.T
	call           *call
	client, server *pipe
	sessions       chan *record.Session
	ended          chan struct{}
	stop           func()
}

func newPiped(t *testing.T, r Route, terminate *Terminate) *piped {
	t.Helper()
	if err := terminate.load(); err != nil {
		t.Fatal(err)
	}
	return newPipedAs(t, r, Terms{Terminate: terminate})
}

// newPipedAs is newPiped where TLS may be passed on.
func newPipedAs(t *testing.T, r Route, terms Terms) *piped {
	t.Helper()
	g := &piped{t: t, sessions: make(chan *record.Session, 1), ended: make(chan struct{})}
	p := bare(Options{Inspect: &inspect.Config{}, Recorder: sessionRecorder{g.sessions}})
	p.aborting, p.abort = context.WithCancel(t.Context())
	p.inspectors = []*inspector{newInspector(p)}
	inspecting, inspected := context.WithCancel(t.Context())
	go p.inspectors[0].run(inspecting)
	var ends [2]end
	g.client, ends[wire.FromClient] = newPipe()
	g.server, ends[wire.FromServer] = newPipe()
	c := newCall(&route{Route: r, Terms: terms.withDefaults(), p: p}, ends[wire.FromClient])
	g.call = c
	go func() {
		defer close(g.ended)
		defer c.close()
		if !c.readHeader() {
			return
		}
		if c.connected(ends[wire.FromServer]); terms.Terminate == nil || c.beginTLS() {
			c.relay()
		}
	}()
	g.stop = sync.OnceFunc(func() {
		_ = g.client.Close()
		_ = g.server.Close()
		synctest.Wait()
		select {
		case <-g.ended:
		default:
			t.Error("the call hangs when both sides have gone")
		}
		p.abort()
		inspected()
	})
	t.Cleanup(g.stop)
	return g
}

// session is the record, at the end.
func (g *piped) session() *record.Session {
	g.stop()
	synctest.Wait()
	select {
	case r := <-g.sessions:
		return r
	default:
		g.t.Fatal("no session was recorded")
		return nil
	}
}

// pipe is a test's end of a pipe; what comes is read at once and kept.
type pipe struct {
	net.Conn
	mu    sync.Mutex
	some  *sync.Cond
	heard []byte
	err   error
	taken int // of heard, by Read
}

// newPipe returns a test's end, and the proxy's.
func newPipe() (*pipe, end) {
	own, other := net.Pipe()
	p := &pipe{Conn: own}
	p.some = sync.NewCond(&p.mu)
	go p.listen()
	return p, &pipeEnd{Conn: other}
}

func (p *pipe) listen() {
	buf := make([]byte, 32<<10)
	for {
		n, err := p.Conn.Read(buf)
		p.mu.Lock()
		p.heard = append(p.heard, buf[:n]...)
		p.err = err
		p.some.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Read is for TLS inside the pipe.
func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.taken == len(p.heard) && p.err == nil {
		p.some.Wait()
	}
	n := copy(b, p.heard[p.taken:])
	p.taken += n
	if n == 0 {
		return 0, p.err
	}
	return n, nil
}

// say writes text in the given pieces, each relayed before the next one. It may be cut off.
func (p *pipe) say(pieces ...string) {
	for _, piece := range pieces {
		if piece != "" {
			_, _ = io.WriteString(p.Conn, piece)
			synctest.Wait()
		}
	}
}

// hears returns what came since hears was called last.
func (p *pipe) hears() string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	text := string(p.heard[p.taken:])
	p.taken = len(p.heard)
	return text
}

// pipeEnd is the proxy's end of a pipe, which knows no half close.
type pipeEnd struct{ net.Conn }

func (e *pipeEnd) CloseWrite() error { return e.Close() }

// spoken is what one side says, and what the other one then hears of it.
type spoken struct {
	from wire.Direction
	text string
}

func clientSays(text string) spoken { return spoken{wire.FromClient, text} }
func serverSays(text string) spoken { return spoken{wire.FromServer, text} }

// play says steps; cut cuts each text.
func (g *piped) play(steps []spoken, cut func(text string) []string) {
	g.t.Helper()
	for _, s := range steps {
		from, to := g.client, g.server
		if s.from == wire.FromServer {
			from, to = g.server, g.client
		}
		from.say(cut(s.text)...)
		if heard := to.hears(); heard != s.text {
			g.t.Fatalf("said %q, heard %q", s.text, heard)
		}
	}
}

func uncut(text string) []string  { return []string{text} }
func singly(text string) []string { return strings.Split(text, "") }

// cuts are all the ways in which a text is cut in two, and the one in which each octet is alone.
func cuts(text string) []func(string) []string {
	all := []func(string) []string{singly}
	for n := range len(text) {
		all = append(all, func(s string) []string {
			if s != text {
				return uncut(s)
			}
			return []string{s[:n], s[n:]}
		})
	}
	return all
}
