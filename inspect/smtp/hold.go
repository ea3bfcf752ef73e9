package smtp

import (
	"bytes"

	"github.com/mailwire/mailwire/inspect/wire"
)

// maxHold is how many client octets are held until a reply says what they are. Clients wait there, so that only those
// that break the rules, and captures without the server's side, fill it.
const maxHold = 4 << 10

// holding is the client's octets behind a command whose reply says what they are.
type holding struct {
	verb string // of the command: DATA, STARTTLS, AUTH or XEXCH50
	n    int    // its number
	buf  []byte
}

func (p *Parser) holdFor(verb string) {
	p.mode = held
	p.hold.verb, p.hold.n = verb, p.commands
}

// keep holds octets. When no more can be held, or after a gap the reply may be lost or be none that is known
// for it, it is guessed what they are.
func (p *Parser) keep(data []byte) (rest []byte) {
	n := min(len(data), maxHold-len(p.hold.buf))
	p.hold.buf = append(p.hold.buf, data[:n]...)
	if n < len(data) || (p.order != exact && p.answered && bytes.IndexByte(p.hold.buf, '\n') >= 0) {
		p.guess()
	}
	return data[n:]
}

// release goes on with what was held, in mode m.
func (p *Parser) release(m mode) {
	buf := p.hold.buf
	p.hold.buf = nil
	p.mode = m
	p.late++
	p.clientOctets(buf)
	p.late--
}

// settle goes on after the reply to the command that holds.
func (p *Parser) settle(r *wire.Reply) {
	switch p.hold.verb {
	case "AUTH":
		p.authReply(r)
	case "DATA":
		if r.Code/100 == 3 {
			p.beginMail("DATA")
			p.mail.agreed = true
			p.release(inBody)
		} else {
			p.release(inLines)
		}
	case "XEXCH50":
		if r.Code/100 == 3 {
			p.release(inBlob)
		} else {
			p.release(inLines)
		}
	case "STARTTLS":
		if r.Code/100 == 2 {
			p.injected()
			p.release(beforeTLS)
		} else {
			p.release(inLines)
		}
	}
}

// guess goes on without the reply: the command is taken to have succeeded, unless what follows is a command.
func (p *Parser) guess() {
	unheard := p.order == broken
	p.settleTurn()
	line, _, whole := bytes.Cut(p.hold.buf, []byte("\n"))
	refused := whole && isCommand(line)
	switch {
	case refused:
		p.mask = p.hold.verb == "AUTH"
		p.release(inLines)
	case p.hold.verb == "DATA":
		p.beginMail("DATA")
		p.mail.heard = unheard
		p.release(inBody)
	case p.hold.verb == "STARTTLS":
		p.release(beforeTLS)
	case p.hold.verb == "XEXCH50":
		p.release(inBlob)
	case len(p.hold.buf) > 0:
		p.release(inResponse)
	default:
		p.mode = inLines
	}
}

// injected reports plain text that came between STARTTLS and its acceptance (RFC 3207 section 4.2, CVE-2011-0411): a
// server that does not discard it takes it for commands said inside TLS.
func (p *Parser) injected() {
	if len(p.hold.buf) == 0 || p.hold.buf[0] == firstTLSOctet {
		return
	}
	p.say(wire.STARTTLSInject, 1)
	for line := range bytes.Lines(p.hold.buf) {
		p.emit(&wire.Noise{Time: p.now, Dir: wire.FromClient, Line: p.scrub.Unknown(bytes.TrimRight(line, "\r\n"), p.mask)})
	}
	p.hold.buf = nil
}

// veil handles the server's first octet after an accepted STARTTLS, where it comes before the client's: it begins no
// reply, and may be of a capture that misses the client.
func (p *Parser) veil(c byte) {
	p.veiled = true
	if c == firstTLSOctet {
		p.mode = opaque
		p.emit(&wire.Upgrade{Time: p.now, How: "starttls"})
	}
}

// firstAfterTLS decides by the client's first octet after an accepted STARTTLS: a letter begins a command, as in a
// capture that was decrypted.
func (p *Parser) firstAfterTLS(c byte) {
	plain := 'a' <= c|0x20 && c|0x20 <= 'z'
	p.mode = opaque
	if plain {
		p.mode, p.veiled = inLines, false
		p.waiting.Clear()
		p.client.Reset()
	}
	p.emit(&wire.Upgrade{Time: p.now, How: "starttls", Plain: plain})
}
