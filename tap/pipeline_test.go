package tap

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailwire/mailwire/inspect"
)

// traffic is many sessions at once, some of them damaged, with noise between them.
func traffic(sessions int, seed uint64) []Packet {
	r := rand.New(rand.NewPCG(seed, 9))
	var all []Packet
	for i := range sessions {
		l := newLine()
		l.client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(3)), byte(r.IntN(9))}), uint16(2000+r.IntN(40)))
		if i%5 == 0 {
			l.client = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 15: byte(i)}), 4000)
			l.server = netip.MustParseAddrPort("[2001:db8::25]:25")
		}
		l.seq = [2]uint32{r.Uint32(), r.Uint32()}
		l.clock = day.Add(time.Duration(r.IntN(200_000)) * time.Millisecond)
		l.mail(r.IntN(8000))
		for j, p := range l.packets {
			if i%3 == 1 && r.IntN(30) == 0 {
				continue
			}
			if i%7 == 2 && j == len(l.packets)/2 {
				break
			}
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b Packet) int { return cmp.Compare(a.Time, b.Time) })
	return all
}

// TestWorkers: the output is the same whatever the number of workers, and wherever the batches are cut.
func TestWorkers(t *testing.T) {
	packets := traffic(400, 1)
	var want []string
	var wantStats Stats
	for _, workers := range []int{1, 2, 3, 8, 99} {
		for _, every := range []int{0, 100, 1009} {
			r := new(recorder)
			stats, err := run(t.Context(), Options{Recorder: r, Workers: workers}, &memory{packets: packets, every: every}, r.create)
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want, wantStats = r.out, stats
				if len(want) < 5000 || stats.Lost == 0 {
					t.Fatal(len(want), stats)
				}
			}
			if stats != wantStats {
				t.Errorf("%d workers: %+v for %+v", workers, stats, wantStats)
			}
			if !slices.Equal(r.out, want) {
				i := 0
				for i < len(want) && i < len(r.out) && r.out[i] == want[i] {
					i++
				}
				t.Fatalf("%d workers, cut every %d: %d lines for %d; line %d:\n%.300s\n%.300s", workers, every, len(r.out), len(want), i, r.out[i], want[i])
			}
		}
	}
}

// TestSYNFlood: a million SYNs with 100 real sessions among them (C4).
func TestSYNFlood(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 100_000
	}
	for _, answered := range []bool{false, true} {
		t.Run(fmt.Sprint(answered), func(t *testing.T) {
			f := &flood{n: n, answered: answered}
			for i := range 100 {
				l := newLine()
				l.client = netip.AddrPortFrom(four[0], uint16(10_000+i))
				l.mail(3000)
				f.lines = append(f.lines, l)
			}
			r := new(recorder)
			var most uint64
			var m runtime.MemStats
			stats, err := run(t.Context(), Options{Recorder: r, Progress: func(Stats) {
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}}, f, r.create)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.talks) != 100 {
				t.Fatal(len(r.talks))
			}
			for _, k := range r.talks {
				k.exact(t, f.lines[k.conn.Client.Port()-10_000])
				if k.how != int(inspect.EndClosed) {
					t.Error(k.how)
				}
			}
			if most > 256<<20 {
				t.Errorf("%d MiB of heap", most>>20)
			}
			t.Logf("%+v, %d MiB of heap", stats, most>>20)
		})
	}
}

// flood is a Source of n SYNs from everywhere, and of lines that take turns, one of their packets every few.
type flood struct {
	memory
	n, i     int
	answered bool
	lines    []*line
}

func (f *flood) Next(space []byte) (Packet, error) {
	f.i++
	steps := len(f.lines[0].packets)
	every := f.n / (steps * len(f.lines))
	if f.i%every == 0 {
		k := f.i / every
		if l := f.lines[k%len(f.lines)]; k/len(f.lines) < len(l.packets) {
			p := l.packets[k/len(f.lines)]
			p.Time = day.UnixNano() + int64(f.i)*2000
			p.Data = space[:copy(space, p.Data)]
			return p, nil
		}
	}
	if f.i > f.n+2*every*len(f.lines) {
		return f.memory.Next(space)
	}
	x := uint64(f.i) * 0x9e3779b97f4a7c15
	from := netip.AddrFrom4([4]byte{byte(x>>60) + 11, byte(x >> 40), byte(x >> 32), byte(x >> 24)})
	var data []byte
	if f.answered && f.i%2 == 0 {
		x = uint64(f.i-1) * 0x9e3779b97f4a7c15
		from = netip.AddrFrom4([4]byte{byte(x>>60) + 11, byte(x >> 40), byte(x >> 32), byte(x >> 24)})
		data = ipPacket(four[1], from, protoTCP, tcpSegment(25, uint16(x>>8)|1024, 5, uint32(x)+1, syn|ack, nil))
	} else {
		data = ipPacket(from, four[1], protoTCP, tcpSegment(uint16(x>>8)|1024, 25, uint32(x), 0, syn, nil))
	}
	return Packet{Time: day.UnixNano() + int64(f.i)*2000, Link: LinkRaw, Wire: len(data), Data: space[:copy(space, data)]}, nil
}

func TestCommits(t *testing.T) {
	packets := traffic(100, 2)
	r := new(recorder)
	progress := 0
	m := &memory{packets: packets, every: 50}
	stats, err := run(t.Context(), Options{Recorder: r, Progress: func(Stats) { progress++ }}, m, r.create)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.journals) != shards || r.commits != (len(packets)-1)/50+1 {
		t.Error(len(r.journals), r.commits, len(packets))
	}
	for _, j := range r.journals {
		if len(j.cut) != 0 || len(j.now) != 0 {
			t.Error("not committed")
		}
	}
	if progress == 0 || stats.Sessions != int64(len(r.talks)) {
		t.Error(progress, stats)
	}
	// Nothing to read is one batch, too: the end.
	r = new(recorder)
	if _, err := run(t.Context(), Options{Recorder: r}, new(memory), r.create); err != nil || r.commits != 1 {
		t.Error(err, r.commits)
	}
}

func TestRecorderFails(t *testing.T) {
	packets := traffic(100, 3)
	r := &recorder{fail: errors.New("the disk is full")}
	stats, err := run(t.Context(), Options{Recorder: r}, &memory{packets: packets, every: 10}, r.create)
	if !errors.Is(err, r.fail) || !strings.HasPrefix(err.Error(), "recording failed, so reading stopped after packet ") {
		t.Error(err)
	}
	if stats.Packets > int64(len(packets)/2) {
		t.Error(stats.Packets)
	}
}

func TestNoLeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		for i := range 20 {
			traffic := traffic(5, uint64(i))
			play(t, traffic, func(o *Options) { o.Workers = 8 })
			data := zstandard(pcapFile(traffic, binary.LittleEndian, pcapMicro))
			readAll(t, Options{Files: []string{"/nothing", "-"}, Stdin: bytes.NewReader(data)})
		}
	})
}

// TestLimits reaches the limits of a shard.
func TestLimits(t *testing.T) {
	newTestShard := func(r *recorder) *shard {
		o := Options{Location: time.UTC}
		return newShard(&o, newPorts(&o), r.Journal(), r.create)
	}
	feed := func(s *shard, packets []Packet) {
		var d decoder
		for i := range packets {
			var sg segment
			if d.decode(&packets[i], &sg) == isSegment {
				sg.packet, sg.time = s.journal.(*journal).stamp+1, packets[i].Time
				s.take(&sg)
			}
		}
	}
	t.Run("flows", func(t *testing.T) {
		r := new(recorder)
		s := newTestShard(r)
		s.maxFlows, s.maxClosed = 10, 5
		for i := range 30 {
			l := newLine()
			l.client = netip.AddrPortFrom(four[0], uint16(1000+i))
			l.clock = day.Add(time.Duration(i) * 2 * time.Second)
			l.open()
			l.s("220")
			feed(s, l.packets)
			if len(s.flows) > 10 || s.open.n+s.half.n > 10 {
				t.Fatal(len(s.flows))
			}
		}
		if s.stats.evicted != 20 || len(r.talks) != 30 {
			t.Error(s.stats, len(r.talks))
		}
		for i, k := range r.talks {
			if (k.how == int(inspect.EndUnknown)) != (i < 20) {
				t.Error(i, k.how)
			}
		}
		for i := range 30 {
			l := newLine()
			l.client = netip.AddrPortFrom(four[0], uint16(1000+i))
			l.clock = day.Add(time.Duration(100+i) * time.Second)
			l.mail(10)
			feed(s, l.packets)
			if s.closed.n > 5 || len(s.flows) > 15 {
				t.Fatal(s.closed.n, len(s.flows))
			}
		}
		s.end(1e9)
		if len(s.flows) != 0 || len(s.timers) != 0 || s.held != 0 || s.half.n+s.open.n+s.closed.n != 0 {
			t.Error("something is left")
		}
	})
	t.Run("octets of one direction", func(t *testing.T) {
		r := new(recorder)
		s := newTestShard(r)
		l := newLine().open()
		l.c("first")
		l.seq[0] += 10 // a hole
		for range 2000 {
			l.c(strings.Repeat("x", 1000))
		}
		feed(s, l.packets)
		if k := r.one(t); k.lost[0] != 10 || len(k.data[0]) != 5+2000*1000 {
			t.Error(k.lost, len(k.data[0]))
		}
		s.end(1e9)
	})
	t.Run("octets over all", func(t *testing.T) {
		r := new(recorder)
		s := newTestShard(r)
		s.maxHeld = 1 << 20
		for i := range 50 {
			l := newLine()
			l.client = netip.AddrPortFrom(four[0], uint16(1000+i))
			l.clock = day.Add(time.Duration(i) * time.Millisecond)
			l.open()
			if i%3 > 0 {
				l.c("first")
			} else {
				l.packets = l.packets[:0] // the beginning was missed
			}
			l.seq[0] += 10
			for range 100 {
				l.c(strings.Repeat("x", 1000))
			}
			feed(s, l.packets)
			if s.held > s.maxHeld {
				t.Fatal(s.held)
			}
		}
		s.end(1e9)
		if s.held != 0 || len(r.talks) != 50 {
			t.Error(s.held, len(r.talks))
		}
		for _, k := range r.talks {
			if len(k.data[0]) < 100*1000 {
				t.Error(len(k.data[0]))
			}
		}
	})
	t.Run("closed connections are forgotten", func(t *testing.T) {
		r := new(recorder)
		s := newTestShard(r)
		feed(s, newLine().mail(10).packets)
		if s.closed.n != 1 {
			t.Fatal(s.closed.n)
		}
		s.tick(day.Add(time.Hour).UnixNano())
		if len(s.flows) != 0 || s.closed.n != 0 {
			t.Error(len(s.flows))
		}
	})
}

// TestAllocations: an orderly packet costs none.
func TestAllocations(t *testing.T) {
	l := newLine().mail(2_000_000)
	c := new(counter)
	allocations := testing.AllocsPerRun(3, func() {
		run(t.Context(), Options{Recorder: silent{}, Workers: 1}, &memory{packets: l.packets}, func(inspect.Conn, inspect.Sink) conversation { return c })
	})
	if per := allocations / float64(len(l.packets)); per > 0.2 {
		t.Errorf("%.2f allocations a packet", per)
	}
}
