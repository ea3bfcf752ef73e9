package tap

import (
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
	<-r.written
	r.crowded.Store(false)
	return r.recorder.Commit()
}

// burst lets a live pipeline take packets in batches of two while the recorder does not answer, and returns how many
// sessions have begun by then.
func burst(t *testing.T, packets int) (p *pipeline, r *slowRecorder, begun int64) {
	r = &slowRecorder{written: make(chan struct{})}
	r.crowded.Store(true)
	p = newPipeline(&Options{Recorder: r, AnyPort: true, Workers: 2})
	p.start(r, r.create)
	for i, packet := range traffic(packets, 7)[:packets] {
		packet.Time = day.UnixNano() + int64(i)*int64(flushTime)
		p.arrive(&packet)
		synctest.Wait() // as long as there is room, nobody works on what comes
	}
	return p, r, p.total().Sessions
}

// TestPace: while much waits to be written, packets wait to be inspected, and nothing is said of them.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, r, begun := burst(t, 2*burstBatches/4*3-8)
		if begun > 2 {
			t.Errorf("%d sessions have begun while the recorder was crowded", begun)
		}
		close(r.written)
		time.Sleep(time.Second)
		synctest.Wait()
		if after := p.total().Sessions; after < 20 {
			t.Errorf("%d sessions have begun when it was not any more", after)
		}
		if made := p.made.Load(); made > batches {
			t.Errorf("%d batches are left behind the burst", made)
		}
		p.finish()
	})
}

// TestPaceEnds: a disk that does not answer does not keep packets from being taken, nor a capture from its end.
func TestPaceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, r, begun := burst(t, 4*burstBatches)
		if begun < 20 {
			t.Errorf("%d sessions have begun though there is no room for packets", begun)
		}
		asked := time.Now()
		p.finish()
		if took := time.Since(asked); took > endPatience+time.Second {
			t.Errorf("the end took %v", took)
		}
		if p.total().Sessions <= begun {
			t.Error("what waited was not inspected at the end")
		}
		close(r.written)
	})
}
