package message

import "bytes"

// headerLine takes one line of a header section, or the part of it that data has.
func (s *scanner) headerLine(data []byte) []byte {
	n := bytes.IndexByte(data, '\n') + 1
	take := n
	if n == 0 {
		take = len(data)
	}
	if room := MaxField - len(s.line); take > room {
		take, s.skip = room, true
	} else if n == 0 {
		s.line = append(s.line, data...)
		return nil
	}
	line := data[:take]
	if len(s.line) > 0 {
		s.line = append(s.line, line...)
		line = s.line
		s.line = s.line[:0] // line is not overwritten before it was used
	}
	s.takeHeaderLine(line)
	return data[take:]
}

// skipLine passes over the rest of a header line that is too long.
func (s *scanner) skipLine(data []byte) []byte {
	n := bytes.IndexByte(data, '\n') + 1
	if n > 0 {
		s.skip = false
	} else {
		n = len(data)
	}
	s.run(data[:n])
	return data[n:]
}

func (s *scanner) takeHeaderLine(line []byte) {
	if k, last := s.match(line); k >= 0 {
		s.boundary(k, last, line)
		return
	}
	if s.header.torn {
		s.header.torn = false
		s.run(line)
		return
	}
	if isEmptyLine(line) {
		s.emptyLine(line)
		return
	}
	s.run(line)
	if s.header.take(line) == bodyBegan {
		s.endHeader()
		s.replay()
	}
}

// emptyLine ends the header section, unless there was none: then what looked like its first line began the body.
func (s *scanner) emptyLine(line []byte) {
	h := &s.header
	if h.fields == 0 && len(h.stray) > 0 {
		h.stray = append(h.stray, line...)
	} else {
		h.stray = h.stray[:0]
	}
	s.run(line)
	if len(h.stray) == 0 {
		s.release() // it is not the content's
	}
	s.endHeader()
	s.replay()
}

// replay gives the lines that turned out to be the body to the leaf. The digests have them already, and the last line
// end is still withheld.
func (s *scanner) replay() {
	if stray := s.header.stray; s.mode == inBody && len(stray) > 0 {
		text, _ := cutLineEnd(stray)
		s.leaf.write(text)
	}
	s.header.stray = s.header.stray[:0]
}

// closeHeader ends a header section that the end of the stream cuts short.
func (s *scanner) closeHeader() {
	if s.header.lines == 0 {
		s.mode = inBody // not even an empty line: there is no entity
		return
	}
	if len(s.header.stray) == 0 {
		s.release() // it is the header's
	}
	s.endHeader()
	s.replay()
}

// holeInHeader drops the field in which octets are missing; the rest of its line is passed over when it comes. A hole
// between two lines is in the first one's field, which might have gone on.
func (s *scanner) holeInHeader() {
	if len(s.line) == 0 || s.line[0] == ' ' || s.line[0] == '\t' {
		s.header.forget()
	}
	s.header.current, s.header.stray = otherField, s.header.stray[:0]
	if len(s.line) > 0 {
		line := s.line
		s.line = s.line[:0]
		s.run(line)
	}
	s.release()
	s.skip = false
	s.header.lines++
	s.header.torn, s.header.damaged = true, true
}

func isEmptyLine(line []byte) bool {
	for _, c := range line[:len(line)-1] {
		if c != '\r' {
			return false
		}
	}
	return line[len(line)-1] == '\n' || line[0] == '\r'
}
