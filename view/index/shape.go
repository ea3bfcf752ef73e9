package index

import "strings"

const maxShape = 200 // octets

// shape returns a reply's text with … for what is different each time: addresses, numbers, ids and what stands in quotes
// or brackets, so that replies of one kind can be counted. Only the first line counts.
func shape(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	var b strings.Builder
	left := false // the last word was left out
	for word := range strings.FieldsSeq(quoted(cut(text, 2*maxShape))) {
		if varies(word) {
			word = "…" + trailing(word)
			if left && word == "…" {
				continue
			}
		}
		left = word == "…"
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(word)
	}
	return cut(b.String(), maxShape)
}

// quoted replaces what stands in <>, [] or quotes.
func quoted(text string) string {
	if !strings.ContainsAny(text, `<["'`) {
		return text
	}
	var b strings.Builder
	for {
		i := strings.IndexAny(text, `<["'`)
		if i < 0 {
			break
		}
		closing := map[byte]byte{'<': '>', '[': ']', '"': '"', '\'': '\''}[text[i]]
		n := strings.IndexByte(text[i+1:], closing)
		apostrophe := text[i] == '\'' && i > 0 && text[i-1] != ' '
		if n < 0 || apostrophe {
			b.WriteString(text[:i+1])
			text = text[i+1:]
			continue
		}
		b.WriteString(text[:i])
		if inner := text[i+1:][:n]; i == 0 && b.Len() == 0 && isResponseCode(inner) {
			b.WriteString(text[:n+2])
		} else {
			b.WriteString("…")
		}
		text = text[i+n+2:]
	}
	b.WriteString(text)
	return b.String()
}

// isResponseCode holds for what POP3 has in brackets before its text (RFC 2449 section 8), as AUTH, IN-USE and SYS/TEMP.
func isResponseCode(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-/") == ""
}

// varies says that a word is an address, a number, a host, a link or an id.
func varies(word string) bool {
	core := strings.TrimRight(word, ".,;:!?)")
	core = strings.TrimLeft(core, "(")
	if core == "" || core == "…" {
		return false
	}
	digits, dots := 0, 0
	for i := range len(core) {
		switch c := core[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c == '@' || c == '=':
			return true
		case c == '.' || c == '/' && i > 0:
			dots++
		}
	}
	if isEnhanced(core) {
		return false
	}
	return digits > 0 || dots > 0
}

// isEnhanced holds for an enhanced status code, which always means the same.
func isEnhanced(s string) bool {
	return len(s) >= 5 && (s[0] == '2' || s[0] == '4' || s[0] == '5') && s[1] == '.' && strings.Count(s, ".") == 2 &&
		strings.Trim(s, "0123456789.") == "" && len(s) <= 9
}

// trailing returns the punctuation that a word ends with.
func trailing(word string) string {
	return word[len(strings.TrimRight(word, ".,;:!?)")):]
}
