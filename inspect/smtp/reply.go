package smtp

import (
	"bytes"

	"github.com/mailwire/mailwire/inspect/wire"
)

// usualReply is room for a reply of several lines, as that to EHLO.
const usualReply = 512

// reply is the server's reply while its lines come in.
type reply struct {
	lines []byte // as sent, joined by "\n", at most wire.MaxLine octets; empty: none has begun
	cut   int64
}

func (p *Parser) fromServer(c wire.Chunk) {
	if c.Lost != 0 {
		p.serverGap(c.Lost)
	}
	for data := c.Data; len(data) > 0; {
		if p.mode != opaque && data[0] == firstTLSOctet && p.server.Empty() && p.replies+p.commands == 0 {
			p.mode = opaque
			p.emit(&wire.Upgrade{Time: p.now, How: "implicit"})
		}
		if p.mode == beforeTLS && !p.veiled && p.server.Empty() && !isDigit(data[0]) {
			p.veil(data[0])
		}
		p.layer(data[0])
		if p.mode == opaque || p.veiled {
			p.emit(&wire.Opaque{Time: p.now, Dir: wire.FromServer, Data: data})
			return
		}
		if p.mode == inDoubt {
			p.doubtChunk(wire.Chunk{Dir: wire.FromServer, Time: p.now, Data: data})
			return
		}
		line, rest, ok := p.server.Next(data)
		if !ok {
			return
		}
		p.replyLine(line)
		data = rest
	}
}

// replyLine takes one line of a reply (RFC 5321 section 4.2): three digits, "-" where more lines follow, text.
func (p *Parser) replyLine(l wire.Line) {
	if !isReply(l.Data) {
		if p.garbled {
			p.say(wire.Resync, 1)
			return
		}
		p.say(wire.BadReply, 1)
		p.emit(&wire.Noise{Time: p.now, Dir: wire.FromServer, Line: p.scrub.Scrub(l.Data)})
		return
	}
	p.garbled = false
	if r := p.reply; len(r.lines) > 0 && string(l.Data[:3]) != string(r.lines[:3]) {
		p.replied(r) // the last line of the reply before is missing
	}
	if l.Bare {
		p.say(wire.BareLF, 1)
	}
	last := len(l.Data) == 3 || l.Data[3] != '-'
	r := &p.reply
	switch {
	case len(r.lines) > 0:
		r.add(l)
	case last: // the only line, which need not be kept
		p.replied(reply{lines: l.Data, cut: l.Cut})
		return
	default:
		*r = reply{lines: append(make([]byte, 0, usualReply), l.Data...), cut: l.Cut}
	}
	if last {
		p.replied(*r)
	}
}

// add adds another line.
func (r *reply) add(l wire.Line) {
	if len(r.lines) < wire.MaxLine {
		r.lines = append(r.lines, '\n')
	}
	keep := l.Data[:min(len(l.Data), max(0, wire.MaxLine-len(r.lines)))]
	r.cut += l.Cut + int64(len(l.Data)-len(keep))
	r.lines = append(r.lines, keep...)
}

// text returns the lines without the codes and what separates them from the text.
func (r *reply) text() []byte {
	const code = 4
	if bytes.IndexByte(r.lines, '\n') < 0 {
		return r.lines[min(len(r.lines), code):]
	}
	text := make([]byte, 0, len(r.lines))
	for line := range bytes.Lines(r.lines) {
		n := code
		if line[len(line)-1] == '\n' {
			n = min(n, len(line)-1)
		}
		text = append(text, line[min(n, len(line)):]...)
	}
	return text
}

// endServerLine takes the line whose end did not come for a whole one, as the client did, which has gone on.
func (p *Parser) endServerLine() {
	l := p.server.Pending()
	if len(l.Data) > 0 && p.mode != opaque {
		l.Bare = false
		p.server.Reset()
		p.replyLine(l)
	}
}

// dropServerLine shows the line whose end never came. It is no reply: no client acts upon it (RFC 5321 section 4.2).
func (p *Parser) dropServerLine() {
	p.dropReply()
	if l := p.server.Pending(); len(l.Data) > 0 && p.mode != opaque {
		p.emit(&wire.Noise{Time: p.now, Dir: wire.FromServer, Line: p.scrub.Scrub(l.Data)})
		p.server.Reset()
	}
}

// dropReply shows the lines of a reply whose last line never came.
func (p *Parser) dropReply() {
	for line := range bytes.SplitSeq(p.reply.lines, []byte("\n")) {
		if len(line) > 0 {
			p.emit(&wire.Noise{Time: p.now, Dir: wire.FromServer, Line: p.scrub.Scrub(line)})
		}
	}
	p.reply = reply{}
}

func codeOf(line []byte) int {
	return int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
}

// isReply says whether line is a line of a reply: three digits, of which the first says 2 to 5, and then the end, a blank
// or "-".
func isReply(line []byte) bool {
	return len(line) >= 3 && '2' <= line[0] && line[0] <= '5' && isDigit(line[1]) && isDigit(line[2]) &&
		(len(line) == 3 || line[3] == ' ' || line[3] == '-')
}

// replied matches a whole reply with the command that it answers, says it, and goes on with what it decides.
func (p *Parser) replied(r reply) {
	p.reply = reply{}
	code := codeOf(r.lines)
	ev := &p.answer
	*ev = wire.Reply{
		Time: p.now, Wait: -1, Code: code, OK: code < 400, GoOn: code/100 == 3, Cut: r.cut, Lines: p.scrub.Scrub(r.lines),
	}
	ev.Enhanced, ev.Text = cutEnhanced(code, p.scrub.Scrub(r.text()))
	if r.cut > 0 {
		p.say(wire.LongLine, 1)
	}
	w := p.match(code)
	switch {
	case w != nil && w.Lost(): // one of too many to keep
	case w != nil:
		if w.Verb == wire.Connect && p.commands > 0 {
			p.say(wire.EarlyTalker, 1)
		}
		ev.To, ev.Verb, ev.Command = w.N, w.Verb, w.Line
		ev.Wait = p.now.Sub(w.Time)
	case p.mode == inBody && p.waiting.Len() == 0 && code == 221: // to the QUIT behind the end of data
		ev.Verb = "QUIT"
		p.endUnseen(code)
	case p.mode == inBody && p.waiting.Len() == 0: // before the end of data was seen
		ev.To, ev.Verb = p.mail.n, "DATA"
		if p.endUnseen(code) || p.mail.refused {
			ev.Verb = wire.DataEnd
		}
	case p.blob.owed:
		ev.To, ev.Verb, p.blob.owed = p.blob.n, "XEXCH50", false
	case p.replies == 0 && code == 220:
		ev.Verb = wire.Connect
	case code != 421 && p.matched && p.order == exact: // RFC 5321 section 3.8: the server may close at any time
		p.say(wire.UnsolicitedReply, 1)
	}
	p.matched = p.matched || w != nil && w.N > 0
	p.replies++
	p.answered = true
	p.emit(ev)
	p.follow(ev)
}

// match takes the command that a reply with this code answers from those that wait; nil: none does.
func (p *Parser) match(code int) *wire.Pending {
	w := p.waiting.Head()
	if w == nil {
		return nil
	}
	if w.Verb == wire.Connect && code != 220 && code < 400 { // no greeting, this is the reply to a command
		p.waiting.Pop()
		if w = p.waiting.Head(); w == nil {
			return nil
		}
	}
	if code == 220 && p.replies == 0 && w.Verb != wire.Connect && w.Verb != "STARTTLS" {
		return nil // the greeting of a conversation whose beginning was missed
	}
	if code == 354 && p.owesOne(w) {
		w = p.waiting.Head()
	}
	if p.order != exact || w.Verb == "" && !w.Lost() { // an empty line, which some servers ignore
		if w = p.suited(code); w == nil {
			return nil
		}
	}
	if code == 221 && w.Verb == wire.DataEnd && p.ends > 0 { // to QUIT: the server replies once to a mail for many
		return p.sought("QUIT")
	}
	if w.Verb == wire.DataEnd && p.moreEnds(code) {
		return w
	}
	return p.waiting.Pop()
}

// sought takes the first command with this verb from those that wait, and what is before it, for which no more replies come;
// nil: there is none.
func (p *Parser) sought(verb string) *wire.Pending {
	p.ends = 0
	if !p.waiting.Seek(func(w *wire.Pending) bool { return w.Verb == verb }) {
		p.waiting.Clear()
		return nil
	}
	return p.waiting.Pop()
}

// owesOne brings the DATA that a 354 answers to the head of waiting, where the head is a command that never gets one (RFC
// 5321 section 4.3.2): the server said fewer replies than it owes, and the client goes on with the mail.
func (p *Parser) owesOne(head *wire.Pending) bool {
	switch head.Verb {
	case "EHLO", "HELO", "LHLO", "MAIL", "RCPT", "RSET", "NOOP":
		return p.waiting.Seek(func(w *wire.Pending) bool { return w.Verb == "DATA" })
	}
	return false
}

// endUnseen ends the mail on the wire where the server replies to it, and its end was lost, or is none that anybody else
// knows. A refusal ends nothing: the client hears it when it has sent all, or is cut off (RFC 5321 section 4.2.5).
func (p *Parser) endUnseen(code int) bool {
	switch {
	case p.mail.holed:
		p.endInHole()
		return true
	case code >= 400:
		p.mail.refused = p.mail.agreed
		return false
	}
	p.mode = inLines
	p.client.Reset()
	p.bodyHole(wire.LostUnknown)
	p.endMail(false)
	return true
}

// moreEnds says whether an end of data gets more replies after this one: in LMTP one for each accepted recipient (RFC 2033
// section 4.2), with PRDR, which a 353 announces (draft-hall-prdr), one for each and then one for all.
func (p *Parser) moreEnds(code int) bool {
	switch {
	case p.ends > 0:
		p.ends--
	case p.lmtp:
		p.ends = p.accepted - 1
	case code == 353:
		p.ends = p.accepted + 1
	}
	return p.ends > 0
}

// follow does what a reply decides.
func (p *Parser) follow(r *wire.Reply) {
	switch {
	case p.mode == held && r.To == p.hold.n && r.To > 0 && r.Verb == p.hold.verb:
		p.settle(r)
	case p.mode == inBody && r.To == p.mail.n && r.Verb == "DATA": // it was guessed
		if p.mail.agreed = r.Code/100 == 3; !p.mail.agreed {
			p.endMail(false)
			p.mode = inLines
		}
	case r.Code == 334 && r.To == 0 && p.mode == inLines: // an AUTH whose beginning was lost
		p.mode = inResponse
	case r.Code == 354 && r.To == 0 && p.mode == inLines: // a DATA that was lost
		p.commands++
		p.beginMail("DATA")
		p.mail.agreed = true
		p.mode = inBody
	case r.Verb == "BDAT" && !r.OK: // what a client has sent already goes with it
		p.mail.refused = p.mode == inLines && p.waiting.Len() == 0
	case r.OK && r.Verb == "RCPT":
		p.accepted++
	case r.OK && (r.Verb == "MAIL" || r.Verb == "RSET"):
		p.accepted, p.gapped = 0, false
	case r.OK && (r.Verb == "EHLO" || r.Verb == "HELO" || r.Verb == "LHLO"):
		p.accepted, p.gapped, p.lmtp = 0, false, r.Verb == "LHLO"
	case r.Verb == "LHLO": // who refuses it speaks SMTP
		p.lmtp = false
	}
}

// cutEnhanced takes RFC 2034's enhanced code off the lines of a reply's text.
func cutEnhanced(code int, text []byte) (enhanced string, rest []byte) {
	n := enhancedLen(text)
	if n == 0 || int(text[0]-'0') != code/100 {
		return "", text
	}
	prefix := text[:n]
	enhanced = string(prefix)
	if bytes.IndexByte(text, '\n') < 0 {
		return enhanced, trimEnhanced(text, prefix)
	}
	for line := range bytes.Lines(text) {
		rest = append(rest, trimEnhanced(line, prefix)...)
	}
	return enhanced, rest
}

// trimEnhanced takes the code and what separates it from the text off a line; some servers put a colon there.
func trimEnhanced(line, enhanced []byte) []byte {
	line, ok := bytes.CutPrefix(line, enhanced)
	if ok {
		line = bytes.TrimPrefix(line, []byte(":"))
	}
	return bytes.TrimPrefix(line, []byte(" "))
}

// enhancedLen returns the length of the enhanced status code (RFC 3463 section 2) that text begins with, 0 if with none.
func enhancedLen(text []byte) int {
	if len(text) < 5 || text[0] < '2' || text[0] > '5' || text[1] != '.' {
		return 0
	}
	i, dots := 1, 0
	for ; i < len(text) && text[i] == '.' && dots < 2; dots++ {
		digits := 0
		for i++; i < len(text) && isDigit(text[i]); i++ {
			digits++
		}
		if digits == 0 || digits > 3 {
			return 0
		}
	}
	if dots != 2 || i < len(text) && text[i] != ' ' && text[i] != '\n' && text[i] != ':' {
		return 0
	}
	return i
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
