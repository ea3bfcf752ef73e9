package wire

import "bytes"

// DotReader finds the end of dot-stuffed data (RFC 5321 section 4.5.2, RFC 1939 section 3) and takes the stuffing off.
//
// Only CRLF.CRLF is an end of data. What some servers take for one (LF.LF, LF.CRLF, CR.CR, CRLF.LF and their like, also
// with a NUL beside the dot, or more than one CR behind it) stops the reader too, as an ambiguous end: whoever watches both sides can tell from the
// replies what the server made of it, and then calls Decline to go on, or leaves it there. The zero value is at the
// beginning of the data.
type DotReader struct {
	BareLF int64 // LFs without CR so far
	BareCR int64 // CRs without LF so far

	state   dotState
	odd     bool    // the last line end is no CRLF, or a NUL stands beside the dot
	stuffed bool    // the held dot follows a CRLF at once
	held    [8]byte // the dot and what follows it, until it is known what they are
	nheld   int
}

type dotState uint8

const (
	atLineStart dotState = iota // after a line end, or at the beginning
	inLine
	afterLoss // in a line, or after the CR of its end
	afterCR
	afterDot   // the dot is held
	afterDotCR // the dot and the CR are held
)

// DotEnd says why DotReader.Next returned.
type DotEnd uint8

const (
	DotMore      DotEnd = iota // all of data was taken, the end is still to come
	DotDone                    // CRLF.CRLF
	DotAmbiguous               // an end for some servers only
)

// Next takes octets from data up to an end, hands what belongs to the body to body, in runs that are slices of data (or
// of the reader, borrowed for the call), and returns what follows the end.
func (r *DotReader) Next(data []byte, body func([]byte)) (rest []byte, end DotEnd) {
	start := 0 // of the run of data not handed over yet
	for i := 0; i < len(data); {
		if r.state == inLine {
			i = r.hop(data, i)
			continue
		}
		c := data[i]
		switch r.state {
		case afterLoss:
			if r.state = inLine; c == '\n' {
				r.state, r.odd = atLineStart, false
				i++
			}
			continue
		case atLineStart, afterCR:
			i = r.lineStart(data, i, &start, body)
			continue
		case afterDot:
			switch {
			case c == '\r':
				r.hold(c)
				r.state = afterDotCR
			case c == '\n':
				r.hold(c)
				return data[i+1:], DotAmbiguous
			case c == 0 && r.nheld < len(r.held)-2:
				r.hold(c)
				r.odd = true
			default: // a stuffed dot is taken off, any other is part of the text
				r.release(body)
				r.state = inLine
				continue
			}
		case afterDotCR:
			if c == '\r' && r.nheld < len(r.held)-1 { // some servers take any number of CRs and an LF for a line end
				r.hold(c)
				r.odd = true
				break
			}
			if c != '\n' { // the CR alone may be taken for a line end
				return data[i:], DotAmbiguous
			}
			r.hold(c)
			if r.odd {
				return data[i+1:], DotAmbiguous
			}
			r.nheld, r.state = 0, atLineStart
			return data[i+1:], DotDone
		}
		i++
		start = i
	}
	if start < len(data) {
		body(data[start:])
	}
	return nil, DotMore
}

// hop moves from i, in a line, to the octet after the next CR or line end.
func (r *DotReader) hop(data []byte, i int) int {
	// A line end is a CR LF nearly always, so look for LF and then at what it ends: one fast search a line.
	n := bytes.IndexByte(data[i:], '\n')
	line := data[i:]
	if n >= 0 {
		line = data[i : i+n]
	}
	if k := bytes.IndexByte(line, '\r'); k >= 0 {
		r.state = afterCR
		return i + k + 1
	}
	if n < 0 {
		return len(data)
	}
	r.BareLF++
	r.state, r.odd = atLineStart, true
	return i + n + 1
}

// lineStart handles data[i] at the beginning of a line, or after a CR.
func (r *DotReader) lineStart(data []byte, i int, start *int, body func([]byte)) int {
	c := data[i]
	if r.state == afterCR {
		if c == '\n' {
			r.state, r.odd = atLineStart, false
			return i + 1
		}
		r.BareCR++
		r.state, r.odd = atLineStart, true
	}
	switch c {
	case '.':
		if i > *start {
			body(data[*start:i])
		}
		r.hold(c)
		r.state, r.stuffed = afterDot, !r.odd
		*start = i + 1
	case 0:
		r.odd = true
	case '\r':
		r.state = afterCR
	case '\n':
		r.BareLF++
		r.odd = true
	default:
		r.state = inLine
		return i
	}
	return i + 1
}

func (r *DotReader) hold(c byte) {
	r.held[r.nheld] = c
	r.nheld++
}

// release hands over what was held; a dot that stuffs a line is not part of the text.
func (r *DotReader) release(body func([]byte)) {
	held := r.held[:r.nheld]
	if r.stuffed {
		held = held[1:]
	}
	if r.nheld = 0; len(held) > 0 {
		body(held)
	}
}

// Form returns the ambiguous end at which Next stopped: the dot and the line end behind it.
func (r *DotReader) Form() string { return string(r.held[:r.nheld]) }

// Decline says that the ambiguous end at which Next stopped is none: its octets are text, and Next goes on behind them.
func (r *DotReader) Decline(body func([]byte)) {
	held := r.held[:r.nheld]
	crs := int64(bytes.Count(held, []byte("\r")))
	if r.state = afterCR; held[len(held)-1] == '\n' {
		r.state = atLineStart
		if r.odd = held[len(held)-2] != '\r'; r.odd {
			r.BareLF++
		}
	}
	if crs > 0 { // the last one belongs to a CRLF, or is still to be counted
		r.BareCR += crs - 1
	}
	r.release(body)
}

// Lose says that octets are missing here: the reader is somewhere in a line, and what was held is text. An LF that comes
// at once is taken for one whose CR is missing.
func (r *DotReader) Lose(body func([]byte)) {
	if r.nheld > 0 {
		r.stuffed = false // nobody knows whether the dot was
		r.release(body)
	}
	r.state = afterLoss
}
