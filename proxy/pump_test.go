package proxy

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

// idlePump returns a Pump whose inspector does nothing until the test takes what waits.
func idlePump(session, total int64) *Pump {
	p := bare(Options{
		Inspect: &inspect.Config{}, Recorder: newMemory(), SessionBudget: session, TotalBudget: total, Location: time.UTC,
	})
	p.inspectors = []*inspector{newInspector(p)}
	return p.newPump(inspect.Conn{Client: netip.AddrPortFrom(netip.IPv6Loopback(), 1), Server: noAddress, Started: true, Hint: inspect.SMTP})
}

// taken says what a batch tells, in its order: "C" or "S" and the octets, "-" and a number that was lost before them, or
// "do".
func taken(b *batch) []string {
	var list []string
	for _, s := range b.steps {
		switch {
		case s.do != nil:
			list = append(list, "do")
		case s.lost > 0:
			list = append(list, fmt.Sprintf("%c-%d %s", "CS"[s.dir], s.lost, s.data))
		default:
			list = append(list, fmt.Sprintf("%c %s", "CS"[s.dir], s.data))
		}
	}
	return list
}

func nothing(*inspect.Session, time.Time) {}

// blockOf returns a large block that begins with s.
func blockOf(s string) (*block, int) {
	b := getBlock(largeBlock)
	return b, copy(b.data, s)
}

func TestPumpKeepsOrder(t *testing.T) {
	u, now := idlePump(1<<20, 64<<20), time.Now()
	u.Show(wire.FromServer, now, []byte("220 "))
	u.Show(wire.FromServer, now, []byte("mx"))
	b, n := blockOf("QUIT")
	u.Give(wire.FromClient, now, b, n)
	u.Tell(now, nothing)
	u.Show(wire.FromClient, now, []byte("X"))
	u.HalfClose(wire.FromClient, now)
	u.Show(wire.FromServer, now, bytes.Repeat([]byte("y"), largeBlock+1))
	u.End(now, inspect.EndClosed)
	want := []string{"S 220 ", "S mx", "C QUIT", "do", "C X", "do", "S " + string(bytes.Repeat([]byte("y"), largeBlock)), "S y", "do"}
	if got := taken(u.take()); !slices.Equal(got, want) {
		t.Errorf("got %.200q", got)
	}
	if u.take() != nil {
		t.Error("there is more")
	}
}

// TestPumpCopies: what was shown may be overwritten at once.
func TestPumpCopies(t *testing.T) {
	u, now := idlePump(1<<20, 64<<20), time.Now()
	data := []byte("EHLO")
	for range 3 {
		u.Show(wire.FromClient, now, data)
	}
	clear(data)
	if got := taken(u.take()); !slices.Equal(got, []string{"C EHLO", "C EHLO", "C EHLO"}) {
		t.Errorf("got %q", got)
	}
}

// TestPumpBudget: what does not fit is counted, and nothing is taken again before half of the budget is free.
func TestPumpBudget(t *testing.T) {
	const cost = largeBlock + stepCost
	u, now := idlePump(4*cost, 6*cost), time.Now()
	p := u.in.p
	give := func(n int) {
		for range n {
			b, n := blockOf("octets")
			u.Give(wire.FromClient, now, b, n)
		}
	}
	give(2)
	first := u.take()
	give(2)
	second := u.take()
	if p.pending.Load() != 4*cost || u.lost != [2]int64{} {
		t.Fatalf("%d pending, %d lost", p.pending.Load(), u.lost)
	}
	give(3) // no room
	u.Show(wire.FromServer, now, []byte("250"))
	if u.lost != [2]int64{18, 3} || p.Stats().Overloaded != u.lost {
		t.Fatalf("%d are lost, %d counted", u.lost, p.Stats().Overloaded)
	}
	u.taken(first)
	give(1) // half is free
	if u.lost != [2]int64{} {
		t.Fatalf("%d are lost", u.lost)
	}
	if got := taken(u.take()); !slices.Equal(got, []string{"do", "S-3 ", "C-18 octets"}) {
		t.Errorf("got %q", got)
	}
	u.taken(second)
	u.End(now, inspect.EndClosed)
	if got := taken(u.take()); !slices.Equal(got, []string{"do"}) {
		t.Errorf("got %q at the end", got)
	}
}

// TestPumpHysteresis: just below its budget a Pump that was full takes nothing.
func TestPumpHysteresis(t *testing.T) {
	const cost = largeBlock + stepCost
	u, now := idlePump(4*cost, 5*cost), time.Now()
	var batches []*batch
	for range 5 {
		b, n := blockOf("octets")
		u.Give(wire.FromClient, now, b, n)
		batches = append(batches, u.take())
	}
	if u.lost[wire.FromClient] != 6 {
		t.Fatalf("%d are lost", u.lost)
	}
	u.taken(batches[0])
	u.Show(wire.FromClient, now, []byte("more"))
	if u.lost[wire.FromClient] != 10 {
		t.Fatalf("%d are lost above half of the budget", u.lost)
	}
	u.taken(batches[1])
	u.Show(wire.FromClient, now, []byte("more"))
	if u.lost[wire.FromClient] != 0 {
		t.Fatalf("%d are lost below half of the budget", u.lost)
	}
}

// TestPumpLends: a conversation may have more than its own budget as long as half of that of all is free.
func TestPumpLends(t *testing.T) {
	const cost = largeBlock + stepCost
	u, now := idlePump(cost, 8*cost), time.Now()
	for range 5 {
		b, n := blockOf("octets")
		u.Give(wire.FromClient, now, b, n)
	}
	if p := u.in.p; p.pending.Load() != 4*cost || u.lost[wire.FromClient] != 6 {
		t.Errorf("%d pending, %d lost", p.pending.Load(), u.lost)
	}
}

// TestPumpGivesBack: when all was inspected, nothing is pending and nothing is held.
func TestPumpGivesBack(t *testing.T) {
	u, now := idlePump(1<<20, 64<<20), time.Now()
	for i := range 100 {
		u.Show(wire.FromServer, now, make([]byte, i*100))
		b, n := blockOf("NOOP\r\n")
		u.Give(wire.FromClient, now, b, n)
	}
	u.End(now, inspect.EndClosed)
	if u.in.p.Stats().Pending == 0 {
		t.Error("nothing is pending")
	}
	u.in.round()
	if pending := u.in.p.Stats().Pending; pending != 0 || u.held.Load() != 0 {
		t.Errorf("%d pending, %d held", pending, u.held.Load())
	}
	s := u.in.p.Options().Recorder.(*memory).record(t)
	if s.Octets.Client != 600 || s.Octets.Server != 100*99/2*100 {
		t.Errorf("the record says %+v", s.Octets)
	}
}
