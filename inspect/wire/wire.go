// Package wire is the vocabulary that the sources of a conversation, the protocol parsers and the inspection core share.
//
// A conversation is a sequence of chunks: octets that one side sent to the other, with the time at which they were seen
// and the number of octets known to be missing just before them. A parser takes chunks and says what they mean as
// events. Neither does any input or output, reads a clock, starts a goroutine or keeps package state, so that an in-line
// relay, a live tap, a capture file, a transcript in a test and a fuzzer all drive the very same code.
package wire

import "time"

// Direction says who sent an octet.
type Direction uint8

const (
	FromClient Direction = iota // sent by the side that opened the connection
	FromServer                  // sent by the side that accepted it
)

// Reverse returns the other direction.
func (d Direction) Reverse() Direction { return d ^ 1 }

func (d Direction) String() string {
	if d == FromServer {
		return "server"
	}
	return "client"
}

// LostUnknown as Chunk.Lost says that octets are missing, and that nobody knows how many.
const LostUnknown = -1

// Chunk is a run of octets of one direction, in the order in which its receiver's application gets them.
//
// Data is borrowed for the call that it is handed to: who keeps any of it copies it. Lost counts the octets known to be
// missing just before Data (LostUnknown: an unknown number). Packet loss, inspection overload and a truncated capture
// are the same thing to a parser. A chunk with Lost and no Data is valid.
type Chunk struct {
	Dir  Direction
	Time time.Time
	Lost int64
	Data []byte
}

// Parser turns the chunks of one conversation into events. Feed and Close call emit for each event in order; an event
// and every slice in it are borrowed for that call. Nothing that a peer sends is an error: at most it is an Anomaly.
type Parser interface {
	Feed(c Chunk, emit func(Event))
	// Close ends the conversation: what was held back until more was known is decided now.
	Close(t time.Time, emit func(Event))
	// Secured says that TLS begins here, and that the source of the chunks takes it off: what follows is the plain text
	// inside. Both sides forget what was said before (RFC 3207 section 4.2), and what was held back is decided as by Close.
	Secured(t time.Time, emit func(Event))
}
