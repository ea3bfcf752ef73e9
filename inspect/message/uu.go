package message

import (
	"bytes"
	"strconv"
)

// maxUULine has room for "begin", a mode and a name.
const maxUULine = 32 + MaxToken

// uuDecoder decodes uuencoded content, from its "begin" to its "end". What has no such line stays as it is.
type uuDecoder struct {
	line   [maxUULine]byte // the line so far, as much of it as counts
	n      int
	begun  bool
	ended  bool
	faulty bool
	torn   bool // octets of this line are missing
}

func (l *leaf) writeUU(data []byte) {
	d := &l.uu
	for len(data) > 0 && !d.ended {
		n := bytes.IndexByte(data, '\n') + 1
		piece := data
		if n > 0 {
			piece = data[:n]
		}
		if !d.begun {
			l.emit(piece)
		}
		d.n += copy(d.line[d.n:], piece)
		if n > 0 {
			l.lineUU()
		}
		data = data[len(piece):]
	}
}

// lineUU takes the line that is complete.
func (l *leaf) lineUU() {
	d := &l.uu
	line := bytes.TrimRight(d.line[:d.n], "\r\n")
	d.n = 0
	switch {
	case d.torn:
		d.torn = false
	case !d.begun:
		if name, ok := cutBegin(line); ok {
			d.begun = true
			l.octets = 0
			l.found.begin(l.part)
			l.name(name)
			if l.hashed {
				l.digest.Reset()
			}
		}
	case string(bytes.TrimRight(line, " \t\f")) == "end":
		d.ended = true
	case len(line) > 0:
		out, ok := appendUU(l.piece[:0], line)
		d.faulty = d.faulty || !ok
		l.emit(out)
	}
}

// cutBegin takes the name from a line "begin mode name".
func cutBegin(line []byte) (name []byte, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("begin "))
	mode, name, _ := bytes.Cut(rest, []byte(" "))
	_, err := strconv.ParseUint(string(mode[:min(len(mode), 16)]), 8, 32)
	return name, ok && err == nil
}

// appendUU decodes one line: its length, then four characters for three octets. Spaces at its end may have been lost.
func appendUU(dst, line []byte) (out []byte, ok bool) {
	n := int(line[0]-' ') & 0x3f
	line, ok = line[1:], true
	at := func(i int) byte {
		if i >= len(line) {
			return 0
		}
		ok = ok && line[i] >= ' ' && line[i] <= '`'
		return (line[i] - ' ') & 0x3f
	}
	for i := 0; n > 0; i += 4 {
		a, b, c, d := at(i), at(i+1), at(i+2), at(i+3)
		group := [3]byte{a<<2 | b>>4, b<<4 | c>>2, c<<6 | d}
		dst = append(dst, group[:min(n, 3)]...)
		n -= 3
	}
	return dst, ok
}

func (d *uuDecoder) hole() { d.n, d.torn = 0, true }

func (l *leaf) finishUU() {
	d := &l.uu
	if d.n > 0 && !d.ended {
		l.lineUU()
	}
	l.damaged = l.damaged || d.faulty || d.begun && !d.ended
}
