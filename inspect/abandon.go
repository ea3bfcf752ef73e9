package inspect

import (
	"time"

	"github.com/mailwire/mailwire/inspect/wire"
)

// Abandon gives up the inspection after a panic in any method of the session, of its parser or of its sink: what follows
// is only counted, and Close, which it calls again if that is what failed, says the record of what is known. Should it
// fail itself, it can be called again.
func (s *Session) Abandon(t time.Time) {
	if s.ignored || s.closed {
		return
	}
	at := s.at(t)
	first := !s.failed
	s.failed, s.cut, s.parser, s.hellos = true, true, nil, nil
	s.release()
	if first {
		s.rec.Anomalies = addAnomaly(s.rec.Anomalies, wire.InspectorFailure, 1)
	}
	if !s.begun {
		s.begin(s.conn.Hint.protocol(), nil)
	}
	if first {
		s.note(at, "anomaly: %s; what follows is only counted", wire.InspectorFailure)
	}
	for len(s.transactions) > 0 {
		s.giveUp(s.transactions[0])
	}
	if s.closing {
		s.Close(t, s.how)
	}
}

// giveUp finishes a transaction without asking the parser of its octets, which may be what failed.
func (s *Session) giveUp(t *transaction) {
	work, mail := t.work, t.mail
	t.work = nil
	if t.open {
		t.hole(wire.LostUnknown)
	}
	if t.torn { // nobody knows which octets were kept
		t.mail = nil
	} else if work != nil {
		t.rec.SHA256 = work.digest()
	}
	s.finish(t)
	if mail != nil && t.mail == nil {
		mail.Discard()
	}
}
