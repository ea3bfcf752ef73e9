package smtp

import (
	"bytes"
	"strconv"

	"github.com/mailwire/mailwire/inspect/wire"
)

// mail is the state of the mail whose octets are on the wire.
type mail struct {
	open    bool // begun, and not ended
	n       int  // the number of DATA, or of the first BDAT
	agreed  bool // the server has asked for it
	refused bool // and refused it in its midst: it says no more about it, or BDAT begins it anew
	dots    wire.DotReader
	left    int64 // octets still to come of a chunk
	last    bool  // the chunk is the last one
	holed   bool  // octets of it were lost
	heard   bool  // the server said something, which was lost, and no octet of the mail came since
	settled bool  // ambiguous ends are text from here on
	bareLF  bool  // DATA was sent with a bare LF
}

func (p *Parser) beginMail(via string) {
	p.endMail(false)
	p.mail = mail{open: true, n: p.commands, bareLF: p.bareLF}
	p.emit(&wire.BodyBegin{Time: p.now, Dir: wire.FromClient, Via: via, Command: p.commands})
}

// endMail ends the octets of the mail that is on the wire, if there is one.
func (p *Parser) endMail(complete bool) {
	if !p.mail.open {
		return
	}
	p.mail.open = false
	if n := p.mail.dots.BareLF; n > 0 {
		p.say(wire.BareLF, n)
	}
	if n := p.mail.dots.BareCR; n > 0 {
		p.say(wire.BareCR, n)
	}
	p.emit(&wire.BodyEnd{Time: p.now, Complete: complete})
}

// awaitEnd queues the reply to the end of the mail's data; LMTP has several (RFC 2033 section 4.2), see match.
func (p *Parser) awaitEnd(line []byte) {
	if !p.waiting.Push(p.mail.n, wire.DataEnd, line, p.now) {
		p.say(wire.TooManyPending, 1)
	}
}

func (p *Parser) bodyOctets(data []byte) {
	p.body = wire.Body{Data: data}
	p.emit(&p.body)
}

func (p *Parser) bodyHole(lost int64) {
	p.body = wire.Body{Lost: lost}
	p.emit(&p.body)
}

// dotted takes octets of a mail after DATA, up to its end.
func (p *Parser) dotted(data []byte) (rest []byte) {
	p.mail.heard = false
	rest, end := p.mail.dots.Next(data, p.bodyOctets)
	switch end {
	case wire.DotDone:
		p.endOfData()
	case wire.DotAmbiguous:
		p.say(wire.AmbiguousEOD, 1)
		if p.mail.settled || p.mail.holed {
			p.mail.dots.Decline(p.bodyOctets)
		} else {
			p.beginDoubt()
		}
	}
	return rest
}

func (p *Parser) endOfData() {
	p.settleTurn() // the mail was the client's turn, which followed the reply to DATA
	p.mode = inLines
	p.endMail(true)
	if !p.mail.refused {
		p.awaitEnd([]byte("."))
	}
}

// beginChunk begins the octets of BDAT size [LAST] (RFC 3030 section 2). They follow whatever the server will reply,
// unless the size is none: then nobody knows what follows, and it is taken for commands as servers do.
func (p *Parser) beginChunk(arg, line []byte) {
	size, last := wire.CutWord(arg)
	n, err := strconv.ParseUint(string(size), 10, 63)
	isLast := bytes.EqualFold(last, []byte("LAST"))
	if err != nil || len(last) > 0 && !isLast {
		p.say(wire.BadBDAT, 1)
		p.wait("BDAT", line)
		return
	}
	if !p.mail.open {
		p.beginMail("BDAT")
		if p.gapped { // perhaps not the first chunk
			p.mail.holed = true
			p.bodyHole(wire.LostUnknown)
		}
	}
	p.mail.left = int64(n)
	p.mail.last = isLast
	p.mode = inChunk
	if p.mail.last {
		p.awaitEnd(line)
	} else {
		p.wait("BDAT", line)
	}
	if p.mail.left == 0 {
		p.endChunk()
	}
}

// counted takes octets of a chunk.
func (p *Parser) counted(data []byte) (rest []byte) {
	n := min(int64(len(data)), p.mail.left)
	p.bodyOctets(data[:n])
	p.mail.left -= n
	if p.mail.left == 0 {
		p.endChunk()
	}
	return data[n:]
}

// countedGap takes lost octets of a chunk, and returns those that lie behind it (wire.LostUnknown if nobody knows).
func (p *Parser) countedGap(lost int64) int64 {
	inside := min(lost, p.mail.left)
	p.mail.holed = true
	p.bodyHole(inside)
	if lost == wire.LostUnknown {
		p.mode = inLines
		p.endMail(false)
		return lost
	}
	p.mail.left -= inside
	if p.mail.left == 0 {
		p.endChunk()
	}
	return lost - inside
}

func (p *Parser) endChunk() {
	p.mode = inLines
	if p.mail.last {
		p.endMail(true)
	}
}
