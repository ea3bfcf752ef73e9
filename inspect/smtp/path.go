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
// as servers are: blanks before the path, no angle brackets, a source route (which is dropped, RFC 5321 appendix C).
func Path(arg []byte) (address string, params []Param) {
	_, rest, ok := bytes.Cut(arg, []byte(":"))
	if !ok {
		rest = arg
	}
	rest = bytes.TrimLeft(rest, " \t")
	path, rest := cutPath(rest)
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

// cutPath splits <path> or an unbracketed path from what follows it; a quoted local part may hold anything.
func cutPath(s []byte) (path, rest []byte) {
	bracketed := len(s) > 0 && s[0] == '<'
	if bracketed {
		s = s[1:]
	}
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case bracketed && c == '>':
			return s[:i], s[i+1:]
		case !bracketed && (c == ' ' || c == '\t'):
			return s[:i], s[i:]
		}
	}
	return s, nil
}

func utf8(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }
