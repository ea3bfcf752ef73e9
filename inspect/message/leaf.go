package message

import (
	"crypto/sha256"
	"hash"
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
)

// encoding is a Content-Transfer-Encoding (RFC 2045 section 6).
type encoding uint8

const (
	unencoded encoding = iota // 7bit, 8bit, binary, and whatever nobody knows
	inBase64
	inQuotedPrintable
	inUuencode
)

// maxPiece is how much decoded content is collected before it is hashed.
const maxPiece = 3 << 10

// leaf decodes the content of the part that is open.
type leaf struct {
	found   *findings
	open    bool
	listed  bool // it has its place in the list already
	part    int  // that place, or the one it will have, or -1
	about   record.Part
	octets  int64
	hashed  bool
	damaged bool
	torn    bool // octets are missing: there is no digest
	digest  hash.Hash

	encoding encoding
	b64      base64Decoder
	qp       qpDecoder
	uu       uuDecoder
	piece    [maxPiece]byte // decoded, on its way to emit

	inner      *scanner // of a message that is attached encoded
	descending bool
}

// start opens the leaf for the content of e. Text that is shown inline gets no digest.
func (l *leaf) start(e entity, enc encoding) {
	l.open, l.listed, l.part, l.about = true, false, l.found.next(), e.Part
	l.found.begin(l.part)
	l.octets, l.damaged, l.torn, l.descending = 0, false, false, false
	l.hashed = false
	if !strings.HasPrefix(e.Type, "text/") || e.Name != "" || e.Disposition == "attachment" {
		l.hash()
	}
	l.encoding = enc
	switch enc {
	case inBase64:
		l.b64.reset()
	case inQuotedPrintable:
		l.qp.reset()
	case inUuencode:
		l.uu = uuDecoder{}
	}
}

// name names the content, which is a file then, unless the header did.
func (l *leaf) name(name []byte) {
	if l.part < 0 || l.about.Name != "" {
		return
	}
	part := &l.found.parts[l.part]
	part.Name = cut(decodeText(name), MaxToken)
	if l.found.names += len(part.Name); part.Name != "" && !l.hashed {
		l.hash()
	}
}

// hash begins the digest of the content.
func (l *leaf) hash() {
	if l.digest == nil {
		l.digest = sha256.New()
	}
	l.digest.Reset()
	l.hashed = true
}

// descend says that the content is a mail.
func (l *leaf) descend(found *findings, level, depth int) {
	if l.inner == nil {
		l.inner = new(scanner)
	}
	l.descending = true
	l.inner.start(found, level, depth)
}

// drop closes the leaf and forgets it.
func (l *leaf) drop() { l.open, l.about = false, record.Part{} }

// write takes encoded content.
func (l *leaf) write(data []byte) {
	switch l.encoding {
	case inBase64:
		l.writeBase64(data)
	case inQuotedPrintable:
		l.writeQP(data)
	case inUuencode:
		l.writeUU(data)
	default:
		l.emit(data)
	}
}

// emit takes decoded content.
func (l *leaf) emit(data []byte) {
	l.octets += int64(len(data))
	if l.hashed && !l.torn {
		l.digest.Write(data)
	}
	l.found.give(l.part, data)
	if l.descending {
		l.inner.write(data)
	}
}

// hole says that octets are missing.
func (l *leaf) hole() {
	if !l.open {
		return
	}
	l.damaged, l.torn = true, true
	switch l.encoding {
	case inBase64:
		l.b64.hole()
	case inQuotedPrintable:
		l.holeQP()
	case inUuencode:
		l.uu.hole()
	}
	if l.descending {
		l.inner.hole()
	}
}

// finish ends the content.
func (l *leaf) finish() {
	switch l.encoding {
	case inBase64:
		l.finishBase64()
	case inQuotedPrintable:
		l.finishQP()
	case inUuencode:
		l.finishUU()
	}
	if l.descending {
		l.inner.close()
		l.descending = false
	}
}
