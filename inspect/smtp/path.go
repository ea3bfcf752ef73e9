package smtp

import (
	"bytes"
	"strings"
)

// Param is one ESMTP parameter of MAIL or RCPT (RFC 5321 section 4.1.2).
type Param struct{ Key, Value string }

// maxParams bounds the parameters of one command.
const maxParams = 32

// Path takes the argument of MAIL or RCPT apart: FROM:<reverse-path> or TO:<forward-path>, and parameters. It is lenient
// as servers are: blanks before the path, no colon, no angle brackets, a source route (which is dropped, RFC 5321
// appendix C).
func Path(arg []byte) (address string, params []Param) {
	path, rest := cutPath(cutKeyword(arg))
	if len(path) > 0 && path[0] == '@' {
		if i := bytes.IndexByte(path, ':'); i > 0 {
			path = path[i+1:]
		}
	}
	for word := range bytes.FieldsSeq(rest) {
		if len(params) == maxParams {
			break
		}
		key, value, _ := bytes.Cut(word, []byte("="))
		params = append(params, Param{strings.ToUpper(utf8(key)), utf8(value)})
	}
	return utf8(path), params
}

// cutKeyword takes FROM: or TO: off, and the blanks behind it.
func cutKeyword(arg []byte) []byte {
	n := max(0, bytes.IndexAny(arg, ": \t<"))
	keyword, rest := arg[:n], bytes.TrimLeft(arg[n:], " \t")
	if after, ok := bytes.CutPrefix(rest, []byte(":")); ok {
		return bytes.TrimLeft(after, " \t")
	}
	if bytes.EqualFold(keyword, []byte("FROM")) || bytes.EqualFold(keyword, []byte("TO")) {
		return rest
	}
	return bytes.TrimLeft(arg, " \t")
}

// cutPath splits <path> or an unbracketed path from what follows it. Where a quote is not closed, it is none.
func cutPath(s []byte) (path, rest []byte) {
	end := " \t"
	s, bracketed := bytes.CutPrefix(s, []byte("<"))
	if bracketed {
		end = ">"
	}
	i, closed := pathEnd(s, end)
	if !closed || bracketed && i == len(s) {
		i = bytes.IndexAny(s, end)
	}
	switch {
	case i < 0:
		return s, nil
	case bracketed:
		return s[:i], s[i+1:]
	}
	return s[:i], s[i:]
}

// pathEnd returns where one of the octets of end ends a path, at its end where none does: not within a quoted string, nor
// behind a backslash (RFC 5321 section 4.1.2, RFC 821 section 4.1.2). closed: a quoted string does not go beyond it.
func pathEnd(s []byte, end string) (n int, closed bool) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(end, c) >= 0:
			return i, true
		}
	}
	return len(s), !quoted
}

func utf8(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }
