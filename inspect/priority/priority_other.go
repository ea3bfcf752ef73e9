//go:build !linux

package priority

// Lower does nothing: elsewhere priorities are of processes.
func Lower(int) {}
