package tap

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// rawBias less what the system call returns is how nice a thread is (getpriority(2)).
const rawBias = 20

// giveWay lets the calling goroutine have a thread of its own, which works when others need not: the nicer, the later. The
// thread ends with the goroutine.
func giveWay(nice int) {
	runtime.LockOSThread()
	if raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil && nice > 0 {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, rawBias-raw+nice) // not beyond 19, and not where it is refused
	}
}
