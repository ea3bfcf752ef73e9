//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package archive

import "os"

// lock does nothing here: no process knows whether it is alone, so stale files are left for the mail client to remove.
type lock struct{ *os.File }

func lockFile(name string) (l lock, alone bool, err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, fileMode)
	return lock{f}, false, err
}

func inUse(string) (running, known bool) { return false, false }

func lockDir(name string) (lock, error) {
	f, err := os.Open(name)
	return lock{f}, err
}

func (lock) share() error   { return nil }
func (lock) tryAlone() bool { return true }
func (lock) release()       {}

const exclusive, unlocked = 0, 0

func flock(*os.File, int) error { return nil }
