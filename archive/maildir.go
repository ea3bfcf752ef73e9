package archive

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

const (
	maxFolders = 1000 // folders remembered as made
	maxSensor  = 64   // octets of a sensor's name in a file name

	tmpPrefix = "mailwire." // of our files in mail/tmp: the sweep takes no other
)

// maildir is the Maildir++ tree under mail/: the root is a Maildir, and each folder a directory in it whose name
// begins with a dot. All unfinished mails are in the root's tmp.
type maildir struct {
	disk  disk
	root  string
	fsync bool

	run    string        // begins the names of this run's files in tmp
	serial atomic.Uint64 // tells them apart

	mu   sync.Mutex
	made map[string]bool // folders known to be there
}

// begin makes the root and names the run, so that no other, of another container with the same process id perhaps,
// makes the same names in tmp. A process that is alone removes what crashed ones left there.
func (d *maildir) begin(pid int, alone bool) error {
	d.run = tmpPrefix + strconv.FormatInt(time.Now().UnixNano(), 36) + "." + strconv.Itoa(pid) + "."
	if err := d.ensure(""); err != nil {
		return err
	}
	if alone {
		if err := d.sweep(); err != nil {
			return err
		}
	}
	return probe(d.disk, filepath.Join(d.root, "tmp"))
}

// folder names the folder of a mail; the root, for accepted mail of a flat archive, is "".
func folder(flat bool, of day, kind Kinds) string {
	name := ""
	if !flat {
		name = "." + of.String()
	}
	switch kind {
	case Rejected:
		return name + ".Rejected"
	case Incomplete:
		return name + ".Incomplete"
	case POP3:
		return name + ".POP3"
	}
	return name
}

// kindOf says which kind of mail m is.
func kindOf(m *record.Message) Kinds {
	switch {
	case len(m.Holes) > 0, m.Outcome == record.Aborted, m.Outcome == record.Unknown:
		return Incomplete
	case m.Protocol == record.POP3:
		return POP3
	case m.Outcome == record.Rejected:
		return Rejected
	}
	return Accepted
}

// fileName returns the name of m's file but for its size: nothing in it is from the mail, and the same mail gets the
// same name again.
func fileName(m *record.Message) string {
	buf := make([]byte, 0, 128)
	buf = strconv.AppendInt(buf, m.Begin.Unix(), 10)
	buf = appendName(append(buf, '.'), m.ID)
	sensor := m.Sensor[:min(len(m.Sensor), maxSensor)]
	if sensor == "" {
		sensor = "mailwire"
	}
	return string(appendName(append(buf, '.'), sensor))
}

// appendName appends s with all that has a meaning in a path or a Maildir name replaced.
func appendName(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.':
		default:
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}

// relative returns the path of a delivered mail as records have it: with slashes, from the data directory on.
func relative(folder, name string) string {
	if folder == "" {
		return "mail/new/" + name
	}
	return "mail/" + folder + "/new/" + name
}

// ensure makes a folder unless it is there.
func (d *maildir) ensure(folder string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.made[folder] {
		return nil
	}
	dir := filepath.Join(d.root, folder)
	if folder != "" {
		if err := makeDir(d.disk, d.root); err != nil {
			return err
		}
	}
	for _, name := range []string{dir, filepath.Join(dir, "tmp"), filepath.Join(dir, "new"), filepath.Join(dir, "cur")} {
		if err := makeDir(d.disk, name); err != nil {
			return err
		}
	}
	if folder != "" {
		f, err := d.disk.OpenFile(filepath.Join(dir, "maildirfolder"), os.O_WRONLY|os.O_CREATE|noFollow, fileMode)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	if d.fsync {
		for _, name := range []string{dir, d.root, filepath.Dir(d.root)} {
			if err := syncDir(d.disk, name); err != nil {
				return err
			}
		}
	}
	if len(d.made) >= maxFolders {
		clear(d.made)
	}
	d.made[folder] = true
	return nil
}

// forget says that a folder may be gone.
func (d *maildir) forget(folder string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.made, folder)
}

// create makes a file for an unfinished mail and returns its path too.
func (d *maildir) create() (mailFile, string, error) {
	name := filepath.Join(d.root, "tmp") + string(filepath.Separator) + d.run + strconv.FormatUint(d.serial.Add(1), 36)
	const flag = os.O_CREATE | os.O_EXCL
	f, err := d.disk.OpenWriter(name, flag)
	if errors.Is(err, fs.ErrNotExist) { // someone removed tmp
		d.forget("")
		if err = d.ensure(""); err == nil {
			f, err = d.disk.OpenWriter(name, flag)
		}
	}
	return f, name, err
}

// new returns where the mails of a folder are.
func (d *maildir) new(folder string) string { return filepath.Join(d.root, folder, "new") }

// move moves a finished file from tmp into a folder. After an error it is still in tmp, if anywhere.
func (d *maildir) move(tmp, folder, to string) error {
	err := d.disk.Rename(tmp, to)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d.forget(folder) // someone removed it
	if err := d.ensure(folder); err != nil {
		return err
	}
	return d.disk.Rename(tmp, to)
}

// sweep removes what earlier runs left unfinished. Nobody else may be at work.
func (d *maildir) sweep() error {
	dir := filepath.Join(d.root, "tmp")
	entries, err := d.disk.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tmpPrefix) && !e.IsDir() {
			if err := d.disk.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
