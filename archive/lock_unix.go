//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package archive

import (
	"os"
	"syscall"
)

// lock is held by every living process that uses a data directory: shared, and by one that is alone, while it sweeps,
// exclusively.
type lock struct{ *os.File }

// lockFile takes the lock; alone says that no other process holds it, nor can before share is called. Where the file
// system has no locks nobody is ever alone.
func lockFile(name string) (l lock, alone bool, err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|noFollow, fileMode)
	if err != nil {
		return lock{}, false, err
	}
	return lock{f}, syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil, nil
}

// share lets other processes in; it waits for one that is sweeping.
func (l lock) share() error {
	for {
		switch err := syscall.Flock(int(l.Fd()), syscall.LOCK_SH); err {
		case syscall.EINTR:
		case nil, syscall.ENOLCK, syscall.ENOTSUP, syscall.ENOSYS:
			return nil
		default:
			return os.NewSyscallError("flock", err)
		}
	}
}
