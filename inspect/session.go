package inspect

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailwire/mailwire/inspect/pop3"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/smtp"
	"github.com/mailwire/mailwire/inspect/tlsinfo"
	"github.com/mailwire/mailwire/inspect/wire"
)

// Session turns one conversation into records. One goroutine at a time calls it.
type Session struct {
	cfg  *Config
	conn Conn
	sink Sink
	rec  *record.Session

	detect  detector
	ignored bool
	swapped bool        // what the source takes for the client is the server
	begun   bool        // the record has a protocol, the log a line
	parser  wire.Parser // nil until the protocol is known; also nil if it is none
	emit    func(wire.Event)

	texts    []string // room for what the dialogue says
	verbs    []verbCount
	user     string // of the last successful login
	attempts int
	sent     int // number of the client's last command
	answered int // number of the last one that was answered
	counted  int // number of the last one whose mail was accepted
	quit     bool
	cut      bool // the end was not seen
	tls      bool // the dialogue is inside TLS
	hellos   *tlsinfo.Sniffer
	fin      [2]bool

	transactions []*transaction // those without an outcome, in the order of their beginning
}

// usualDialogue is room for the dialogue of a session with one mail.
const usualDialogue = 16

// verbCount counts the commands of one verb, as the summary of a session shows them.
type verbCount struct {
	verb    string
	ok, all int
}

// New begins a session. The sink gets its words until Close.
func New(cfg *Config, conn Conn, sink Sink) *Session {
	s := &Session{cfg: cfg, conn: conn, sink: sink, verbs: make([]verbCount, 0, 8)}
	s.emit = s.event
	s.rec = &record.Session{
		V: record.Version, Type: "session", Sensor: cfg.Sensor, Mode: conn.Mode, Protocol: record.Unknown,
		Begin: record.Time{Time: conn.Begin}, End: record.Time{Time: conn.Begin},
	}
	s.identify()
	s.detect.init(conn)
	return s
}

// identify fills in what follows from the two addresses.
func (s *Session) identify() {
	c, r := &s.conn, s.rec
	r.ID = record.SessionID(r.Begin, c.Client, c.Server, c.Ordinal)
	r.CommunityID = record.CommunityID(c.Client, c.Server)
	r.Client, r.Server = s.endpoint(c.Client), s.endpoint(c.Server)
	r.Direction = record.Unknown
	if len(s.cfg.LocalNets) > 0 {
		r.Direction = direction(r.Client.Side == record.Local, r.Server.Side == record.Local)
	}
}

func (s *Session) endpoint(a netip.AddrPort) record.Endpoint {
	return record.Endpoint{IP: a.Addr().Unmap().String(), Port: a.Port(), Side: s.cfg.side(a.Addr())}
}

// Ignored says that the conversation is no mail and gives no record: nothing more need be fed.
func (s *Session) Ignored() bool { return s.ignored }

// Feed takes the next chunk; its Data is borrowed.
func (s *Session) Feed(c wire.Chunk) {
	if s.ignored {
		return
	}
	if c.Time.Before(s.rec.End.Time) {
		c.Time = s.rec.End.Time // the clock went back
	}
	s.rec.End.Time = c.Time
	if s.swapped {
		c.Dir = c.Dir.Reverse()
	}
	if s.parser == nil {
		s.detected(c)
		return
	}
	s.count(c)
	s.parser.Feed(c, s.emit)
}

// count keeps the ledger: octets seen and octets lost.
func (s *Session) count(c wire.Chunk) {
	seen, lost := &s.rec.Octets.Client, &s.rec.Lost.Client
	if c.Dir == wire.FromServer {
		seen, lost = &s.rec.Octets.Server, &s.rec.Lost.Server
	}
	*seen += int64(len(c.Data))
	*lost += max(0, c.Lost)
}

// detected asks the detector what the chunks so far are, and goes on accordingly.
func (s *Session) detected(c wire.Chunk) {
	if s.detect.verdict == undecided {
		s.detect.add(c)
	}
	s.settle(c)
}

// settle goes on from the detector's verdict; c is the latest chunk.
func (s *Session) settle(c wire.Chunk) {
	switch s.detect.verdict {
	case undecided:
		return
	case isReversed:
		s.reverse()
		s.settle(c)
		return
	case isSMTP:
		s.begin(record.SMTP, smtp.New(s.conn.Started, s.conn.Begin))
	case isPOP3:
		s.begin(record.POP3, pop3.New(s.conn.Started, s.conn.Begin))
	case isNeither:
		if s.conn.Hint == AnyProtocol {
			s.ignored = true
			s.detect = detector{}
			return
		}
		if s.detect.held.Chunks == nil {
			s.count(c)
			return
		}
		s.begin(record.Unknown, nil)
		s.anomaly(wire.NotThisProtocol, 1)
	}
	chunks := s.detect.held.Chunks
	s.detect.held.Chunks = nil
	s.rec.Via = s.detect.via
	for _, c := range chunks {
		s.count(c)
		if s.parser != nil {
			s.parser.Feed(c, s.emit)
		}
	}
}

// reverse exchanges the two sides: the source guessed wrong who opened the connection.
func (s *Session) reverse() {
	s.swapped = true
	s.conn.Client, s.conn.Server = s.conn.Server, s.conn.Client
	s.identify()
	s.detect.reverse()
}

// begin begins the record, now that it is known which log it goes to.
func (s *Session) begin(protocol string, parser wire.Parser) {
	s.rec.Protocol, s.parser, s.begun = protocol, parser, true
	s.rec.Dialogue = make([]record.Entry, 0, usualDialogue)
	text := s.conn.Client.AppendTo([]byte("connected "))
	text = s.conn.Server.AppendTo(append(text, " to "...))
	s.line(record.Line{Time: s.rec.Begin, Kind: record.Note, Text: text})
	if !s.conn.Started {
		s.note(s.rec.Begin, "the beginning of the connection was not seen")
	}
}

// HalfClose says that dir will send no more.
func (s *Session) HalfClose(dir wire.Direction, t time.Time) {
	if s.swapped {
		dir = dir.Reverse()
	}
	s.fin[dir] = true
}

// Anomaly counts an anomaly that the source of the chunks saw.
func (s *Session) Anomaly(kind string, t time.Time) { s.anomaly(kind, 1) }

// Close ends the session and says its record.
func (s *Session) Close(t time.Time, how End) {
	if s.ignored {
		return
	}
	if t.After(s.rec.End.Time) {
		s.rec.End.Time = t
	}
	if s.parser == nil && s.detect.verdict == undecided {
		s.detect.finish()
		s.settle(wire.Chunk{Time: s.rec.End.Time})
		if s.ignored {
			return
		}
		if s.detect.verdict == undecided { // not an octet of payload
			if s.conn.Hint == AnyProtocol {
				s.ignored = true
				return
			}
			s.begin(s.conn.Hint.protocol(), nil)
		}
	}
	unanswered := s.unanswered()
	s.cut = how == EndUnknown && !(s.fin[0] && s.fin[1])
	if s.parser != nil {
		s.parser.Close(s.rec.End.Time, s.emit)
	}
	for len(s.transactions) > 0 {
		s.finish(s.transactions[0])
	}
	if s.hellos != nil {
		s.rec.TLS.SNI, s.rec.TLS.Version, s.rec.TLS.Cipher = s.hellos.SNI, s.hellos.Version, s.hellos.Cipher
	}
	s.rec.DurationMS = s.rec.End.MS(s.rec.Begin)
	s.rec.Status = s.status(how, unanswered)
	s.summary()
	s.sink.Session(s.rec)
}

// unanswered says whether the conversation stops in mid-dialogue: in the octets of a mail, or before a reply.
func (s *Session) unanswered() bool {
	return s.sent > s.answered || slices.ContainsFunc(s.transactions, func(t *transaction) bool { return t.open })
}

// status names how the session ended (see the contract of records).
func (s *Session) status(how End, unanswered bool) string {
	switch {
	case how == EndRefused, s.refused():
		return record.Refused
	case !s.conn.Started:
		return record.Unknown
	case s.quit:
		return record.Closed
	case how == EndReset:
		return record.Reset
	case how == EndTimeout:
		return record.Timeout
	case s.cut:
		return record.Unknown
	case unanswered:
		return record.Aborted
	}
	return record.Closed
}

// refused says whether the server's greeting turned the client away.
func (s *Session) refused() bool {
	return s.rec.Replies > 0 && len(s.rec.Errors) > 0 && s.rec.Errors[0].Command == wire.Connect
}

func (h Hint) protocol() string {
	switch h {
	case SMTP:
		return record.SMTP
	case POP3:
		return record.POP3
	}
	return record.Unknown
}

// summary says how the session ended, in the style that administrators know from Postfix.
func (s *Session) summary() {
	text := append(make([]byte, 0, 256), s.rec.Status...)
	text = append(strconv.AppendFloat(append(text, " after "...), s.rec.DurationMS, 'f', 1, 64), " ms:"...)
	for _, v := range s.verbs {
		text = append(append(text, ' '), strings.ToLower(v.verb)...)
		text = append(text, '=')
		if v.ok != v.all {
			text = append(strconv.AppendInt(text, int64(v.ok), 10), '/')
		}
		text = strconv.AppendInt(text, int64(v.all), 10)
	}
	count := func(name string, n int64) {
		text = strconv.AppendInt(append(text, name...), n, 10)
	}
	count(" commands=", int64(s.rec.Commands))
	count(" replies=", int64(s.rec.Replies))
	count(" messages=", int64(s.rec.Messages))
	count(" octets=", s.rec.Octets.Client)
	count("+", s.rec.Octets.Server)
	if n := s.rec.Lost.Client + s.rec.Lost.Server; n > 0 {
		count(" lost=", n)
	}
	s.line(record.Line{Time: s.rec.End, Kind: record.Note, Text: text})
}

// anomaly counts an anomaly; its first one is a line in the log.
func (s *Session) anomaly(kind string, count int64) {
	known := len(s.rec.Anomalies)
	s.rec.Anomalies = addAnomaly(s.rec.Anomalies, kind, count)
	if len(s.rec.Anomalies) > known && s.begun {
		s.note(s.rec.End, "anomaly: %s", kind)
	}
}

func addAnomaly(list []record.Anomaly, kind string, count int64) []record.Anomaly {
	for i := range list {
		if list[i].Kind == kind {
			list[i].Count += int(count)
			return list
		}
	}
	return append(list, record.Anomaly{Kind: kind, Count: int(count)})
}

func (s *Session) note(t record.Time, format string, args ...any) {
	s.line(record.Line{Time: t, Kind: record.Note, Text: fmt.Appendf(nil, format, args...)})
}

func (s *Session) line(l record.Line) {
	l.TLS = s.tls
	s.sink.Line(s.rec, l)
}
