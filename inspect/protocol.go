package inspect

import (
	"github.com/mailwire/mailwire/inspect/pop3"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/smtp"
	"github.com/mailwire/mailwire/inspect/wire"
)

// detected asks what the chunks so far are, and goes on accordingly. Nearly always the greeting tells at once, and nothing
// need be held.
func (s *Session) detected(c wire.Chunk) {
	if s.detect == nil {
		if c.Dir == wire.FromServer && c.Lost == 0 && s.conn.Started {
			if v := judge(s.conn.Hint, nil, c.Data[:min(len(c.Data), maxDetect)], false); v == isSMTP || v == isPOP3 {
				s.count(c)
				s.speak(v)
				s.parse(c)
				return
			}
		}
		s.detect = &detector{hint: s.conn.Hint, started: s.conn.Started}
	}
	s.detect.add(c)
	s.settle()
}

// settle goes on from the detector's verdict.
func (s *Session) settle() {
	if s.detect.verdict == isReversed {
		s.reverse()
	}
	switch v := s.detect.verdict; {
	case v == undecided:
		return
	case v == isNeither && s.conn.Hint == AnyProtocol:
		s.ignored = true
		s.detect, s.notes = nil, nil
		return
	case v == isNeither:
		s.begin(record.Unknown, nil)
		s.anomaly(wire.NotThisProtocol, 1)
	default:
		s.speak(v)
	}
	for _, c := range s.release() {
		s.parse(c)
	}
}

// parse gives a chunk that was counted to whom it may concern.
func (s *Session) parse(c wire.Chunk) {
	if s.parser == nil {
		s.sniff(c)
		return
	}
	s.parser.Feed(c, s.emit)
	if s.opaque {
		s.parser.Close(c.Time, s.emit)
		s.parser = nil
	}
}

// release counts what the detector holds, and forgets the detector.
func (s *Session) release() []wire.Chunk {
	if s.detect == nil {
		return nil
	}
	chunks := s.detect.held.Chunks
	s.rec.Via, s.detect = s.detect.via, nil
	for _, c := range chunks {
		s.count(c)
	}
	return chunks
}

// decide begins the session with what there is, unless it has begun: no more chunks will come.
func (s *Session) decide() {
	if s.detect != nil {
		s.detect.finish()
		s.settle()
	}
	switch {
	case s.begun, s.ignored:
	case s.conn.Hint == AnyProtocol: // and not an octet of payload
		s.ignored = true
	default:
		s.begin(s.conn.Hint.protocol(), nil)
		s.release()
	}
}

// reverse exchanges the two sides: the source guessed wrong who opened the connection.
func (s *Session) reverse() {
	s.swapped = true
	s.conn.Client, s.conn.Server = s.conn.Server, s.conn.Client
	s.identify()
	s.detect.reverse()
}

// speak begins the record of a dialogue in a known protocol.
func (s *Session) speak(v verdict) {
	if v == isPOP3 {
		s.begin(record.POP3, pop3.New(s.conn.Started, s.conn.Begin))
	} else {
		s.begin(record.SMTP, smtp.New(s.conn.Started, s.conn.Begin))
	}
}

// begin begins the record, now that it is known which log it goes to.
func (s *Session) begin(protocol string, parser wire.Parser) {
	s.rec.Protocol, s.parser, s.begun = protocol, parser, true
	const longest = 128 // two addresses of IPv6
	what := "connected "
	if s.closing && s.how == EndRefused {
		what = "connecting " // and no more
	}
	text := s.conn.Client.AppendTo(append(make([]byte, 0, longest), what...))
	text = s.conn.Server.AppendTo(append(text, " to "...))
	s.line(record.Line{Time: s.rec.Begin, Kind: record.Note, Text: text})
	if !s.conn.Started {
		s.note(s.rec.Begin, "the beginning of the connection was not seen")
	}
	notes := s.notes
	s.notes = nil
	for _, n := range notes {
		s.sayNote(n)
	}
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
