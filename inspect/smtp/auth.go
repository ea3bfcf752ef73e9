package smtp

import (
	"bytes"
	"slices"

	"github.com/mailwire/mailwire/inspect/sasl"
	"github.com/mailwire/mailwire/inspect/wire"
)

// beginAuth begins a login attempt (RFC 4954 section 4): AUTH mechanism [initial-response]. The event shows the
// mechanism only.
func (p *Parser) beginAuth(word, arg []byte) {
	p.endLogin(wire.OutcomeUnknown, nil)
	mechanism, initial := wire.CutWord(arg)
	if !sasl.Valid(mechanism) {
		mechanism, initial = nil, arg
	}
	p.auth, p.authLive = sasl.Start(mechanism), len(arg) > 0
	if len(initial) == 0 {
		return
	}
	for response := range bytes.FieldsSeq(initial) {
		if string(response) != "=" {
			p.secret(response)
		}
	}
	p.command.Arg = []byte(sasl.Mask)
	if len(mechanism) > 0 {
		p.command.Arg = slices.Concat(mechanism, []byte(" "+sasl.Mask))
	}
	p.command.Line = slices.Concat(word, []byte(" "), p.command.Arg)
}

// response is a line that the client sends after a challenge.
func (p *Parser) response(l wire.Line) {
	p.settleTurn()
	shown := []byte(sasl.Mask)
	if string(l.Data) == "*" { // RFC 4954 section 4: the client cancels
		shown = l.Data
	} else {
		p.secret(l.Data)
	}
	p.mode = inLines
	p.commands++
	p.command = wire.Command{Time: p.now, N: p.commands, Verb: "AUTH", Line: shown, Cut: l.Cut, Response: true}
	p.emit(&p.command)
	p.wait("AUTH", []byte("AUTH "+p.auth.Mechanism))
	p.holdFor("AUTH")
}

// secret remembers a response, so that an echo of it is not shown, and takes the user from it.
func (p *Parser) secret(line []byte) {
	p.scrub.Add(bytes.TrimRight(line, "="))
	if secret := p.auth.Response(line); len(secret) > 0 {
		p.scrub.AddEncoded(secret)
	}
}

// authReply goes on after the reply to AUTH or to a response.
func (p *Parser) authReply(r *wire.Reply) {
	if r.Code == 334 {
		p.auth.Challenge(r.Text)
		p.release(inResponse)
		return
	}
	outcome := wire.Failure
	if r.Code < 300 {
		outcome = wire.Success
	}
	p.endLogin(outcome, r)
	p.mask = true
	p.loggedIn = outcome == wire.Success
	p.release(inLines)
}

// layer looks at the first octet after a login: it may begin a security layer.
func (p *Parser) layer(c byte) {
	if p.loggedIn && p.auth.Layered(c) {
		p.mode = opaque
		p.emit(&wire.Layer{Time: p.now})
	}
	p.loggedIn = false
}

// endLogin says the result of the attempt that is under way, if there is one.
func (p *Parser) endLogin(outcome wire.Outcome, r *wire.Reply) {
	if !p.authLive {
		return
	}
	p.authLive = false
	login := wire.Login{
		Time: p.now, Mechanism: p.auth.Mechanism, User: p.auth.User, Outcome: outcome, Secret: p.auth.Secret,
	}
	if r != nil {
		login.Code, login.Enhanced, login.Text = r.Code, r.Enhanced, r.Text
	}
	p.emit(&login)
}
