package pop3

import (
	"bytes"

	"github.com/mailwire/mailwire/inspect/sasl"
	"github.com/mailwire/mailwire/inspect/wire"
)

// firstTLSOctet begins a TLS record of the handshake (RFC 8446 section 5.1). No command begins with it.
const firstTLSOctet = 0x16

// attempt is a PASS or APOP command that waits for its reply.
type attempt struct {
	n                       int
	mechanism, user, secret string
}

func (p *Parser) implicitTLS() {
	p.mode = opaque
	p.emit(&wire.Upgrade{Time: p.now, How: "implicit"})
}

// clientLine takes the next line of data: a command, or a response of an AUTH exchange.
func (p *Parser) clientLine(data []byte) (rest []byte) {
	if data[0] == firstTLSOctet && p.client.Empty() && p.commands == 0 {
		p.implicitTLS()
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
		if verb == "" {
			p.say(wire.Resync, 1)
			return
		}
		p.resync = false
	}
	p.settleTurn()
	p.commands++
	ev := wire.Command{Time: p.now, N: p.commands, Verb: verb, Arg: arg, Line: l.Data, Cut: l.Cut, Held: p.late > 0}
	switch verb {
	case "PASS": // RFC 1939 section 7: the argument is all of the rest, blanks too
		_, secret, _ := bytes.Cut(l.Data, []byte(" "))
		p.begin("USER/PASS", p.user, secret)
		redact(&ev, word)
	case "APOP":
		user, digest := wire.CutWord(arg)
		p.begin("APOP", string(user), digest)
		redact(&ev, word, user)
	case "AUTH":
		p.beginAuth(&ev, word, arg)
	case "USER": // RFC 1939 section 7: a name is one word; what follows it is hardly meant to be seen
		user, rest := wire.CutWord(arg)
		if p.user = string(user[:min(len(user), maxUser)]); len(rest) > 0 {
			p.scrub.Add(rest)
			redact(&ev, word, user)
		}
	case "":
		ev.Verb = wire.UnknownVerb(word)
		if ev.Line = p.scrub.Unknown(l.Data, p.mask); !bytes.Equal(ev.Line, l.Data) {
			ev.Verb, ev.Arg = sasl.Mask, nil
		}
	}
	p.mask = p.mask && verb == ""
	l.Anomalies(p.say)
	p.emit(&ev)
	p.wait(ev.Verb, ev.Line)
	if verb == "STLS" || verb == "AUTH" && len(arg) > 0 || verb == "XTND" && submits(arg) {
		p.holdFor(verb)
	}
}

func (p *Parser) holdFor(verb string) { p.mode, p.holdN, p.holdVerb = held, p.commands, verb }

// maxUser bounds the octets kept of a user name.
const maxUser = 256

// redact leaves the given words of the command and masks the rest.
func redact(ev *wire.Command, words ...[]byte) {
	line := append(bytes.Join(words, []byte(" ")), ' ')
	ev.Line = append(line, sasl.Mask...)
	_, ev.Arg = wire.CutWord(ev.Line)
}

func (p *Parser) wait(verb string, line []byte) {
	if !p.waiting.Push(p.commands, verb, line, p.now) {
		p.say(wire.TooManyPending, 1)
	}
}

// settleTurn forgets, after a gap, the commands whose replies may have been lost, once the client goes on after a reply;
// and it ends a mail or list whose end may have been lost, as the client got it.
func (p *Parser) settleTurn() {
	if p.holed && p.serverMode != inReply && p.waiting.Len() == 0 {
		p.endAnswer()
	}
	if p.unsure && p.answered {
		p.waiting.Clear()
		p.unsure = false
	}
	p.answered = false
}

// verbOf returns the verb that word is in any case of letters, "" if it is none that this program knows.
func verbOf(word []byte) string {
	for _, verb := range [...]string{
		"USER", "PASS", "APOP", "AUTH", "CAPA", "STLS", "STAT", "LIST", "UIDL", "RETR", "TOP", "DELE", "NOOP", "RSET",
		"QUIT", "UTF8", "LANG", "XTND", "LAST",
	} {
		if len(word) == len(verb) && bytes.EqualFold(word, []byte(verb)) {
			return verb
		}
	}
	return ""
}

// IsVerb says whether verb, in upper case, is one that this program knows.
func IsVerb(verb string) bool { return verbOf([]byte(verb)) != "" }

// Known says whether line begins with a verb of POP3.
func Known(line []byte) bool {
	word, _ := wire.CutWord(bytes.TrimRight(line, "\r\n"))
	return verbOf(word) != ""
}
