package archive

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

const (
	dirMode  fs.FileMode = 0o700
	fileMode fs.FileMode = 0o600
)

// disk is what the archive asks of the file system; tests break it, one operation at a time.
type disk interface {
	OpenFile(name string, flag int, perm fs.FileMode) (file, error)
	OpenWriter(name string, flag int) (mailFile, error) // never follows a symbolic link
	OpenUnnamed(dir string) (unnamed, error)            // a file without a name; errors.ErrUnsupported where there is no such thing
	Lstat(name string) (fs.FileInfo, error)
	Mkdir(name string, perm fs.FileMode) error
	Chmod(name string, perm fs.FileMode) error
	Rename(from, to string) error
	Remove(name string) error
	ReadDir(name string) ([]fs.DirEntry, error)
	Entries(name string, do func(fs.DirEntry) error) error // of a directory of any size, in any order, up to the first error
	SyncAll(dir *os.File) error                            // of all files of the file system; errors.ErrUnsupported where each is to be synced
	Free(dir string) (octets int64, err error)             // of the file system, for this process
}

type writer interface {
	io.WriteCloser
	Sync() error
}

type file interface {
	writer
	io.Reader
	io.ReaderAt
	io.WriterAt
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	Lock() (unlock func(), err error) // keeps other processes from writing; waits for one that writes
	Chmod(perm fs.FileMode) error
}

// mailFile is a file that a mail is written to.
type mailFile interface {
	writer
	StartSync() error // begins what Sync waits for; after an error Sync does not tell it again
}

// unnamed is a file that is in no directory until Link gives it a name there; closed before, it is gone.
type unnamed interface {
	mailFile
	Link(name string) error
}

type osDisk struct{}

func (osDisk) OpenFile(name string, flag int, perm fs.FileMode) (file, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

type osFile struct{ *os.File }

func (f osFile) Lock() (unlock func(), err error) {
	return func() { _ = flock(f.File, unlocked) }, flock(f.File, exclusive)
}

func (osDisk) Lstat(name string) (fs.FileInfo, error)     { return os.Lstat(name) }
func (osDisk) Mkdir(name string, perm fs.FileMode) error  { return os.Mkdir(name, perm) }
func (osDisk) Chmod(name string, perm fs.FileMode) error  { return os.Chmod(name, perm) }
func (osDisk) Remove(name string) error                   { return os.Remove(name) }
func (osDisk) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

const entriesAtOnce = 1000

func (osDisk) Entries(name string, do func(fs.DirEntry) error) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(entriesAtOnce)
		for _, e := range entries {
			if err := do(e); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// makeDir makes a directory with our mode, whatever the umask. One that is there keeps the mode it has.
func makeDir(d disk, name string) error {
	err := d.Mkdir(name, dirMode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.Chmod(name, dirMode)
}

// probe finds out whether files can be made in a directory.
func probe(d disk, dir string) error {
	name := filepath.Join(dir, ".probe")
	f, err := d.OpenFile(name, os.O_WRONLY|os.O_CREATE|noFollow, fileMode)
	if err != nil {
		return err
	}
	err = errors.Join(f.Close(), d.Remove(name))
	if errors.Is(err, fs.ErrNotExist) { // another process that began at the same time removed it
		return nil
	}
	return err
}

// syncDir puts the names in a directory on the disk.
func syncDir(d disk, name string) error {
	if runtime.GOOS == "windows" { // has no such thing
		return nil
	}
	f, err := d.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	err = f.Sync()
	_ = f.Close() // nothing was written
	return err
}
