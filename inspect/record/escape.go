package record

import "strings"

// AppendEscaped appends foreign octets as printable ASCII, so that no line of a log can forge another or drive a
// terminal: a control octet, DEL and every octet that is not ASCII as \x1b, a backslash as \\. Unescape undoes it.
func AppendEscaped[S string | []byte](dst []byte, s S) []byte {
	return appendEscaped(dst, s, false)
}

// AppendQuoted is AppendEscaped in quotes, with a quote in s as \".
func AppendQuoted[S string | []byte](dst []byte, s S) []byte {
	return append(appendEscaped(append(dst, '"'), s, true), '"')
}

func appendEscaped[S string | []byte](dst []byte, s S, quotes bool) []byte {
	start := 0
	for i := 0; i < len(s); {
		if n := plainRun(s[i:]); n > 0 {
			i += n
			continue
		}
		c := s[i]
		i++
		switch {
		case c == '"' && !quotes:
			continue
		case c == '\\' || c == '"':
			dst = append(append(dst, s[start:i-1]...), '\\', c)
		default:
			dst = append(append(dst, s[start:i-1]...), '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		}
		start = i
	}
	return append(dst, s[start:]...)
}

// Unescape gives back the octets that AppendEscaped, or AppendQuoted between its quotes, was given. It is false for a
// text that neither of them writes.
func Unescape(s string) (string, bool) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, plainText(s)
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < ' ' || c > '~' {
			return "", false
		}
		if c != '\\' {
			out = append(out, c)
			continue
		}
		i++
		if i == len(s) {
			return "", false
		}
		switch s[i] {
		case '\\', '"':
			out = append(out, s[i])
		case 'x':
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
			v := hi<<4 | lo
			if hi < 0 || lo < 0 || v >= ' ' && v <= '~' {
				return "", false
			}
			out = append(out, byte(v))
			i += 2
		default:
			return "", false
		}
	}
	return string(out), true
}

func plainText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// plain holds for the octets that neither JSON nor a log line escapes: printable ASCII but for the quote and the
// backslash.
func plain(c byte) bool { return c >= ' ' && c <= '~' && c != '"' && c != '\\' }

// plainRun returns how many octets s begins with that are plain. It looks at eight at a time.
func plainRun[S string | []byte](s S) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		t := s[i : i+8]
		w := uint64(t[0]) | uint64(t[1])<<8 | uint64(t[2])<<16 | uint64(t[3])<<24 |
			uint64(t[4])<<32 | uint64(t[5])<<40 | uint64(t[6])<<48 | uint64(t[7])<<56
		quote, slash := w^ones*'"', w^ones*'\\'
		// A high bit is left where an octet is over 127, below the space, DEL, a quote or a backslash.
		if (w|(w+ones)|((w-ones*' ')&^w)|((quote-ones)&^quote)|((slash-ones)&^slash))&highs != 0 {
			break
		}
	}
	for i < len(s) && plain(s[i]) {
		i++
	}
	return i
}
