package record

import (
	"strconv"
)

// AppendJSON appends the record as one line, without its line end, and returns the longer dst. What it writes is what
// encoding/json writes with SetEscapeHTML(false), without reflection and without allocating; a number of milliseconds
// that is not finite, which JSON has no word for, is 0.
func (s *Session) AppendJSON(dst []byte) []byte {
	at := len(dst)
	dst = appendInt(dst, `,"v":`, s.V)
	dst = appendText(dst, `,"type":`, s.Type)
	dst = appendText(dst, `,"id":`, s.ID)
	dst = optText(dst, `,"community_id":`, s.CommunityID)
	dst = optText(dst, `,"sensor":`, s.Sensor)
	dst = appendText(dst, `,"mode":`, s.Mode)
	dst = appendText(dst, `,"protocol":`, s.Protocol)
	dst = appendTime(dst, `,"begin":`, s.Begin)
	dst = appendTime(dst, `,"end":`, s.End)
	dst = appendMS(dst, `,"duration_ms":`, s.DurationMS)
	dst = s.Client.appendJSON(append(dst, `,"client":`...))
	dst = s.Server.appendJSON(append(dst, `,"server":`...))
	dst = appendText(dst, `,"direction":`, s.Direction)
	dst = appendText(dst, `,"status":`, s.Status)
	dst = optText(dst, `,"via":`, s.Via)
	dst = optText(dst, `,"banner":`, s.Banner)
	dst = optText(dst, `,"helo":`, s.Helo)
	dst = optTexts(dst, `,"capabilities":`, s.Capabilities)
	if s.TLS != nil {
		dst = s.TLS.appendJSON(append(dst, `,"tls":`...))
	}
	dst = optArray(dst, `,"auth":`, s.Auth, (*Login).appendJSON)
	dst = appendInt(dst, `,"messages":`, s.Messages)
	dst = optRecipients(dst, s.Recipients)
	dst = optArray(dst, `,"errors":`, s.Errors, (*Error).appendJSON)
	dst = appendInt(dst, `,"commands":`, s.Commands)
	dst = appendInt(dst, `,"replies":`, s.Replies)
	if s.Unanswered != 0 {
		dst = appendInt(dst, `,"unanswered":`, s.Unanswered)
	}
	if s.Slowest != nil {
		dst = appendText(dst, `,"slowest":{"command":`, s.Slowest.Command)
		dst = append(appendMS(dst, `,"ms":`, s.Slowest.MS), '}')
	}
	dst = s.Octets.appendJSON(append(dst, `,"octets":`...))
	dst = s.Lost.appendJSON(append(dst, `,"lost":`...))
	dst = optArray(dst, `,"dialogue":`, s.Dialogue, (*Entry).appendJSON)
	dst = optArray(dst, `,"anomalies":`, s.Anomalies, (*Anomaly).appendJSON)
	return endObject(dst, at)
}

// AppendJSON does for a Message what Session.AppendJSON does for a session.
func (m *Message) AppendJSON(dst []byte) []byte {
	at := len(dst)
	dst = appendInt(dst, `,"v":`, m.V)
	dst = appendText(dst, `,"type":`, m.Type)
	dst = appendText(dst, `,"id":`, m.ID)
	dst = appendText(dst, `,"session":`, m.Session)
	dst = optText(dst, `,"sensor":`, m.Sensor)
	dst = appendText(dst, `,"mode":`, m.Mode)
	dst = appendText(dst, `,"protocol":`, m.Protocol)
	dst = appendInt(dst, `,"transaction":`, m.Transaction)
	dst = optText(dst, `,"via":`, m.Via)
	dst = appendTime(dst, `,"begin":`, m.Begin)
	dst = appendTime(dst, `,"end":`, m.End)
	dst = m.Client.appendJSON(append(dst, `,"client":`...))
	dst = m.Server.appendJSON(append(dst, `,"server":`...))
	dst = appendText(dst, `,"direction":`, m.Direction)
	dst = optText(dst, `,"helo":`, m.Helo)
	dst = optText(dst, `,"user":`, m.User)
	dst = optTrue(dst, `,"tls":true`, m.TLS)
	if m.From != nil {
		dst = appendText(dst, `,"from":`, *m.From)
	}
	dst = optMap(dst, `,"params":`, m.Params)
	dst = optArray(dst, `,"rcpt":`, m.Rcpt, (*Rcpt).appendJSON)
	dst = optRecipients(dst, m.Recipients)
	dst = optText(dst, `,"uidl":`, m.UIDL)
	dst = optReply(dst, `,"reply":`, m.Reply)
	dst = optText(dst, `,"queue_id":`, m.QueueID)
	dst = appendText(dst, `,"outcome":`, m.Outcome)
	dst = appendInt(dst, `,"octets":`, m.Octets)
	dst = optText(dst, `,"sha256":`, m.SHA256)
	dst = optArray(dst, `,"holes":`, m.Holes, (*Hole).appendJSON)
	if m.Header != nil {
		dst = m.Header.appendJSON(append(dst, `,"header":`...))
	}
	dst = optArray(dst, `,"parts":`, m.Parts, (*Part).appendJSON)
	if m.Stored != nil {
		dst = m.Stored.appendJSON(append(dst, `,"stored":`...))
	}
	dst = optArray(dst, `,"anomalies":`, m.Anomalies, (*Anomaly).appendJSON)
	return endObject(dst, at)
}

func (e *Endpoint) appendJSON(dst []byte) []byte {
	dst = appendText(dst, `{"ip":`, e.IP)
	dst = appendInt(dst, `,"port":`, e.Port)
	return append(optText(dst, `,"side":`, e.Side), '}')
}

func (t *TLS) appendJSON(dst []byte) []byte {
	dst = appendText(dst, `{"how":`, t.How)
	dst = strconv.AppendBool(append(dst, `,"ended":`...), t.Ended)
	dst = t.appendFields(dst)
	if t.Upstream != nil {
		dst = append(dst, `,"upstream":`...)
		at := len(dst)
		dst = endObject(t.Upstream.appendFields(dst), at)
	}
	return append(dst, '}')
}

func (h *Handshake) appendFields(dst []byte) []byte {
	dst = optText(dst, `,"version":`, h.Version)
	dst = optText(dst, `,"cipher":`, h.Cipher)
	dst = optText(dst, `,"sni":`, h.SNI)
	if h.Certificate != nil {
		dst = h.Certificate.appendJSON(append(dst, `,"certificate":`...))
	}
	return dst
}

func (c *Certificate) appendJSON(dst []byte) []byte {
	at := len(dst)
	dst = optText(dst, `,"subject":`, c.Subject)
	dst = optText(dst, `,"issuer":`, c.Issuer)
	dst = optTexts(dst, `,"names":`, c.Names)
	dst = optTime(dst, `,"not_before":`, c.NotBefore)
	dst = optTime(dst, `,"not_after":`, c.NotAfter)
	return endObject(appendText(dst, `,"sha256":`, c.SHA256), at)
}

func (l *Login) appendJSON(dst []byte) []byte {
	dst = appendTime(dst, `{"time":`, l.Time)
	dst = appendText(dst, `,"mechanism":`, l.Mechanism)
	dst = optText(dst, `,"user":`, l.User)
	dst = optTrue(dst, `,"tls":true`, l.TLS)
	dst = appendText(dst, `,"outcome":`, l.Outcome)
	dst = appendReply(dst, l.Code, l.Enhanced, l.Text)
	return append(dst, '}')
}

func (e *Error) appendJSON(dst []byte) []byte {
	dst = appendTime(dst, `{"time":`, e.Time)
	dst = optText(dst, `,"command":`, e.Command)
	return append(appendReply(dst, e.Code, e.Enhanced, e.Text), '}')
}

func (o Octets) appendJSON(dst []byte) []byte {
	dst = appendInt(dst, `{"client":`, o.Client)
	return append(appendInt(dst, `,"server":`, o.Server), '}')
}

func (e *Entry) appendJSON(dst []byte) []byte {
	dst = appendMS(dst, `{"ms":`, e.MS)
	dst = optText(dst, `,"from":`, e.From)
	if e.Text != nil {
		dst = appendText(dst, `,"text":`, *e.Text)
	}
	if e.Body != nil {
		dst = appendInt(dst, `,"body":`, *e.Body)
	}
	if e.Raw != nil {
		dst = appendText(dst, `,"raw":`, *e.Raw)
	}
	return append(optInt(dst, `,"omitted":`, e.Omitted), '}')
}

func (a *Anomaly) appendJSON(dst []byte) []byte {
	dst = appendText(dst, `{"kind":`, a.Kind)
	return append(appendInt(dst, `,"count":`, a.Count), '}')
}

func (r *Rcpt) appendJSON(dst []byte) []byte {
	dst = appendText(dst, `{"to":`, r.To)
	dst = optMap(dst, `,"params":`, r.Params)
	dst = appendReply(dst, r.Code, r.Enhanced, r.Text)
	return append(optReply(dst, `,"delivered":`, r.Delivered), '}')
}

func (h *Hole) appendJSON(dst []byte) []byte {
	dst = appendInt(dst, `{"offset":`, h.Offset)
	return append(appendInt(dst, `,"octets":`, h.Octets), '}')
}

func (h *Header) appendJSON(dst []byte) []byte {
	at := len(dst)
	dst = optText(dst, `,"date":`, h.Date)
	dst = optTexts(dst, `,"from":`, h.From)
	dst = optTexts(dst, `,"to":`, h.To)
	dst = optTexts(dst, `,"cc":`, h.Cc)
	dst = optTexts(dst, `,"reply_to":`, h.ReplyTo)
	dst = optText(dst, `,"subject":`, h.Subject)
	dst = optText(dst, `,"message_id":`, h.MessageID)
	dst = optText(dst, `,"in_reply_to":`, h.InReplyTo)
	dst = optText(dst, `,"user_agent":`, h.UserAgent)
	dst = optInt(dst, `,"received":`, h.Received)
	return endObject(dst, at)
}

func (p *Part) appendJSON(dst []byte) []byte {
	dst = appendText(dst, `{"type":`, p.Type)
	dst = optText(dst, `,"charset":`, p.Charset)
	dst = optText(dst, `,"name":`, p.Name)
	dst = optText(dst, `,"disposition":`, p.Disposition)
	dst = appendInt(dst, `,"octets":`, p.Octets)
	dst = optText(dst, `,"sha256":`, p.SHA256)
	return append(optTrue(dst, `,"damaged":true`, p.Damaged), '}')
}

func (s *Stored) appendJSON(dst []byte) []byte {
	at := len(dst)
	dst = optText(dst, `,"path":`, s.Path)
	dst = optTrue(dst, `,"exact":true`, s.Exact)
	dst = optText(dst, `,"error":`, s.Error)
	return endObject(dst, at)
}

// AppendJSON appends the secret as one line of the secrets file, without its line end.
func (x *Secret) AppendJSON(dst []byte, s *Session) []byte {
	dst = appendInt(dst, `{"v":`, Version)
	dst = appendTime(dst, `,"type":"secret","time":`, x.Time)
	dst = appendText(dst, `,"session":`, s.ID)
	dst = appendText(dst, `,"protocol":`, s.Protocol)
	dst = s.Client.appendJSON(append(dst, `,"client":`...))
	dst = s.Server.appendJSON(append(dst, `,"server":`...))
	dst = appendText(dst, `,"mechanism":`, x.Mechanism)
	dst = appendText(dst, `,"user":`, x.User)
	return append(appendText(dst, `,"secret":`, x.Secret), '}')
}
