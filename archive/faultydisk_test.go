package archive

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// faultyDisk is the real file system, but that the operations from fail to until (excluded) fail. A write that fails
// has written half, a close that fails has closed.
type faultyDisk struct {
	osDisk
	wait        func() // if not nil, before each operation
	named       bool   // it has no files without a name
	mu          sync.Mutex
	done        int
	fail, until int
	failed      []string
}

func (d *faultyDisk) op(what string) error {
	if d.wait != nil {
		d.wait()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done++
	if d.done >= d.fail && d.done < d.until {
		d.failed = append(d.failed, what)
		return &fs.PathError{Op: what, Path: "/x", Err: syscall.ENOSPC}
	}
	return nil
}

func (d *faultyDisk) OpenFile(name string, flag int, perm fs.FileMode) (file, error) {
	if err := d.op("open " + name); err != nil {
		return nil, err
	}
	f, err := d.osDisk.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file: f, d: d, name: name}, nil
}

func (d *faultyDisk) OpenWriter(name string, flag int) (mailFile, error) {
	if err := d.op("open " + name); err != nil {
		return nil, err
	}
	w, err := d.osDisk.OpenWriter(name, flag)
	if err != nil {
		return nil, err
	}
	return &faultyWriter{mailFile: w, d: d, name: name}, nil
}

func (d *faultyDisk) OpenUnnamed(dir string) (unnamed, error) {
	if err := d.op("open unnamed in " + dir); err != nil {
		return nil, err
	}
	if d.named {
		return nil, errors.ErrUnsupported
	}
	f, err := d.osDisk.OpenUnnamed(dir)
	if err != nil {
		return nil, err
	}
	return &faultyUnnamed{faultyWriter{mailFile: f, d: d, name: "unnamed in " + dir}, f}, nil
}

type faultyUnnamed struct {
	faultyWriter
	f unnamed
}

func (u *faultyUnnamed) Link(name string) error {
	if err := u.d.op("link " + name); err != nil {
		return err
	}
	return u.f.Link(name)
}

func (d *faultyDisk) SyncAll(dir *os.File) error {
	if err := d.op("sync all of " + dir.Name()); err != nil {
		return err
	}
	return d.osDisk.SyncAll(dir)
}

func (d *faultyDisk) Lstat(name string) (fs.FileInfo, error) {
	if err := d.op("lstat " + name); err != nil {
		return nil, err
	}
	return d.osDisk.Lstat(name)
}

func (d *faultyDisk) Mkdir(name string, perm fs.FileMode) error {
	if err := d.op("mkdir " + name); err != nil {
		return err
	}
	return d.osDisk.Mkdir(name, perm)
}

func (d *faultyDisk) Chmod(name string, perm fs.FileMode) error {
	if err := d.op("chmod " + name); err != nil {
		return err
	}
	return d.osDisk.Chmod(name, perm)
}

func (d *faultyDisk) Rename(from, to string) error {
	if err := d.op("rename " + from); err != nil {
		return err
	}
	return d.osDisk.Rename(from, to)
}

func (d *faultyDisk) Remove(name string) error {
	if err := d.op("remove " + name); err != nil {
		return err
	}
	return d.osDisk.Remove(name)
}

func (d *faultyDisk) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := d.op("readdir " + name); err != nil {
		return nil, err
	}
	return d.osDisk.ReadDir(name)
}

type faultyWriter struct {
	mailFile
	d    *faultyDisk
	name string
}

func (w *faultyWriter) Write(p []byte) (int, error) { return faultyWrite(w.d, w.mailFile, w.name, p) }

func (w *faultyWriter) Sync() error { return errors.Join(w.d.op("sync "+w.name), w.mailFile.Sync()) }

func (w *faultyWriter) StartSync() error {
	return errors.Join(w.d.op("start sync "+w.name), w.mailFile.StartSync())
}

func (w *faultyWriter) Close() error { return errors.Join(w.d.op("close "+w.name), w.mailFile.Close()) }

func faultyWrite(d *faultyDisk, w writer, name string, p []byte) (int, error) {
	if err := d.op("write " + name); err != nil {
		n, _ := w.Write(p[:len(p)/2])
		return n, err
	}
	return w.Write(p)
}

type faultyFile struct {
	file
	d    *faultyDisk
	name string
}

func (f *faultyFile) Write(p []byte) (int, error) { return faultyWrite(f.d, f.file, f.name, p) }
func (f *faultyFile) Sync() error                 { return errors.Join(f.d.op("sync "+f.name), f.file.Sync()) }

func (f *faultyFile) Close() error { return errors.Join(f.d.op("close "+f.name), f.file.Close()) }

func (f *faultyFile) Chmod(m fs.FileMode) error {
	return errors.Join(f.d.op("fchmod "+f.name), f.file.Chmod(m))
}

func (f *faultyFile) Read(p []byte) (int, error) {
	if err := f.d.op("read " + f.name); err != nil {
		return 0, err
	}
	return f.file.Read(p)
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.d.op("pread " + f.name); err != nil {
		return 0, err
	}
	return f.file.ReadAt(p, off)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.d.op("pwrite " + f.name); err != nil {
		n, _ := f.file.WriteAt(p[:len(p)/2], off)
		return n, err
	}
	return f.file.WriteAt(p, off)
}

func (f *faultyFile) Stat() (fs.FileInfo, error) {
	if err := f.d.op("stat " + f.name); err != nil {
		return nil, err
	}
	return f.file.Stat()
}

func (f *faultyFile) Lock() (unlock func(), err error) {
	if err := f.d.op("lock " + f.name); err != nil {
		return nil, err
	}
	return f.file.Lock()
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.d.op("truncate " + f.name); err != nil {
		return err
	}
	return f.file.Truncate(size)
}
