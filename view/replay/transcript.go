package replay

import (
	"bytes"
	"io"
	"net"
	"strings"
)

const maxHeard = 1 << 20 // octets of one step that are kept

// transcript hears what both sides say.
type transcript struct {
	buf  bytes.Buffer
	deaf bool
}

func (t *transcript) Write(p []byte) (int, error) {
	if !t.deaf && t.buf.Len() < maxHeard {
		t.buf.Write(p)
	}
	return len(p), nil
}

// take returns what was heard since it was called last.
func (t *transcript) take() string {
	s := t.buf.String()
	t.buf.Reset()
	return s
}

// commandAndReply tells our line from the server's, which begin with three digits, as no command does.
func commandAndReply(said string) (command, reply string) {
	var lines []string
	for line := range strings.Lines(said) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case len(line) >= 3 && strings.Trim(line[:3], "0123456789") == "":
			lines = append(lines, line)
		case line != "" && line != "." && len(lines) == 0:
			command = line
		}
	}
	return command, strings.Join(lines, "\n")
}

// greeting keeps what is read first.
type greeting struct {
	net.Conn
	first []byte
}

func (g *greeting) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if len(g.first) < 4096 {
		g.first = append(g.first, p[:n]...)
	}
	return n, err
}

// line returns the server's greeting.
func (g *greeting) line() string {
	text := string(g.first)
	for end := 0; ; {
		i := strings.IndexByte(text[end:], '\n')
		if i < 0 {
			return strings.TrimRight(text, "\r\n")
		}
		line := text[end : end+i]
		end += i + 1
		if len(line) < 4 || line[3] != '-' {
			return strings.TrimRight(text[:end], "\r\n")
		}
	}
}

// lineEnds counts the LFs without CR that pass.
type lineEnds struct {
	r    io.Reader
	lone int
	last byte
}

func (l *lineEnds) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	for _, c := range p[:n] {
		if c == '\n' && l.last != '\r' {
			l.lone++
		}
		l.last = c
	}
	return n, err
}
