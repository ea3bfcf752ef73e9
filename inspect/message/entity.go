package message

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"hash/maphash"
)

const (
	typeText    = "text/plain"     // RFC 2045 section 5.2
	typeMessage = "message/rfc822" // within multipart/digest: RFC 2046 section 5.1.5
)

// frame is an open multipart, or an open attached message (then boundary is empty).
type frame struct {
	boundary []byte
	sum      uint64 // of boundary
	digest   bool   // multipart/digest
	begun    bool   // its first boundary was seen

	part    int   // the attached message's place in the list, or -1
	from    int64 // where its content began
	hashed  bool  // one of the scanner's digests is its
	torn    bool  // octets are missing in it
	damaged bool  // torn, or its end is missing
}

// begin opens the header section of an entity.
func (s *scanner) begin(digest, mail bool) {
	s.mode, s.middle, s.digest = inHeader, false, digest
	s.header.reset(mail && s.level == 0 && len(s.frames) == 0, mail)
}

// endHeader closes a header section and opens what its fields say follows.
func (s *scanner) endHeader() {
	h := &s.header
	if h.whole {
		s.found.header = h.record()
	}
	s.mode, s.middle = inBody, false
	e := h.entity(s.digest)
	room := s.depth+len(s.frames) < MaxDepth
	isMessage := e.Type == typeMessage || e.Type == "message/global" // RFC 6532 section 3.7
	switch {
	case isMultipart(e.Type) && len(e.boundary) <= MaxBoundary && room:
		s.push(frame{digest: e.Type == "multipart/digest", part: -1}, e.boundary)
		s.leaf.start(e, unencoded)
		s.leaf.damaged = h.damaged
	case isMessage && e.encoding == unencoded && room:
		part := s.found.add(e.Part)
		s.found.begin(part)
		s.push(frame{part: part, from: s.offset, torn: h.damaged, damaged: h.damaged}, nil)
		s.begin(false, true)
	default:
		s.leaf.start(e, e.encoding)
		s.leaf.damaged, s.leaf.torn = h.damaged, h.damaged
		s.leaf.part, s.leaf.listed = s.found.add(e.Part), true
		if isMessage && room && s.level < MaxEncapsuled {
			s.leaf.descend(s.found, s.level+1, s.depth+len(s.frames)+1)
		}
	}
}

// push opens a multipart or an attached message.
func (s *scanner) push(f frame, boundary []byte) {
	n := len(s.frames)
	if n < cap(s.frames) {
		f.boundary = s.frames[:n+1][n].boundary[:0] // keeps its buffer
	}
	f.boundary = append(f.boundary, boundary...)
	if len(boundary) > 0 {
		f.sum = maphash.Bytes(s.seed, boundary)
		if s.multiparts++; s.multiparts == 1 {
			s.longest = 0
		}
		s.longest = max(s.longest, len(boundary))
	} else if s.digesting < MaxDigests {
		if s.digests[s.digesting] == nil {
			s.digests[s.digesting] = sha256.New()
		}
		s.digests[s.digesting].Reset()
		s.digesting++
		f.hashed = true
	}
	s.frames = append(s.frames, f)
}

// match finds the open multipart whose boundary a line is, the innermost first, and whether it is the last one
// (RFC 2046 section 5.1.1). White space may follow. The line's hash spares comparing it with each of them.
func (s *scanner) match(line []byte) (k int, last bool) {
	if s.multiparts == 0 || len(line) < 3 || line[0] != '-' || line[1] != '-' || len(line) > s.lineMax() {
		return -1, false
	}
	line = bytes.TrimRight(line[2:], " \t\r\n")
	sum, closing := maphash.Bytes(s.seed, line), uint64(0)
	short, closes := bytes.CutSuffix(line, []byte("--"))
	if closes {
		closing = maphash.Bytes(s.seed, short)
	}
	for k := len(s.frames) - 1; k >= 0; k-- {
		f := &s.frames[k]
		switch {
		case len(f.boundary) == 0:
		case f.sum == sum && bytes.Equal(f.boundary, line):
			return k, false
		case closes && f.sum == closing && bytes.Equal(f.boundary, short):
			return k, true
		}
	}
	return -1, false
}

// boundary ends what is open within the k-th frame, and begins its next part unless it was the last.
func (s *scanner) boundary(k int, last bool, line []byte) {
	for s.mode == inHeader {
		if s.header.lines == 0 {
			s.mode = inBody
			break
		}
		s.endHeader()
		s.replay()
	}
	f := &s.frames[k]
	if k == len(s.frames)-1 && !f.begun && !last {
		s.leaf.drop() // it was the preamble
	}
	s.closeTo(k + 1)
	s.release() // what is still open has it
	s.run(line)
	if last {
		s.closeTo(k)
		return
	}
	f.begun = true
	s.begin(f.digest, false)
}

// closeTo closes the leaf and the frames from the k-th on.
func (s *scanner) closeTo(k int) {
	s.closeLeaf()
	for len(s.frames) > k {
		f := &s.frames[len(s.frames)-1]
		if len(f.boundary) > 0 {
			s.multiparts--
		} else {
			s.closeMessage(f)
		}
		s.frames = s.frames[:len(s.frames)-1]
	}
}

func (s *scanner) closeMessage(f *frame) {
	if f.hashed {
		s.digesting--
	}
	if f.part < 0 {
		return
	}
	part := &s.found.parts[f.part]
	part.Octets, part.Damaged = s.offset-f.from, f.damaged
	if f.hashed && !f.torn {
		part.SHA256 = digestText(s.digests[s.digesting])
	}
}

func (s *scanner) closeLeaf() {
	l := &s.leaf
	if !l.open {
		return
	}
	l.finish()
	if !l.listed { // a multipart in which no boundary was found
		l.part = s.found.add(l.about)
	}
	if l.part >= 0 {
		part := &s.found.parts[l.part]
		part.Octets, part.Damaged = l.octets, l.damaged
		if l.hashed && !l.torn {
			part.SHA256 = digestText(l.digest)
		}
	}
	l.drop()
}

// truncated marks what the end of the stream cut short: all that is within a multipart which has no last boundary. It
// returns the place of the outermost one that lacks it, after its first.
func (s *scanner) truncated() int {
	outermost, within := len(s.frames), false
	for k := range s.frames {
		f := &s.frames[k]
		f.damaged = f.damaged || within
		within = within || len(f.boundary) > 0
		if f.begun {
			outermost = min(outermost, k)
		}
	}
	s.leaf.damaged = s.leaf.damaged || within
	if outermost == len(s.frames) || s.end == crEnd {
		s.release()
	}
	return outermost
}

func digestText(h hash.Hash) string {
	var sum [sha256.Size]byte
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], h.Sum(sum[:0]))
	return string(text[:])
}
