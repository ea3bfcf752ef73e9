package message

import "bytes"

// maxBlanks is the longest white space before a line end that is taken for an addition of the way. More is content.
const maxBlanks = 256

// qpDecoder decodes quoted-printable (RFC 2045 section 6.7) as mail programs do. A line may have any length. White space
// at the end of a line was added on the way (rule 3), also between "=" and the line end. "=" with anything else but two
// hexadecimal digits stands for itself.
type qpDecoder struct {
	held []byte // the end of what was written, if what follows decides about it: an escape, blanks, CR
	long bool   // within white space longer than maxBlanks
}

func (d *qpDecoder) reset() { d.held, d.long = d.held[:0], false }

func (l *leaf) writeQP(data []byte) {
	d := &l.qp
	for len(data) > 0 {
		if d.long {
			n := len(data) - len(bytes.TrimLeft(data, " \t"))
			d.long = n == len(data)
			l.emit(data[:n])
			data = data[n:]
			continue
		}
		src := data[:min(len(data), maxPiece/2)]
		data = data[len(src):]
		if len(d.held) > 0 {
			d.held = append(d.held, src...)
			src = d.held
		}
		out, rest := d.decode(l.piece[:0], src)
		l.emit(out)
		d.held = append(d.held[:0], rest...)
	}
}

// decode appends to dst what src says, and returns the end of src about which more octets have to decide.
func (d *qpDecoder) decode(dst, src []byte) (out, rest []byte) {
	for {
		n := bytes.IndexByte(src, '\n')
		if n < 0 {
			break
		}
		dst = appendQPLine(dst, src[:n])
		src = src[n+1:]
	}
	text, blanks, end := cutBlanks(src)
	if len(blanks) > maxBlanks {
		d.long = len(end) == 0
		if dst = appendUnescaped(dst, src[:len(text)+len(blanks)], '='); d.long {
			return dst, nil
		}
		return dst, end
	}
	n := len(text)
	switch {
	case n >= 1 && text[n-1] == '=':
		n--
	case n >= 2 && text[n-2] == '=' && isHex(text[n-1]) && len(blanks)+len(end) == 0:
		n -= 2
	}
	return appendUnescaped(dst, src[:n], '='), src[n:]
}

// cutBlanks splits off the white space, and one CR, at the end.
func cutBlanks(src []byte) (text, blanks, end []byte) {
	n := len(src)
	if n > 0 && src[n-1] == '\r' {
		n--
	}
	text = bytes.TrimRight(src[:n], " \t")
	return text, src[len(text):n], src[n:]
}

// appendQPLine decodes a whole line, of which src is all but its LF.
func appendQPLine(dst, src []byte) []byte {
	text, blanks, end := cutBlanks(src)
	if len(blanks) > maxBlanks {
		dst = appendUnescaped(dst, src[:len(text)+len(blanks)], '=')
	} else if soft := len(text) > 0 && text[len(text)-1] == '='; soft {
		return appendUnescaped(dst, text[:len(text)-1], '=')
	} else {
		dst = appendUnescaped(dst, text, '=')
	}
	return append(append(dst, end...), '\n')
}

// appendUnescaped decodes the escapes in src: mark and two hexadecimal digits. Anything else stands for itself.
func appendUnescaped(dst, src []byte, mark byte) []byte {
	for {
		n := bytes.IndexByte(src, mark)
		if n < 0 {
			return append(dst, src...)
		}
		dst = append(dst, src[:n]...)
		if src = src[n+1:]; len(src) >= 2 && isHex(src[0]) && isHex(src[1]) {
			dst = append(dst, unhex(src[0])<<4|unhex(src[1]))
			src = src[2:]
		} else {
			dst = append(dst, mark)
		}
	}
}

// finishQP ends the content: the end of the part is the end of a line.
func (l *leaf) finishQP() {
	text, _, end := cutBlanks(l.qp.held)
	text = bytes.TrimSuffix(text, []byte("="))
	l.emit(append(appendUnescaped(l.piece[:0], text, '='), end...))
	l.qp.reset()
}

// holeQP hands on what was undecided, as it is.
func (l *leaf) holeQP() {
	l.emit(l.qp.held)
	l.qp.reset()
}

func isHex(c byte) bool { return c-'0' < 10 || (c|0x20)-'a' < 6 }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return (c | 0x20) - 'a' + 10
}
