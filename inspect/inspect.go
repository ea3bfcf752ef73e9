// Package inspect turns a conversation into records. It is the one core that the in-line relay and the tap share.
//
// A Session takes the chunks of one TCP connection in both directions (package wire), finds out which protocol they
// speak (detect.go), lets that protocol's parser say what happened as events (packages smtp and pop3), and translates
// the events into what users see: lines of dialogue and login attempts as they happen, a record for each mail when its
// outcome is known, and a record for the connection at its end (package record). All of it goes to a Sink. Time is an
// input, so the same capture gives the same records tomorrow.
package inspect

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
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
	EndAborted            // it was cut by who relays it
)

// Config is what the sessions of one run share.
type Config struct {
	Sensor       string
	Secrets      bool           // say Secret to the sink
	LocalNets    []netip.Prefix // what is ours, for direction and side
	LocalDomains []string       // in lower case; subdomains are ours too

	works sync.Pool // of *bodyWork
}

// side says whether ip is ours; "" where nothing was declared local.
func (c *Config) side(ip netip.Addr) string {
	if len(c.LocalNets) == 0 {
		return ""
	}
	for _, net := range c.LocalNets {
		if net.Contains(ip.Unmap()) {
			return record.Local
		}
	}
	return record.Remote
}

// localAddress says whether a mail address is of one of our domains.
func (c *Config) localAddress(address string) bool {
	domain := strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
	for _, d := range c.LocalDomains {
		if domain == d || strings.HasSuffix(domain, "."+d) {
			return true
		}
	}
	return false
}

// direction names the way from a sender to a receiver.
func direction(fromLocal, toLocal bool) string {
	switch {
	case fromLocal && toLocal:
		return record.Internal
	case fromLocal:
		return record.Outbound
	case toLocal:
		return record.Inbound
	}
	return record.External
}
