package message

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/mailwire/mailwire/inspect/record"
)

// decodeText returns the text of a field, or a part of one: encoded words (RFC 2047) decoded, raw octets as UTF-8, each
// octet that is none as U+FFFD; at most record.MaxText octets.
func decodeText(value []byte) string {
	if !bytes.Contains(value, []byte("=?")) {
		return clean(value)
	}
	return clean(decodeWords(value))
}

// clean returns value as a valid string of at most record.MaxText octets, without white space around it, and with a
// space for each control character that is white space.
func clean(value []byte) string {
	s := valid(bytes.TrimSpace(value), record.MaxText)
	for i := range len(s) {
		if isSpaceControl(rune(s[i])) {
			return strings.Map(spaceControl, s)
		}
	}
	return s
}

func isSpaceControl(r rune) bool { return r >= '\t' && r <= '\r' }

func spaceControl(r rune) rune {
	if isSpaceControl(r) {
		return ' '
	}
	return r
}

// valid returns value as UTF-8, each octet that is none replaced, cut at a rune to at most limit octets.
func valid(value []byte, limit int) string {
	if utf8.Valid(value[:min(len(value), limit+utf8.UTFMax)]) {
		return cut(string(value[:min(len(value), limit+utf8.UTFMax)]), limit)
	}
	var b strings.Builder
	for len(value) > 0 && b.Len() < limit {
		r, n := utf8.DecodeRune(value)
		if b.Len()+utf8.RuneLen(r) > limit {
			break
		}
		b.WriteRune(r)
		value = value[n:]
	}
	return b.String()
}

// cut shortens s to at most limit octets, at a rune.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return strings.Clone(s[:limit])
}
