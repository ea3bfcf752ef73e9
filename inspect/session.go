package inspect

import (
	"net/netip"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// Hint says which protocol a connection's port promises.
type Hint uint8

const (
	AnyProtocol Hint = iota // none: find out, and leave alone what is no mail
	SMTP
	POP3
)

// Conn identifies a connection.
type Conn struct {
	Client, Server netip.AddrPort
	Begin          time.Time // of the first packet, or of the accept
	Ordinal        int       // tells apart connections with the same addresses and begin (see record.SessionID)
	Mode           string    // record.ModeTap or record.ModeProxy
	Hint           Hint
	Started        bool // the connection's beginning was seen
}

// End says how a connection ended.
type End uint8

const (
	EndUnknown End = iota // not seen: the capture ends, or the flow was evicted
	EndClosed             // both sides ended
	EndReset              // one side reset it
	EndRefused            // the server's host answered the SYN with a reset
	EndTimeout            // nothing came for too long
)

// Config is what the sessions of one run share.
type Config struct {
	Sensor  string
	Secrets bool // say Secret to the sink
}

// Session turns one conversation into records.
type Session struct{}

// New begins a session.
func New(cfg *Config, conn Conn, sink Sink) *Session { return &Session{} }

// Feed takes the next chunk; its Data is borrowed.
func (s *Session) Feed(c wire.Chunk) {}

// HalfClose says that dir will send no more.
func (s *Session) HalfClose(dir wire.Direction, t time.Time) {}

// Anomaly counts an anomaly that the source of the chunks saw.
func (s *Session) Anomaly(kind string, t time.Time) {}

// Ignored says that the conversation is no mail and gives no record: nothing more need be fed.
func (s *Session) Ignored() bool { return false }

// Close ends the session and says its record.
func (s *Session) Close(t time.Time, how End) {}

var _ = record.SMTP
