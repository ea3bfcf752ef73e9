package tap

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestOrder: packets of several interfaces go on by their times, each once and as it was, as soon as nothing older can come.
func TestOrder(t *testing.T) {
	var got []int64
	o := &order{give: func(p *Packet) {
		if p.Data[0] != byte(p.Time) {
			t.Errorf("the packet of %d has the octets of another one", p.Time)
		}
		got = append(got, p.Time)
	}}
	const packets = 3000
	lanes := []*lane{{}, {}, {}}
	var late [3][]int64 // what the kernel has
	for _, l := range lanes {
		o.begin(l)
	}
	memory := make([]byte, 1000)
	arrive := func(i int) {
		for _, time := range late[i] {
			memory[0] = byte(time)
			o.arrive(lanes[i], &Packet{Time: time, Data: memory})
		}
		late[i] = nil
	}
	r := rand.New(rand.NewPCG(1, 2))
	for time := range int64(packets) {
		if i := r.IntN(2); time < packets-1 { // the third interface shows nothing
			late[i] = append(late[i], time)
		}
		if i := r.IntN(100); i < 2 {
			arrive(i)
		} else if i == 2 {
			o.pass(lanes[2], time)
		}
	}
	if len(got) == 0 {
		t.Error("all waits")
	}
	arrive(0)
	o.end(lanes[0])
	o.pass(lanes[2], never)
	arrive(1)
	if len(got) != packets-1 || !slices.IsSorted(got) {
		t.Errorf("%d packets, in order: %v", len(got), slices.IsSorted(got))
	}
	if o.octets != 0 || len(o.lanes) != 2 {
		t.Errorf("%d octets wait, %d interfaces are left", o.octets, len(o.lanes))
	}
}

// TestOrderEnds: not more waits than there is memory for.
func TestOrderEnds(t *testing.T) {
	given := 0
	o := &order{give: func(*Packet) { given++ }}
	var busy, silent lane
	o.begin(&busy)
	o.begin(&silent)
	packet := Packet{Data: make([]byte, 64<<10)}
	const packets = 2 * maxUnsorted / (64 << 10)
	for packet.Time = range int64(packets) {
		o.arrive(&busy, &packet)
		if o.octets > maxUnsorted {
			t.Fatalf("%d octets wait", o.octets)
		}
	}
	if waiting := maxUnsorted / (len(packet.Data) + laneRecord); given != packets-waiting {
		t.Errorf("%d packets have gone on, not %d", given, packets-waiting)
	}
}
