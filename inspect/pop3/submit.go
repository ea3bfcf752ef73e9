package pop3

import (
	"bytes"

	"github.com/mailwire/mailwire/inspect/wire"
)

// XTND XMIT of Berkeley's popper (XTND itself is from RFC 1082) submits a mail: after +OK the client sends it up to a dot,
// and the server replies once more. The mail is passed over.

// submits says whether this is what XTND asks for.
func submits(arg []byte) bool {
	word, _ := wire.CutWord(arg)
	return bytes.EqualFold(word, []byte("XMIT"))
}

func (p *Parser) beginSubmission() {
	p.sent = wire.DotReader{}
	p.release(inBody)
}

// submitted takes octets of the mail, up to its end.
func (p *Parser) submitted(data []byte) (rest []byte) {
	rest, end := p.sent.Next(data, discard)
	switch end {
	case wire.DotDone:
		p.endSubmission()
	case wire.DotAmbiguous:
		p.sent.Decline(discard)
	}
	return rest
}

func (p *Parser) endSubmission() {
	p.mode = inLines
	p.wait(wire.DataEnd, []byte("."))
}

func discard([]byte) {}
