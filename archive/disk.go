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
	return f, nil
}

func (osDisk) Lstat(name string) (fs.FileInfo, error)     { return os.Lstat(name) }
func (osDisk) Mkdir(name string, perm fs.FileMode) error  { return os.Mkdir(name, perm) }
func (osDisk) Chmod(name string, perm fs.FileMode) error  { return os.Chmod(name, perm) }
func (osDisk) Remove(name string) error                   { return os.Remove(name) }
func (osDisk) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

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
	return errors.Join(f.Close(), d.Remove(name))
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
