package pop3

import (
	"bytes"
	"time"

	"github.com/mailwire/mailwire/inspect/wire"
)

// early is the server's first reply, where the client has spoken before it. It is the greeting, unless what follows shows
// that there was none, as in a capture that begins behind it: then it answers the first command.
type early struct {
	line  wire.Line // owned
	time  time.Time
	await wire.Pending // for the greeting
}

// holdEarly keeps a status line if it is such a reply. A continuation ("+") greets nobody.
func (p *Parser) holdEarly(l wire.Line, status string) bool {
	w := p.waiting.Head()
	if w == nil || w.Verb != wire.Connect || p.commands == 0 {
		return false
	}
	connect := *p.waiting.Pop()
	if status == "+" {
		return false
	}
	l.Data = bytes.Clone(l.Data)
	p.early = &early{l, p.now, connect}
	return true
}

// settleEarly goes on with the reply that is kept, if there is one.
func (p *Parser) settleEarly(greets bool) {
	e := p.early
	if e == nil {
		return
	}
	now := p.now
	p.early, p.now = nil, e.time
	status, text := cutStatus(e.line.Data)
	if greets {
		p.say(wire.EarlyTalker, 1)
		p.statusLine(e.line, status, text, &e.await)
	} else {
		p.statusLine(e.line, status, text, p.match(status))
	}
	p.now = now
}

// earlyList says whether the reply that is kept may begin the list that the first command asks for.
func (p *Parser) earlyList() bool {
	w := p.waiting.Head()
	if p.early == nil || w == nil || w.Verb == "RETR" || w.Verb == "TOP" {
		return false
	}
	_, arg := wire.CutWord(w.Line)
	status, _ := cutStatus(p.early.line.Data)
	return status == "+OK" && manyLines(w.Verb, arg)
}
