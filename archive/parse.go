package archive

import (
	"strings"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// Said is a line of a dialogue log.
type Said struct {
	Time    time.Time
	Session string
	Mark    string // who speaks: the four octets that are in the log
	Kind    record.LineKind
	Text    string // escaped, as record.AppendEscaped does it
}

// ParseSaid reads a line of a dialogue log. It is false for one that no journal wrote. What a client or a server said may
// look like a body.
func ParseSaid(line string) (s Said, ok bool) {
	word, rest, _ := strings.Cut(line, " ")
	s.Session, rest, _ = strings.Cut(rest, " ")
	if len(rest) < len("=== ") || s.Session == "" {
		return s, false
	}
	s.Mark, s.Text = rest[:4], rest[4:]
	body := strings.HasPrefix(s.Text, "[") && strings.HasSuffix(s.Text, " octets of message]")
	switch s.Mark {
	case " -> ", " ~> ":
		s.Kind = record.FromClient
		if body {
			s.Kind = record.ClientBody
		}
	case "<-  ", "<~  ":
		s.Kind = record.FromServer
		if body {
			s.Kind = record.ServerBody
		}
	case "<** ":
		s.Kind = record.Refusal
	case "=== ":
		s.Kind = record.Note
	default:
		return s, false
	}
	if s.Time, ok = parseTime(word); !ok || string(appendWord(nil, s.Session)) != s.Session {
		return s, false
	}
	_, ok = record.Unescape(s.Text)
	return s, ok
}

// Attempt is what a line of the auth log says of who tried to log in.
type Attempt struct {
	Time    time.Time
	Session string
	User    string
}

// ParseAttempt reads a line of the auth log. It is false for one that no journal wrote.
func ParseAttempt(line string) (a Attempt, ok bool) {
	word, rest, _ := strings.Cut(line, " ")
	head, reply, _ := strings.Cut(rest, ` reply="`)
	_, rest = cutQuoted(reply)
	rest, whole := strings.CutPrefix(rest, " session=")
	id, user, _ := strings.Cut(rest, ` user="`)
	user, rest = cutQuoted(user)
	a.Session = id
	a.Time, ok = parseTime(word)
	if !ok || !whole || rest != "" || id == "" || !strings.HasPrefix(head, "mailwire[") || !strings.Contains(head, "]: AUTH-") {
		return a, false
	}
	a.User, ok = record.Unescape(user)
	return a, ok
}

// cutQuoted cuts a text behind the quote that ends it.
func cutQuoted(s string) (quoted, rest string) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[:i], s[i+1:]
		}
	}
	return s, "?"
}

// parseTime reads a time as the lines of the logs begin with it.
func parseTime(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, s)
	return t, err == nil && string(record.Time{Time: t}.Append(nil)) == s
}
