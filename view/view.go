// Package view reads what the archive keeps: the records of each day, the mails, and what can be said of both to a
// person. It writes nothing but the line of the audit log, and holds no lock, so that a mailwire that records is never in its way.
//
// Files under the data directory are read as foreign ones. A line that is no record is counted and left out, whatever
// it is; a symbolic link is not followed; no path in a record leads out of the directory.
package view

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// Data is a data directory. Any goroutine may read it.
type Data struct {
	dir  string
	root *os.Root
}

// Open opens a data directory to read it. An error says in one sentence that there is none.
func Open(dir string) (*Data, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no data directory %s; name the one that mailwire records to, by --data", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("the data directory %s cannot be read: %w", dir, err)
	}
	info, err := root.Lstat("logs")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%s has no logs, so nothing was recorded there; name the directory that mailwire records to, by --data", dir)
	case err != nil:
		err = fmt.Errorf("the data directory %s cannot be read: %w", dir, err)
	case !info.IsDir():
		err = fmt.Errorf("logs in the data directory %s is no directory", dir)
	default:
		return &Data{dir, root}, nil
	}
	_ = root.Close() // nothing was written
	return nil, err
}

// Dir returns the name of the directory, as Open was given it.
func (d *Data) Dir() string { return d.dir }

// Close ends the use of the directory.
func (d *Data) Close() error { return d.root.Close() }

// Days returns the days that have records, as 2026-11-22, the oldest first.
func (d *Data) Days() ([]string, error) {
	entries, err := fs.ReadDir(d.root.FS(), "logs")
	if err != nil {
		return nil, fmt.Errorf("the logs in %s cannot be listed: %w", d.dir, err)
	}
	var days []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".jsonl")
		day, session := strings.CutPrefix(name, "sessions-")
		if !session {
			day, session = strings.CutPrefix(name, "messages-")
		}
		if ok && session && isDay(day) {
			days = append(days, day)
		}
	}
	slices.Sort(days)
	return slices.Compact(days), nil
}

func isDay(s string) bool {
	_, err := time.Parse(time.DateOnly, s)
	return err == nil
}

// open opens a regular file, by its path from the data directory on.
func (d *Data) open(name string) (*os.File, error) {
	info, err := d.root.Lstat(name)
	switch {
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("%s is a symbolic link, which is not followed", name)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	if now, err := f.Stat(); err != nil || !os.SameFile(info, now) {
		_ = f.Close()
		return nil, fmt.Errorf("%s became another file while it was opened", name)
	}
	return f, nil
}
