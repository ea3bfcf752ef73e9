package pop3

import (
	"bytes"

	"github.com/mailwire/mailwire/inspect/sasl"
	"github.com/mailwire/mailwire/inspect/wire"
)

// begin begins a login attempt by PASS or APOP.
func (p *Parser) begin(mechanism, user string, secret []byte) {
	p.scrub.Add(secret)
	if len(p.attempts) == maxAttempts {
		p.endAttempt(p.attempts[0].n, wire.OutcomeUnknown, nil)
	}
	p.attempts = append(p.attempts, attempt{p.commands, mechanism, user, string(secret)})
}

// endAttempt says the result of the attempt made by command n.
func (p *Parser) endAttempt(n int, outcome wire.Outcome, r *wire.Reply) {
	for i, a := range p.attempts {
		if a.n == n {
			p.attempts = append(p.attempts[:i], p.attempts[i+1:]...)
			p.login(wire.Login{Mechanism: a.mechanism, User: a.user, Secret: a.secret}, outcome, r)
			return
		}
	}
}

// beginAuth begins an AUTH exchange (RFC 5034): AUTH mechanism [initial-response]; AUTH alone asks for the mechanisms.
func (p *Parser) beginAuth(ev *wire.Command, word, arg []byte) {
	if len(arg) == 0 {
		return
	}
	p.endAuth(wire.OutcomeUnknown, nil)
	mechanism, initial := wire.CutWord(arg)
	if !sasl.Valid(mechanism) {
		mechanism, initial = nil, arg
	}
	p.auth, p.authLive = sasl.Start(mechanism), true
	for response := range bytes.FieldsSeq(initial) {
		if string(response) != "=" {
			p.secret(response)
		}
	}
	switch {
	case len(mechanism) == 0:
		redact(ev, word)
	case len(initial) > 0:
		redact(ev, word, mechanism)
	}
}

// response is a line that the client sends after a challenge.
func (p *Parser) response(l wire.Line) {
	p.settleTurn()
	shown := []byte(sasl.Mask)
	if string(l.Data) == "*" { // RFC 5034 section 4: the client cancels
		shown = l.Data
	} else {
		p.secret(l.Data)
	}
	p.mode = inLines
	p.commands++
	p.emit(&wire.Command{Time: p.now, N: p.commands, Verb: "AUTH", Line: shown, Cut: l.Cut, Response: true})
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

// endAuth says the result of the exchange that is under way, if there is one.
func (p *Parser) endAuth(outcome wire.Outcome, r *wire.Reply) {
	if p.authLive {
		p.authLive = false
		p.login(wire.Login{Mechanism: p.auth.Mechanism, User: p.auth.User, Secret: p.auth.Secret}, outcome, r)
	}
}

func (p *Parser) login(l wire.Login, outcome wire.Outcome, r *wire.Reply) {
	l.Time, l.Outcome = p.now, outcome
	if r != nil {
		l.Text = r.Text
	}
	p.emit(&l)
}

// release goes on with the octets that were held, in mode m.
func (p *Parser) release(m mode) {
	buf := p.hold
	p.hold = nil
	p.mode = m
	p.late++
	p.clientOctets(buf)
	p.late--
}

// guess goes on without the reply to AUTH, STLS or XTND XMIT: it is taken to have succeeded, unless what follows is a command.
func (p *Parser) guess() {
	line, _, whole := bytes.Cut(p.hold, []byte("\n"))
	switch refused := whole && Known(line); {
	case refused:
		p.mask = p.holdVerb == "AUTH"
		p.release(inLines)
	case p.holdVerb == "STLS":
		p.release(beforeTLS)
	case p.holdVerb == "XTND":
		p.beginSubmission()
	case len(p.hold) > 0:
		p.release(inResponse)
	default:
		p.mode = inLines
	}
}

// settle goes on after the reply to the command that holds.
func (p *Parser) settle(r *wire.Reply, challenge bool) {
	switch {
	case p.holdVerb == "STLS" && r.OK:
		p.injected()
		p.release(beforeTLS)
	case p.holdVerb == "XTND" && r.OK:
		p.beginSubmission()
	case p.holdVerb != "AUTH":
		p.release(inLines)
	case challenge:
		p.auth.Challenge(r.Text)
		p.release(inResponse)
	default:
		outcome := wire.Failure
		if r.OK {
			outcome = wire.Success
		}
		p.endAuth(outcome, r)
		p.mask = true
		p.loggedIn = r.OK
		p.release(inLines)
	}
}

// layer looks at the first octet after a login by AUTH: it may begin a security layer.
func (p *Parser) layer(c byte) {
	if p.loggedIn && p.auth.Layered(c) {
		p.mode = opaque
		p.emit(&wire.Layer{Time: p.now})
	}
	p.loggedIn = false
}

// injected reports plain text that came between STLS and its acceptance (RFC 2595 section 4): a server that does not
// discard it takes it for commands said inside TLS.
func (p *Parser) injected() {
	if len(p.hold) == 0 || p.hold[0] == firstTLSOctet {
		return
	}
	p.say(wire.STARTTLSInject, 1)
	for line := range bytes.Lines(p.hold) {
		p.emit(&wire.Noise{Time: p.now, Dir: wire.FromClient, Line: p.scrub.Unknown(bytes.TrimRight(line, "\r\n"), p.mask)})
	}
	p.hold = nil
}

// veil handles the server's first octet after an accepted STLS, where it comes before the client's: it begins no reply,
// and may be of a capture that misses the client.
func (p *Parser) veil(c byte) {
	p.veiled = true
	if c == firstTLSOctet {
		p.mode = opaque
		p.emit(&wire.Upgrade{Time: p.now, How: "stls"})
	}
}

// firstAfterTLS decides by the client's first octet after an accepted STLS: a letter begins a command, as in a capture
// that was decrypted.
func (p *Parser) firstAfterTLS(c byte) {
	plain := 'a' <= c|0x20 && c|0x20 <= 'z'
	p.mode = opaque
	if plain {
		p.mode, p.veiled = inLines, false
		p.waiting.Clear()
		p.client.Reset()
	}
	p.emit(&wire.Upgrade{Time: p.now, How: "stls", Plain: plain})
}
