package record

import (
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// endObject ends an object whose fields, each with a comma before it, stand in dst from at on.
func endObject(dst []byte, at int) []byte {
	if len(dst) == at {
		return append(dst, '{', '}')
	}
	dst[at] = '{'
	return append(dst, '}')
}

func appendReply(dst []byte, code int, enhanced, text string) []byte {
	dst = optInt(dst, `,"code":`, code)
	dst = optText(dst, `,"enhanced":`, enhanced)
	return optText(dst, `,"text":`, text)
}

func optReply(dst []byte, name string, r *Reply) []byte {
	if r == nil {
		return dst
	}
	dst = append(dst, name...)
	at := len(dst)
	return endObject(appendReply(dst, r.Code, r.Enhanced, r.Text), at)
}

func optRecipients(dst []byte, r *Recipients) []byte {
	if r == nil {
		return dst
	}
	dst = appendInt(dst, `,"recipients":{"accepted":`, r.Accepted)
	dst = appendInt(dst, `,"rejected":`, r.Rejected)
	return append(optInt(dst, `,"unknown":`, r.Unknown), '}')
}

func optArray[T any](dst []byte, name string, list []T, appendJSON func(*T, []byte) []byte) []byte {
	if len(list) == 0 {
		return dst
	}
	dst = append(dst, name...)
	for i := range list {
		dst = append(dst, ',')
		if i == 0 {
			dst[len(dst)-1] = '['
		}
		dst = appendJSON(&list[i], dst)
	}
	return append(dst, ']')
}

func optTexts(dst []byte, name string, list []string) []byte {
	if len(list) == 0 {
		return dst
	}
	dst = append(dst, name...)
	for i, s := range list {
		sep := ","
		if i == 0 {
			sep = "["
		}
		dst = appendText(dst, sep, s)
	}
	return append(dst, ']')
}

// optMap writes the keys in the order of their octets, as encoding/json does.
func optMap(dst []byte, name string, m map[string]string) []byte {
	if len(m) == 0 {
		return dst
	}
	var few [16]string
	keys := few[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	dst = append(dst, name...)
	for i, k := range keys {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		dst = appendText(dst, sep, k)
		dst = appendText(dst, ":", m[k])
	}
	return append(dst, '}')
}

func appendInt[T int | int64 | uint16](dst []byte, name string, n T) []byte {
	return strconv.AppendInt(append(dst, name...), int64(n), 10)
}

func optInt(dst []byte, name string, n int) []byte {
	if n == 0 {
		return dst
	}
	return appendInt(dst, name, n)
}

func optTrue(dst []byte, field string, v bool) []byte {
	if !v {
		return dst
	}
	return append(dst, field...)
}

func optText(dst []byte, name, s string) []byte {
	if s == "" {
		return dst
	}
	return appendText(dst, name, s)
}

func appendTime(dst []byte, name string, t Time) []byte {
	dst = append(append(dst, name...), '"')
	return append(t.Append(dst), '"')
}

func optTime(dst []byte, name string, t Time) []byte {
	if t.IsZero() {
		return dst
	}
	return appendTime(dst, name, t)
}

// maxTenths is how many tenths a float64 surely tells apart: below it a decimal of at most 15 digits is the shortest
// that gives its number back.
const maxTenths = 1e14

// appendMS writes f as ECMAScript does, and encoding/json with it. Nearly all are tenths, and that is fast.
func appendMS(dst []byte, name string, f float64) []byte {
	dst = append(dst, name...)
	if f > 0 && f < maxTenths/10 {
		n := int64(f*10 + 0.5)
		if float64(n)/10 == f {
			dst = strconv.AppendInt(dst, n/10, 10)
			if n%10 != 0 {
				dst = append(dst, '.', byte('0'+n%10))
			}
			return dst
		}
	}
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return append(dst, '0')
	}
	if abs := math.Abs(f); abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	if n := len(dst); n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' { // e-09 is written e-9
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// appendText writes s in quotes. Octets that are not UTF-8 become U+FFFD, and U+2028 and U+2029, which end a line of
// JavaScript, are escaped too.
func appendText(dst []byte, name, s string) []byte {
	dst = append(append(dst, name...), '"')
	start := 0
	for i := 0; i < len(s); {
		if n := plainRun(s[i:]); n > 0 {
			i += n
			continue
		}
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				dst = append(append(dst, s[start:i]...), `\ufffd`...)
				start = i + 1
			case r == '\u2028' || r == '\u2029':
				dst = append(append(dst, s[start:i]...), '\\', 'u', '2', '0', '2', hexDigits[r&15])
				start = i + size
			}
			i += size
			continue
		}
		i++
		if c == 0x7f {
			continue
		}
		dst = append(dst, s[start:i-1]...)
		start = i
		switch c {
		case '\\', '"':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(append(dst, s[start:]...), '"')
}
