//go:build unix

package index

import (
	"os"
	"syscall"
)

// ownAs gives a file, if root made it, to whoever has another: a mailwire without root's rights has to write to it too.
func ownAs(name, other string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(other)
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return os.Lchown(name, int(s.Uid), int(s.Gid))
	}
	return nil
}
