package view

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/view/explain"
)

// Letter renders a mail: what is known of its way, its header, its text and its parts. What the archive cannot give is
// the error, and all else is still there.
func (o Show) Letter(d *Data, m *record.Message) (string, error) {
	var b strings.Builder
	o.way(&b, m)
	o.header(&b, m.Header)
	var text string
	var err error
	if m.Stored != nil {
		text, err = d.text(m)
	}
	if text != "" {
		b.WriteString("\n" + PrintableLines(text))
	}
	o.parts(&b, m.Parts)
	return b.String(), err
}

func (o Show) fact(b *strings.Builder, name, format string, args ...any) {
	fmt.Fprintf(b, "%s %s\n", o.Style.strong(fmt.Sprintf("%-9s", name)), fmt.Sprintf(format, args...))
}

// way renders the record of a mail but for what is in the mail.
func (o Show) way(b *strings.Builder, m *record.Message) {
	how := Printable(m.Protocol)
	if m.Via != "" {
		how += " " + Printable(m.Via)
	}
	if m.TLS {
		how += " inside TLS"
	}
	o.fact(b, "mail", "%s, %s, %s", Printable(m.ID), how, Printable(m.Outcome))
	o.fact(b, "time", "%s", m.Begin)
	o.fact(b, "client", "%s", endpoint(m.Client))
	o.fact(b, "server", "%s", endpoint(m.Server))
	if m.User != "" {
		o.fact(b, "user", "%s", Printable(m.User))
	}
	if m.UIDL != "" {
		o.fact(b, "uidl", "%s", Printable(m.UIDL))
	}
	if m.From != nil {
		o.fact(b, "from", "<%s>%s", Printable(*m.From), parameters(m.Params))
	}
	for i := range m.Rcpt {
		r := &m.Rcpt[i]
		o.fact(b, "to", "<%s>%s  %s", Printable(r.To), parameters(r.Params), o.reply(m.Protocol, r.Code, r.Enhanced, r.Text))
		if r.Delivered != nil {
			o.fact(b, "", "  delivery: %s", o.reply(m.Protocol, r.Delivered.Code, r.Delivered.Enhanced, r.Delivered.Text))
		}
	}
	if r := m.Recipients; r != nil && r.Accepted+r.Rejected+r.Unknown > len(m.Rcpt) {
		o.fact(b, "", "and %d more", r.Accepted+r.Rejected+r.Unknown-len(m.Rcpt))
	}
	if m.Reply != nil {
		o.fact(b, "reply", "%s", o.reply(m.Protocol, m.Reply.Code, m.Reply.Enhanced, m.Reply.Text))
	}
	if m.QueueID != "" {
		o.fact(b, "queue id", "%s", Printable(m.QueueID))
	}
	if m.Via != "" {
		o.fact(b, "octets", "%d, SHA-256 %s", m.Octets, Printable(m.SHA256))
	}
	for _, h := range m.Holes {
		if h.Octets < 0 {
			o.fact(b, "hole", "an unknown number of octets, at %d", h.Offset)
		} else {
			o.fact(b, "hole", "%d octets, at %d", h.Octets, h.Offset)
		}
	}
	switch {
	case m.Via == "":
		o.fact(b, "file", "none, as no mail was sent")
	case m.Stored == nil:
		o.fact(b, "file", "none, as the mail was not to be kept")
	case m.Stored.Path != "":
		o.fact(b, "file", "%s", Printable(m.Stored.Path))
	}
	for _, a := range m.Anomalies {
		o.fact(b, "anomaly", "%s", o.Style.refusal(fmt.Sprintf("%s, %s", Printable(a.Kind), plural(a.Count, "time", "times"))))
	}
}

// reply renders a reply, and what it means if it refuses.
func (o Show) reply(protocol string, code int, enhanced, text string) string {
	said := ReplyText(code, enhanced, text)
	if code < 400 {
		return said
	}
	said = o.Style.refusal(said)
	if meaning := explain.Reply(protocol, code, enhanced, text); meaning != "" {
		said += o.Style.faint(" (" + meaning + ")")
	}
	return said
}

// parameters renders those of MAIL or RCPT.
func parameters(params map[string]string) string {
	text := ""
	for _, key := range slices.Sorted(maps.Keys(params)) {
		text += " " + Printable(key)
		if params[key] != "" {
			text += "=" + Printable(params[key])
		}
	}
	return text
}

// header renders the fields that people look for.
func (o Show) header(b *strings.Builder, h *record.Header) {
	if h == nil {
		return
	}
	b.WriteByte('\n')
	for _, f := range []struct{ name, value string }{
		{"Date", h.Date},
		{"From", strings.Join(h.From, ", ")},
		{"To", strings.Join(h.To, ", ")},
		{"Cc", strings.Join(h.Cc, ", ")},
		{"Reply-To", strings.Join(h.ReplyTo, ", ")},
		{"Subject", h.Subject},
		{"Message-ID", h.MessageID},
		{"In-Reply-To", h.InReplyTo},
		{"User-Agent", h.UserAgent},
	} {
		if f.value != "" {
			b.WriteString(o.Style.strong(f.name+":") + " " + Printable(f.value) + "\n")
		}
	}
}

// parts lists the parts of a mail, with the numbers by which they are exported.
func (o Show) parts(b *strings.Builder, parts []record.Part) {
	if len(parts) == 0 {
		return
	}
	b.WriteString("\n" + o.Style.strong("parts") + "\n")
	for i, p := range parts {
		fmt.Fprintf(b, "%4d  %-30s %9d octets", i+1, Printable(p.Type), p.Octets)
		if p.Charset != "" {
			b.WriteString("  " + Printable(p.Charset))
		}
		if p.Disposition != "" {
			b.WriteString("  " + Printable(p.Disposition))
		}
		if p.Name != "" {
			b.WriteString(`  "` + Printable(p.Name) + `"`)
		}
		if p.Damaged {
			b.WriteString("  " + o.Style.refusal("damaged"))
		}
		b.WriteByte('\n')
	}
}

// maxHeader bounds the header section that RawHeader gives.
const maxHeader = 1 << 20

// RawHeader returns a mail's header section as it was on the wire.
func (d *Data) RawHeader(m *record.Message) (string, error) {
	r, err := d.Mail(m)
	if err != nil {
		return "", err
	}
	defer r.Close()
	octets, err := io.ReadAll(io.LimitReader(r, maxHeader))
	text, _, _ := strings.Cut(strings.ReplaceAll(string(octets), "\r\n", "\n"), "\n\n")
	return text + "\n", err
}
