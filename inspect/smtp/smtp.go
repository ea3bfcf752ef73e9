// Package smtp parses SMTP (RFC 5321) and LMTP (RFC 2033) conversations, seen from outside.
//
// The parser guesses the state and does not police it: a command is taken to succeed until its reply says otherwise, and
// the server's reply is the truth. It is sans-io (package wire): chunks in, events out.
//
// What the client's octets mean can depend on a reply that is still to come: after DATA they are a mail or commands,
// after STARTTLS they are TLS or an injection, after AUTH a secret or a command. One mechanism serves all of them: such
// octets are held until the reply comes (hold.go). An end of data that only some servers take for one is decided by
// what the server says next (doubt.go).
package smtp

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
	inBody                 // a mail after DATA
	inChunk                // a mail's octets after BDAT
	inBlob                 // octets after XEXCH50
	held                   // what the reply to the last command says (hold.go)
	inDoubt                // a mail or commands, behind an ambiguous end of data (doubt.go)
	beforeTLS              // TLS, or plain text in a decrypted capture: the first octet tells
	opaque                 // nothing that can be read
)

// Parser is the state of one conversation. New makes it.
type Parser struct {
	emit func(wire.Event) // of the call that is under way
	now  time.Time

	mode     mode
	client   wire.LineReader
	server   wire.LineReader
	waiting  wire.Pipeline
	commands int // number of the last one
	replies  int
	lmtp     bool
	accepted int  // recipients of the transaction whose replies are being read
	ends     int  // replies still to come to the end of data that is being replied to
	piped    bool // the client has sent a command before the reply to the one before

	late     int // what is parsed was held before
	hold     holding
	mail     mail
	blob     blob
	doubt    *doubt // only in mode inDoubt
	auth     sasl.Exchange
	authLive bool // an attempt waits for its result
	scrub    sasl.Scrubber
	loggedIn bool  // and neither side has said anything since
	mask     bool  // unknown lines may be responses of a refused AUTH
	resync   bool  // after a gap: client lines are dropped up to a command
	garbled  bool  // after a gap: server lines are dropped up to a reply
	order    order // of the replies, after a gap (gap.go)
	gapped   bool  // octets of the client were lost since the transaction began
	answered bool  // the server said something since the client's last command
	matched  bool  // a reply has answered a command
	veiled   bool  // the server's octets are TLS, the client's are still to come
	bareLF   bool  // the last command line ended with a bare LF

	reply   reply
	command wire.Command // the events, reused
	answer  wire.Reply
	body    wire.Body
	anomaly wire.Anomaly
}

// New returns a parser for a conversation whose beginning was seen (started) or missed.
func New(started bool, begin time.Time) *Parser {
	if !started { // as behind a gap
		return &Parser{resync: true, garbled: true, order: broken}
	}
	p := new(Parser)
	p.waiting.Push(0, wire.Connect, nil, begin)
	return p
}

// Feed implements wire.Parser.
func (p *Parser) Feed(c wire.Chunk, emit func(wire.Event)) {
	p.emit, p.now = emit, c.Time
	switch {
	case p.mode == inDoubt:
		p.doubtChunk(c)
	case c.Dir == wire.FromClient:
		p.fromClient(c)
	default:
		p.fromServer(c)
	}
	// What was borrowed is not held on to.
	p.command.Line, p.command.Arg, p.body.Data = nil, nil, nil
	p.answer.Command, p.answer.Lines, p.answer.Text = nil, nil, nil
}

// Close implements wire.Parser. A line that was not ended is shown and counts for nothing: both sides act upon whole lines
// only.
func (p *Parser) Close(t time.Time, emit func(wire.Event)) {
	p.emit, p.now = emit, t
	p.dropServerLine()
	for p.mode == inDoubt || p.mode == held {
		if p.mode == held {
			p.guess()
		} else {
			p.decide(p.likelyEnd())
		}
	}
	if l := p.client.Pending(); len(l.Data) > 0 && (p.mode == inLines || p.mode == inResponse) {
		p.clientLine([]byte("\r\n"))
	}
	p.endMail(false)
	p.endLogin(wire.OutcomeUnknown, nil)
}

// Secured implements wire.Parser.
func (p *Parser) Secured(t time.Time, emit func(wire.Event)) {
	p.Close(t, emit)
	*p = Parser{
		commands: p.commands, replies: p.replies, lmtp: p.lmtp, piped: p.piped, matched: p.matched, scrub: p.scrub,
	}
}

func (p *Parser) fromClient(c wire.Chunk) {
	if c.Lost != 0 {
		p.clientGap(c.Lost)
	}
	p.clientOctets(c.Data)
}

// clientOctets takes octets in the order of the stream; each mode takes some and returns the rest.
func (p *Parser) clientOctets(data []byte) {
	for len(data) > 0 {
		p.layer(data[0])
		switch p.mode {
		case inLines, inResponse:
			data = p.clientLine(data)
		case inBody:
			data = p.dotted(data)
		case inChunk:
			data = p.counted(data)
		case inBlob:
			data = p.passOver(data)
		case held:
			data = p.keep(data)
		case inDoubt:
			p.doubtChunk(wire.Chunk{Dir: wire.FromClient, Time: p.now, Data: data})
			return
		case beforeTLS:
			p.firstAfterTLS(data[0])
		case opaque:
			p.emit(&wire.Opaque{Time: p.now, Dir: wire.FromClient, Data: data})
			return
		}
	}
}

func (p *Parser) say(kind string, count int64) {
	p.anomaly = wire.Anomaly{Time: p.now, Kind: kind, Count: count}
	p.emit(&p.anomaly)
}
