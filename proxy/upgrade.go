package proxy

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/pop3"
	"github.com/mailwire/mailwire/inspect/smtp"
	"github.com/mailwire/mailwire/inspect/wire"
)

// upgrade sees to it that STARTTLS (RFC 3207) or STLS (RFC 2595) ends here. Only a parser knows that the word in a mail is
// none, so one runs along, as computation only. Behind the command the client's octets are not passed on until the
// server has answered. When it agrees, TLS with the server is begun and verified first; only then does the client hear
// of the agreement.
type upgrade struct {
	c       *call
	how     string // starttls or stls
	verdict chan verdict

	mu     sync.Mutex // both directions use what follows
	parser wire.Parser
	asked  int    // number of the command whose answer the client waits for, 0 if it waits for none
	behind []byte // what it sent behind the command
	found  verdict
	whole  bool   // the parser has just had a whole reply
	over   bool   // there is nothing to look for any more
	kept   []byte // of the reply that the client waits for, which has not come whole
}

const maxKept = 64 << 10 // octets of kept; an answer to STARTTLS is no longer than that

// verdict is what became of a STARTTLS.
type verdict uint8

const (
	undecided verdict = iota
	granted           // TLS goes on
	refused           // plain text goes on
	failed            // nothing goes on
)

func newUpgrade(c *call) *upgrade {
	u := &upgrade{c: c, how: "starttls", parser: smtp.New(true, c.begin), verdict: make(chan verdict, 1)}
	if c.r.Protocol == inspect.POP3 {
		u.how, u.parser = "stls", pop3.New(true, c.begin)
	}
	return u
}

// pass takes what one side has sent; it says false when no more is to be read from it.
func (u *upgrade) pass(from wire.Direction, data []byte) bool {
	if u.done() {
		return u.c.pass(from, data)
	}
	if from == wire.FromServer {
		return u.fromServer(data)
	}
	for len(data) > 0 {
		n, waits := u.client(data)
		if n < 0 {
			u.injected(nil) // TLS is guessed to have begun
			return false
		}
		if !u.c.pass(wire.FromClient, data[:n]) {
			return false
		}
		if data = data[n:]; !waits {
			continue
		}
		switch <-u.verdict {
		case granted:
			return true // behind the command there was nothing
		case failed:
			return false
		}
	}
	return true
}

// done says whether there is nothing to look for any more.
func (u *upgrade) done() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.over
}

// client looks through the client's octets and returns how many go to the server at once: all, or those up to a STARTTLS.
func (u *upgrade) client(data []byte) (n int, waits bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for n < len(data) && !u.over {
		n += u.feed(wire.FromClient, data[n:])
		if u.found == failed {
			return -1, false
		}
		if u.asked > 0 {
			u.behind = bytes.Clone(data[n:])
			return n, true
		}
	}
	return len(data), false
}

// feed lets the parser have one line, or what there is of one, and returns its length.
func (u *upgrade) feed(from wire.Direction, data []byte) (n int) {
	n = bytes.IndexByte(data, '\n') + 1
	if n == 0 {
		n = len(data)
	}
	u.found, u.whole = undecided, false
	defer func() {
		if cause := recover(); cause != nil {
			u.abandon(cause)
		}
	}()
	u.parser.Feed(wire.Chunk{Dir: from, Time: time.Now(), Data: data[:n]}, u.event)
	return n
}

// abandon goes on after a panic of the parser as where TLS is passed on: a STARTTLS is the server's from now on, as is the
// TLS behind it, and who waits for an answer to one waits no longer.
func (u *upgrade) abandon(cause any) {
	p := u.c.r.p
	p.counts.failures.Add(1)
	p.warn("starttls", fmt.Sprintf("a conversation could not be looked through for its %s; it goes on, and TLS in it is not ended here: %v\n%s",
		strings.ToUpper(u.how), cause, debug.Stack()))
	u.found, u.over = undecided, true
	if u.asked > 0 {
		u.goOn()
	}
}

func (u *upgrade) event(e wire.Event) {
	switch e := e.(type) {
	case *wire.Command:
		if isStartTLS(e.Verb) && !e.Held {
			u.asked = e.N
		}
	case *wire.Upgrade:
		if e.How == u.how { // it is guessed to have begun, without us
			u.found = failed
		}
	case *wire.Reply:
		u.whole = true
		switch {
		case e.Code == 220 && e.To > 0 && e.To != u.asked: // STARTTLS to the server, whatever it is to us
			u.found = failed
		case !isStartTLS(e.Verb):
		case e.OK && e.To != u.asked: // what was behind the command has gone to the server already
			u.found = failed
		case e.OK:
			u.found = granted
		case e.To == u.asked:
			u.found = refused
		}
	case *wire.Body: // of a mail that goes before the answer
		u.whole = true
	}
}

func isStartTLS(verb string) bool { return verb == "STARTTLS" || verb == "STLS" }

// fromServer passes on what the server says, up to its answer to a STARTTLS.
func (u *upgrade) fromServer(data []byte) bool {
	parsed := len(u.kept)
	data, u.kept = append(u.kept, data...), nil
	for len(data) > 0 {
		begin, end, found := u.server(data, parsed)
		if begin > 0 && !u.c.pass(wire.FromServer, data[:begin]) {
			return u.decide(failed)
		}
		answer, rest := data[begin:end], data[end:]
		switch found {
		case granted:
			return u.decide(u.grant(answer, rest))
		case failed:
			u.injected(answer)
			return u.decide(failed)
		case refused:
			if !u.c.pass(wire.FromServer, answer) {
				return u.decide(failed)
			}
			u.mu.Lock()
			u.goOn()
			u.mu.Unlock()
		case undecided:
			if len(answer) <= maxKept {
				u.kept = answer
			} else if !u.c.pass(wire.FromServer, answer) { // it is no answer to STARTTLS
				return u.decide(failed)
			}
		}
		data, parsed = rest, 0
	}
	return true
}

// passKept passes on what the server has begun to answer, as it says no more; false if that cannot be written.
func (u *upgrade) passKept() bool {
	kept := u.kept
	u.kept = nil
	return len(kept) == 0 || u.c.pass(wire.FromServer, kept)
}

// goOn lets the client go on in plain text.
func (u *upgrade) goOn() {
	u.asked, u.behind = 0, nil
	u.verdict <- refused
}

// server looks through the server's octets, of which the parser knows some: what is before begin goes to the client as
// it is, and what is between begin and end is the answer to a STARTTLS, if found says so, or may become it.
func (u *upgrade) server(data []byte, parsed int) (begin, end int, found verdict) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for end = parsed; end < len(data) && !u.over; {
		end += u.feed(wire.FromServer, data[end:])
		switch {
		case u.found != undecided:
			return begin, end, u.found
		case u.whole || u.asked == 0:
			begin = end
		}
	}
	if u.over {
		begin, end = len(data), len(data)
	}
	return begin, end, undecided
}

// decide tells the client's goroutine what became of its STARTTLS.
func (u *upgrade) decide(v verdict) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.over = true
	select {
	case u.verdict <- v:
	default:
	}
	return v == granted
}

// grant begins TLS on both sides. answer is the server's agreement, which the client has not seen yet; behind it the
// server must not have said anything either.
func (u *upgrade) grant(answer, behind []byte) verdict {
	c := u.c
	if len(u.behind) > 0 || len(behind) > 0 || u.talksOn() {
		u.injected(answer)
		return failed
	}
	server, err := c.tlsToServer()
	if err != nil {
		c.serverTLSFailed(err)
		u.sayNo()
		return failed
	}
	if u.talksOn() {
		u.injected(answer)
		return failed
	}
	if !c.pass(wire.FromServer, answer) {
		return failed
	}
	client, err := c.tlsToClient()
	if err != nil {
		c.clientTLSFailed(err)
		c.breakOff(inspect.EndAborted)
		return failed
	}
	c.secured(u.how, client, server)
	return granted
}

// talksOn says whether the client has sent something without waiting for the answer.
func (u *upgrade) talksOn() bool { return waiting(u.c.ends[wire.FromClient]) }

// injected ends a conversation in which plain text was put where only TLS may be (CVE-2011-0411).
func (u *upgrade) injected(answer []byte) {
	c := u.c
	c.show(wire.FromClient, u.behind)
	c.show(wire.FromServer, answer)
	c.pump.Tell(time.Now(), func(s *inspect.Session, t time.Time) {
		if len(u.behind) == 0 {
			s.Anomaly(wire.STARTTLSInject, t)
		}
		s.Note(t, "plain text where only TLS may be: the proxy closes the connection")
	})
	c.breakOff(inspect.EndAborted)
}

// sayNo refuses what the server has agreed to, since it cannot be trusted, and ends the conversation: the server waits for
// a handshake that will not come.
func (u *upgrade) sayNo() {
	answer := "454 4.7.0 TLS not available due to temporary reason\r\n"
	if u.how == "stls" {
		answer = "-ERR [SYS/TEMP] TLS not available due to temporary reason\r\n"
	}
	c := u.c
	if c.pass(wire.FromServer, []byte(answer)) {
		_ = c.ends[wire.FromClient].CloseWrite()
	}
	_ = c.ends[wire.FromServer].Close()
}
