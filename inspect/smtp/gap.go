package smtp

import "github.com/mailwire/mailwire/inspect/wire"

// What is known after a gap
//
// What was lost may have been any number of commands or replies, parts of them, or the end of a mail and all of the next
// envelope. Nothing is counted across it. These tell what is what again:
//
//   - A line counts once it looks like a command (resync) or a reply (garbled).
//   - Replies come in the order of the commands that wait, but for what was lost among them (order). A reply that may
//     answer either of two commands answers none.
//   - Some codes only one command gets (onlyOf).
//   - A client that goes on after the server said something (answered), seen or lost, has waited for it: nothing before is
//     unanswered (settleTurn).
//   - Who replies within a mail that has a hole has seen its end there, also where the reply was lost (endInHole).
//   - A dot alone in a line where no command is ends a mail whose beginning was lost (endLostMail).

// order says how far replies tell by their order what they answer (RFC 2920).
type order uint8

const (
	exact    order = iota // the next one answers the head of waiting
	untilGap              // it does, up to the placeholder in waiting: it stands for any number of commands that were lost
	broken                // replies were lost: it does if only one command waits
)

// clientGap says that octets of the client are missing. Within a mail they are a hole; among commands, what comes up to
// the next line end is dropped and a known verb looked for.
func (p *Parser) clientGap(lost int64) {
	if p.mode == held {
		p.guess()
	}
	switch p.mode {
	case inBody:
		p.mail.holed = true
		p.mail.dots.Lose(p.bodyOctets)
		p.bodyHole(lost)
		if p.mail.heard {
			p.endInHole()
			p.resync = true
		}
		return
	case inChunk:
		if lost = p.countedGap(lost); lost == 0 {
			return
		}
	case inBlob:
		if p.passOverGap(lost) {
			p.emit(&wire.Gap{Time: p.now, Dir: wire.FromClient, Lost: lost})
			return
		}
	case opaque, beforeTLS:
		p.mode = opaque
		p.emit(&wire.Opaque{Time: p.now, Dir: wire.FromClient, Lost: lost})
		return
	}
	p.emit(&wire.Gap{Time: p.now, Dir: wire.FromClient, Lost: lost})
	p.settleTurn()
	p.loseCommands()
	p.resync = true
	if p.mail.open { // a chunk may be among what was lost
		p.mail.holed = true
		p.bodyHole(wire.LostUnknown)
	}
}

// loseCommands goes on behind lost octets that may hold commands.
func (p *Parser) loseCommands() {
	p.mode = inLines
	p.client.Reset()
	p.auth.Lose()
	p.order = max(p.order, untilGap)
	p.waiting.Push(0, "", nil, p.now)
	p.gapped = true
}

// serverGap says that octets of the server are missing: perhaps replies, perhaps a part of one.
func (p *Parser) serverGap(lost int64) {
	if p.mode == opaque || p.mode == beforeTLS {
		p.emit(&wire.Opaque{Time: p.now, Dir: wire.FromServer, Lost: lost})
		return
	}
	p.dropReply()
	p.emit(&wire.Gap{Time: p.now, Dir: wire.FromServer, Lost: lost})
	if p.mode == inBody {
		p.mail.heard = true
		if p.mail.holed {
			p.endInHole()
			p.resync = true
		}
	}
	p.server.Reset()
	p.garbled = true
	p.auth.Lose()
	p.order, p.answered = broken, true
	if p.mode == held { // the reply that it waits for may be among what was lost
		p.keep(nil)
	}
}

// endInHole ends the mail on the wire, whose end is in a hole, as may be the beginning of the next one. What came before
// that end is answered.
func (p *Parser) endInHole() {
	p.bodyHole(wire.LostUnknown)
	p.endMail(false)
	p.forget()
	p.loseCommands()
}

// endLostMail takes the end of a mail of which nothing else was seen. What came before it is answered. Where a mail has
// just ended in a hole, it may be the end of that one, and its reply lost.
func (p *Parser) endLostMail() {
	p.resync, p.answered = false, false
	p.forget()
	if p.mail.heard {
		p.loseCommands()
		return
	}
	p.order = exact
	p.commands++
	p.beginMail("DATA")
	p.mail.holed = true
	p.bodyHole(wire.LostUnknown)
	p.endOfData()
}

// settleTurn forgets, after a gap, the commands whose replies may have been lost, once the client goes on after a reply:
// it waited, so nothing before is unanswered.
func (p *Parser) settleTurn() {
	if p.server.Pending().Cut > 0 { // nobody waits for the end of such a line
		p.endServerLine()
	}
	if p.order != exact && p.answered {
		p.order = exact
		p.forget()
	}
	p.answered = false
}

// forget waits for no more replies.
func (p *Parser) forget() {
	p.waiting.Clear()
	p.ends = 0
}

// onlyOf returns the one command that gets replies with this code, "" if several do.
func onlyOf(code int) string {
	switch code {
	case 354:
		return "DATA"
	case 221:
		return "QUIT"
	case 334, 235, 535:
		return "AUTH"
	}
	return ""
}

// suited returns the command that gets a reply with this code, and brings it to the head of waiting; nil: nobody knows
// which one it is, or it was lost.
func (p *Parser) suited(code int) *wire.Pending {
	verb := onlyOf(code)
	switch {
	case verb != "" && p.waiting.Seek(func(w *wire.Pending) bool { return w.Verb == verb }):
		p.ends = 0
	case code == 354 || code == 221: // the command was lost, and all before it is answered
		p.forget()
		return nil
	case p.order == broken && p.waiting.Len() > 1:
		return nil
	}
	if w := p.waiting.Head(); !w.Lost() {
		return w
	}
	return nil
}
