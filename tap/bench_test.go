package tap

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

// counter is a conversation that only counts.
type counter struct{ sessions, octets, lost, overlaps, closed atomic.Int64 }

func (c *counter) Feed(k wire.Chunk) {
	c.octets.Add(int64(len(k.Data)))
	c.lost.Add(k.Lost)
}
func (c *counter) HalfClose(wire.Direction, time.Time) {}
func (c *counter) Anomaly(string, time.Time)           { c.overlaps.Add(1) }
func (c *counter) Ignored() bool                       { return false }
func (c *counter) Close(t time.Time, how inspect.End) {
	if how == inspect.EndClosed {
		c.closed.Add(1)
	}
}

type silent struct{ inspect.Sink }

func (silent) Stamp(int64)              {}
func (silent) Packet(inspect.Packet)    {}
func (silent) Cut()                     {}
func (silent) Journal() inspect.Journal { return silent{} }
func (silent) Commit() error            { return nil }
func (silent) Crowded() bool            { return false }

// BenchmarkRead reads the capture file that MAILWIRE_BENCH names.
func BenchmarkRead(b *testing.B) {
	name := os.Getenv("MAILWIRE_BENCH")
	if name == "" {
		b.Skip("MAILWIRE_BENCH names no capture file")
	}
	var stats Stats
	c := new(counter)
	for b.Loop() {
		*c = counter{}
		var err error
		stats, err = read(b.Context(), Options{Files: []string{name}, Recorder: silent{}}, func(inspect.Conn, inspect.Sink) conversation {
			c.sessions.Add(1)
			return c
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	n := int64(b.N) * stats.Packets
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/packet")
	b.SetBytes(stats.Input)
	b.Logf("%+v; sessions %d closed %d octets %d lost %d overlaps %d", stats, c.sessions.Load(), c.closed.Load(), c.octets.Load(), c.lost.Load(), c.overlaps.Load())
}
