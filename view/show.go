package view

import (
	"encoding/hex"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
)

// Show says in text what happened in a session: what is known of it, and its dialogue. The first column has the
// milliseconds since its begin, the second, at a reply, those since the command. The marks are those of the dialogue log.
type Show struct {
	Style Style
	Hex   bool // the octets of the dialogue too, as far as the record has them
}

// Session renders a session and what was said in it.
func (o Show) Session(s *record.Session) string {
	var b strings.Builder
	o.facts(&b, s)
	b.WriteByte('\n')
	inside := s.TLS != nil && s.TLS.Ended && s.TLS.How == "implicit"
	for _, step := range Steps(s) {
		o.step(&b, &step, inside)
		if s.TLS != nil && s.TLS.Ended && !step.Refusal && (Verb(step.Command) == "STARTTLS" || Verb(step.Command) == "STLS") {
			inside = true
		}
	}
	if o.Hex && len(s.Dialogue) > 0 {
		b.WriteString("\nThe record has text: each octet that was no UTF-8 stands as ef bf bd, a line end as 0d 0a, a password as ***,\n" +
			"and of a line no more than 4096 octets. A trace (--trace) has the packets as they were.\n")
	}
	return b.String()
}

// facts renders what is known besides the dialogue.
func (o Show) facts(b *strings.Builder, s *record.Session) {
	fact := func(name, format string, args ...any) { o.fact(b, name, format, args...) }
	seen := Printable(s.Mode)
	if s.Sensor != "" {
		seen += " " + Printable(s.Sensor)
	}
	fact("session", "%s, %s, by %s", Printable(s.ID), Printable(s.Protocol), seen)
	fact("time", "%s, %s ms, %s", s.Begin, ms(s.DurationMS), Printable(s.Status))
	helo := ""
	if s.Helo != "" {
		helo = ", calls itself " + Printable(s.Helo)
	}
	fact("client", "%s%s", endpoint(s.Client), helo)
	fact("server", "%s", endpoint(s.Server))
	if s.Via != "" {
		fact("through", "%s", Printable(s.Via))
	}
	if s.Direction != record.Unknown && s.Direction != "" {
		fact("direction", "%s", Printable(s.Direction))
	}
	if s.TLS != nil {
		fact("tls", "%s", tlsText(s.TLS))
	}
	for _, l := range s.Auth {
		fact("login", "%s", o.login(&l))
	}
	if s.Messages > 0 || s.Recipients != nil {
		text := plural(s.Messages, "mail", "mails")
		if r := s.Recipients; r != nil {
			text += fmt.Sprintf(", recipients: %d accepted, %d refused", r.Accepted, r.Rejected)
			if r.Unknown > 0 {
				text += fmt.Sprintf(", %d without a reply that was seen", r.Unknown)
			}
		}
		fact("mails", "%s", text)
	}
	fact("octets", "%d from the client, %d from the server", s.Octets.Client, s.Octets.Server)
	if s.Lost != (record.Octets{}) {
		fact("lost", "%d octets of the client and %d of the server were not seen, so which command a reply answers is not known",
			s.Lost.Client, s.Lost.Server)
	}
	for _, a := range s.Anomalies {
		fact("anomaly", "%s", o.Style.refusal(fmt.Sprintf("%s, %s", Printable(a.Kind), plural(a.Count, "time", "times"))))
	}
}

func (o Show) login(l *record.Login) string {
	user := "a user who was not seen"
	if l.User != "" {
		user = `"` + Printable(l.User) + `"`
	}
	text := fmt.Sprintf("%s by %s, %s", user, Printable(l.Mechanism), Printable(l.Outcome))
	if l.Text != "" || l.Code != 0 {
		text += ": " + ReplyText(l.Code, l.Enhanced, l.Text)
	}
	if l.Outcome == record.Failure {
		return o.Style.refusal(text)
	}
	return text
}

// ReplyText is a reply in one line.
func ReplyText(code int, enhanced, text string) string {
	var words []string
	if code != 0 {
		words = append(words, strconv.Itoa(code))
	}
	for _, w := range []string{enhanced, strings.ReplaceAll(text, "\n", " ")} {
		if w != "" {
			words = append(words, Printable(w))
		}
	}
	return strings.Join(words, " ")
}

func tlsText(t *record.TLS) string {
	words := []string{t.How}
	for _, w := range []string{t.Version, t.Cipher} {
		if w != "" {
			words = append(words, w)
		}
	}
	text := strings.Join(words, " ")
	if t.SNI != "" {
		text += ", for " + t.SNI
	}
	if c := t.Certificate; c != nil {
		text += ", certificate of " + c.Subject
		if !c.NotAfter.IsZero() {
			text += " until " + c.NotAfter.Day()
		}
	}
	if !t.Ended {
		text += "; what was said inside is not known"
	}
	return Printable(text)
}

func endpoint(e record.Endpoint) string {
	text := Printable(net.JoinHostPort(e.IP, strconv.Itoa(int(e.Port))))
	if e.Side != "" {
		text += " (" + Printable(e.Side) + ")"
	}
	return text
}

const (
	columns = "%9s %9s  " // of the times
	margin  = 21          // octets that they take
)

// step renders one entry.
func (o Show) step(b *strings.Builder, s *Step, inside bool) {
	wait := ""
	if s.Wait >= 0 {
		wait = "+" + ms(s.Wait)
	}
	times := o.Style.faint(fmt.Sprintf(columns, ms(s.MS), wait))
	var lines []string
	mark, paint := " -> ", o.Style.client
	if s.From == "server" {
		mark, paint = "<-  ", func(text string) string { return text }
	}
	if inside {
		mark = strings.ReplaceAll(mark, "-", "~")
	}
	switch {
	case s.Omitted > 0:
		mark, paint, lines = "=== ", o.Style.faint, []string{fmt.Sprintf("%d more lines, which the record has no room for", s.Omitted)}
	case s.Body != nil:
		lines = []string{fmt.Sprintf("[%d octets of message]", *s.Body)}
	case s.Raw != nil:
		mark, paint = "=== ", o.Style.refusal
		lines = []string{fmt.Sprintf("%s line that is neither command nor reply: %s", Printable(s.From), Printable(*s.Raw))}
	case s.Text != nil:
		lines = strings.Split(*s.Text, "\n")
		if s.Refusal {
			mark, paint = "<** ", o.Style.refusal
		}
	}
	for _, line := range lines {
		b.WriteString(times + paint(strings.TrimRight(mark+Printable(line), " ")) + "\n")
		times = strings.Repeat(" ", margin)
	}
	if s.Meaning != "" {
		b.WriteString(times + o.Style.faint("     "+s.Meaning) + "\n")
	}
	if o.Hex {
		o.dump(b, s)
	}
}

// dump renders the octets of an entry.
func (o Show) dump(b *strings.Builder, s *Step) {
	text := s.Text
	if text == nil {
		text = s.Raw
	}
	if text == nil {
		return // no octets of a mail are in the dialogue
	}
	dump := hex.Dump([]byte(strings.ReplaceAll(*text, "\n", "\r\n") + "\r\n"))
	for line := range strings.Lines(dump) {
		b.WriteString(strings.Repeat(" ", margin) + o.Style.faint(strings.TrimSuffix(line, "\n")) + "\n")
	}
}

func ms(n float64) string { return strconv.FormatFloat(n, 'f', 1, 64) }
