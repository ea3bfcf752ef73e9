package tap

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// drain takes what goes on, and checks it.
func drain(t *testing.T, o *order) (times []int64) {
	t.Helper()
	for {
		p, ended, ok := o.next()
		if !ok {
			return times
		}
		if len(p.Data) != 1+int(p.Time)%1000 || p.Data[0] != byte(p.Time) || p.Link != LinkRaw || p.Wire != 2000 {
			t.Fatalf("the packet of %d is %+v", p.Time, p)
		}
		times = append(times, p.Time)
		if ended != nil {
			o.room.give([]*block{ended})
		}
	}
}

// show lets an interface show a packet that can be told from others.
func show(o *order, l *lane, time int64) {
	data := make([]byte, 1+time%1000)
	data[0] = byte(time)
	o.arrive(l, &Packet{Time: time, Link: LinkRaw, Wire: 2000, Data: data})
}

// TestOrder: packets of several interfaces go on by their times, each once and as it was, as soon as nothing older can come.
func TestOrder(t *testing.T) {
	const packets = 30000
	o := newOrder(newRoom(packets * 1000))
	lanes := []*lane{{}, {}, {}}
	for _, l := range lanes {
		o.begin(l)
	}
	if o.passed() != 0 {
		t.Error("interfaces that show nothing have passed a time")
	}
	var got []int64
	var late [3][]int64 // what the kernel has
	arrive := func(i int) {
		for _, time := range late[i] {
			show(o, lanes[i], time)
		}
		late[i] = nil
	}
	r := rand.New(rand.NewPCG(1, 2))
	for time := range int64(packets) {
		if i := r.IntN(2); time < packets-1 { // the third interface shows nothing
			late[i] = append(late[i], time)
		}
		switch i := r.IntN(100); {
		case i < 2:
			arrive(i)
			o.pass(lanes[i], time)
		case i == 2:
			o.pass(lanes[2], time)
		case i == 3:
			got = append(got, drain(t, o)...)
		}
	}
	if len(got) < packets/2 {
		t.Errorf("only %d of %d packets have gone on", len(got), packets)
	}
	arrive(0)
	o.end(lanes[0])
	o.leave(lanes[2], packets)
	arrive(1)
	for range 2 { // the second lets go on what came while the first waited to be taken
		o.pass(lanes[1], packets)
		got = append(got, drain(t, o)...)
	}
	if len(got) != packets-1 || !slices.IsSorted(got) {
		t.Errorf("%d packets, in order: %v", len(got), slices.IsSorted(got))
	}
	if o.passed() >= packets {
		t.Error("an interface that ended has passed a time")
	}
	if !o.wait() || len(o.lanes) != 2 || o.passed() != packets || o.room.lent != 0 {
		t.Errorf("%d interfaces are left, which have passed %d, %d blocks are lent", len(o.lanes), o.passed(), o.room.lent)
	}
}

// TestOrderEnds: packets wait for older ones only as long as there is room.
func TestOrderEnds(t *testing.T) {
	const blocks = 32
	o := newOrder(newRoom(blocks * blockOctets))
	var busy, silent lane
	o.begin(&busy)
	o.begin(&silent)
	for time := int64(1); o.room.lent < blocks/2; time++ {
		show(o, &busy, time)
	}
	if got := drain(t, o); len(got) > 0 {
		t.Fatalf("%d packets did not wait", len(got))
	}
	for time := int64(1); o.room.lent < blocks; time++ {
		show(o, &busy, time)
	}
	if got := drain(t, o); len(got) == 0 || o.room.lent != blocks/2 {
		t.Errorf("%d packets have gone on, and %d blocks wait", len(got), o.room.lent)
	}
}

// TestOrderSlow: packets that come slowly, while nobody takes them, do not take a block each.
func TestOrderSlow(t *testing.T) {
	o := newOrder(newRoom(64 * blockOctets))
	var l lane
	o.begin(&l)
	const packets = 1000
	for i := range int64(packets) {
		show(o, &l, i*int64(flushTime))
		o.pass(&l, i*int64(flushTime))
	}
	if o.room.lent > 2 {
		t.Errorf("%d blocks wait", o.room.lent)
	}
	o.end(&l)
	if got := drain(t, o); len(got) != packets {
		t.Errorf("%d packets", len(got))
	}
}

// TestOrderBehind: packets of a slow interface are in order with those of a fast one, though they wait for long.
func TestOrderBehind(t *testing.T) {
	const blocks = 16
	o := newOrder(newRoom(blocks * blockOctets))
	var fast, slow lane
	o.begin(&fast)
	o.begin(&slow)
	shown := 0
	data := make([]byte, 100<<10)
	for clock := int64(0); o.room.lent < blocks-2; clock += int64(10e6) {
		o.arrive(&fast, &Packet{Time: clock, Data: data})
		o.arrive(&slow, &Packet{Time: clock + 1, Data: data[:1]})
		shown += 2
	}
	var times []int64
	for _, l := range []*lane{nil, &slow, &fast, &slow} { // these pass a time, later
		if l != nil {
			o.pass(l, int64(time.Hour))
		}
		for p, ended, ok := o.next(); ok; p, ended, ok = o.next() {
			if times = append(times, p.Time); ended != nil {
				o.room.give([]*block{ended})
			}
		}
	}
	if !slices.IsSorted(times) || len(times) != shown {
		t.Errorf("%d of %d packets, in order: %v", len(times), shown, slices.IsSorted(times))
	}
}

// TestOrderFull: when no interface gets a block any more, packets do not wait for older ones.
func TestOrderFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const blocks = 16
		o := newOrder(newRoom(blocks * blockOctets))
		lanes := make([]lane, blocks/2)
		var late lane
		o.begin(&late)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for more := true; more; {
				if _, b, ok := o.next(); !ok {
					more = o.wait()
				} else if b != nil {
					o.room.give([]*block{b})
				}
			}
		}()
		for i := range lanes {
			o.begin(&lanes[i])
			show(o, &lanes[i], 1)
			o.pass(&lanes[i], 1)
		}
		synctest.Wait()
		for i := range lanes {
			show(o, &lanes[i], 2)
		}
		came := make(chan struct{})
		go func() {
			defer close(came)
			show(o, &late, 3)
		}()
		for range 10 {
			time.Sleep(flushTime)
			for i := range lanes {
				o.pass(&lanes[i], time.Now().UnixNano())
			}
		}
		synctest.Wait()
		if o.room.lent == blocks {
			t.Error("an interface waits for a block, and nobody takes the packets of the others")
		}
		for i := range lanes {
			o.end(&lanes[i])
		}
		<-came
		o.end(&late)
		o.close()
		<-ended
	})
}

// TestOrderClock: a clock that is set back keeps no packet waiting until it is there again.
func TestOrderClock(t *testing.T) {
	o := newOrder(newRoom(64 * blockOctets))
	lanes := []*lane{{}, {}}
	o.begin(lanes[0])
	now := day.UnixNano()
	shown, got := 0, 0
	alone := func(l *lane) { // with a packet more often than it is quiet
		for range 10 {
			now += int64(flushTime) / 5
			show(o, l, now)
			got += len(drain(t, o))
			shown++
		}
	}
	alone(lanes[0])
	now -= int64(time.Hour)
	alone(lanes[0])
	if got < shown-5 {
		t.Errorf("of one interface, %d of %d packets", got, shown)
	}

	o.begin(lanes[1])
	if alone(lanes[0]); got >= shown-5 {
		t.Error("packets do not wait for an interface that just began")
	}
	o.pass(lanes[1], now-int64(flushTime)/5)
	o.pass(lanes[0], now)
	now -= int64(time.Hour)
	for range 10 {
		alone(lanes[0])
		o.pass(lanes[1], now)
		got += len(drain(t, o))
	}
	o.pass(lanes[0], now)
	if got += len(drain(t, o)); got != shown {
		t.Errorf("of two interfaces, %d of %d packets", got, shown)
	}
}

// TestRoom: who wants a block waits until there is one, and a burst leaves only few behind.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const blocks = 16
		r := newRoom(blocks * blockOctets)
		var lent []*block
		for range blocks {
			lent = append(lent, r.take())
		}
		if !r.beyond(15, 16) || r.beyond(16, 16) {
			t.Error("it does not know how many are lent")
		}
		got := make(chan *block)
		go func() { got <- r.take() }()
		synctest.Wait()
		select {
		case <-got:
			t.Error("there is one more than there are")
		default:
		}
		lent[0].add(&Packet{Data: make([]byte, 100)})
		r.give(lent[:1])
		if b := <-got; b != lent[0] || b.used != 0 {
			t.Error("the one that was given back is not lent again, empty")
		}
		r.give(lent)
		if r.lent != 0 || len(r.spare) != spareBlocks {
			t.Errorf("%d are lent, %d are left", r.lent, len(r.spare))
		}
		r.close()
	})
}
