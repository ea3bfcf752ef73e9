package inspect

import (
	"slices"
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/smtp"
	"github.com/mailwire/mailwire/inspect/wire"
)

// maxTransactions bounds the transactions of one session that have no outcome yet; clients that pipeline mails have a
// handful.
const maxTransactions = 100

// transaction is a mail on its way: an SMTP mail transaction (RFC 5321 section 3.3), or a POP3 RETR or TOP.
type transaction struct {
	rec    *record.Message
	mailN  int   // the number of its MAIL, or of its first command
	dataN  int   // the number of the command that its octets belong to
	lastN  int   // the number of the last one, where there are several chunks
	rcptN  []int // the numbers of the RCPT commands in rec.Rcpt
	total  record.Recipients
	agreed bool // MAIL was accepted
	worth  bool // RCPT, DATA or BDAT followed: it gets a record
	open   bool // its octets are on the wire
	ended  bool // they were, and are no more
	sent   bool // they were, up to the end of data
	acked  int  // replies to the end of data for one recipient each (LMTP, PRDR)
	prdr   bool // those are followed by one for all
	judged bool // the last reply to the end of data was seen
	gapped bool // octets of the session were lost while it was under way
	torn   bool // some that keep its octets have more of them than others
	left   bool // the client had ended its octets within the mail's before the server refused it

	mail Mail
	work *bodyWork
}

// envelope handles the commands that make a transaction.
func (s *Session) envelope(e *wire.Command) {
	switch e.Verb {
	case "MAIL":
		address, params := smtp.Path(e.Arg)
		t := s.newTransaction(e)
		address = record.Text(address)
		t.rec.From, t.rec.Params = &address, paramMap(params)
	case "RCPT":
		t := s.building(e)
		t.worth = true
		t.total.Unknown++
		if len(t.rec.Rcpt) < record.MaxRecipients {
			address, params := smtp.Path(e.Arg)
			t.rec.Rcpt = append(t.rec.Rcpt, record.Rcpt{To: record.Text(address), Params: paramMap(params)})
			t.rcptN = append(t.rcptN, e.N)
		}
	case "DATA", "BDAT":
		t := s.building(e)
		t.worth = true
		if t.dataN == 0 || e.Verb == "DATA" {
			t.dataN = e.N
		}
		t.lastN = e.N
	}
}

func paramMap(params []smtp.Param) map[string]string {
	if len(params) == 0 {
		return nil
	}
	m := make(map[string]string, len(params))
	for _, p := range params {
		m[record.Text(p.Key)] = record.Text(p.Value)
	}
	return m
}

// newTransaction begins one at command e.
func (s *Session) newTransaction(e *wire.Command) *transaction {
	if len(s.transactions) == maxTransactions {
		s.finish(s.transactions[0])
	}
	t := &transaction{mailN: e.N, rec: &record.Message{
		V: record.Version, Type: "message", Session: s.rec.ID, Sensor: s.rec.Sensor, Mode: s.rec.Mode,
		Protocol: s.rec.Protocol, Begin: record.Time{Time: e.Time}, Client: s.rec.Client, Server: s.rec.Server,
		Helo: s.rec.Helo, User: s.user, TLS: s.tls,
	}}
	s.transactions = append(s.transactions, t)
	return t
}

// building returns the transaction that a RCPT, DATA or BDAT belongs to.
func (s *Session) building(e *wire.Command) *transaction {
	if n := len(s.transactions); n > 0 && !s.transactions[n-1].ended {
		return s.transactions[n-1]
	}
	return s.newTransaction(e)
}

// outcome handles the replies that decide about transactions.
func (s *Session) outcome(e *wire.Reply) {
	switch e.Verb {
	case "MAIL":
		s.mailReply(e)
	case "RCPT":
		s.rcptReply(e)
	case "DATA", "BDAT":
		if t := s.byData(e.To); t != nil && !e.OK {
			t.refuse(replyOf(e))
		}
	case wire.DataEnd:
		s.endReply(e)
	case "RSET", "EHLO", "HELO", "LHLO": // RFC 5321 sections 4.1.1.1 and 4.1.1.5
		if e.OK {
			s.abandon(e.To)
		}
	}
}

func replyOf(e *wire.Reply) *record.Reply {
	return &record.Reply{Code: e.Code, Enhanced: e.Enhanced, Text: text(e.Text)}
}

// mailReply: an accepted MAIL ends what was begun before it and not sent; a refused one within a transaction changes
// nothing, and what followed it belongs to that transaction.
func (s *Session) mailReply(e *wire.Reply) {
	i := slices.IndexFunc(s.transactions, func(t *transaction) bool { return t.mailN == e.To })
	if i < 0 {
		return
	}
	t := s.transactions[i]
	if e.OK {
		t.agreed = true
		s.abandon(e.To)
		return
	}
	if t.refuse(replyOf(e)); i == 0 {
		return
	}
	if before := s.transactions[i-1]; before.agreed && !before.open && !before.ended && !t.open && !t.ended {
		before.rec.Rcpt = append(before.rec.Rcpt, t.rec.Rcpt...)
		before.rcptN = append(before.rcptN, t.rcptN...)
		before.total.Unknown += t.total.Unknown
		before.worth = before.worth || t.worth
		before.dataN, before.lastN = max(before.dataN, t.dataN), max(before.lastN, t.lastN)
		s.transactions = slices.Delete(s.transactions, i, i+1)
	}
}

func (s *Session) rcptReply(e *wire.Reply) {
	t, i := s.byRcpt(e.To)
	if t == nil {
		return
	}
	if t.total.Unknown--; e.OK {
		t.total.Accepted++
	} else {
		t.total.Rejected++
	}
	if i >= 0 {
		r := &t.rec.Rcpt[i]
		if r.Code, r.Enhanced = e.Code, e.Enhanced; !e.OK {
			r.Text = text(e.Text)
		}
	}
}

// byRcpt returns the transaction of RCPT command n and the recipient's place in it, -1 if it was one too many to keep.
func (s *Session) byRcpt(n int) (*transaction, int) {
	var last *transaction
	for _, t := range s.transactions {
		if i := slices.Index(t.rcptN, n); i >= 0 {
			return t, i
		}
		if t.mailN < n && t.total.Unknown > 0 {
			last = t
		}
	}
	return last, -1
}

// endReply: the reply to the end of data decides. In LMTP each accepted recipient has one (RFC 2033 section 4.2) and the
// mail is accepted if one of them is; with PRDR, which a 353 announces, one for all follows these.
func (s *Session) endReply(e *wire.Reply) {
	t := s.byData(e.To)
	switch {
	case t == nil:
		return
	case e.Code == 353:
		t.prdr = true
		return
	}
	s.answered = max(s.answered, t.lastN)
	reply := replyOf(e)
	each := (t.prdr || s.rec.Protocol == record.LMTP) && t.acked < t.total.Accepted
	if each {
		t.deliver(reply)
	}
	switch {
	case reply.Code >= 400:
		t.left = t.left || t.rec.Reply == nil && t.open && s.fin[wire.FromClient] && reply.Code/100 == 4
		t.refuse(reply)
	case !each || !t.prdr && (t.rec.Reply == nil || t.rec.Reply.Code >= 400):
		t.rec.Reply = reply
	}
	if each && (t.prdr || t.acked < t.total.Accepted) {
		return
	}
	t.judged = true
	if !t.open {
		s.finish(t)
	}
}

// refuse notes a refusal. The first one is the cause of those that follow.
func (t *transaction) refuse(reply *record.Reply) {
	if t.rec.Reply == nil || t.rec.Reply.Code < 400 && t.acked == 0 {
		t.rec.Reply = reply
	}
}

// deliver gives a reply to the next accepted recipient.
func (t *transaction) deliver(reply *record.Reply) {
	n := 0
	for i := range t.rec.Rcpt {
		if r := &t.rec.Rcpt[i]; r.Code/100 == 2 {
			if n == t.acked {
				r.Delivered = reply
			}
			n++
		}
	}
	t.acked++
}

// byData returns the transaction that DATA or BDAT command n belongs to.
func (s *Session) byData(n int) *transaction {
	for _, t := range s.transactions {
		if n > 0 && t.dataN <= n && n <= t.lastN {
			return t
		}
	}
	return nil
}

// abandon ends the transactions begun before command n whose octets were not sent, or got fewer replies than they should.
func (s *Session) abandon(n int) {
	for i := 0; i < len(s.transactions); {
		if t := s.transactions[i]; t.mailN < n && !t.open && (!t.sent || t.acked > 0) {
			s.finish(t)
		} else {
			i++
		}
	}
}

// finish says the record of a transaction whose outcome is as known as it will be.
func (s *Session) finish(t *transaction) {
	s.transactions = slices.DeleteFunc(s.transactions, func(o *transaction) bool { return o == t })
	s.countRecipients(t)
	if !t.worth {
		return
	}
	if t.work != nil { // the session ends within the octets
		t.work.parser.Hole(wire.LostUnknown)
		s.finishBody(t)
	}
	s.number(t)
	r := t.rec
	if t.total != (record.Recipients{}) {
		r.Recipients = &t.total
	}
	r.End = s.rec.End
	r.Outcome = t.verdict(s.rec.Protocol, s.cut)
	r.Direction = s.messageDirection(r)
	if r.Reply != nil && r.Outcome == record.Accepted {
		r.QueueID = queueID(r.Reply.Text)
	}
	s.sink.Message(r, t.mail)
}

func (s *Session) countRecipients(t *transaction) {
	if t.total == (record.Recipients{}) {
		return
	}
	if s.rec.Recipients == nil {
		s.rec.Recipients = new(record.Recipients)
	}
	s.rec.Recipients.Accepted += t.total.Accepted
	s.rec.Recipients.Rejected += t.total.Rejected
	s.rec.Recipients.Unknown += t.total.Unknown
}

// verdict names the outcome: what the server said, or else how far it got. Where the end of the session was not seen (cut),
// nobody knows what became of what was going on. A server that says it has lost a client which left refuses nothing.
func (t *transaction) verdict(protocol string, cut bool) string {
	r := t.rec
	switch {
	case protocol == record.POP3 && t.sent:
		return record.Accepted
	case r.Reply != nil && (protocol == record.POP3 || r.Reply.Code/100 == 2):
		return record.Accepted
	case t.left && !t.sent:
		return record.Aborted
	case r.Reply != nil:
		return record.Rejected
	case t.sent:
		return record.Unknown
	case r.Via == "" && t.total.Rejected > 0 && t.total.Accepted == 0 && !t.gapped:
		return record.Rejected
	case cut, t.gapped, t.endsInHole():
		return record.Unknown
	}
	return record.Aborted
}

// endsInHole says whether the last octets of the mail were not seen: its end may be among them.
func (t *transaction) endsInHole() bool {
	n := len(t.rec.Holes)
	return n > 0 && t.rec.Holes[n-1].Offset == t.rec.Octets
}

// messageDirection tells where a mail goes from the domains of its envelope, or else from its connection.
func (s *Session) messageDirection(r *record.Message) string {
	if len(s.cfg.LocalDomains) == 0 || r.Protocol == record.POP3 || r.From == nil || len(r.Rcpt) == 0 {
		return s.rec.Direction
	}
	toLocal := slices.ContainsFunc(r.Rcpt, func(to record.Rcpt) bool { return s.ours(to.To, s.rec.Server) })
	return direction(s.ours(*r.From, s.rec.Client), toLocal)
}

// ours says whether an address is local. One without a domain, as the null sender and <postmaster> (RFC 5321 sections 4.5.5
// and 4.5.1), is of the side that it belongs to.
func (s *Session) ours(address string, side record.Endpoint) bool {
	if !strings.Contains(address, "@") {
		return side.Side == record.Local
	}
	return s.cfg.localAddress(address)
}
