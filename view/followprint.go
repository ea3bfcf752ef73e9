package view

import (
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
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
	case record.FromClient, record.ClientBody:
		s.talk.ask(l)
	case record.FromServer, record.Refusal:
		asked := s.talk.answer(l.Text)
		if l.Kind == record.FromServer {
			return
		}
		if asked != nil {
			f.write(asked, asked.Text)
		}
		f.write(l, l.Text)
	case record.Note:
		_, opens := opening(l)
		if strings.HasSuffix(l.Text, " are missing") { // and nobody knows which reply is whose
			s.talk = talk{}
		}
		switch {
		case isEnd(l) && s.client != "":
			f.write(l, fmt.Sprintf("%s to %s: %s", s.client, s.server, l.Text))
		case opens, isEnd(l), isTrouble(l.Text):
			f.write(l, l.Text)
		}
	}
}

// talk finds the line of the client that a reply answers: who pipelines has said more since.
type talk struct {
	pairing
	lines []*archive.Said // of what waits in pairing
	more  bool            // the reply goes on in the next line
	pop3  bool
}

const maxAsked = 1000 // lines that wait for a reply

func (t *talk) ask(l *archive.Said) {
	e := record.Entry{From: "client", Text: &l.Text}
	if l.Kind == record.ClientBody {
		e.Text, e.Body = nil, new(int64)
	}
	if len(t.waiting) >= maxAsked {
		*t = talk{}
	}
	t.lmtp = t.lmtp || Verb(l.Text) == "LHLO"
	t.pairing.ask(&e)
	switch n := len(t.waiting); {
	case n > len(t.lines):
		t.lines = append(t.lines, l)
	case n > 0 && t.waiting[n-1].command == wire.DataEnd: // the chunk of a BDAT
		t.lines[n-1] = l
	}
}

// answer takes a line of a reply, and returns what is answered with its first one.
func (t *talk) answer(text string) (asked *archive.Said) {
	begins := strings.HasPrefix(text, "+") || strings.HasPrefix(text, "-ERR")
	if t.pop3 = t.pop3 || begins; t.pop3 && !begins { // LIST and the like have lines that are no replies
		return nil
	}
	if !t.more && len(t.lines) > 0 {
		asked = t.lines[0]
		t.pairing.answer(text)
		t.lines = t.lines[len(t.lines)-len(t.waiting):]
	}
	t.more = !t.pop3 && len(text) > 3 && text[3] == '-'
	return asked
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
