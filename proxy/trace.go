package proxy

import (
	"net/netip"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/segment"
	"github.com/mailwire/mailwire/inspect/wire"
)

// trace gives the recorder's trace what a session is fed, as packets. What TLS carried is in clear in them where it
// ends here. Nil, where none is wanted, does nothing.
type trace struct {
	*segment.Conversation
	begin  time.Time
	opened bool
}

// newTrace begins the trace of a conversation.
func (in *inspector) newTrace(conn *inspect.Conn) *trace {
	if !in.p.Options().Trace {
		return nil
	}
	client := conn.Client
	if conn.Ordinal != 0 { // it has no address; its number tells it from others
		client = netip.AddrPortFrom(client.Addr(), uint16(conn.Ordinal))
	}
	return &trace{Conversation: segment.New(client, conn.Server, in.packet), begin: conn.Begin}
}

// packet keeps one packet.
func (in *inspector) packet(t time.Time, head, data []byte) {
	in.journal.Packet(inspect.Packet{Time: t, Link: segment.LinkType, Wire: len(head) + len(data), Head: head, Data: data})
}

// open writes the handshake, when it is known that there was one.
func (t *trace) open() {
	if !t.opened {
		t.opened = true
		t.Open(t.begin)
	}
}

func (t *trace) feed(c wire.Chunk) {
	if t != nil {
		t.open()
		t.Data(c.Dir, c.Time, c.Lost, c.Data)
	}
}

func (t *trace) halfClose(dir wire.Direction, now time.Time) {
	if t != nil {
		t.open()
		t.HalfClose(dir, now)
	}
}

// end writes how the conversation ended. Who it was that broke it off is not known; the client may have been.
func (t *trace) end(now time.Time, how inspect.End) {
	switch {
	case t == nil:
	case how == inspect.EndRefused && !t.opened:
		t.Refuse(t.begin, now)
	case how == inspect.EndClosed:
		t.halfClose(wire.FromServer, now)
		t.halfClose(wire.FromClient, now)
	default:
		t.open()
		t.Reset(wire.FromClient, now)
	}
}
