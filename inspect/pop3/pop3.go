// Package pop3 parses POP3 conversations (RFC 1939 with CAPA, AUTH and STLS of RFC 2449, 5034 and 2595), seen from
// outside.
//
// Like package smtp it is sans-io, guesses the state and takes the server's reply for the truth. Whether a reply has one
// line or many depends on the command that it answers, on its argument, and on +OK; the end of many is a line with a
// single dot, never an announced size.
package pop3

import (
	"time"

	"github.com/mailwire/mailwire/inspect/sasl"
	"github.com/mailwire/mailwire/inspect/wire"
)

// mode says what the client's next octets are.
type mode uint8

const (
	inLines    mode = iota // commands
	inResponse             // one response of an AUTH exchange
	inBody                 // a mail that the client sends, after XTND XMIT
	held                   // what the reply to AUTH, STLS or XTND XMIT says
	beforeTLS              // TLS, or plain text in a decrypted capture: the first octet tells
	opaque                 // nothing that can be read
)

// serverMode says what the server's next octets are.
type serverMode uint8

const (
	inReply serverMode = iota // a status line
	inList                    // the lines of a multi-line reply
	inMail                    // a mail
)

// Bounds, as a client waits where octets are held, and a maildrop may be any size.
const (
	maxHold     = 4 << 10
	maxUIDs     = 10_000
	maxUID      = 70 // RFC 1939 section 7
	maxAttempts = 100
)

// Parser is the state of one conversation. New makes it.
type Parser struct {
	emit func(wire.Event) // of the call that is under way
	now  time.Time

	mode       mode
	serverMode serverMode
	client     wire.LineReader
	server     wire.LineReader
	waiting    wire.Pipeline
	commands   int
	replies    int
	late       int    // what is parsed was held before
	hold       []byte // client octets, until the reply to command holdN
	holdN      int
	holdVerb   string // of that command: AUTH, STLS or XTND

	user     string    // of the last USER
	attempts []attempt // PASS and APOP commands that wait for their reply
	auth     sasl.Exchange
	authLive bool
	scrub    sasl.Scrubber
	loggedIn bool // by AUTH, and neither side has said anything since
	mask     bool // unknown lines may be responses of a refused AUTH

	resync   bool // after a gap: client lines are dropped up to a known verb
	garbled  bool // after a gap: server lines are dropped up to a status line
	unsure   bool // after a gap: replies may not match what waits
	answered bool // a reply came since the client's last command
	matched  bool // a reply has answered a command
	excused  bool // the last reply answered what was lost, or was not kept
	veiled   bool // the server's octets are TLS, the client's are still to come
	early    *early

	sent   wire.DotReader // of the mail that the client sends
	dots   wire.DotReader
	holed  bool // octets of the mail or the list are lost
	bareLF bool // the status line ended with a bare LF, so a mail may do so too
	list   list
	uids   map[string]string // message number to unique id
	body   wire.Body
}

// New returns a parser for a conversation whose beginning was seen (started) or missed.
func New(started bool, begin time.Time) *Parser {
	p := &Parser{resync: !started, garbled: !started}
	if started {
		p.waiting.Push(0, wire.Connect, nil, begin)
	}
	return p
}

// Feed implements wire.Parser.
func (p *Parser) Feed(c wire.Chunk, emit func(wire.Event)) {
	p.emit, p.now = emit, c.Time
	if c.Dir == wire.FromClient {
		if c.Lost != 0 {
			p.clientGap(c.Lost)
		}
		p.clientOctets(c.Data)
		return
	}
	if c.Lost != 0 {
		p.serverGap(c.Lost)
	}
	p.serverOctets(c.Data)
	p.body.Data = nil // it is not held on to
}

// Close implements wire.Parser.
func (p *Parser) Close(t time.Time, emit func(wire.Event)) {
	p.emit, p.now = emit, t
	if l := p.server.Pending(); len(l.Data) > 0 && p.serverMode != inMail && p.mode != opaque {
		p.server.Reset()
		p.serverLine(l)
	}
	p.settleEarly(true)
	p.endAnswer()
	for p.mode == held {
		p.guess()
	}
	if l := p.client.Pending(); len(l.Data) > 0 && (p.mode == inLines || p.mode == inResponse) {
		p.clientLine([]byte("\r\n"))
	}
	for len(p.attempts) > 0 {
		p.endAttempt(p.attempts[0].n, wire.OutcomeUnknown, nil)
	}
	p.endAuth(wire.OutcomeUnknown, nil)
}

// Secured implements wire.Parser.
func (p *Parser) Secured(t time.Time, emit func(wire.Event)) {
	p.Close(t, emit)
	*p = Parser{commands: p.commands, replies: p.replies, matched: p.matched, scrub: p.scrub}
}

func (p *Parser) clientOctets(data []byte) {
	if len(data) > 0 { // a client that waited goes on
		p.settleEarly(p.waiting.Len() != 1 || p.earlyList())
	}
	for len(data) > 0 {
		p.layer(data[0])
		switch p.mode {
		case inLines, inResponse:
			data = p.clientLine(data)
		case held:
			n := min(len(data), maxHold-len(p.hold))
			p.hold = append(p.hold, data[:n]...)
			if n < len(data) {
				p.guess()
			}
			data = data[n:]
		case inBody:
			data = p.submitted(data)
		case beforeTLS:
			p.firstAfterTLS(data[0])
		case opaque:
			p.emit(&wire.Opaque{Time: p.now, Dir: wire.FromClient, Data: data})
			return
		}
	}
}

func (p *Parser) serverOctets(data []byte) {
	for len(data) > 0 {
		if p.mode != opaque && data[0] == firstTLSOctet && p.server.Empty() && p.replies+p.commands == 0 {
			p.implicitTLS()
		}
		if p.mode == beforeTLS && !p.veiled && p.server.Empty() && data[0] != '+' && data[0] != '-' {
			p.veil(data[0])
		}
		p.layer(data[0])
		switch {
		case p.mode == opaque, p.veiled:
			p.emit(&wire.Opaque{Time: p.now, Dir: wire.FromServer, Data: data})
			return
		case p.serverMode == inMail:
			data = p.mailOctets(data)
		default:
			line, rest, ok := p.server.Next(data)
			if !ok {
				return
			}
			p.serverLine(line)
			data = rest
		}
	}
}

// clientGap says that octets of the client are missing: what comes up to the next line end is dropped and a known verb
// looked for.
func (p *Parser) clientGap(lost int64) {
	p.settleEarly(true)
	if p.mode == held {
		p.guess()
	}
	if p.mode == opaque || p.mode == beforeTLS {
		p.mode = opaque
		p.emit(&wire.Opaque{Time: p.now, Dir: wire.FromClient, Lost: lost})
		return
	}
	p.emit(&wire.Gap{Time: p.now, Dir: wire.FromClient, Lost: lost})
	if p.mode == inBody {
		p.sent.Lose(discard)
		return
	}
	p.mode = inLines
	p.client.Reset()
	p.resync, p.unsure = true, true
	p.auth.Lose()
	p.waiting.Push(0, "", nil, p.now)
}

// serverGap says that octets of the server are missing: in a mail a hole, else perhaps replies.
func (p *Parser) serverGap(lost int64) {
	p.settleEarly(true)
	switch {
	case p.mode == opaque || p.mode == beforeTLS:
		p.emit(&wire.Opaque{Time: p.now, Dir: wire.FromServer, Lost: lost})
		return
	case p.serverMode == inMail:
		p.holed = true
		p.dots.Lose(p.bodyOctets)
		p.body = wire.Body{Lost: lost}
		p.emit(&p.body)
		return
	}
	p.emit(&wire.Gap{Time: p.now, Dir: wire.FromServer, Lost: lost})
	p.server.Reset()
	p.garbled = true
	p.auth.Lose()
	p.holed = p.serverMode == inList
	p.unsure, p.answered = true, true
	if p.mode == held && p.serverMode == inReply {
		p.waiting.Clear()
		p.guess()
	}
}

func (p *Parser) say(kind string, count int64) {
	p.emit(&wire.Anomaly{Time: p.now, Kind: kind, Count: count})
}
