package inspect

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"

	"github.com/mailwire/mailwire/inspect/message"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// bodyWork is what is needed while the octets of a mail flow. It is reused.
type bodyWork struct {
	parser message.Parser
	hash   hash.Hash
	sum    [sha256.Size]byte
}

// digest is that of the octets so far.
func (w *bodyWork) digest() string {
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], w.hash.Sum(w.sum[:0]))
	return string(text[:])
}

// bodyBegin begins the octets of a mail.
func (s *Session) bodyBegin(e *wire.BodyBegin) {
	t := s.byData(e.Command)
	if t == nil { // POP3, or a DATA that was lost
		t = s.building(&wire.Command{N: e.Command, Time: e.Time})
		t.dataN, t.lastN = e.Command, e.Command
	}
	s.number(t)
	t.restart()
	t.worth, t.open = true, true
	t.rec.Via, t.rec.UIDL = e.Via, record.Text(e.UIDL)
	t.mail = s.sink.OpenMail(t.rec)
	t.work, _ = s.cfg.works.Get().(*bodyWork)
	if t.work == nil {
		t.work = &bodyWork{hash: sha256.New()}
	}
}

// restart drops the octets of a mail that BDAT begins anew, after the server has refused a chunk.
func (t *transaction) restart() {
	if t.mail != nil {
		t.mail.Discard()
	}
	t.mail, t.rec.Octets, t.rec.Holes = nil, 0, nil
}

// number gives the transaction its place in the session.
func (s *Session) number(t *transaction) {
	if t.rec.Transaction == 0 {
		s.rec.Messages++
		t.rec.Transaction = s.rec.Messages
		t.rec.ID = record.MessageID(s.rec.ID, t.rec.Transaction)
	}
}

// flowing returns the transaction whose octets are on the wire, nil if there is none.
func (s *Session) flowing() *transaction {
	for _, t := range s.transactions {
		if t.open {
			return t
		}
	}
	return nil
}

func (s *Session) bodyOctets(e *wire.Body) {
	t := s.flowing()
	if t == nil {
		return
	}
	if e.Lost != 0 {
		t.work.parser.Hole(e.Lost)
		t.hole(e.Lost)
		s.missing(s.rec.End, e.Lost, "mail")
	}
	if len(e.Data) == 0 {
		return
	}
	t.torn = true // until all have taken the octets
	t.rec.Octets += int64(len(e.Data))
	t.work.hash.Write(e.Data)
	t.work.parser.Write(e.Data)
	if t.mail != nil {
		t.mail.Write(e.Data)
	}
	t.torn = false
}

// hole says that octets of the mail are missing here.
func (t *transaction) hole(lost int64) {
	h := t.rec.Holes
	if n := len(h); n == record.MaxHoles || n > 0 && h[n-1].Offset == t.rec.Octets {
		if last := &h[n-1]; last.Octets < 0 || lost < 0 {
			last.Octets = wire.LostUnknown
		} else {
			last.Octets += lost
		}
		return
	}
	t.rec.Holes = append(h, record.Hole{Offset: t.rec.Octets, Octets: max(lost, wire.LostUnknown)})
}

// bodyEnd ends the octets of the mail that is on the wire.
func (s *Session) bodyEnd(e *wire.BodyEnd) {
	t := s.flowing()
	if t == nil {
		return
	}
	t.open, t.ended, t.sent = false, e.Complete || t.rec.Reply == nil, e.Complete
	t.rec.End = record.Time{Time: e.Time}
	if !e.Complete {
		t.work.parser.Hole(wire.LostUnknown)
		if s.cut { // who knows what else was sent
			t.hole(wire.LostUnknown)
		}
	}
	s.finishBody(t)
	kind, from := record.ClientBody, "client"
	if s.rec.Protocol == record.POP3 {
		kind, from = record.ServerBody, "server"
	}
	octets := t.rec.Octets
	s.line(record.Line{Time: t.rec.End, Kind: kind, Octets: octets})
	s.entry(record.Entry{MS: t.rec.End.MS(s.rec.Begin), From: from, Body: &octets})
	if s.rec.Protocol == record.POP3 || t.judged {
		s.finish(t)
	}
}

// finishBody takes from the work what the record says about the octets, and gives the work back.
func (s *Session) finishBody(t *transaction) {
	w := t.work
	t.work = nil
	t.rec.SHA256 = w.digest()
	var omitted int
	t.rec.Header, t.rec.Parts, omitted = w.parser.Close()
	if omitted > 0 {
		t.rec.Anomalies = addAnomaly(t.rec.Anomalies, "parts-limit", int64(omitted))
	}
	w.hash.Reset()
	w.parser.Reset()
	s.cfg.works.Put(w)
}
