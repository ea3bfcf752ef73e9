package view

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Printable makes foreign text fit for a terminal: what is not printable (control characters, those that turn the
// direction of writing, octets that are no UTF-8) is escaped, as \x1b or \u202e. Nothing in it ends a line.
func Printable(s string) string { return printable(s, "") }

// PrintableLines is Printable that leaves line ends and tabs as they are.
func PrintableLines(s string) string { return printable(s, "\n\t") }

// PrintableJSON is PrintableLines of valid JSON, which stays that: JSON has DEL as it is, and has no \x.
func PrintableJSON(text []byte) string {
	return PrintableLines(strings.ReplaceAll(string(text), "\x7f", `\u007f`))
}

func printable(s, keep string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1, r < utf8.RuneSelf && !unicode.IsPrint(r) && !strings.ContainsRune(keep, r):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !unicode.IsPrint(r) && r >= utf8.RuneSelf:
			for _, u := range utf16.AppendRune(nil, r) { // as JSON has it too
				fmt.Fprintf(&b, `\u%04x`, u)
			}
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// Style says how text is shown; the zero value is plain.
type Style struct{ Colour bool }

// The colours of ECMA-48 that a terminal shows in its own way.
func (s Style) refusal(text string) string { return s.paint("31", text) }
func (s Style) client(text string) string  { return s.paint("36", text) }
func (s Style) faint(text string) string   { return s.paint("2", text) }
func (s Style) strong(text string) string  { return s.paint("1", text) }

func (s Style) paint(code, text string) string {
	if !s.Colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
