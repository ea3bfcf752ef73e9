package inspect

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/tlsinfo"
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
	case *wire.Upgrade:
		s.upgrade(e)
	case *wire.Opaque:
		s.opaque(e)
	case *wire.Gap:
		s.missing(record.Time{Time: e.Time}, e.Lost, e.Dir.String())
	case *wire.Noise:
		s.noise(e)
	case *wire.Anomaly:
		s.anomaly(e.Kind, e.Count)
		if t := s.flowing(); t != nil {
			t.rec.Anomalies = addAnomaly(t.rec.Anomalies, e.Kind, e.Count)
		}
	}
}

// missing says in the log that octets were lost.
func (s *Session) missing(t record.Time, lost int64, of string) {
	if lost < 0 {
		s.note(t, "octets of the %s are missing", of)
	} else {
		s.note(t, "%d octets of the %s are missing", lost, of)
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
	s.line(record.Line{Time: t, Kind: kind, Text: e.Lines})
	s.entry(record.Entry{MS: t.MS(s.rec.Begin), From: "server", Text: s.said(e.Lines)})
	if ms := e.Wait.Seconds() * 1000; e.Wait >= 0 && (s.rec.Slowest == nil || ms > s.rec.Slowest.MS) {
		s.rec.Slowest = &record.Slowest{Command: e.Verb, MS: t.MS(record.Time{Time: e.Time.Add(-e.Wait)})}
	}
	s.countReply(e)
	switch e.Verb {
	case wire.Connect:
		if s.rec.Banner == "" {
			s.rec.Banner = text(e.Lines)
		}
	case "EHLO", "LHLO", "CAPA":
		if e.OK {
			s.capabilities(e)
		}
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
		Time: record.Time{Time: e.Time}, Command: clean(command), Code: e.Code, Enhanced: e.Enhanced, Text: text(e.Text),
	})
}

// capabilities keeps the lines behind the first of the reply to EHLO (RFC 5321 section 4.1.1.1) or CAPA.
func (s *Session) capabilities(e *wire.Reply) {
	lines := strings.Split(text(e.Text), "\n")[1:]
	s.rec.Capabilities = lines[:min(len(lines), maxCapabilities)]
}

// countReply counts a command that succeeded, as Postfix does: DATA does when the mail is accepted.
func (s *Session) countReply(e *wire.Reply) {
	switch {
	case !e.OK || e.To == 0 || e.Code/100 == 3:
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
	if verb == "" {
		return // an empty line
	}
	i := slices.IndexFunc(s.verbs, func(v verbCount) bool { return v.verb == verb })
	if i < 0 {
		if ok || len(s.verbs) == maxVerbs {
			return
		}
		i = len(s.verbs)
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
		Time: record.Time{Time: e.Time}, Mechanism: clean(e.Mechanism), User: clean(e.User), Outcome: outcome, Code: e.Code,
		Enhanced: e.Enhanced, Text: text(e.Text),
	}
	if len(s.rec.Auth) < record.MaxLogins {
		s.rec.Auth = append(s.rec.Auth, l)
	}
	s.attempts++
	s.sink.Login(s.rec, s.attempts, l)
	if s.cfg.Secrets && e.Secret != "" {
		s.sink.Secret(s.rec, record.Secret{Time: l.Time, Mechanism: l.Mechanism, User: l.User, Secret: clean(e.Secret)})
	}
}

func (s *Session) upgrade(e *wire.Upgrade) {
	s.rec.TLS = &record.TLS{How: e.How, Ended: e.Plain}
	if e.Plain { // nobody can tell whether TLS was taken off before the capture, or never put on
		s.anomaly(wire.PlainAfterTLS, 1)
		s.note(record.Time{Time: e.Time}, "plain text follows %s: it was decrypted before, or never encrypted", e.How)
		return
	}
	s.note(record.Time{Time: e.Time}, "TLS begins (%s); what follows is encrypted", e.How)
	s.hellos = new(tlsinfo.Sniffer)
}

func (s *Session) opaque(e *wire.Opaque) {
	switch {
	case s.hellos == nil:
	case e.Lost != 0: // a hello with a hole says nothing
		s.rec.TLS.SNI, s.rec.TLS.Version, s.rec.TLS.Cipher = s.hellos.SNI, s.hellos.Version, s.hellos.Cipher
		s.hellos = nil
	case e.Dir == wire.FromClient:
		s.hellos.Client(e.Data)
	default:
		s.hellos.Server(e.Data)
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
		s.rec.Dialogue = append(d, e)
	case len(d) == record.MaxDialogue:
		s.rec.Dialogue = append(d, record.Entry{MS: e.MS, Omitted: 1})
	default:
		d[len(d)-1].Omitted++
	}
}

// text copies foreign octets into valid UTF-8 of at most record.MaxText octets.
func text(b []byte) string { return clean(string(b)) }

// said is text for an entry of the dialogue. Entries share the memory of their texts' heads.
func (s *Session) said(b []byte) *string {
	if len(s.texts) == cap(s.texts) {
		s.texts = make([]string, 0, usualDialogue)
	}
	s.texts = append(s.texts, text(b))
	return &s.texts[len(s.texts)-1]
}

// clean makes foreign text valid UTF-8 of at most record.MaxText octets.
func clean(t string) string {
	if t = strings.ToValidUTF8(t, "\uFFFD"); len(t) <= record.MaxText {
		return t
	}
	n := record.MaxText
	for !utf8.RuneStart(t[n]) {
		n--
	}
	return t[:n]
}
