package view

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
)

const maxFound = 100 // that Find gives

// Found is what an id names: a session, or a message, which is of a session too.
type Found struct {
	ID      string // of the record
	Session string
	Message bool
	Place   Place  // of the session's record, or of the message's
	Text    string // what it is, in a line
}

// Find looks in all records, the newest day first, for what an id names: a session's id or how it begins; a message's,
// which is the session's and a number; a Message-ID, with or without its angle brackets; a queue id. It reads all there
// is, so who has an index asks that instead. At most a hundred are given.
func (d *Data) Find(id string, p *Problems) ([]Found, error) {
	days, err := d.Days()
	if err != nil {
		return nil, err
	}
	var found []Found
	for _, day := range slices.Backward(days) {
		if session, n, isMessage := strings.Cut(id, "."); isID(session) && !isMessage {
			needle := `"id":"` + strings.ToLower(session)
			for at, s := range find[record.Session](d, "session", day, needle, p) {
				found = append(found, d.foundSession(at, s))
			}
		} else if isID(session) && isNumber(n) {
			needle := `"id":"` + strings.ToLower(session)
			for at, m := range find[record.Message](d, "message", day, needle, p) {
				if strings.HasSuffix(m.ID, "."+n) {
					found = append(found, d.foundMessage(at, m))
				}
			}
		}
		for at, m := range find[record.Message](d, "message", day, jsonText(strings.Trim(id, "<>")), p) {
			if named(m, id) {
				found = append(found, d.foundMessage(at, m))
			}
		}
		if len(found) >= maxFound {
			return found[:maxFound], nil
		}
	}
	return found, nil
}

func named(m *record.Message, id string) bool {
	return m.QueueID == id || m.Header != nil && m.Header.MessageID != "" && strings.Trim(m.Header.MessageID, "<>") == strings.Trim(id, "<>")
}

func (d *Data) foundSession(at Place, s *record.Session) Found {
	return Found{s.ID, s.ID, false, at, fmt.Sprintf("%s  %s %s to %s, %s", s.Begin, s.Protocol, endpoint(s.Client), endpoint(s.Server), Printable(s.Status))}
}

func (d *Data) foundMessage(at Place, m *record.Message) Found {
	text := fmt.Sprintf("%s  %s %s", m.Begin, Printable(m.Outcome), envelope(m))
	if m.Header != nil && m.Header.Subject != "" {
		text += ": " + Printable(m.Header.Subject)
	}
	return Found{m.ID, m.Session, true, at, text}
}

// MessagesOf reads the records of a session's messages, in their order.
func (d *Data) MessagesOf(s *record.Session, p *Problems) ([]*record.Message, error) {
	days, err := d.Days()
	if err != nil {
		return nil, err
	}
	var list []*record.Message
	for _, day := range days {
		if s.Messages == 0 || day < s.Begin.Day() || day > s.End.Day() {
			continue
		}
		for _, m := range find[record.Message](d, "message", day, `"session":"`+s.ID+`"`, p) {
			if m.Session == s.ID {
				list = append(list, m)
			}
		}
	}
	slices.SortFunc(list, func(a, b *record.Message) int { return a.Transaction - b.Transaction })
	return list, nil
}

// find gives the records of a day whose line contains a text; it reads no other line as JSON.
func find[R any](d *Data, kind, day, text string, p *Problems) func(yield func(Place, *R) bool) {
	return func(yield func(Place, *R) bool) {
		name, needle := fileOf(kind, day), []byte(text)
		err := d.lines(name, 0, func(offset int64, octets int, line []byte) bool {
			if !bytes.Contains(line, needle) {
				return true
			}
			r, err := parse[R](kind, line)
			if err != nil {
				p.bad(err, name, offset)
				return true
			}
			return yield(Place{day, offset, octets}, r)
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.unread(name, err)
		}
	}
}

// isID says whether a word can be how a session's id begins (record.SessionID).
func isID(s string) bool {
	return s != "" && len(s) <= 16 && strings.Trim(strings.ToLower(s), "0123456789abcdefghjkmnpqrstvwxyz") == ""
}

func isNumber(s string) bool { return s != "" && len(s) < 10 && strings.Trim(s, "0123456789") == "" }

// jsonText is a text as it stands in a record, without its quotes.
func jsonText(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string and memory: nothing can fail
	return strings.Trim(b.String(), "\"\n")
}

// envelope says who sent a message to whom, in a line.
func envelope(m *record.Message) string {
	if m.Protocol == record.POP3 {
		return "fetched by " + Printable(m.User)
	}
	from := "?"
	if m.From != nil {
		from = "<" + Printable(*m.From) + ">"
	}
	to := make([]string, 0, 3)
	for i, r := range m.Rcpt {
		if i == cap(to)-1 && len(m.Rcpt) > cap(to) {
			to = append(to, fmt.Sprintf("%d more", len(m.Rcpt)-i))
			break
		}
		to = append(to, "<"+Printable(r.To)+">")
	}
	if len(to) == 0 {
		return from
	}
	return from + " to " + strings.Join(to, ", ")
}
