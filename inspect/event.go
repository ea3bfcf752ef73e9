package inspect

import (
	"bytes"
	"slices"
	"strings"

	"github.com/mailwire/mailwire/inspect/pop3"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/sasl"
	"github.com/mailwire/mailwire/inspect/smtp"
	"github.com/mailwire/mailwire/inspect/wire"
)

// maxCapabilities bounds the lines kept of the reply to EHLO or CAPA.
const maxCapabilities = 100

// event translates one event of the parser into lines and records.
func (s *Session) event(e wire.Event) {
	switch e := e.(type) {
	case *wire.Command:
		s.command(e)
	case *wire.Reply:
		s.reply(e)
	case *wire.BodyBegin:
		s.bodyBegin(e)
	case *wire.Body:
		s.bodyOctets(e)
	case *wire.BodyEnd:
		s.bodyEnd(e)
	case *wire.Login:
		s.login(e)
	case *wire.Layer:
		s.layer(e)
	case *wire.Upgrade:
		s.upgrade(e)
	case *wire.Opaque:
		s.sniff(wire.Chunk{Dir: e.Dir, Time: e.Time, Lost: e.Lost, Data: e.Data})
	case *wire.Gap:
		s.missing(record.Time{Time: e.Time}, e.Lost, e.Dir.String())
		for _, t := range s.transactions {
			t.gapped = true
		}
	case *wire.Noise:
		s.noise(e)
	case *wire.Anomaly:
		s.anomaly(e.Kind, e.Count)
		if t := s.flowing(); t != nil {
			t.rec.Anomalies = addAnomaly(t.rec.Anomalies, e.Kind, e.Count)
		}
	}
}

func (s *Session) command(e *wire.Command) {
	t := record.Time{Time: e.Time}
	s.rec.Commands++
	s.sent = e.N
	s.line(record.Line{Time: t, Kind: record.FromClient, Text: e.Line})
	s.entry(record.Entry{MS: t.MS(s.rec.Begin), From: "client", Text: s.said(e.Line)})
	if e.Response {
		return
	}
	s.countVerb(e.Verb, false)
	switch e.Verb {
	case "EHLO", "HELO", "LHLO":
		s.rec.Helo = text(e.Arg)
		if e.Verb == "LHLO" {
			s.rec.Protocol = record.LMTP
		}
	case "QUIT":
		s.quit = true
	case "MAIL", "RCPT", "DATA", "BDAT":
		s.envelope(e)
	}
}

func (s *Session) reply(e *wire.Reply) {
	t := record.Time{Time: e.Time}
	s.rec.Replies++
	s.answered = max(s.answered, e.To)
	kind := record.FromServer
	if !e.OK {
		kind = record.Refusal
		s.refusal(e)
	}
	s.line(record.Line{Time: t, Kind: kind, Text: e.Lines, Command: s.label(e), Code: e.Code, GoOn: e.GoOn, Wait: e.Wait})
	said := s.said(e.Lines)
	s.entry(record.Entry{MS: t.MS(s.rec.Begin), From: "server", Text: said})
	if ms := e.Wait.Seconds() * 1000; e.Wait >= 0 && (s.rec.Slowest == nil || ms > s.rec.Slowest.MS) {
		if s.rec.Slowest == nil {
			s.rec.Slowest = new(record.Slowest)
		}
		*s.rec.Slowest = record.Slowest{Command: e.Verb, MS: t.MS(record.Time{Time: e.Time.Add(-e.Wait)})}
	}
	s.countReply(e)
	switch e.Verb {
	case wire.Connect:
		if s.rec.Banner == "" {
			s.rec.Banner = *said
		}
	case "EHLO", "HELO", "LHLO", "CAPA":
		s.hello(e, *said)
	}
	s.outcome(e)
}

// refusal records an error reply.
func (s *Session) refusal(e *wire.Reply) {
	if len(s.rec.Errors) == record.MaxErrors {
		return
	}
	command := string(e.Command)
	if e.Verb == wire.Connect || e.Verb == wire.DataEnd {
		command = e.Verb
	}
	s.rec.Errors = append(s.rec.Errors, record.Error{
		Time: record.Time{Time: e.Time}, Command: record.Text(command), Code: e.Code, Enhanced: e.Enhanced, Text: text(e.Text),
	})
}

// label names what a reply answers, from a bounded set of words.
func (s *Session) label(e *wire.Reply) string {
	known := smtp.IsVerb
	if s.rec.Protocol == record.POP3 {
		known = pop3.IsVerb
	}
	if e.To == 0 || e.Verb == wire.DataEnd || known(e.Verb) {
		return e.Verb
	}
	return wire.Other
}

// hello handles the reply to EHLO, HELO, LHLO or CAPA. It decides whether LMTP is spoken, as a client may try LHLO only to
// find out.
func (s *Session) hello(e *wire.Reply, said string) {
	switch {
	case e.Verb == "CAPA":
	case e.Verb == "LHLO" && e.OK:
		s.rec.Protocol = record.LMTP
	case e.Verb == "LHLO", e.OK:
		s.rec.Protocol = record.SMTP
	}
	if e.OK && e.Verb != "HELO" {
		s.capabilities(e, said)
	}
}

// capabilities keeps the lines behind the first of the reply to EHLO (RFC 5321 section 4.1.1.1) or CAPA. They share the
// memory of what was said.
func (s *Session) capabilities(e *wire.Reply, said string) {
	n := strings.Count(said, "\n")
	lines := strings.SplitN(said, "\n", min(n, maxCapabilities+1)+1)[1:]
	lines = lines[:min(n, maxCapabilities)]
	for i, line := range lines {
		if e.Code > 0 {
			line = line[min(len(line), len("250-")):]
		}
		if e.Enhanced != "" {
			line = strings.TrimPrefix(strings.TrimPrefix(line, e.Enhanced), " ")
		}
		lines[i] = line
	}
	s.rec.Capabilities = lines
}

// countReply counts a command that succeeded, as Postfix does: DATA does when the mail is accepted.
func (s *Session) countReply(e *wire.Reply) {
	switch {
	case !e.OK || e.To == 0 || e.GoOn:
	case e.Verb != wire.DataEnd:
		s.countVerb(e.Verb, true)
	case e.To != s.counted: // LMTP has several replies
		s.counted = e.To
		verb := "DATA"
		if bytes.HasPrefix(bytes.ToUpper(e.Command), []byte("BDAT")) {
			verb = "BDAT"
		}
		s.countVerb(verb, true)
	}
}

// countVerb counts a command (ok: its positive reply) for the summary.
func (s *Session) countVerb(verb string, ok bool) {
	const maxVerbs = 32
	if verb == "" || verb == sasl.Mask {
		return // an empty line, or a response that no challenge asked for
	}
	i := slices.IndexFunc(s.verbs, func(v verbCount) bool { return v.verb == verb })
	if i < 0 {
		if ok || len(s.verbs) == maxVerbs {
			return
		}
		if i = len(s.verbs); i == 0 {
			s.verbs = make([]verbCount, 0, 4)
		}
		s.verbs = append(s.verbs, verbCount{verb: verb})
	}
	if ok {
		s.verbs[i].ok++
	} else {
		s.verbs[i].all++
	}
}

func (s *Session) login(e *wire.Login) {
	outcome := record.Unknown
	switch e.Outcome {
	case wire.Success:
		outcome, s.user = record.Success, e.User
	case wire.Failure:
		outcome = record.Failure
	}
	l := record.Login{
		Time: record.Time{Time: e.Time}, Mechanism: record.Text(e.Mechanism), User: record.Text(e.User), TLS: s.tls, Outcome: outcome, Code: e.Code,
		Enhanced: e.Enhanced, Text: text(e.Text),
	}
	if len(s.rec.Auth) < record.MaxLogins {
		s.rec.Auth = append(s.rec.Auth, l)
	}
	s.attempts++
	s.sink.Login(s.rec, s.attempts, l)
	if s.cfg.Secrets && e.Secret != "" {
		s.sink.Secret(s.rec, record.Secret{Time: l.Time, Mechanism: l.Mechanism, User: l.User, Secret: record.Text(e.Secret)})
	}
}

// noise records a line that was neither a command nor a reply.
func (s *Session) noise(e *wire.Noise) {
	t := record.Time{Time: e.Time}
	s.line(record.Line{Time: t, Kind: record.Note, Text: append([]byte(e.Dir.String()+" line that is neither command nor reply: "), e.Line...)})
	s.entry(record.Entry{MS: t.MS(s.rec.Begin), From: e.Dir.String(), Raw: s.said(e.Line)})
}

// entry adds to the dialogue, or counts what it has no room for.
func (s *Session) entry(e record.Entry) {
	d := s.rec.Dialogue
	switch {
	case len(d) < record.MaxDialogue:
		if len(d) == cap(d) {
			d = slices.Grow(d, s.room())
		}
		s.rec.Dialogue = append(d, e)
	case len(d) == record.MaxDialogue:
		s.rec.Dialogue = append(d, record.Entry{MS: e.MS, Omitted: 1})
	default:
		d[len(d)-1].Omitted++
	}
}

// room is for how many entries the dialogue grows: those of an idle session at first, then those of one with a mail.
func (s *Session) room() int {
	const idle, usual = 6, 10
	if len(s.rec.Dialogue) < idle {
		return idle
	}
	return usual
}

// text copies foreign octets into a field of a record.
func text(b []byte) string { return record.Text(string(b)) }

// said is text for an entry of the dialogue. Entries share the memory of their texts' heads.
func (s *Session) said(b []byte) *string {
	if len(s.texts) == cap(s.texts) {
		s.texts = make([]string, 0, s.room())
	}
	s.texts = append(s.texts, text(b))
	return &s.texts[len(s.texts)-1]
}
