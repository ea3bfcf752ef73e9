package inspect

import (
	"cmp"
	"fmt"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/tlsinfo"
	"github.com/mailwire/mailwire/inspect/wire"
)

// Secured says that the source of the chunks takes TLS off: from now on they are the plain text inside. It is called
// before any chunk, or right after the reply that accepts STARTTLS or STLS.
func (s *Session) Secured(t time.Time, facts record.TLS) {
	if s.ignored || s.closed {
		return
	}
	at := s.at(t)
	if s.parser != nil {
		s.parser.Secured(at.Time, s.emit)
	}
	facts.Ended = true
	s.rec.TLS, s.hellos, s.tls, s.opaque = &facts, nil, true, false
	text := appendHandshake([]byte("TLS begins ("+facts.How+"); what follows is decrypted: "), &facts.Handshake)
	if facts.Upstream != nil {
		text = appendHandshake(append(text, "; with the server "...), facts.Upstream)
	}
	s.note(at, "%s", text)
}

// upgrade begins TLS that the session cannot look into, or plain text where it should be.
func (s *Session) upgrade(e *wire.Upgrade) {
	at := record.Time{Time: e.Time}
	s.opaque = !e.Plain
	if !s.tls {
		s.rec.TLS = &record.TLS{How: e.How, Ended: e.Plain}
	}
	switch {
	case e.Plain: // nobody can tell whether TLS was taken off before the capture, or never put on
		s.anomaly(wire.PlainAfterTLS, 1)
		s.note(at, "plain text follows %s: it was decrypted before, or never encrypted", e.How)
	case s.tls:
		s.note(at, "TLS begins inside TLS (%s); what follows is encrypted", e.How)
	default:
		s.note(at, "TLS begins (%s); what follows is encrypted", e.How)
		s.hellos = new(tlsinfo.Sniffer)
	}
}

// layer begins what AUTH protects or encrypts; the session cannot look into it.
func (s *Session) layer(e *wire.Layer) {
	s.opaque = true
	s.note(record.Time{Time: e.Time}, "a security layer of AUTH begins; what follows is not looked into")
}

// sniff looks into a chunk of TLS for what its handshake shows to everybody.
func (s *Session) sniff(c wire.Chunk) {
	switch {
	case s.hellos == nil:
		return
	case c.Lost != 0: // a handshake with a hole says nothing more
		s.shaken(record.Time{Time: c.Time})
		return
	case c.Dir == wire.FromClient:
		s.hellos.Client(c.Data)
	default:
		s.hellos.Server(c.Data)
	}
	if s.hellos.Done() {
		s.shaken(record.Time{Time: c.Time})
	}
}

// shaken says what was seen of the handshake, and that no more will be.
func (s *Session) shaken(t record.Time) {
	if s.hellos == nil {
		return
	}
	seen := s.hellos.Seen
	s.hellos = nil
	if seen != (record.Handshake{}) {
		s.rec.TLS.Handshake = seen
		s.note(t, "%s", appendHandshake(nil, &seen))
	}
}

// appendHandshake says what a handshake settled.
func appendHandshake(text []byte, h *record.Handshake) []byte {
	text = append(text, cmp.Or(h.Version, "TLS")...)
	if h.Cipher != "" {
		text = append(append(text, ' '), h.Cipher...)
	}
	if h.SNI != "" {
		text = append(append(text, ", SNI "...), h.SNI...)
	}
	switch c := h.Certificate; {
	case c == nil:
	case c.NotAfter.IsZero(): // it cannot be parsed
		text = append(append(text, ", a broken certificate with SHA-256 "...), c.SHA256...)
	default:
		subject := c.Subject
		if subject == "" && len(c.Names) > 0 { // RFC 5280 section 4.1.2.6
			subject = c.Names[0]
		}
		text = fmt.Appendf(text, ", certificate %s issued by %s until %s", subject, c.Issuer, c.NotAfter.Day())
	}
	return text
}
