//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package archive

import (
	"os"
	"path/filepath"
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
	return flock(l.File, syscall.LOCK_SH)
}

// inUse says whether a process records to a data directory.
func inUse(dir string) (running, known bool) {
	f, err := os.Open(filepath.Join(dir, ".lock"))
	if err != nil {
		return false, os.IsNotExist(err)
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), exclusive|syscall.LOCK_NB)
	running = err == syscall.EWOULDBLOCK
	return running, running || err == nil
}

// lockDir opens a directory as a lock that nobody holds yet.
func lockDir(name string) (lock, error) {
	f, err := os.Open(name)
	return lock{f}, err
}

// tryAlone takes the lock exclusively, unless another process has it.
func (l lock) tryAlone() bool {
	switch syscall.Flock(int(l.Fd()), exclusive|syscall.LOCK_NB) {
	case nil, syscall.ENOLCK, syscall.ENOTSUP, syscall.ENOSYS:
		return true
	}
	return false
}

func (l lock) release() { _ = flock(l.File, unlocked) }

// What flock makes of a file.
const (
	exclusive = syscall.LOCK_EX
	unlocked  = syscall.LOCK_UN
)

// flock waits for the lock. Where the file system has none it does nothing.
func flock(f *os.File, how int) error {
	for {
		switch err := syscall.Flock(int(f.Fd()), how); err {
		case syscall.EINTR:
		case nil, syscall.ENOLCK, syscall.ENOTSUP, syscall.ENOSYS:
			return nil
		default:
			return os.NewSyscallError("flock", err)
		}
	}
}
