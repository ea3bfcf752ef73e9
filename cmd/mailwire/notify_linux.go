package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// monotonic is what systemd compares with its own clock to know which reload is meant (Type=notify-reload).
func monotonic() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return ""
	}
	return fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000)
}
