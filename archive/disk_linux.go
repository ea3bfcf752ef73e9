package archive

import (
	"errors"
	"io/fs"
	"os"
	"strconv"

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

// startSync has the system write the file's octets. Where it cannot be told to, fsync will do all of it.
func startSync(fd int) error {
	err := unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	switch err {
	case unix.ENOSYS, unix.EPERM, unix.EINVAL, unix.ESPIPE:
		return nil
	}
	return err
}
