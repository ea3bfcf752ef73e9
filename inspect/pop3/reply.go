package pop3

import (
	"bytes"

	"github.com/mailwire/mailwire/inspect/wire"
)

// list is a multi-line reply while its lines come in.
type list struct {
	reply wire.Reply
	lines []byte // as sent, joined by "\n", at most wire.MaxLine octets
	text  []byte
	verb  string
}

func (p *Parser) serverLine(l wire.Line) {
	status, text := cutStatus(l.Data)
	p.settleEarly(status != "" || !p.earlyList())
	if p.serverMode == inList {
		p.listLine(l)
		return
	}
	if status == "" && p.garbled {
		p.say(wire.Resync, 1)
		p.garbled = string(l.Data) != "."
		return
	}
	p.garbled = false
	if status == "" {
		p.say(wire.BadReply, 1)
		p.emit(&wire.Noise{Time: p.now, Dir: wire.FromServer, Line: p.scrub.Scrub(l.Data)})
		return
	}
	if p.mode == inBody && p.waiting.Len() == 0 && status == "+OK" { // the end was lost, or is one for the server only
		p.endSubmission()
	}
	if !p.holdEarly(l, status) {
		p.statusLine(l, status, text, p.match(status))
	}
}

// statusLine takes a status line, which answers w (nil: nothing that is known).
func (p *Parser) statusLine(l wire.Line, status string, text []byte, w *wire.Pending) {
	p.bareLF = l.Bare
	if l.Bare {
		p.say(wire.BareLF, 1)
	}
	if l.Cut > 0 {
		p.say(wire.LongLine, 1)
	}
	ev := wire.Reply{
		Time: p.now, Wait: -1, OK: status != "-ERR", GoOn: status == "+", Text: p.scrub.Scrub(text), Lines: p.scrub.Scrub(l.Data), Cut: l.Cut,
	}
	switch {
	case w != nil:
		ev.To, ev.Verb, ev.Command, ev.Wait = w.N, w.Verb, w.Line, p.now.Sub(w.Time)
	case p.matched && !p.excused && !p.unsure:
		p.say(wire.UnsolicitedReply, 1)
	default:
		p.garbled = true // the command was lost, and its reply may have many lines
	}
	p.matched = p.matched || w != nil && w.N > 0
	p.replies++
	p.answered = true
	p.follow(&ev, status)
}

// cutStatus splits a status line (RFC 1939 section 3, RFC 5034 section 4): "+OK", "-ERR" or "+", and the text.
func cutStatus(line []byte) (status string, text []byte) {
	word, text := wire.CutWord(line)
	switch w := string(word[:min(len(word), 5)]); {
	case len(line) > 0 && len(word) > 0 && line[0] != word[0]:
		return "", nil
	case w == "+":
		return "+", text
	case bytes.EqualFold(word, []byte("+OK")):
		return "+OK", text
	case bytes.EqualFold(word, []byte("-ERR")):
		return "-ERR", text
	}
	return "", nil
}

// match takes the command that a reply answers from those that wait; nil: none does.
func (p *Parser) match(status string) *wire.Pending {
	if p.unsure && status == "+" {
		p.waiting.Seek(func(w *wire.Pending) bool { return w.Verb == "AUTH" })
	}
	w := p.waiting.Pop()
	if p.excused = w != nil && w.Lost(); p.excused {
		return nil
	}
	return w
}

// follow says the reply and does what it decides.
func (p *Parser) follow(r *wire.Reply, status string) {
	_, arg := wire.CutWord(r.Command)
	if r.OK && manyLines(r.Verb, arg) && status == "+OK" {
		p.holed = false
		if r.Verb == "RETR" || r.Verb == "TOP" {
			p.emit(r)
			number, _ := wire.CutWord(arg)
			p.serverMode, p.dots = inMail, wire.DotReader{}
			p.emit(&wire.BodyBegin{
				Time: p.now, Dir: wire.FromServer, Via: r.Verb, Command: r.To, UIDL: p.uids[string(number)],
			})
			return
		}
		p.beginList(r)
		return
	}
	p.emit(r)
	switch {
	case p.mode == held && r.To == p.holdN && r.To > 0:
		p.settle(r, status == "+")
	case r.Verb == "PASS" || r.Verb == "APOP":
		outcome := wire.Failure
		if r.OK {
			outcome = wire.Success
		}
		p.endAttempt(r.To, outcome, r)
	case r.Verb == "UIDL" && r.OK: // one message's: +OK number unique-id
		p.uid(r.Text)
	case status == "+" && r.To == 0 && p.mode == inLines: // an AUTH whose beginning was lost
		p.mode = inResponse
	}
}

// manyLines says whether a positive reply to the command has lines up to a dot (RFC 1939 section 5, RFC 2449 section 5,
// RFC 6856 section 3.2).
func manyLines(verb string, arg []byte) bool {
	switch verb {
	case "RETR", "TOP", "CAPA":
		return true
	case "XTND":
		return !submits(arg)
	case "LIST", "UIDL", "AUTH", "LANG":
		return len(arg) == 0
	}
	return false
}

func (p *Parser) beginList(r *wire.Reply) {
	l := &p.list
	l.reply, l.verb = *r, r.Verb
	l.reply.Command = append([]byte(nil), r.Command...)
	l.lines, l.text = bytes.Clone(r.Lines), bytes.Clone(r.Text)
	p.serverMode = inList
	if r.Verb == "UIDL" {
		p.uids = nil
	}
}

func (p *Parser) listLine(l wire.Line) {
	line := l.Data
	garbled := p.garbled
	if p.garbled = false; garbled && string(line) != "." { // the rest of a line
		return
	}
	if len(line) > 0 && line[0] == '.' {
		if len(line) == 1 {
			p.endAnswer()
			return
		}
		line = line[1:]
	}
	if p.list.verb == "UIDL" {
		p.uid(line)
	}
	line = p.scrub.Scrub(line)
	if len(p.list.lines)+1+len(line) > wire.MaxLine {
		p.list.reply.Cut += int64(len(line)) + l.Cut + 1
		return
	}
	p.list.reply.Cut += l.Cut
	p.list.lines = append(append(p.list.lines, '\n'), line...)
	p.list.text = append(append(p.list.text, '\n'), line...)
}

// uid remembers a line "number unique-id" of UIDL.
func (p *Parser) uid(line []byte) {
	number, id := wire.CutWord(line)
	if len(p.uids) >= maxUIDs || len(number) > 10 || len(id) == 0 {
		return
	}
	if p.uids == nil {
		p.uids = make(map[string]string)
	}
	p.uids[string(number)] = string(id[:min(len(id), maxUID)])
}

// endAnswer ends the list or the mail that the server is sending, whole or not.
func (p *Parser) endAnswer() {
	switch p.serverMode {
	case inList:
		p.list.reply.Lines, p.list.reply.Text = p.list.lines, p.list.text
		p.emit(&p.list.reply)
		p.list = list{}
	case inMail:
		p.endMail(false)
	}
	p.serverMode = inReply
}

// mailOctets takes octets of a mail, up to its end.
func (p *Parser) mailOctets(data []byte) (rest []byte) {
	rest, end := p.dots.Next(data, p.bodyOctets)
	switch {
	case end == wire.DotDone, end == wire.DotAmbiguous && p.bareLF && p.dots.Form() == ".\n":
		p.serverMode = inReply
		p.endMail(true)
	case end == wire.DotAmbiguous:
		p.dots.Decline(p.bodyOctets)
	}
	return rest
}

func (p *Parser) endMail(complete bool) {
	if n := p.dots.BareLF; n > 0 {
		p.say(wire.BareLF, n)
	}
	if n := p.dots.BareCR; n > 0 {
		p.say(wire.BareCR, n)
	}
	p.emit(&wire.BodyEnd{Time: p.now, Complete: complete})
}

func (p *Parser) bodyOctets(data []byte) {
	p.body = wire.Body{Data: data}
	p.emit(&p.body)
}
