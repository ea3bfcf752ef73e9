package archive

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Kinds of findings.
const (
	FoundMissing    = "missing"    // a record names a file that is not there
	FoundUnrecorded = "unrecorded" // a mail that no record names
	FoundSize       = "size"       // a mail that has another size than its record, or its own name, says
	FoundSHA256     = "sha256"     // a mail that has other octets than its record says
	FoundBroken     = "broken"     // a line that mailwire did not write, or not to its end
	FoundNewer      = "newer"      // a record of a newer version
	FoundMode       = "mode"       // a file or directory that others may read or write
	FoundUnfinished = "unfinished" // a mail, or the removal of a day, that was not finished
	FoundStrange    = "strange"    // what has a name of ours and is no file, or cannot be read
)

// Finding is something that is not as it should be. File is relative to the data directory.
type Finding struct {
	Kind   string `json:"kind"`
	File   string `json:"file"`
	Offset *int64 `json:"offset,omitempty"` // of a line
	Text   string `json:"text"`
}

// Checked counts what a check has looked at.
type Checked struct {
	Days     int   `json:"days"`
	Sessions int   `json:"sessions"`
	Messages int   `json:"messages"`
	Mails    int   `json:"mails"`
	Octets   int64 `json:"octets"` // of mails
	Findings int   `json:"findings"`
	Running  bool  `json:"running"` // a mailwire is recording here; what it has not finished is no finding
}

const (
	maxCheckedLine = 64 << 20        // octets of a line of a log
	settled        = 1 * time.Minute // for which a mail must have been there to need a record, while a mailwire is running
)

// Check compares what is in a data directory with what is said of it there, and calls found for all that is wrong. With
// deep it reads all mails. It writes nothing.
func Check(ctx context.Context, dir string, deep bool, found func(Finding)) (Checked, error) {
	root, err := os.OpenRoot(dir)
	if err == nil {
		defer root.Close()
		_, err = root.Lstat("logs")
	}
	if err != nil {
		return Checked{}, fmt.Errorf("%s is no data directory that can be read; name the one that mailwire records to: %w", dir, err)
	}
	c := &checker{ctx: ctx, root: root, deep: deep, found: found, seed: maphash.MakeSeed(), begin: time.Now(), suffixes: map[string]string{}}
	c.sum.Running, _ = inUse(dir)
	c.flat = c.newShelf()
	err = c.run()
	return c.sum, err
}

type checker struct {
	ctx      context.Context
	root     *os.Root
	deep     bool
	found    func(Finding)
	sum      Checked
	begin    time.Time
	seed     maphash.Seed
	suffixes map[string]string
	flat     *shelf // the mails of all days
}

func (c *checker) say(kind, file string, offset int64, format string, args ...any) {
	c.sum.Findings++
	f := Finding{Kind: kind, File: file, Text: fmt.Sprintf(format, args...)}
	if offset >= 0 {
		f.Offset = &offset
	}
	c.found(f)
}

const noOffset = -1

func (c *checker) run() error {
	logs := map[day][]string{}
	for _, dir := range []string{"logs", "trace"} {
		c.list(dir, func(name string, info fs.FileInfo) {
			d, _, buried, ok := dayOfLog(name)
			switch {
			case ok && !info.Mode().IsRegular():
				c.say(FoundStrange, name, noOffset, "it is no regular file, but has the name of one of ours")
			case ok && buried && !c.sum.Running:
				c.say(FoundUnfinished, name, noOffset, "the removal of this day was not finished; a mailwire that removes old days will end it")
			case ok && !buried:
				logs[d] = append(logs[d], name)
			}
		})
	}
	c.list("index", func(string, fs.FileInfo) {})
	c.list("mail/tmp", func(name string, _ fs.FileInfo) {
		if strings.HasPrefix(path.Base(name), tmpPrefix) && !c.sum.Running {
			c.say(FoundUnfinished, name, noOffset, "a mail was not finished; the next mailwire that records here removes it")
		}
	})
	folders := map[day][]mailFolder{}
	c.list("mail", func(name string, info fs.FileInfo) {
		f, ok := parseFolder(path.Base(name))
		switch {
		case !ok:
		case !info.IsDir():
			c.say(FoundStrange, name, noOffset, "it is no directory, but has the name of a folder of ours")
		case f.flat:
			c.mode(name, info)
			c.flat.folders = append(c.flat.folders, f)
		default:
			c.mode(name, info)
			folders[f.day] = append(folders[f.day], f)
		}
	})
	c.flat.folders = append(c.flat.folders, mailFolder{dir: "mail", flat: true})
	c.fill(c.flat)
	var days []day
	for d := range logs {
		days = append(days, d)
	}
	for d := range folders {
		if logs[d] == nil {
			days = append(days, d)
		}
	}
	slices.Sort(days)
	for _, d := range days {
		c.sum.Days++
		shelf := c.newShelf()
		shelf.folders = folders[d]
		c.fill(shelf)
		for _, name := range logs[d] {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			c.log(name, shelf)
		}
		c.unrecorded(shelf)
	}
	c.unrecorded(c.flat)
	return c.ctx.Err()
}

// list calls do for what is in a directory, after a look at its mode; the names are paths from the data directory on.
func (c *checker) list(dir string, do func(name string, info fs.FileInfo)) {
	info, err := c.root.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil && !info.IsDir() {
		err = errors.New("it is no directory")
	}
	if err == nil {
		c.mode(dir, info)
		err = c.entries(dir, func(name string, info fs.FileInfo) {
			if info.Mode().IsRegular() {
				c.mode(name, info)
			}
			do(name, info)
		})
	}
	if err != nil {
		c.say(FoundStrange, dir, noOffset, "it cannot be read: %v", err)
	}
}

func (c *checker) entries(dir string, do func(name string, info fs.FileInfo)) error {
	f, err := c.root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	for c.ctx.Err() == nil {
		entries, err := f.ReadDir(entriesAtOnce)
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) { // it went meanwhile
				continue
			}
			if err != nil {
				c.say(FoundStrange, name, noOffset, "it cannot be read: %v", err)
				continue
			}
			do(name, info)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) mode(name string, info fs.FileInfo) {
	if open := info.Mode().Perm() & 0o077; open != 0 && runtime.GOOS != "windows" {
		c.say(FoundMode, name, noOffset, "others than its owner may use it (mode %04o); chmod go= takes that from them", info.Mode().Perm())
	}
}

// InUse says whether a mailwire records to a data directory now, if the system can tell.
func InUse(dir string) (running, known bool) { return inUse(dir) }
