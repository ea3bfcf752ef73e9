package view

import (
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// withoutMarkup returns the text of HTML, a line for each block. It is no browser: whether a text would be seen is not
// known.
func withoutMarkup(page string) string {
	var b strings.Builder
	hidden := atom.Atom(0)
	for z := html.NewTokenizer(strings.NewReader(page)); ; {
		kind := z.Next()
		if kind == html.ErrorToken {
			return blankLines(b.String())
		}
		switch t := z.Token(); {
		case kind == html.EndTagToken && t.DataAtom == hidden:
			hidden = 0
		case hidden != 0:
		case kind == html.TextToken:
			b.WriteString(strings.Map(func(r rune) rune {
				if unicode.IsSpace(r) {
					return ' '
				}
				return r
			}, t.Data))
		case kind == html.StartTagToken && (t.DataAtom == atom.Script || t.DataAtom == atom.Style || t.DataAtom == atom.Title):
			hidden = t.DataAtom
		case kind == html.CommentToken || kind == html.DoctypeToken:
		case t.DataAtom == atom.Td || t.DataAtom == atom.Th:
			b.WriteByte(' ')
		case kind == html.EndTagToken && t.DataAtom == atom.P:
			b.WriteString("\n\n")
		case !inline[t.DataAtom]:
			b.WriteByte('\n')
		}
	}
}

// inline are the elements that begin no line.
var inline = map[atom.Atom]bool{
	atom.A: true, atom.B: true, atom.I: true, atom.U: true, atom.Em: true, atom.Strong: true, atom.Span: true, atom.Font: true, atom.Code: true,
	atom.Small: true, atom.Big: true, atom.Sub: true, atom.Sup: true, atom.Img: true, atom.Abbr: true, atom.S: true,
}

// blankLines leaves one blank line where there are more, and none at the ends.
func blankLines(text string) string {
	var b strings.Builder
	blank := 0
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.Join(strings.Fields(line), " "); line == "" {
			blank++
			continue
		}
		if blank > 1 && b.Len() > 0 {
			b.WriteByte('\n')
		}
		blank = 0
		b.WriteString(line + "\n")
	}
	return b.String()
}
