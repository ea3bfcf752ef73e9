package message

import (
	"bytes"
	"hash"
	"hash/maphash"
)

// lineEnd is a line end that is withheld until the next line is known: before a boundary it belongs to the boundary,
// anywhere else to the content (RFC 2046 section 5.1.1).
type lineEnd uint8

const (
	noEnd lineEnd = iota
	lfEnd
	crlfEnd
	crEnd // the last octet seen was CR; LF may follow
)

var lineEnds = [...][]byte{noEnd: nil, lfEnd: []byte("\n"), crlfEnd: []byte("\r\n"), crEnd: []byte("\r")}

// mode says what a scanner makes of the next line.
type mode uint8

const (
	inHeader mode = iota // a line of a header section
	inBody               // content of the leaf, or nothing (a preamble or epilogue)
)

// maxPadding bounds the white space after a boundary on its line.
const maxPadding = 256

// scanner splits one stream of octets into header lines and content.
//
// Every octet goes to tee once, in order (for the digests of the attached messages that are open), and content goes to
// the leaf. A line that is cut by the end of a chunk is kept in line only where the whole of it is needed: in a header,
// or when it begins like a boundary.
type scanner struct {
	found  *findings
	level  int  // of encapsulation: 0 is the mail itself
	depth  int  // of multiparts and messages around this stream
	digest bool // the entity whose header is read is part of a multipart/digest

	mode   mode
	middle bool    // the next octet is not the first of a line
	end    lineEnd // withheld before the next octet
	skip   bool    // the rest of this header line is not looked at
	line   []byte  // the beginning of a line that is not complete yet

	header header
	leaf   leaf

	frames     []frame
	seed       maphash.Seed
	multiparts int   // frames that have a boundary
	longest    int   // length of the longest boundary since the last time there was none
	offset     int64 // octets given to tee
	digests    [MaxDigests]hash.Hash
	digesting  int // of them in use
}

func (s *scanner) start(found *findings, level, depth int) {
	s.found, s.level, s.depth = found, level, depth
	s.mode, s.middle, s.end, s.skip = inBody, false, noEnd, false
	s.line = s.line[:0]
	s.frames, s.multiparts, s.longest = s.frames[:0], 0, 0
	s.offset, s.digesting = 0, 0
	if s.seed == (maphash.Seed{}) {
		s.seed = maphash.MakeSeed()
	}
	s.leaf.found = found
	s.leaf.drop()
	s.begin(false, true)
}

func (s *scanner) write(data []byte) {
	for len(data) > 0 {
		switch {
		case s.skip:
			data = s.skipLine(data)
		case s.mode == inHeader:
			data = s.headerLine(data)
		case s.multiparts == 0: // nothing but the end of the mail can end it
			s.release()
			s.content(data)
			return
		case len(s.line) > 0:
			data = s.resume(data)
		default:
			data = s.body(data)
		}
	}
}

// body takes content up to the next boundary or the end of data. It hops from line to line, and hands on runs of lines.
func (s *scanner) body(data []byte) []byte {
	at := 0 // the next line
	if s.middle {
		if at = bytes.IndexByte(data, '\n') + 1; at == 0 {
			s.run(data)
			return nil
		}
	}
	for at < len(data) {
		rest := data[at:]
		n := bytes.IndexByte(rest, '\n') + 1
		if rest[0] == '-' && (len(rest) == 1 || rest[1] == '-') {
			if n == 0 && len(rest) <= s.lineMax() {
				s.run(data[:at])
				s.line = append(s.line, rest...)
				return nil
			}
			if n > 0 && n <= s.lineMax() {
				if k, last := s.match(rest[:n]); k >= 0 {
					s.run(data[:at])
					s.boundary(k, last, rest[:n])
					return data[at+n:]
				}
			}
		}
		if n == 0 {
			break
		}
		at += n
	}
	s.run(data)
	return nil
}

// resume goes on with a line that may be a boundary and was not complete.
func (s *scanner) resume(data []byte) []byte {
	n := bytes.IndexByte(data, '\n') + 1
	take := n
	if n == 0 {
		take = len(data)
	}
	take = min(take, max(s.lineMax()+1-len(s.line), 0))
	s.line = append(s.line, data[:take]...)
	full := take == n && n > 0
	if !full && len(s.line) <= s.lineMax() && (len(s.line) < 2 || s.line[1] == '-') {
		return nil
	}
	line := s.line
	s.line = s.line[:0] // line is not overwritten before it was used
	if full {
		if k, last := s.match(line); k >= 0 {
			s.boundary(k, last, line)
			return data[take:]
		}
	}
	s.run(line)
	return data[take:]
}

// lineMax is the longest line that can be a boundary now.
func (s *scanner) lineMax() int { return s.longest + len("----\r\n") + maxPadding }

// run hands on content that ends before a line, at a line or anywhere, and withholds its last line end.
func (s *scanner) run(data []byte) {
	if len(data) == 0 {
		return
	}
	if s.end == crEnd && data[0] == '\n' {
		s.end, s.middle = crlfEnd, false
		if data = data[1:]; len(data) == 0 {
			return
		}
	}
	s.release()
	text, end := cutLineEnd(data)
	s.middle = end == noEnd || end == crEnd
	s.content(text)
	s.end = end
}

// release hands on the line end that was withheld, as content.
func (s *scanner) release() {
	if s.end != noEnd {
		end := lineEnds[s.end]
		s.end = noEnd
		s.content(end)
	}
}

func cutLineEnd(data []byte) ([]byte, lineEnd) {
	n := len(data)
	switch {
	case n >= 2 && data[n-1] == '\n' && data[n-2] == '\r':
		return data[:n-2], crlfEnd
	case n >= 1 && data[n-1] == '\n':
		return data[:n-1], lfEnd
	case n >= 1 && data[n-1] == '\r':
		return data[:n-1], crEnd
	}
	return data, noEnd
}

// content gives octets to the digests and to the leaf.
func (s *scanner) content(data []byte) {
	s.tee(data)
	if s.mode == inBody && s.leaf.open {
		s.leaf.write(data)
	}
}

// tee gives octets to the digests of the attached messages that are open.
func (s *scanner) tee(data []byte) {
	s.offset += int64(len(data))
	for _, d := range s.digests[:s.digesting] {
		d.Write(data)
	}
	if s.found.content != nil {
		for i := range s.frames {
			s.found.give(s.frames[i].part, data)
		}
	}
}

// hole says that octets are missing here.
func (s *scanner) hole() {
	if s.mode == inHeader {
		s.holeInHeader()
	} else {
		if len(s.line) > 0 {
			line := s.line
			s.line = s.line[:0]
			s.run(line)
		}
		s.release()
		s.leaf.hole()
	}
	s.middle = false
	for i := range s.frames {
		s.frames[i].torn, s.frames[i].damaged = true, true
	}
}

// close ends the stream. What is still withheld is content, unless a boundary is missing: then it is that one's line end,
// as Python's email package has it.
func (s *scanner) close() {
	if len(s.line) > 0 {
		line := s.line
		s.line = s.line[:0]
		if s.mode == inHeader {
			s.takeHeaderLine(line)
		} else if k, last := s.match(line); k >= 0 {
			s.boundary(k, last, line)
		} else {
			s.run(line)
		}
	}
	for s.mode == inHeader {
		s.closeHeader() // of an attached message, it begins another
	}
	s.closeTo(s.truncated())
	s.release()
	s.closeTo(0)
}
