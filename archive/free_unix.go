//go:build darwin || freebsd || linux

package archive

import (
	"os"

	"golang.org/x/sys/unix"
)

func (osDisk) Free(dir string) (int64, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(dir, &st)
		if err == unix.EINTR {
			continue
		}
		return int64(st.Bavail) * int64(st.Bsize), os.NewSyscallError("statfs", err)
	}
}
