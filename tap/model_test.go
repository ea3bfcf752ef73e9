package tap

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect"
)

// conversationOf writes a random conversation: turns of random length, segments of random size, some of them sent again
// with other boundaries, acknowledgements now and then, a FIN from each side.
func conversationOf(r *rand.Rand, turns, octets int) *line {
	l := newLine()
	l.seq = [2]uint32{r.Uint32(), r.Uint32()}
	if r.IntN(3) == 0 {
		l.seq[0] = -uint32(r.IntN(octets + 1)) // wraps around
	}
	l.open()
	for turn := range turns {
		side := 1 - turn%2
		rest := 1 + r.IntN(octets)
		for rest > 0 {
			n := min(rest, 1+r.IntN(1460))
			if r.IntN(4) == 0 {
				n = 1
			}
			b := make([]byte, n)
			for i := range b {
				b[i] = byte('a' + r.IntN(26))
			}
			before := len(l.sent[side])
			l.send(side, ack|psh, string(b))
			rest -= n
			if r.IntN(10) == 0 && before > 0 { // again, from some place before
				back := r.IntN(min(before, 3000)) + 1
				text := l.sent[side][len(l.sent[side])-back-n : len(l.sent[side])-r.IntN(n)]
				l.raw(side, l.seq[side]-uint32(back+n), l.seq[1-side], ack, string(text))
			}
			if r.IntN(5) == 0 {
				l.send(1-side, ack, "")
			}
		}
	}
	l.close()
	return l
}

// covered says which octets of a side are in the packets, and whether its FIN is.
func covered(l *line, packets []Packet, base [2]uint32) (have [2][]bool) {
	for d := range 2 {
		have[d] = make([]bool, len(l.sent[d]))
	}
	for _, p := range packets {
		side := 0
		if binary.BigEndian.Uint16(p.Data[20:]) == l.server.Port() {
			side = 1
		}
		from := int(int32(binary.BigEndian.Uint32(p.Data[24:]) - base[side]))
		for i := range len(p.Data) - 40 {
			have[side][from+i] = true
		}
	}
	return have
}

// checkModel holds what was reassembled from packets against what was sent: every octet that is in the capture is given, at
// its place, and every other one is counted as lost.
func checkModel(t testing.TB, l *line, k *talk, packets []Packet, base [2]uint32) {
	have := covered(l, packets, base)
	for d := range 2 {
		want, got := l.sent[d], k.image[d]
		if len(got) != len(want) {
			t.Fatalf("direction %d: %d octets given or lost of %d sent", d, len(got), len(want))
		}
		for i := range got {
			if k.known[d][i] != have[d][i] || (have[d][i] && got[i] != want[i]) {
				t.Fatalf("direction %d, octet %d: given %v, captured %v; %q for %q", d, i, k.known[d][i], have[d][i], got[i], want[i])
			}
		}
	}
	if k.overlaps != 0 {
		t.Fatalf("%d overlaps", k.overlaps)
	}
}

func TestModel(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := conversationOf(r, 2+r.IntN(30), 1+r.IntN(20000))
		base := [2]uint32{}
		base[0] = binary.BigEndian.Uint32(l.packets[0].Data[24:]) + 1
		base[1] = binary.BigEndian.Uint32(l.packets[1].Data[24:]) + 1
		// In disorder, some packets twice, some missed (never the handshake, or the end would be guesswork).
		loss := []float64{0, 0, 0.001, 0.01, 0.05}[r.IntN(5)]
		var packets []Packet
		lost := 0
		for i, p := range l.packets {
			if i >= 3 && i < len(l.packets)-3 && r.Float64() < loss {
				lost++
				continue
			}
			packets = append(packets, p)
			if r.IntN(20) == 0 {
				packets = append(packets, p)
			}
		}
		most := []int{0, 1, 5, 50, 256}[r.IntN(5)]
		packets = disorder(packets, []int{0, 3}[r.IntN(2)], most)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rec, _ := play(t, packets, func(o *Options) { o.Workers = 1 + int(seed%3) })
			k := rec.one(t)
			checkModel(t, l, k, packets, base)
			if k.how != int(inspect.EndClosed) {
				t.Errorf("end %d", k.how)
			}
		})
	}
}

// TestLoss loses octets at the tap and counts them: given + lost = sent (C1).
func TestLoss(t *testing.T) {
	for _, loss := range []float64{0.001, 0.01, 0.05} {
		t.Run(fmt.Sprint(loss), func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, uint64(loss*1e4)))
			untouched, touched := 0, 0
			for i := range 200 {
				l := newLine()
				l.seq = [2]uint32{r.Uint32(), r.Uint32()}
				l.mail(1 + r.IntN(100_000))
				// A mail server says something after the session, so that time passes.
				l.clock = l.clock.Add(5 * time.Second)
				var packets []Packet
				missed, end := 0, 0
				for i, p := range l.packets {
					if r.Float64() < loss {
						missed++
						if i >= len(l.packets)-2 {
							end++ // the server's FIN, and what acknowledges it
						}
						continue
					}
					packets = append(packets, p)
				}
				rec, stats := play(t, packets)
				if len(rec.talks) != 1 {
					t.Fatal(i, len(rec.talks))
				}
				k := rec.talks[0]
				if missed == 0 {
					untouched++
					k.exact(t, l)
					continue
				}
				touched++
				for d := range 2 {
					given, lost := int64(len(k.data[d])), k.lost[d]
					// Whether the last octet acknowledged was a FIN is not to be told when both are missing.
					unsure := end == 2 && given+lost == int64(len(l.sent[d]))-1
					if given+lost != int64(len(l.sent[d])) && !unsure {
						t.Errorf("session %d direction %d: %d given + %d lost of %d\n%.2000s", i, d, given, lost, len(l.sent[d]), k.script.String())
					}
				}
				if stats.Lost != k.lost[0]+k.lost[1] {
					t.Error(stats.Lost, k.lost)
				}
			}
			t.Logf("%d untouched, %d touched", untouched, touched)
		})
	}
}

// reversed is n octets, a segment each, so many steps from one to the next: with 1, the last one comes first, which is the
// worst order for what is held back.
func reversed(n, step int) []Packet {
	l := newLine().open()
	base := l.seq[0]
	for i := n; i > 0; i-- {
		if at := i * step % (n + 1); at != 0 {
			l.raw(0, base+uint32(at), l.seq[1], ack, "x")
		}
	}
	l.raw(0, base, l.seq[1], ack, "y")
	for i := range l.packets {
		l.packets[i].Time = day.UnixNano()
	}
	return l.packets
}

func TestReverse(t *testing.T) {
	r, _ := play(t, reversed(4000, 1))
	if k := r.one(t); len(k.data[0]) != 4001 || k.lost[0] != 0 {
		t.Errorf("%d octets, %d lost", len(k.data[0]), k.lost[0])
	}
	for _, step := range []int{1, 2, 7, 4999} {
		r, _ := play(t, reversed(100_000, step))
		if k := r.one(t); int64(len(k.data[0]))+k.lost[0] > 100_001 {
			t.Errorf("step %d: %d octets, %d lost", step, len(k.data[0]), k.lost[0])
		}
	}
}

// BenchmarkReverse shows that time is linear: the octets a second are the same for any number of them.
func BenchmarkReverse(b *testing.B) {
	for _, n := range []int{25_000, 50_000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			packets := reversed(n, 1)
			b.SetBytes(int64(n))
			for b.Loop() {
				play(b, packets)
			}
		})
	}
}

func FuzzReassembly(f *testing.F) {
	f.Add(uint64(1), []byte{1, 2, 3, 200, 100})
	f.Add(uint64(2), []byte("\x00\x10\x20\x80\xff\x01"))
	// The order, the repetitions and the losses are the fuzzer's.
	f.Fuzz(func(t *testing.T, seed uint64, plan []byte) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := conversationOf(r, 2+int(seed%6), 4000)
		base := [2]uint32{}
		base[0] = binary.BigEndian.Uint32(l.packets[0].Data[24:]) + 1
		base[1] = binary.BigEndian.Uint32(l.packets[1].Data[24:]) + 1
		packets := append([]Packet(nil), l.packets...)
		end := len(packets) - 3
		for i, b := range plan[:min(len(plan), 300)] {
			if end < 5 {
				break
			}
			at := 3 + (i*7+int(b))%(end-3)
			switch b % 3 {
			case 0: // missed
				packets = append(packets[:at:at], packets[at+1:]...)
				end--
			case 1: // moved
				to := 3 + int(b)*31%(end-3)
				packets[at].Data, packets[to].Data = packets[to].Data, packets[at].Data
				packets[at].Wire, packets[to].Wire = packets[to].Wire, packets[at].Wire
			case 2: // twice
				packets = append(packets[:at:at], append([]Packet{packets[at]}, packets[at:]...)...)
				end++
			}
		}
		if len(packets) >= reorderSegments {
			t.Skip("too much disorder to be exact")
		}
		rec, _ := play(t, packets)
		checkModel(t, l, rec.one(t), packets, base)
	})
}
