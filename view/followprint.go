package view

import (
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect/record"
)

// print shows a line, if it is one to show.
func (f *follower) print(s *dialogue, l *archive.Said) {
	if f.o.OnlyOne {
		if f.one == "" {
			f.one = s.id
		}
		if f.one != s.id {
			return
		}
	}
	if !f.o.Terse {
		f.write(l, l.Text)
		return
	}
	switch l.Kind {
	case record.FromClient:
		s.asked = l
	case record.Refusal:
		if s.asked != nil {
			f.write(s.asked, s.asked.Text)
			s.asked = nil
		}
		f.write(l, l.Text)
	case record.Note:
		_, opens := opening(l)
		switch {
		case isEnd(l) && s.client != "":
			f.write(l, fmt.Sprintf("%s to %s: %s", s.client, s.server, l.Text))
		case opens, isEnd(l), isTrouble(l.Text):
			f.write(l, l.Text)
		}
	}
}

// isTrouble says whether a note is of something that failed, other than by a reply.
func isTrouble(text string) bool {
	for _, begin := range []string{"the server ", "the proxy ", "TLS with the "} {
		if strings.HasPrefix(text, begin) {
			return true
		}
	}
	return false
}

// The colours of sessions, so that the eye can follow one of many: those of ECMA-48 but black, red, which is for what is
// refused, and white.
var sessionColours = [...]string{"32", "33", "34", "35", "36", "92", "93", "94", "95", "96"}

// write writes a line. Its text, which was escaped when it was recorded, is escaped again if somebody else wrote it.
func (f *follower) write(l *archive.Said, text string) {
	style := f.o.Style
	text = Printable(text)
	switch l.Kind {
	case record.Refusal:
		text = style.paint("31;1", l.Mark+text)
	case record.FromClient, record.ClientBody:
		text = style.paint("36", l.Mark+text)
	case record.Note:
		text = style.paint("2", l.Mark+text)
	default:
		text = l.Mark + text
	}
	colour := sessionColours[maphash.String(f.seed, l.Session)%uint64(len(sessionColours))]
	fmt.Fprintf(f.out, "%s %s %s\n", style.paint("2", l.Time.Format("15:04:05.000")), style.paint(colour, fmt.Sprintf("%-16s", l.Session)), text)
}
