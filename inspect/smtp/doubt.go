package smtp

import (
	"slices"

	"github.com/mailwire/mailwire/inspect/wire"
)

// Bounds of what is held behind an ambiguous end of data, until the replies tell what it was.
const (
	maxDoubt       = 64 << 10 // octets
	maxDoubtChunks = 1000
)

// doubt is an undecided end of data: octets that some servers take for the end of a mail (and what follows for commands)
// and others for text. A server cannot see the difference; who watches both sides can, by counting replies. What both
// sides say meanwhile is held, and then gone through again in the light of the answer.
type doubt struct {
	wire.Backlog
	form byte // the last octet of the ambiguous end

	// What would be so if the octets were text.
	dots     wire.DotReader
	ended    bool // the exact end of data is among what is held
	client   wire.LineReader
	commands int // whole lines behind that end

	server  wire.LineReader
	replies int  // whole replies since, but for 421
	refused bool // the first one is a refusal
}

// beginDoubt stops at an ambiguous end of data.
func (p *Parser) beginDoubt() {
	p.mode = inDoubt
	form := p.mail.dots.Form()
	p.doubt = &doubt{dots: p.mail.dots, form: form[len(form)-1]}
	p.doubt.dots.Decline(func([]byte) {})
}

// doubtChunk holds a chunk of either side, and decides when it can.
func (p *Parser) doubtChunk(c wire.Chunk) {
	d := p.doubt
	switch {
	case c.Dir == wire.FromClient && (c.Lost != 0 || d.answered(p)):
		// The client goes on after as many replies as the text reading asks for.
		p.decide(false)
		p.Feed(c, p.emit)
		return
	case d.Octets == maxDoubt || len(d.Chunks) == maxDoubtChunks:
		p.decide(p.likelyEnd())
		p.Feed(c, p.emit)
		return
	}
	n := min(len(c.Data), maxDoubt-d.Octets)
	rest := c
	rest.Lost, rest.Data = 0, c.Data[n:]
	c.Data = c.Data[:n]
	d.Add(c)
	if c.Dir == wire.FromClient {
		d.scanClient(c.Data)
	} else if d.scanServer(c.Data); d.replies > d.expected(p) {
		p.decide(true)
	}
	if len(rest.Data) > 0 {
		p.Feed(rest, p.emit)
	}
}

// expected returns how many replies the server owes if the ambiguous end is text.
func (d *doubt) expected(p *Parser) int {
	n := p.waiting.Len() + d.commands
	switch {
	case d.ended && !p.mail.refused:
		n += max(1, p.endReplies())
	case d.refused && p.mail.agreed: // perhaps of the text, in its midst
		n++
	}
	return n
}

// endReplies returns how many replies the end of a mail gets.
func (p *Parser) endReplies() int {
	if p.lmtp {
		return p.accepted
	}
	return 1
}

func (d *doubt) answered(p *Parser) bool { return d.ended && d.replies >= d.expected(p) }

func (d *doubt) scanClient(data []byte) {
	for !d.ended && len(data) > 0 {
		rest, end := d.dots.Next(data, func([]byte) {})
		if end == wire.DotAmbiguous {
			d.dots.Decline(func([]byte) {})
		}
		d.ended = end == wire.DotDone
		data = rest
	}
	for {
		_, rest, ok := d.client.Next(data)
		if !ok {
			return
		}
		d.commands++
		data = rest
	}
}

func (d *doubt) scanServer(data []byte) {
	for {
		line, rest, ok := d.server.Next(data)
		if !ok {
			return
		}
		if l := line.Data; isReply(l) && (len(l) == 3 || l[3] != '-') && string(l[:3]) != "421" {
			d.refused = d.refused || d.replies == 0 && l[0] >= '4'
			d.replies++
		}
		data = rest
	}
}

// likelyEnd guesses, where no reply decides, whether the ambiguous end is one: it is where the client ends all its lines
// with a bare LF and never sends an exact end.
func (p *Parser) likelyEnd() bool {
	return p.mail.bareLF && p.doubt.form == '\n' && !p.doubt.ended
}

// decide goes on from the ambiguous end: the mail ended there, or its octets are text. What follows an end that the client
// sent as it sends all its lines is not smuggled.
func (p *Parser) decide(ended bool) {
	chunks := p.doubt.Chunks
	p.doubt = nil
	if ended {
		if !p.mail.bareLF && slices.ContainsFunc(chunks, func(c wire.Chunk) bool { return c.Dir == wire.FromClient }) {
			p.say(wire.Smuggling, 1)
		}
		p.endOfData()
	} else {
		p.mode = inBody
		p.mail.settled = true
		p.mail.dots.Decline(p.bodyOctets)
	}
	p.late++
	for _, c := range chunks {
		p.Feed(c, p.emit)
	}
	p.late--
}
