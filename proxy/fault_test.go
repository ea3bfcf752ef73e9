package proxy

import (
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/wire"
)

// TestFailingInspection: the inspection fails once in one session of ten. No octet is lost for it, and each session has its
// record, which says so.
func TestFailingInspection(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		var mu sync.Mutex
		left := map[string]int{} // calls until the one that fails; -1: none does
		failed := map[string]bool{}
		m := newMemory()
		m.fault = func(session string, last bool) {
			mu.Lock()
			defer mu.Unlock()
			if last { // who fails in taking the record has none
				return
			}
			n, known := left[session]
			if !known {
				if n = -1; rand.IntN(10) == 0 {
					n = rand.IntN(15)
				}
			}
			left[session] = n - 1
			if n == 0 {
				failed[session] = true
				panic("a failure that the test makes")
			}
		}
		o.Recorder = m
		r := newRig(t, o)
		r.talkAway(scaled(100, 5000))
		list, _ := m.records(t, 0)
		if len(list) != len(left) || len(list) != int(r.Stats().Accepted) || len(failed) == 0 {
			t.Errorf("%d records of %d sessions, of which %d failed", len(list), r.Stats().Accepted, len(failed))
		}
		for _, s := range list {
			if failed[s.ID] != (anomaly(s, wire.InspectorFailure) == 1) {
				t.Errorf("a session failed: %v; its record says %+v", failed[s.ID], s.Anomalies)
			}
		}
		if n := r.Stats().Failures; n != int64(len(failed)) {
			t.Errorf("%d failures were counted, want %d", n, len(failed))
		}
	})
}

// TestFailingAlways: the inspection fails again and again. No octet is lost for it, and each session has its record or is
// counted.
func TestFailingAlways(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		var failed, warned atomic.Int64
		m := newMemory()
		m.fault = func(string, bool) {
			if rand.IntN(2) == 0 {
				failed.Add(1)
				panic("a failure that the test makes")
			}
		}
		o.Recorder, o.Warn = m, func(string, string) { warned.Add(1) }
		r := newRig(t, o)
		r.talkAway(scaled(50, 1000))
		list, _ := m.records(t, 0)
		if n := r.Stats(); int64(len(list))+n.Failures < n.Accepted || n.Failures == 0 || n.Failures > failed.Load() || warned.Load() < n.Failures {
			t.Errorf("%d records, %d failures, %d warnings, counted %+v", len(list), failed.Load(), warned.Load(), n)
		}
	})
}

// talkAway has conversations whose octets must all arrive, and lets the proxy end.
func (r *rig) talkAway(sessions int) {
	r.t.Helper()
	for i := range sessions {
		client, server := r.pair()
		d := dialogueOf(i)
		var both sync.WaitGroup
		both.Go(func() {
			play(r.t, server, wire.FromServer, d.flights)
			_ = server.Close()
		})
		play(r.t, client, wire.FromClient, d.flights)
		_ = client.Close()
		both.Wait()
	}
	r.end()
}

// TestStuckInspection: the recorder hangs. Mail flows on, memory stays within the budget, and the records say what was
// lost.
func TestStuckInspection(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		const conversations, octets = 8, 8 << 20
		m, release := newMemory(), make(chan bool)
		m.fault = func(string, bool) { <-release }
		o.Recorder, o.TotalBudget = m, 4<<20
		r := newRig(t, o)
		r.eachAccepted(func(c *net.TCPConn) {
			_, _ = io.WriteString(c, smtpGreeting)
			_, _ = io.Copy(c, struct{ io.Reader }{io.LimitReader(c, octets)})
		})
		var all sync.WaitGroup
		for range conversations {
			client := r.dial()
			all.Go(func() {
				defer client.Close()
				go func() {
					_, _ = io.CopyN(client, struct{ io.Reader }{newNoise(9)}, octets)
					_ = client.CloseWrite()
				}()
				if _, n, err := digest(client, -1); n != int64(octets+len(smtpGreeting)) || err != nil {
					t.Errorf("%d octets came back: %v", n, err)
				}
			})
		}
		all.Wait()
		s := r.Stats()
		if s.Pending > o.TotalBudget || s.Pending < o.TotalBudget/2 {
			t.Errorf("%d octets are pending, the budget is %d", s.Pending, o.TotalBudget)
		}
		close(release)
		sessions, _ := m.records(t, conversations)
		lost := [2]int64{}
		for _, s := range sessions {
			if s.Octets.Client+s.Lost.Client != octets || s.Octets.Server+s.Lost.Server != int64(octets+len(smtpGreeting)) {
				t.Errorf("the ledger does not balance: octets %+v, lost %+v", s.Octets, s.Lost)
			}
			if anomaly(s, wire.Overload) == 0 {
				t.Error("a record does not say that there was too much")
			}
			lost[0] += s.Lost.Client
			lost[1] += s.Lost.Server
		}
		if r.Stats().Overloaded != lost {
			t.Errorf("%d octets were counted as lost, %d in the records", r.Stats().Overloaded, lost)
		}
		r.end()
		if pending := r.Stats().Pending; pending != 0 {
			t.Errorf("%d octets are pending when all is done", pending)
		}
	})
}

// TestAborts: many conversations that end in all ways leave nothing behind.
func TestAborts(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		const atOnce = 50
		r := newRig(t, o)
		data := make([]byte, 1<<20)
		hangUp := func(c *net.TCPConn, n int) {
			switch n {
			case 0:
				reset(c)
			case 1:
				_ = c.CloseWrite()
				_, _ = c.Read(make([]byte, 10))
			}
			_ = c.Close()
		}
		r.eachAccepted(func(c *net.TCPConn) {
			p := make([]byte, 4096)
			_, _ = io.WriteString(c, smtpGreeting)
			for range rand.IntN(5) {
				n, _ := c.Read(p)
				_, _ = c.Write(p[:n])
			}
			hangUp(c, rand.IntN(3))
		})
		before, goroutines, descriptors := memoryInUse(), runtime.NumGoroutine(), openDescriptors()
		sessions := scaled(3000, 100000)
		var all sync.WaitGroup
		turn := make(chan bool, atOnce)
		for range sessions {
			turn <- true
			all.Go(func() {
				defer func() { <-turn }()
				c, err := net.Dial("tcp", r.Addrs()[0].String())
				if err != nil {
					if !isReset(err) { // of a server that resets at once
						t.Error(err)
					}
					return
				}
				_ = c.SetDeadline(time.Now().Add(tooLong))
				if rand.IntN(3) > 0 {
					_, _ = c.Write(data[:rand.IntN(1<<rand.IntN(17))])
				}
				if rand.IntN(3) > 0 {
					_, _ = c.Read(make([]byte, 4096))
				}
				hangUp(c.(*net.TCPConn), rand.IntN(3))
			})
		}
		all.Wait()
		r.memory.records(t, sessions)
		eventually(t, "all conversations have ended", func() bool { return r.Stats().Active == 0 })
		// An inspector gives the room back after the session's record was given on.
		eventually(t, "nothing waits for inspection", func() bool { return r.pending.Load() == 0 })
		eventually(t, "the goroutines are as many as before", func() bool { return runtime.NumGoroutine() <= goroutines })
		eventually(t, "the descriptors are as many as before", func() bool { return openDescriptors() <= descriptors })
		r.ours.mu.Lock()
		defer r.ours.mu.Unlock()
		if n := len(r.ours.set); n != 0 {
			t.Errorf("%d connections to the server are still known", n)
		}
		if unsent := r.unsent.Load(); unsent != 0 {
			t.Errorf("%d octets are held for nobody", unsent)
		}
		r.memory.forget()
		if grown := memoryInUse() - before; grown > 8<<20 {
			t.Errorf("the heap has grown by %d octets", grown)
		}
	})
}

// memoryInUse is that of the heap, without garbage.
func memoryInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}
