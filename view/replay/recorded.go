package replay

import (
	"math"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
	"github.com/mailwire/mailwire/view"
)

// Replies are those that a mail got when it was recorded, as on the wire; "" where one is not known.
type Replies struct {
	Connect, Helo, Mail string
	Rcpt                []string
	Data, End           string
}

// Recorded finds the replies to a mail in its session's dialogue, and where they are not there, in its own record. There
// may be no session.
func Recorded(s *record.Session, m *record.Message) Replies {
	r := Replies{Rcpt: make([]string, len(m.Rcpt))}
	for i := range m.Rcpt {
		if c := &m.Rcpt[i]; c.Code != 0 {
			r.Rcpt[i] = view.ReplyText(c.Code, c.Enhanced, c.Text)
		}
	}
	if m.Reply != nil {
		r.End = view.ReplyText(m.Reply.Code, m.Reply.Enhanced, m.Reply.Text)
	}
	if s == nil {
		return r
	}
	r.Connect = s.Banner
	begin := m.Begin.MS(s.Begin)
	inside, rcpt := false, 0
	for _, step := range view.Steps(s) {
		if step.Wait < 0 || step.Text == nil {
			continue
		}
		switch verb := view.Verb(step.Command); {
		case (verb == "EHLO" || verb == "LHLO" || verb == "HELO") && step.MS <= begin:
			r.Helo = *step.Text
		case verb == "MAIL":
			inside, rcpt = math.Abs(step.MS-step.Wait-begin) < 0.2, 0
			if inside {
				r.Mail = *step.Text
			}
		case !inside:
		case verb == "RCPT" && rcpt < len(r.Rcpt):
			r.Rcpt[rcpt] = *step.Text
			rcpt++
		case verb == "DATA":
			r.Data = *step.Text
		case step.Command == wire.DataEnd && r.End == "":
			r.End = *step.Text
		}
	}
	return r
}
