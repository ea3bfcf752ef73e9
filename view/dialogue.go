package view

import (
	"iter"
	"slices"
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
	"github.com/mailwire/mailwire/view/explain"
)

// Step is an entry of a dialogue, and what it answers.
type Step struct {
	record.Entry
	Command string  // of a reply: the command that it answers, CONNECT or DATA-END; "" where that is not known
	Wait    float64 // and the milliseconds since that command; -1 where they are not known
	Refusal bool    // it is a reply that refuses
	Meaning string  // what that means, in plain words, if there is more to say than it says itself
}

// Steps says which command each reply of a session answers, as Answers does, and what those that refuse mean.
func Steps(s *record.Session) []Step {
	steps := make([]Step, len(s.Dialogue))
	for i, e := range s.Dialogue {
		step := Step{Entry: e, Wait: -1}
		if e.From != "client" && e.Text != nil {
			code, enhanced, text := explain.Split(s.Protocol, *e.Text)
			if step.Refusal = refuses(s.Protocol, code, *e.Text); step.Refusal {
				step.Meaning = explain.Reply(s.Protocol, code, enhanced, text)
			}
		}
		steps[i] = step
	}
	for i, a := range Answers(s) {
		steps[i].Command, steps[i].Wait = a.Command, a.Wait
	}
	return steps
}

// Answer is what a reply answers, and how long that had waited for it, in milliseconds.
type Answer struct {
	Command string // CONNECT or DATA-END, or the whole line
	Wait    float64
}

// Answers gives what the replies of a session answer, by their places in the dialogue. Replies come in the order of their
// commands (RFC 2920), so that counting finds it out; where octets were lost, or the beginning or the end was not seen,
// it is not tried.
func Answers(s *record.Session) iter.Seq2[int, Answer] {
	return func(yield func(int, Answer) bool) {
		if s.Lost != (record.Octets{}) || s.Status == record.Unknown || slices.ContainsFunc(s.Anomalies, miscounts) {
			return
		}
		p := pairing{lmtp: s.Protocol == record.LMTP, waiting: []asked{{command: wire.Connect}}}
		for i := range s.Dialogue {
			e := &s.Dialogue[i]
			switch {
			case e.Omitted > 0:
				return
			case e.From == "client":
				p.ask(e)
			case e.Text != nil:
				a, ok := p.answer(*e.Text)
				if ok && !yield(i, Answer{a.command, max(0, e.MS-a.ms)}) {
					return
				}
			}
		}
	}
}

func miscounts(a record.Anomaly) bool { return a.Kind == wire.TooManyPending || a.Kind == wire.Resync }

func refuses(protocol string, code int, said string) bool {
	if protocol == record.POP3 {
		return strings.HasPrefix(said, "-ERR")
	}
	return code >= 400
}

// asked is a command that waits for replies.
type asked struct {
	command string
	ms      float64
	replies int // to come besides the first
}

// pairing finds the command that a reply answers.
type pairing struct {
	lmtp     bool
	waiting  []asked
	last     string // verb of the last command
	exchange string // the AUTH command whose challenge is to be answered
	accepted int    // recipients of the transaction so far
}

// ask takes what the client says.
func (p *pairing) ask(e *record.Entry) {
	last := len(p.waiting) - 1
	// In LMTP each accepted recipient gets a reply (RFC 2033 section 4.2), but their number may not be known yet.
	end := asked{command: wire.DataEnd, ms: e.MS, replies: -1}
	switch {
	case e.Body != nil && last >= 0 && Verb(p.waiting[last].command) == "BDAT":
		p.waiting[last] = end
	case e.Body != nil && p.last != "BDAT": // chunks that were given up have their replies
		p.waiting = append(p.waiting, end)
	case e.Text != nil && p.exchange != "":
		p.waiting = append(p.waiting, asked{command: p.exchange, ms: e.MS})
		p.exchange = ""
	case e.Text != nil:
		p.waiting = append(p.waiting, asked{command: *e.Text, ms: e.MS})
		p.last = Verb(*e.Text)
	}
}

// answer takes a reply.
func (p *pairing) answer(said string) (asked, bool) {
	if len(p.waiting) == 0 {
		return asked{}, false
	}
	a := &p.waiting[0]
	if a.command == wire.DataEnd && a.replies < 0 {
		a.replies = 0
		switch {
		case p.lmtp:
			a.replies = max(0, p.accepted-1)
		case strings.HasPrefix(said, "353"): // PRDR: one for each recipient, and one for all (draft-hall-prdr)
			a.replies = p.accepted + 1
		}
		p.accepted = 0
	}
	switch Verb(a.command) {
	case "RCPT":
		if strings.HasPrefix(said, "2") {
			p.accepted++
		}
	case "AUTH":
		if strings.HasPrefix(said, "334") || strings.HasPrefix(said, "+ ") || said == "+" {
			p.exchange = a.command
		}
	case "MAIL", "RSET", "LHLO", "EHLO", "HELO":
		p.accepted = 0
	}
	answered := *a
	if a.replies > 0 {
		a.replies--
	} else {
		p.waiting = p.waiting[1:]
	}
	return answered, true
}

// Verb returns the first word of a command, in upper case.
func Verb(command string) string {
	word, _, _ := strings.Cut(command, " ")
	return strings.ToUpper(word)
}
