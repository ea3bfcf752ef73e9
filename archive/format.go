package archive

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
)

const shownRecipients = 3 // in a line of the mail log; the others are counted

// appendDialogue appends a line of the dialogue log, or one for each line of a reply.
func appendDialogue(dst []byte, s *record.Session, l *record.Line) []byte {
	at := len(dst)
	dst = l.Time.Append(dst)
	dst = appendWord(append(dst, ' '), s.ID)
	dst = append(append(dst, ' '), mark(l.Kind, l.TLS)...)
	head := len(dst) - at
	switch l.Kind {
	case record.ClientBody, record.ServerBody:
		dst = strconv.AppendInt(append(dst, '['), l.Octets, 10)
		return append(dst, " octets of message]\n"...)
	case record.FromServer, record.Refusal:
		text := l.Text
		for {
			i := bytes.IndexByte(text, '\n')
			if i < 0 {
				return append(record.AppendEscaped(dst, text), '\n')
			}
			dst = append(record.AppendEscaped(dst, text[:i]), '\n')
			dst = append(dst, dst[at:at+head]...)
			text = text[i+1:]
		}
	}
	return append(record.AppendEscaped(dst, l.Text), '\n')
}

// mark says who speaks; all are four octets, so that the texts stand below each other.
func mark(k record.LineKind, tls bool) string {
	switch k {
	case record.FromClient, record.ClientBody:
		if tls {
			return " ~> "
		}
		return " -> "
	case record.FromServer, record.ServerBody:
		if tls {
			return "<~  "
		}
		return "<-  "
	case record.Refusal:
		return "<** "
	}
	return "=== "
}

// appendLogin appends a line of the auth log. Our facts come first; what foreigners wrote is quoted, the reply, and the
// user, which anyone may choose, last.
func appendLogin(dst []byte, pid int, s *record.Session, attempt int, l *record.Login) []byte {
	word := "AUTH-UNKNOWN"
	switch l.Outcome {
	case record.Success:
		word = "AUTH-OK"
	case record.Failure:
		word = "AUTH-FAIL"
	}
	dst = append(appendHead(dst, l.Time, pid), word...)
	dst = appendPeers(dst, &s.Client, &s.Server, s.Protocol)
	dst = appendWord(append(dst, " mech="...), l.Mechanism)
	dst = strconv.AppendInt(append(dst, " attempt="...), int64(attempt), 10)
	dst = appendQuotedReply(append(dst, " reply="...), l.Code, l.Enhanced, l.Text)
	dst = appendWord(append(dst, " session="...), s.ID)
	dst = record.AppendQuoted(append(dst, " user="...), l.User)
	return append(dst, '\n')
}

// appendMail appends a line of the mail log.
func appendMail(dst []byte, pid int, m *record.Message) []byte {
	dst = append(appendHead(dst, m.Begin, pid), "MAIL "...)
	dst = appendPeers(appendWord(dst, m.Outcome), &m.Client, &m.Server, m.Protocol)
	dst = appendWord(append(dst, " mail="...), m.ID)
	dst = strconv.AppendInt(append(dst, " octets="...), m.Octets, 10)
	if n := len(m.Holes); n > 0 {
		dst = strconv.AppendInt(append(dst, " holes="...), int64(n), 10)
	}
	accepted, all := recipients(m)
	if all > 0 {
		dst = strconv.AppendInt(append(dst, " rcpt="...), int64(accepted), 10)
		dst = strconv.AppendInt(append(dst, '/'), int64(all), 10)
	}
	dst = append(dst, " stored="...)
	switch {
	case m.Stored == nil:
		dst = append(dst, "no"...)
	case m.Stored.Error != "":
		dst = append(dst, "failed"...)
	default:
		dst = appendWord(dst, m.Stored.Path)
	}
	if r := decisive(m); r != nil {
		dst = appendQuotedReply(append(dst, " reply="...), r.Code, r.Enhanced, r.Text)
	}
	if m.User != "" {
		dst = record.AppendQuoted(append(dst, " user="...), m.User)
	}
	if m.From != nil {
		dst = record.AppendQuoted(append(dst, " from="...), *m.From)
	}
	shown := min(len(m.Rcpt), shownRecipients)
	for i := range shown {
		dst = record.AppendQuoted(append(dst, " to="...), m.Rcpt[i].To)
	}
	if all > shown {
		dst = strconv.AppendInt(append(dst, " +"...), int64(all-shown), 10)
	}
	if m.Header != nil && m.Header.Subject != "" {
		dst = record.AppendQuoted(append(dst, " subject="...), m.Header.Subject)
	}
	return append(dst, '\n')
}

// decisive returns the reply that decided about m, nil if none was seen: where no recipient was accepted, the first one's.
func decisive(m *record.Message) *record.Reply {
	if m.Reply != nil || m.Outcome != record.Rejected {
		return m.Reply
	}
	for i := range m.Rcpt {
		if r := &m.Rcpt[i]; r.Code >= 400 {
			return &record.Reply{Code: r.Code, Enhanced: r.Enhanced, Text: r.Text}
		}
	}
	return nil
}

// recipients counts the RCPT commands of m: those accepted and all.
func recipients(m *record.Message) (accepted, all int) {
	if r := m.Recipients; r != nil {
		return r.Accepted, max(len(m.Rcpt), r.Accepted+r.Rejected+r.Unknown)
	}
	for i := range m.Rcpt {
		if code := m.Rcpt[i].Code; code >= 200 && code < 300 {
			accepted++
		}
	}
	return accepted, len(m.Rcpt)
}

// appendHead begins a line as syslog's lines begin.
func appendHead(dst []byte, t record.Time, pid int) []byte {
	dst = t.Append(dst)
	dst = strconv.AppendInt(append(dst, " mailwire["...), int64(pid), 10)
	return append(dst, "]: "...)
}

// appendPeers appends both ends; the client's address is always in brackets, for fail2ban.
func appendPeers(dst []byte, client, server *record.Endpoint, protocol string) []byte {
	dst = appendWord(append(dst, " ["...), client.IP)
	dst = strconv.AppendUint(append(dst, "]:"...), uint64(client.Port), 10)
	dst = appendWord(append(dst, ' '), protocol)
	dst = append(dst, " server="...)
	if strings.IndexByte(server.IP, ':') >= 0 {
		dst = append(appendWord(append(dst, '['), server.IP), ']')
	} else {
		dst = appendWord(dst, server.IP)
	}
	return strconv.AppendUint(append(dst, ':'), uint64(server.Port), 10)
}

// appendQuotedReply appends a reply as it was on the wire; one of POP3 has no code.
func appendQuotedReply(dst []byte, code int, enhanced, text string) []byte {
	dst = append(dst, '"')
	if code != 0 {
		dst = append(strconv.AppendInt(dst, int64(code), 10), ' ')
	}
	if enhanced != "" {
		dst = append(appendWord(dst, enhanced), ' ')
	}
	if text == "" {
		return append(bytes.TrimSuffix(dst, []byte{' '}), '"')
	}
	quote := len(dst)
	dst = record.AppendQuoted(dst, text)
	return append(dst[:quote], dst[quote+1:]...)
}

// appendWord appends a word that is ours, such as an id or an address. Should it be foreign after all, nothing in it
// can end the word: each such octet becomes a question mark.
func appendWord(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, '-')
	}
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c > '~' || c == '"' || c == '\\' || c == '[' || c == ']' {
			c = '?'
		}
		dst = append(dst, c)
	}
	return dst
}
