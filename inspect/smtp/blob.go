package smtp

import (
	"strconv"

	"github.com/mailwire/mailwire/inspect/wire"
)

// blob is the octets of Exchange's XEXCH50, which says how many there are: a server that replies 354 takes them, whatever
// they are, for properties of the mail. They are passed over.
type blob struct {
	n    int   // the command's number
	left int64 // octets still to come
	owed bool  // all came: the server may reply once more
}

// awaitBlob holds what follows XEXCH50 until its reply comes.
func (p *Parser) awaitBlob(arg []byte) {
	size, _ := wire.CutWord(arg)
	if n, err := strconv.ParseUint(string(size), 10, 63); err == nil && n > 0 {
		p.blob = blob{n: p.commands, left: int64(n)}
		p.holdFor("XEXCH50")
	}
}

// passOver takes octets of the blob.
func (p *Parser) passOver(data []byte) (rest []byte) {
	n := min(int64(len(data)), p.blob.left)
	p.passed(n)
	return data[n:]
}

// passOverGap takes lost octets, and says whether all of them were of the blob.
func (p *Parser) passOverGap(lost int64) bool {
	if lost == wire.LostUnknown || lost > p.blob.left {
		return false
	}
	p.passed(lost)
	return true
}

func (p *Parser) passed(n int64) {
	if p.blob.left -= n; p.blob.left == 0 {
		p.mode, p.blob.owed = inLines, true
	}
}
