package wire

import "bytes"

// MaxLine is how many octets of one command or reply line are kept; the rest is counted and skipped up to the line end.
const MaxLine = 4 << 10

// Line is one line without its line end.
type Line struct {
	Data []byte // at most MaxLine octets, borrowed until the next call
	Cut  int64  // octets beyond MaxLine, before the line end
	Bare bool   // ended by LF without CR
}

// LineReader cuts a stream of octets into lines that end with LF. Its zero value is ready. It copies only lines that span
// chunks, and holds at most MaxLine octets.
type LineReader struct {
	part []byte // of the line so far; a CR at its end may belong to the line end
	cut  int64
	cr   bool // the last octet was CR, and was cut
}

// Next returns the first line of data and what follows it. Without a line end in data, all of it is kept for later and
// ok is false.
func (r *LineReader) Next(data []byte) (line Line, rest []byte, ok bool) {
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		r.keep(data)
		return Line{}, nil, false
	}
	head, rest := data[:i], data[i+1:]
	if r.Empty() && len(head) <= MaxLine {
		return trim(head, 0, false), rest, true
	}
	r.keep(head)
	line = trim(r.part, r.cut, r.cr)
	r.Reset()
	return line, rest, true
}

// Pending returns the octets of a line whose end was not seen yet, borrowed until the next call.
func (r *LineReader) Pending() Line { return trim(r.part, r.cut, r.cr) }

// Empty says that the reader is at the beginning of a line.
func (r *LineReader) Empty() bool { return len(r.part) == 0 && r.cut == 0 }

// Reset forgets the line so far; what comes next begins a line, or is the rest of one after a gap. A long line's memory
// is not kept for the next.
func (r *LineReader) Reset() {
	const usual = 256
	if cap(r.part) > usual {
		r.part = nil
	}
	*r = LineReader{part: r.part[:0]}
}

func (r *LineReader) keep(data []byte) {
	if len(data) == 0 {
		return
	}
	if n := MaxLine - len(r.part); len(data) > n {
		r.part = append(r.part, data[:n]...)
		r.cut += int64(len(data) - n)
		r.cr = data[len(data)-1] == '\r'
		return
	}
	r.part = append(r.part, data...)
}

func trim(data []byte, cut int64, cutCR bool) Line {
	switch n := len(data); {
	case cutCR:
		return Line{Data: data, Cut: cut - 1}
	case cut == 0 && n > 0 && data[n-1] == '\r':
		return Line{Data: data[:n-1]}
	}
	return Line{Data: data, Cut: cut, Bare: true}
}

// CutWord returns the first word of line and what follows the blanks behind it, without blanks at either end.
func CutWord(line []byte) (word, rest []byte) {
	line = bytes.TrimLeft(line, " \t")
	i := bytes.IndexAny(line, " \t")
	if i < 0 {
		return line, nil
	}
	return line[:i], bytes.Trim(line[i:], " \t")
}

// maxUnknownVerb bounds the verb of a line that is no known command.
const maxUnknownVerb = 32

// UnknownVerb returns the verb of a command line whose first word is no known one. It is never a pseudo-verb: a client
// that says CONNECT was not greeted.
func UnknownVerb(word []byte) string {
	switch verb := string(bytes.ToUpper(word[:min(len(word), maxUnknownVerb)])); verb {
	case Connect, DataEnd:
		return Other
	default:
		return verb
	}
}

// Anomalies says what is wrong with a command line as such.
func (l Line) Anomalies(say func(kind string, count int64)) {
	if l.Bare {
		say(BareLF, 1)
	}
	if l.Cut > 0 {
		say(LongLine, 1)
	}
	if n := bytes.Count(l.Data, []byte{0}); n > 0 {
		say(NUL, int64(n))
	}
}
