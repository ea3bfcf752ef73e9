package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

// lossyCheck holds what was recorded of a session against what was sent.
type lossyCheck struct {
	t        *testing.T
	dir      string
	sent     *sentSession
	session  record.Session
	messages []record.Message
	said     []string // its dialogue
}

func (c *lossyCheck) errorf(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("port %d: %s\n%s", c.session.Client.Port, fmt.Sprintf(format, args...), strings.Join(c.said, "\n"))
}

// untouched checks a session of which the tap got all frames.
func (c *lossyCheck) untouched() {
	s := &c.session
	if s.Status != record.Closed || s.Lost != (record.Octets{}) || s.Anomalies != nil || len(c.messages) != len(c.sent.mails) {
		c.errorf("%s, lost %+v, anomalies %v, %d mails of %d", s.Status, s.Lost, s.Anomalies, len(c.messages), len(c.sent.mails))
		return
	}
	for i, m := range c.messages {
		mail := c.sent.mails[i]
		if m.SHA256 != hash(mail.text) || m.Octets != int64(len(mail.text)) || m.Holes != nil || m.Outcome != mail.outcome() {
			c.errorf("mail %d: %s, %d octets of %d, holes %v", i, m.Outcome, m.Octets, len(mail.text), m.Holes)
		}
		same := func(a, b record.Rcpt) bool { return a.To == b.To && a.Code == b.Code }
		if m.From == nil || !slices.EqualFunc(m.Rcpt, mail.to, same) || mail.accepted != (m.QueueID != "") {
			c.errorf("mail %d: from %s to %+v, queued as %q", i, asJSON(m.From), m.Rcpt, m.QueueID)
		}
		c.envelope(m, mail)
	}
}

// touched checks a session of which frames were dropped: what is said is true, and what is missing has a place.
func (c *lossyCheck) touched() {
	found := map[*sentMail]bool{}
	for _, m := range c.messages {
		mail := c.mail(m)
		if mail == nil {
			continue
		}
		if found[mail] {
			c.errorf("%s is recorded twice", mail.from)
		}
		found[mail] = true
		c.envelope(m, mail)
		if m.Outcome == record.Aborted || m.Outcome != mail.outcome() && m.Outcome != record.Unknown {
			c.errorf("%s is %s", mail.from, m.Outcome)
		}
	}
}

// mail finds the mail that a record is of, by its octets if there are any.
func (c *lossyCheck) mail(m record.Message) *sentMail {
	if m.Octets == 0 {
		i := slices.IndexFunc(c.sent.mails, func(s *sentMail) bool { return m.From != nil && *m.From == s.from })
		if m.From != nil && i < 0 {
			c.errorf("nothing was sent from %s", *m.From)
		}
		if i < 0 {
			return nil
		}
		return c.sent.mails[i]
	}
	data := archived(c.t, c.dir, m)
	if int64(len(data)) != m.Octets || hash(data) != m.SHA256 {
		c.errorf("the archive has %d octets, the record %d", len(data), m.Octets)
	}
	for i, s := range c.sent.mails {
		if fits(s.text, data, m.Holes) {
			return s
		}
		// Where the end of data was missed, the commands that went out with it may be taken for the mail's, up to the reply.
		if n := len(m.Holes); n > 0 && m.Holes[n-1].Octets < 0 && fits(append(slices.Clone(s.text), c.sent.after(i)...), data, m.Holes) {
			return s
		}
	}
	c.errorf("%d octets with the holes %v are of no mail that was sent: %.100q", m.Octets, m.Holes, data)
	return nil
}

// fits says whether data is text without the holes.
func fits(text, data []byte, holes []record.Hole) bool {
	at := int64(0)
	for _, h := range holes {
		n := h.Offset - at
		if n > int64(len(text)) || !bytes.Equal(text[:n], data[:n]) {
			return false
		}
		at, data, text = h.Offset, data[n:], text[n:]
		if h.Octets < 0 { // nobody knows how many
			return bytes.HasSuffix(text, data)
		}
		if h.Octets > int64(len(text)) {
			return false
		}
		text = text[h.Octets:]
	}
	return bytes.Equal(text, data)
}

// envelope checks what a record says of its mail's envelope and of the replies.
func (c *lossyCheck) envelope(m record.Message, mail *sentMail) {
	if m.From != nil && *m.From != mail.from {
		c.errorf("%s is said to be from %s", mail.from, *m.From)
	}
	for _, to := range m.Rcpt {
		if !slices.ContainsFunc(mail.to, func(r record.Rcpt) bool { return r.To == to.To && (r.Code == to.Code || to.Code == 0) }) {
			c.errorf("%s went to %+v, not to %s with %d", mail.from, mail.to, to.To, to.Code)
		}
	}
	if m.QueueID != "" && m.QueueID != queueName(mail.from) {
		c.errorf("%s is said to be queued as %s", mail.from, m.QueueID)
	}
	if m.Reply != nil && !strings.HasPrefix(smtpReply(".", mail.from), fmt.Sprint(m.Reply.Code)) {
		c.errorf("%s is said to be answered by %+v", mail.from, m.Reply)
	}
}

func (m *sentMail) outcome() string {
	if m.accepted {
		return record.Accepted
	}
	return record.Rejected
}

// lost checks what is said to be missing. Where the beginning and the end of both directions were captured, it is known
// exactly; elsewhere it is not more than what was dropped, but for an acknowledged FIN that looks like an octet.
func (c *lossyCheck) lost(before, after *seenFlow) {
	want := record.Octets{Client: before.count(0) - after.count(0), Server: before.count(1) - after.count(1)}
	got := c.session.Lost
	if after.answer != nil && after.fin == [2]bool{true, true} {
		if got != want {
			c.errorf("lost %+v, want %+v", got, want)
		}
		return
	}
	if got.Client > want.Client+1 || got.Server > want.Server+1 {
		c.errorf("lost %+v, but only %+v were dropped", got, want)
	}
}
