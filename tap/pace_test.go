package tap

import (
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slowRecorder is crowded as long as its first Commit has not ended.
type slowRecorder struct {
	recorder
	crowded atomic.Bool
	written chan struct{}
}

func (r *slowRecorder) Crowded() bool { return r.crowded.Load() }

func (r *slowRecorder) Commit() error {
	if r.written != nil {
		<-r.written
	}
	r.crowded.Store(false)
	return r.recorder.Commit()
}

const testBurst = 16 // blocks

// burst lets a Live take so many blocks of packets, and returns when it has done with them what it can. They are far longer
// than what is in them, to fill the blocks soon.
func burst(t *testing.T, r *slowRecorder, pressed bool, blocks int) (l *Live, k *link, end func()) {
	l = newLive(&Options{AnyPort: true, Workers: 2, Burst: testBurst * blockOctets})
	l.start(r, r.create)
	k = &link{}
	l.press(k, pressed)
	l.order.begin(&k.lane)
	inspected := make(chan struct{})
	go func() {
		defer close(inspected)
		l.inspect()
	}()
	clock := day.UnixNano()
	arrived := 0
	for i := 0; arrived < blocks*blockOctets; i++ {
		for _, packet := range traffic(1, uint64(i)) {
			clock += int64(time.Millisecond)
			packet.Time = clock
			packet.Data = append(packet.Data, make([]byte, 16<<10)...) // behind what IP calls its length
			l.order.arrive(&k.lane, &packet)
			arrived += len(packet.Data)
		}
		l.order.pass(&k.lane, clock)
		synctest.Wait()
	}
	return l, k, func() {
		l.order.end(&k.lane)
		l.ending.Store(time.Now().UnixNano())
		l.order.close()
		<-inspected
		l.finish()
	}
}

func crowded() *slowRecorder {
	r := &slowRecorder{written: make(chan struct{})}
	r.crowded.Store(true)
	return r
}

// TestPace: while much waits to be written, packets wait to be inspected, and nothing is said of them.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := crowded()
		l, k, end := burst(t, r, false, testBurst*3/4)
		if begun := l.Stats().Sessions; begun > 2 {
			t.Errorf("%d sessions have begun while the recorder was crowded", begun)
		}
		close(r.written)
		time.Sleep(time.Second)
		l.order.pass(&k.lane, k.lane.passed)
		synctest.Wait()
		if after := l.Stats().Sessions; after < 20 {
			t.Errorf("%d sessions have begun when it was not any more", after)
		}
		if l.room.lent > 0 || len(l.room.spare) > spareBlocks {
			t.Errorf("%d blocks are lent after the burst, %d are left", l.room.lent, len(l.room.spare))
		}
		end()
	})
}

// TestPaceEnds: a disk that does not answer does not keep packets from being taken, nor a capture from its end.
func TestPaceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := crowded()
		l, _, end := burst(t, r, false, 4*testBurst)
		begun := l.Stats().Sessions
		if begun < 20 {
			t.Errorf("%d sessions have begun though there is no room for packets", begun)
		}
		asked := time.Now()
		end()
		if took := time.Since(asked); took > endPatience+time.Second {
			t.Errorf("the end took %v", took)
		}
		if l.Stats().Sessions <= begun {
			t.Error("what waited was not inspected at the end")
		}
		close(r.written)
	})
}

// TestPacePressed: who captures goes before who inspects, as long as there is room.
func TestPacePressed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, k, end := burst(t, &slowRecorder{}, true, testBurst*3/4)
		if begun := l.Stats().Sessions; begun > 0 {
			t.Errorf("%d sessions have begun while a reader had no time", begun)
		}
		l.press(k, false)
		time.Sleep(time.Second)
		synctest.Wait()
		if after := l.Stats().Sessions; after < 20 {
			t.Errorf("%d sessions have begun when it had", after)
		}
		end()

		l, k, end = burst(t, &slowRecorder{}, true, 4*testBurst)
		if begun := l.Stats().Sessions; begun < 20 {
			t.Errorf("%d sessions have begun though there is no room for packets", begun)
		}
		l.press(k, false)
		end()
	})
}

// TestPressed: a reader that always finds packets has no time to spare, and one that waits for them has, also if they are
// few.
func TestPressed(t *testing.T) {
	l := newLive(&Options{})
	k := &link{}
	packet := Packet{Time: day.UnixNano(), Data: make([]byte, 1000)}
	polls := int64(0)
	pressed := func(octets int, apart time.Duration, waits bool) bool {
		for ; octets > 0; octets -= len(packet.Data) {
			if packet.Time += int64(apart); waits {
				polls++
			}
			l.measure(k, &packet, polls)
		}
		return l.pressed.Load() > 0
	}
	const often, seldom = time.Microsecond, 10 * time.Millisecond
	if pressed(ringBlock, often, false) || !pressed(2*ringBlock, often, false) {
		t.Error("it is not after three blocks that it is late")
	}
	if !pressed(20*len(packet.Data), seldom, false) {
		t.Error("it has time though it still finds packets")
	}
	if pressed(20*len(packet.Data), seldom, true) {
		t.Error("it has no time though it waits for packets")
	}
	if !pressed(4*ringBlock, often, false) || pressed(2*ringBlock, often, true) {
		t.Error("the next burst is not as the first one")
	}
}

// TestDefaultBurst: what small hosts get by default may be asked for.
func TestDefaultBurst(t *testing.T) {
	for memory, want := range map[int]int{64 << 20: minBurst, 1 << 30: 128 << 20, math.MaxInt: maxBurst} {
		if got := burstOf(memory); got != want {
			t.Errorf("%d of %d octets, want %d", got, memory, want)
		}
	}
}
