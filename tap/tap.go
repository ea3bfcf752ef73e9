// Package tap is the passive mode: it reads packets, from capture files or from a mirror port, puts the TCP
// connections in them together again, and hands what both sides said to one inspect.Session each.
//
// The way of a packet: Read's own goroutine takes it from a Source into the memory of a batch, decodes it (decode.go,
// ip.go, tunnel.go, fragment.go) to a TCP segment and assigns that to one of a fixed number of shards by its addresses.
// Workers run the shards (shard.go), each with its own table of flows (flow.go), and a flow reassembles its two streams
// (stream.go, queue.go, deliver.go, giveup.go). A committer waits until all shards are done with a batch and lets the
// recorder write what they said, merged by packet. Shards do not share anything, limits are per shard, and time is packet
// time, so what is recorded is the same whatever the number of workers and wherever the batches are cut.
//
// Of a Live, a goroutine for each interface takes packets from the kernel's ring (live.go, ring_linux.go) into blocks
// (block.go), where they wait, in the order of their times (order.go), until there is time to decode them (pace.go).
//
// What is reassembled is what the receiver's application got, as far as it can be seen: octets are given once, in order,
// never before the octets that their sender had acknowledged when it sent them, and a hole is a number, never
// a guess.
package tap

import (
	"context"
	"io"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

// Options say what to read and where to put what was found.
type Options struct {
	// Files are read one after the other as one stream of packets, so that a conversation goes on from one file of a
	// rotated capture to the next. "-" is Stdin.
	Files []string
	Stdin io.Reader

	// SMTPPorts and POP3Ports are the servers' ports. If both are empty, AnyPort is implied.
	SMTPPorts, POP3Ports []uint16
	// AnyPort gives every connection with a payload a session, whatever its port; the well-known ports, and those in
	// the lists, still promise their protocol.
	AnyPort bool

	// Interfaces are captured from by Listen; "any" is all that there are.
	Interfaces []string
	Snap       int    // octets of a packet that are captured; 0: all
	Ring       int    // octets of the kernel's memory for each interface's packets; 0: DefaultRing
	Burst      int    // octets of packets that wait in memory while more come than can be recorded; 0: DefaultBurst
	Filter     Filter // what the kernel lets through; nil: what can be mail on the ports
	// Warn is told what an operator can act on, by any goroutine; what has the same cause need not be said again.
	Warn func(cause, message string)

	// Trace gives the packets of what is looked at to a journal, too.
	Trace bool
	// NoTunnels leaves alone what is inside MPLS, PPPoE, GRE and other encapsulations but VLANs.
	NoTunnels bool

	Packets  int64          // stop after so many packets; 0 never
	Location *time.Location // of the packets' times; nil is UTC
	Workers  int            // 0: GOMAXPROCS; the output does not depend on it
	Inspect  *inspect.Config
	Recorder inspect.Recorder
	// Progress is called now and then, at most about ten times a second, from Read's own goroutine. It may be nil.
	Progress func(Stats)
}

// Stats count what was read.
type Stats struct {
	Packets     int64 // packets read
	Octets      int64 // their octets, as captured
	Input       int64 // octets of input consumed, as stored (compressed, with headers)
	InputSize   int64 // octets of input there are; 0 where that is not known
	Segments    int64 // packets that are TCP segments of a port that is looked at
	OtherPort   int64 // TCP segments of other ports
	NotTCP      int64 // packets that are something else
	Undecodable int64 // packets that make no sense, or are cut off before their TCP header ends
	Fragments   int64 // packets that are IP fragments
	Unassembled int64 // IP datagrams given up because not all of their fragments came
	Sessions    int64 // sessions begun
	Active      int64 // and not ended
	Lost        int64 // octets of sessions known to be missing
	Evicted     int64 // connections given up because there were too many
	HalfOpen    int64 // unanswered connection attempts given up because there were too many
	Dropped     int64 // packets that the kernel had no room for, live
	Frozen      int64 // times when it had none
}

// Read reads the files to their end, or until ctx is done (a read that blocks is not interrupted), and returns when
// everything is committed. An error is one sentence a file that says what was wrong; what could be read has been
// recorded even then.
func Read(ctx context.Context, o Options) (Stats, error) {
	return read(ctx, o, func(conn inspect.Conn, sink inspect.Sink) conversation {
		return inspect.New(o.Inspect, conn, sink)
	})
}

// conversation is what a flow drives: an inspect.Session, or a test's stand-in.
type conversation interface {
	Feed(c wire.Chunk)
	HalfClose(dir wire.Direction, t time.Time)
	Anomaly(kind string, t time.Time)
	Ignored() bool
	Close(t time.Time, how inspect.End)
}

type newConversation func(conn inspect.Conn, sink inspect.Sink) conversation
