package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// OpenUnnamed makes a file by O_TMPFILE: unlike a name in tmp it needs no lock of a directory that all workers share, and
// a crash leaves nothing of it.
func (osDisk) OpenUnnamed(dir string) (unnamed, error) {
	for {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, uint32(fileMode))
		switch err {
		case nil:
			return unnamedFile{descriptor(fd)}, nil
		case unix.EINTR:
		case unix.EOPNOTSUPP, unix.EISDIR, unix.EINVAL: // the file system, or the kernel, does not know it
			return nil, errors.ErrUnsupported
		default:
			return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
		}
	}
}

type unnamedFile struct{ descriptor }

// Link gives the file its name, by open(2)'s way for programs without CAP_DAC_READ_SEARCH.
func (f unnamedFile) Link(name string) error {
	from := "/proc/self/fd/" + strconv.Itoa(int(f.descriptor))
	err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
	switch {
	case err == nil:
		return nil
	case err == unix.ENOENT: // no /proc, or somebody removed the directory
		return errors.ErrUnsupported
	}
	return &os.LinkError{Op: "link", Old: from, New: name, Err: err}
}

// maxDirty is how many octets may wait for the disk, those of all programs, where a sync of all is asked for.
const maxDirty = 64 << 20

// SyncAll is syncfs(2). It waits for what other programs have written too: where that is much, it is not to be had. Before
// Linux 5.8 it does not tell of errors; since then of those after dir was opened.
func (osDisk) SyncAll(dir *os.File) error {
	if dirty, err := dirtyOctets(); err != nil || dirty > maxDirty || !tellsSyncErrors() {
		return errors.ErrUnsupported
	}
	return os.NewSyscallError("syncfs", unix.Syncfs(int(dir.Fd())))
}

// tellsSyncErrors says whether the kernel's syncfs tells that something could not be written.
var tellsSyncErrors = sync.OnceValue(func() bool {
	var name unix.Utsname
	var major, minor int
	if err := unix.Uname(&name); err != nil {
		return false
	}
	n, _ := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	return n == 2 && (major > 5 || major == 5 && minor >= 8)
})

// dirtyOctets returns how much waits for the disks of the whole host (proc_meminfo(5)).
func dirtyOctets() (octets int64, err error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for _, name := range []string{"\nDirty:", "\nWriteback:"} {
		_, value, _ := strings.Cut(string(text), name)
		var kib int64
		if _, err := fmt.Sscan(value, &kib); err != nil {
			return 0, err
		}
		octets += kib << 10
	}
	return octets, nil
}

// startSync has the system write the file's octets. Where it cannot be told to, fsync will do all of it.
func startSync(fd int) error {
	err := unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	switch err {
	case unix.ENOSYS, unix.EPERM, unix.EINVAL, unix.ESPIPE:
		return nil
	}
	return err
}
