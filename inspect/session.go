package inspect

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/tlsinfo"
	"github.com/mailwire/mailwire/inspect/wire"
)

// Session turns one conversation into records. One goroutine at a time calls it.
type Session struct {
	cfg  *Config
	conn Conn
	sink Sink
	rec  *record.Session

	detect  *detector // what was seen before the protocol is known, if it took more than one look
	ignored bool
	swapped bool        // what the source takes for the client is the server
	begun   bool        // the record has a protocol, the log a line
	parser  wire.Parser // nil until the protocol is known; also where there is nothing to parse, or no more
	emit    func(wire.Event)
	notes   []note // said before the session has begun

	texts    []string // room for what the dialogue says
	verbs    []verbCount
	user     string // of the last successful login
	attempts int
	sent     int // number of the client's last command
	answered int // number of the last one that was answered
	counted  int // number of the last one whose mail was accepted
	quit     bool
	cut      bool // the end was not seen
	failed   bool // the inspection was given up
	closing  bool // Close was called
	how      End  // as it was told
	closed   bool // the record was handed over
	tls      bool // the dialogue is inside TLS
	opaque   bool // what follows is TLS that nobody can look into
	hellos   *tlsinfo.Sniffer
	fin      [2]bool

	transactions []*transaction // those without an outcome, in the order of their beginning
}

// verbCount counts the commands of one verb, as the summary of a session shows them.
type verbCount struct {
	verb    string
	ok, all int
}

// New begins a session. The sink gets its words until Close.
func New(cfg *Config, conn Conn, sink Sink) *Session {
	s := &Session{cfg: cfg, conn: conn, sink: sink}
	s.emit = s.event
	s.rec = &record.Session{
		V: record.Version, Type: "session", Sensor: cfg.Sensor, Mode: conn.Mode, Protocol: record.Unknown,
		Begin: record.Time{Time: conn.Begin}, End: record.Time{Time: conn.Begin},
	}
	s.identify()
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
	c.Time = s.at(c.Time).Time
	if s.swapped {
		c.Dir = c.Dir.Reverse()
	}
	if !s.begun {
		s.detected(c)
		return
	}
	s.count(c)
	s.parse(c)
}

// at returns the time of what happens next: t, unless the clock went back.
func (s *Session) at(t time.Time) record.Time {
	if t.After(s.rec.End.Time) {
		s.rec.End.Time = t
	}
	return s.rec.End
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

// HalfClose says that dir will send no more.
func (s *Session) HalfClose(dir wire.Direction, t time.Time) {
	if s.swapped {
		dir = dir.Reverse()
	}
	s.fin[dir] = true
}

// Close ends the session and says its record.
func (s *Session) Close(t time.Time, how End) {
	if s.ignored || s.closed {
		return
	}
	s.at(t)
	s.closing, s.how = true, how
	if s.decide(); s.ignored {
		return
	}
	unanswered := s.unanswered()
	s.cut = s.failed || how == EndUnknown && !(s.fin[0] && s.fin[1])
	if s.parser != nil {
		s.parser.Close(s.rec.End.Time, s.emit)
	}
	for len(s.transactions) > 0 {
		s.finish(s.transactions[0])
	}
	s.shaken(s.rec.End)
	s.rec.DurationMS = s.rec.End.MS(s.rec.Begin)
	s.rec.Status = s.status(unanswered)
	if !s.cut && s.rec.Lost.Server == 0 { // else the replies may be what was missed
		s.rec.Unanswered = max(0, s.sent-s.answered)
	}
	s.summary()
	s.closed = true
	s.sink.Session(s.rec)
}

// unanswered says whether the conversation stops in mid-dialogue: in the octets of a mail, or before a reply.
func (s *Session) unanswered() bool {
	return s.sent > s.answered || slices.ContainsFunc(s.transactions, func(t *transaction) bool {
		return (t.open || t.sent) && !t.judged || t.left && !t.sent
	})
}

// status names how the session ended (see the contract of records).
func (s *Session) status(unanswered bool) string {
	switch {
	case s.how == EndRefused, s.refused():
		return record.Refused
	case !s.conn.Started:
		return record.Unknown
	case s.quit:
		return record.Closed
	case s.how == EndReset:
		return record.Reset
	case s.how == EndTimeout:
		return record.Timeout
	case s.how == EndAborted:
		return record.Aborted
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
