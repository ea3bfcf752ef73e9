// Package message turns the octets of one mail into what a record says about it: its header (RFC 5322) and its MIME
// parts (RFC 2045, RFC 2046).
//
// A Parser is pushed octets as they flow, cut anywhere; it does no input or output, starts no goroutine and never asks
// for an octet twice. It reads as mail programs do rather than as the grammar says: what is slightly wrong is still a
// part with a name and a digest. Its memory is bounded by the Max constants, whatever the mail; its time is linear.
//
// The structure (header sections, boundaries, transfer encodings) is our own. A scanner splits the octets into header
// lines and content and keeps the stack of open multiparts and attached messages; a leaf decodes the content of one
// part; a header keeps the few fields that matter until its section ends. The values of fields are decoded with
// go-message's charsets.
package message

import "github.com/mailwire/mailwire/inspect/record"

// Bounds of what a Parser keeps of one mail. What goes beyond is skipped or counted, never fatal.
const (
	MaxHeader     = 1 << 20  // octets of one header section that are looked at for fields
	MaxField      = 64 << 10 // octets of one field
	MaxFields     = 2000     // fields of one header section
	MaxDepth      = 100      // multiparts and messages within each other; what is deeper is a leaf
	MaxParts      = 10000    // parts listed
	MaxBoundary   = 2048     // octets of a boundary
	MaxAddresses  = 100      // addresses of one field
	MaxToken      = 255      // octets of a type, charset or disposition
	MaxNames      = 1 << 20  // octets of all the parts' names together; later ones are cut to MaxToken
	MaxDigests    = 4        // attached messages within each other that get a digest; deeper ones have none
	MaxEncapsuled = 4        // messages within each other that are attached in base64 or quoted-printable
)

// spareParts is the longest list that is kept from one mail to the next.
const spareParts = 256

// Parser takes the octets of one mail and says what it holds. The zero value is ready to use.
type Parser struct {
	// Content, if set, is given the decoded content of each part, with the part's place in the list, as it flows. A call
	// without octets says that the content begins, or begins anew: what was given before is not the part's. Octets are
	// borrowed for the call.
	Content func(part int, octets []byte)

	scan    scanner
	found   findings
	started bool
}

// findings is what the scanners of one mail have found so far.
type findings struct {
	header  *record.Header
	parts   []record.Part
	omitted int // parts beyond MaxParts
	names   int // octets of names kept
	content func(part int, octets []byte)
}

// begin says that the content of a part begins.
func (f *findings) begin(part int) {
	if f.content != nil && part >= 0 {
		f.content(part, nil)
	}
}

// give hands out content of a part.
func (f *findings) give(part int, octets []byte) {
	if f.content != nil && part >= 0 && len(octets) > 0 {
		f.content(part, octets)
	}
}

// next is the place that a part which is not listed yet will have, or -1.
func (f *findings) next() int {
	if len(f.parts) >= MaxParts {
		return -1
	}
	return len(f.parts)
}

// Reset makes the parser ready for another mail, and keeps its buffers.
func (p *Parser) Reset() {
	parts := p.found.parts
	if clear(parts); cap(parts) > spareParts {
		parts = nil
	}
	p.found = findings{parts: parts[:0]}
	p.started = false
}

// Write takes the next octets of the mail, after dot-unstuffing. Data is borrowed for the call.
func (p *Parser) Write(data []byte) {
	p.start()
	p.scan.write(data)
}

// Hole says that octets are missing here (negative: an unknown number). What the hole touches says less but nothing
// false: a header field in which it lies is dropped; a part in which it lies, and every attached message around it, is
// Damaged and has no digest. Boundaries are recognised again from the next octet on. Who did not see the end of the mail
// says so with Hole(-1) before Close.
func (p *Parser) Hole(octets int64) {
	if octets == 0 {
		return
	}
	p.start()
	p.scan.hole()
}

// Close ends the mail. It returns the header (nil: the mail has none of its fields), the parts in order, and the number
// of parts that were not listed because there are more than MaxParts. The caller owns both; the parser needs a Reset
// before it takes another mail.
//
// A part whose multipart has no closing boundary is Damaged, but its digest is that of the octets there are.
func (p *Parser) Close() (header *record.Header, parts []record.Part, omitted int) {
	p.start()
	p.scan.close()
	if len(p.found.parts) > 0 {
		parts = append(make([]record.Part, 0, len(p.found.parts)), p.found.parts...)
	}
	return p.found.header, parts, p.found.omitted
}

func (p *Parser) start() {
	if !p.started {
		p.started, p.found.content = true, p.Content
		p.scan.start(&p.found, 0, 0)
	}
}

// add lists a part and returns its place; -1 where there are too many.
func (f *findings) add(part record.Part) int {
	if len(f.parts) >= MaxParts {
		f.omitted++
		return -1
	}
	if f.names += len(part.Name); f.names > MaxNames {
		part.Name = cut(part.Name, MaxToken)
	}
	f.parts = append(f.parts, part)
	return len(f.parts) - 1
}
