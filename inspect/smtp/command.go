package smtp

import (
	"bytes"

	"github.com/mailwire/mailwire/inspect/sasl"
	"github.com/mailwire/mailwire/inspect/wire"
)

// firstTLSOctet begins a TLS record of the handshake (RFC 8446 section 5.1). No command begins with it.
const firstTLSOctet = 0x16

// clientLine takes the next line of data: a command, or a response of an AUTH exchange.
func (p *Parser) clientLine(data []byte) (rest []byte) {
	if data[0] == firstTLSOctet && p.client.Empty() && p.commands == 0 {
		p.mode = opaque
		p.emit(&wire.Upgrade{Time: p.now, How: "implicit"})
		return data
	}
	line, rest, ok := p.client.Next(data)
	if !ok {
		return nil
	}
	if p.mode == inResponse {
		p.response(line)
	} else {
		p.commandLine(line)
	}
	return rest
}

func (p *Parser) commandLine(l wire.Line) {
	word, arg := wire.CutWord(l.Data)
	verb := verbOf(word)
	if p.resync {
		if p.gapped && !p.mail.open && string(l.Data) == "." {
			p.endLostMail()
			return
		}
		if !isCommand(l.Data) {
			p.say(wire.Resync, 1)
			return
		}
		p.resync = false
	}
	p.settleEnds()
	p.settleTurn()
	p.commands++
	p.command = wire.Command{Time: p.now, N: p.commands, Verb: verb, Arg: arg, Line: l.Data, Cut: l.Cut, Held: p.late > 0}
	switch {
	case verb == "AUTH":
		p.beginAuth(word, arg)
	case verb == "":
		p.command.Verb = wire.UnknownVerb(word)
		p.command.Line = p.scrub.Unknown(l.Data, p.mask)
		if !bytes.Equal(p.command.Line, l.Data) {
			p.command.Verb, p.command.Arg = sasl.Mask, nil
		}
	default:
		p.mask = false
	}
	l.Anomalies(p.say)
	p.bareLF = l.Bare
	p.endChunks(verb)
	p.emit(&p.command)
	p.begin(verb, arg)
}

// begin does what a command does before its reply.
func (p *Parser) begin(verb string, arg []byte) {
	if verb == "BDAT" {
		p.beginChunk(arg, p.command.Line)
		return
	}
	p.wait(p.command.Verb, p.command.Line)
	p.blob.owed = false
	switch verb {
	case "DATA", "STARTTLS", "AUTH":
		p.holdFor(verb)
	case "XEXCH50":
		p.awaitBlob(arg)
	case "LHLO":
		p.lmtp = true
	}
}

// endChunks ends a mail that is sent in chunks where a command comes that does not go on with it (RFC 3030 section 2).
func (p *Parser) endChunks(verb string) {
	switch verb {
	case "MAIL", "DATA", "RSET", "QUIT", "HELO", "EHLO", "LHLO":
		p.endMail(false)
	case "BDAT":
		if p.mail.refused {
			p.endMail(false)
		}
	}
}

// settleEnds waits for no more replies to an end of data where the client goes on after the first ones, and always has gone
// on after replies only: the server gives one for all recipients, against RFC 2033 section 4.2, and the client knows it.
func (p *Parser) settleEnds() {
	w := p.waiting.Head()
	switch {
	case w == nil:
	case w.Verb == wire.DataEnd && p.ends > 0 && p.answered && !p.piped:
		p.ends = 0
		p.waiting.Pop()
	default:
		p.piped = true
	}
}

func (p *Parser) wait(verb string, line []byte) {
	if !p.waiting.Push(p.commands, verb, line, p.now) {
		p.say(wire.TooManyPending, 1)
	}
}

// verbOf returns the verb that word is in any case of letters, "" if it is none that this program knows.
func verbOf(word []byte) string {
	var upper [10]byte
	if len(word) > len(upper) {
		return ""
	}
	for i, c := range word {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		upper[i] = c
	}
	switch string(upper[:len(word)]) {
	case "MAIL":
		return "MAIL"
	case "RCPT":
		return "RCPT"
	case "DATA":
		return "DATA"
	case "EHLO":
		return "EHLO"
	case "QUIT":
		return "QUIT"
	case "HELO":
		return "HELO"
	case "RSET":
		return "RSET"
	case "NOOP":
		return "NOOP"
	case "BDAT":
		return "BDAT"
	case "AUTH", "X-EXPS": // Exchange's own name for it
		return "AUTH"
	case "STARTTLS":
		return "STARTTLS"
	case "LHLO":
		return "LHLO"
	case "VRFY":
		return "VRFY"
	case "EXPN":
		return "EXPN"
	case "HELP":
		return "HELP"
	case "ETRN":
		return "ETRN"
	case "TURN":
		return "TURN"
	case "ATRN":
		return "ATRN"
	case "SEND":
		return "SEND"
	case "SOML":
		return "SOML"
	case "SAML":
		return "SAML"
	case "BURL":
		return "BURL"
	case "XCLIENT":
		return "XCLIENT"
	case "XFORWARD":
		return "XFORWARD"
	case "XEXCH50":
		return "XEXCH50"
	}
	return ""
}

// Greets says whether line begins with a verb by which only a client of SMTP or LMTP opens, or continues, a dialogue.
func Greets(line []byte) bool {
	word, _ := wire.CutWord(bytes.TrimRight(line, "\r\n"))
	switch verbOf(word) {
	case "EHLO", "HELO", "LHLO":
		return true
	}
	return false
}

// IsVerb says whether verb, in upper case, is one that this program knows.
func IsVerb(verb string) bool { return verbOf([]byte(verb)) != "" }

// Known says whether line begins with a verb of SMTP or LMTP.
func Known(line []byte) bool {
	word, _ := wire.CutWord(bytes.TrimRight(line, "\r\n"))
	return verbOf(word) != ""
}

// isCommand says whether line can hardly be anything but a command: text of a mail begins with a verb, too.
func isCommand(line []byte) bool {
	word, arg := wire.CutWord(bytes.TrimRight(line, "\r\n"))
	switch verbOf(word) {
	case "":
		return false
	case "MAIL":
		return len(arg) >= 5 && bytes.EqualFold(arg[:5], []byte("FROM:"))
	case "RCPT":
		return len(arg) >= 3 && bytes.EqualFold(arg[:3], []byte("TO:"))
	case "DATA", "RSET", "QUIT", "STARTTLS", "NOOP":
		return len(arg) == 0
	case "EHLO", "HELO", "LHLO", "AUTH":
		return len(bytes.Fields(arg)) <= 2
	case "BDAT":
		return len(arg) > 0 && isDigit(arg[0])
	}
	return false
}
