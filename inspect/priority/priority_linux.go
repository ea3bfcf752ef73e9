package priority

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// rawBias less what the system call returns is how nice a thread is (getpriority(2)).
const rawBias = 20

// Lower gives the calling goroutine a thread of its own, and the thread a lower priority; by 0, it only has its own. The
// thread ends with the goroutine.
func Lower(by int) {
	runtime.LockOSThread()
	if raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil && by > 0 {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, rawBias-raw+by) // not beyond 19, and not where it is refused
	}
}
