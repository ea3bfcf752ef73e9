package archive

import (
	"bytes"
	"io"
)

// lineEnds turns the wire's line ends into those of a Maildir file: LF for CRLF, as long as every line end is CRLF. At
// the first bare LF the file must be exact: what was written so far gets its CRs back (expand), and the wire's octets
// follow as they are. A CR without LF is no line end. The zero value is at the beginning of a mail.
type lineEnds struct {
	exact bool  // the octets are those of the wire
	cr    bool  // a CR is held back: an LF may follow
	lfs   int64 // LFs given out while not exact: CRs that expand has to give back
}

// append appends octets of the wire to dst, which has room for len(p)+1 of them. It stops at a bare LF that makes the
// file exact: n is then how many octets of p were taken, and the caller expands what was written before it goes on.
func (l *lineEnds) append(dst, p []byte) (out []byte, n int, bare bool) {
	if l.exact {
		return append(dst, p...), len(p), false
	}
	if len(p) == 0 {
		return dst, 0, false
	}
	if l.cr {
		l.cr = false
		if p[0] == '\n' {
			dst, n = append(dst, '\n'), 1
			l.lfs++
		} else {
			dst = append(dst, '\r')
		}
	}
	for n < len(p) {
		i := bytes.IndexByte(p[n:], '\n')
		if i < 0 {
			break
		}
		if i == 0 || p[n+i-1] != '\r' {
			l.exact = true
			return dst, n, true
		}
		dst = append(dst, p[n:n+i]...)
		dst[len(dst)-1] = '\n'
		l.lfs++
		n += i + 1
	}
	rest := p[n:]
	if k := len(rest); k > 0 && rest[k-1] == '\r' {
		l.cr = true
		rest = rest[:k-1]
	}
	return append(dst, rest...), len(p), false
}

// end appends what is held back. At most one octet.
func (l *lineEnds) end(dst []byte) []byte {
	if l.cr {
		l.cr = false
		dst = append(dst, '\r')
	}
	return dst
}

// expand writes src into dst with each LF as CRLF and returns how many octets that are. The slices may overlap if src
// begins at least len(src) octets after dst.
func expand(dst, src []byte) int {
	n := 0
	for len(src) > 0 {
		i := bytes.IndexByte(src, '\n')
		if i < 0 {
			return n + copy(dst[n:], src)
		}
		n += copy(dst[n:], src[:i])
		src = src[i+1:]
		dst[n], dst[n+1] = '\r', '\n'
		n += 2
	}
	return n
}

// expandInPlace gives the lfs LFs of buf their CRs back; buf has room for them.
func expandInPlace(buf []byte, lfs int) []byte {
	from, to := len(buf), len(buf)+lfs
	buf = buf[:to]
	for to > from { // as many CRs are still missing
		i := bytes.LastIndexByte(buf[:from], '\n')
		k := from - i - 1
		copy(buf[to-k:to], buf[i+1:from])
		to -= k + 2
		buf[to], buf[to+1] = '\r', '\n'
		from = i
	}
	return buf
}

const wireBuffer = 32 << 10

// WireReader gives the wire's octets of a stored mail back: r is its file, and exact what its record says
// (record.Stored).
func WireReader(r io.Reader, exact bool) io.Reader {
	if exact {
		return r
	}
	return &wireReader{r: r, buf: make([]byte, wireBuffer)}
}

type wireReader struct {
	r    io.Reader
	buf  []byte
	data []byte // what is left of buf
	lf   bool   // an LF is owed: its CR was given out
	err  error
}

func (w *wireReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if w.lf {
			p[n] = '\n'
			n++
			w.lf = false
			continue
		}
		if len(w.data) == 0 {
			if n > 0 {
				return n, nil
			}
			if w.err != nil {
				return 0, w.err
			}
			var k int
			k, w.err = w.r.Read(w.buf)
			w.data = w.buf[:k]
			if k == 0 && w.err == nil {
				return 0, nil
			}
			continue
		}
		i := bytes.IndexByte(w.data, '\n')
		if i == 0 {
			p[n] = '\r'
			n++
			w.lf = true
			w.data = w.data[1:]
			continue
		}
		if i < 0 {
			i = len(w.data)
		}
		k := copy(p[n:], w.data[:i])
		n += k
		w.data = w.data[k:]
	}
	return n, nil
}
