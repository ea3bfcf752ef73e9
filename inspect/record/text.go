package record

import (
	"strings"
	"unicode/utf8"
)

// Text makes foreign text fit for a field of a record: valid UTF-8 of at most MaxText octets.
func Text(foreign string) string {
	t := strings.ToValidUTF8(foreign, "\uFFFD")
	if len(t) <= MaxText {
		return t
	}
	n := MaxText
	for !utf8.RuneStart(t[n]) {
		n--
	}
	return t[:n]
}
