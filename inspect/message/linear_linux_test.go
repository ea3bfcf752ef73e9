package message

import (
	"math"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLinear holds t(2n) <= 2.6 t(n) in processor time, on the best of some rounds: what else the machine does costs caches
// only.
func TestLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var p Parser
	cost := func(mail []byte) int64 {
		begin := threadTime(t)
		p.Reset()
		p.Write(mail)
		p.Close()
		return threadTime(t) - begin
	}
	for name, bomb := range bombs {
		small, large := []byte(bomb(400_000)), []byte(bomb(800_000))
		a, b := int64(math.MaxInt64), int64(math.MaxInt64)
		for round := 0; round < 3 || round < 50 && float64(b) > 2.6*float64(a); round++ {
			a, b = min(a, cost(small)), min(b, cost(large))
		}
		if float64(b) > 2.6*float64(a) {
			t.Errorf("%s: %d ns for %d octets, %d ns for %d", name, a, len(small), b, len(large))
		}
	}
}

// threadTime is the processor time of this thread, in nanoseconds.
func threadTime(t *testing.T) int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano()
}
