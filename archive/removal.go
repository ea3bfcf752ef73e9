package archive

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"
)

// A day is removed in an order in which at no moment, and after no crash, a record names a file that is missing. The
// records are buried, that is, they get a name that is no record file's. Then the mails are removed, and the logs, and at
// last what was buried, so that a removal that did not come to its end is seen. Mails are removed in turns in which no
// process can be between a mail and its record, and a record of that day that has come meanwhile is buried first.

const (
	buriedPrefix = ".removed-" // of a record file whose day is being removed
	maxNames     = 1000        // mails whose names are held at a time
	maxPasses    = 3           // through a directory; what it does not get hold of, the next look does
)

// errLater is why a removal stops before its end.
var errLater = errors.New("it goes on later: another process is at work, or this one ends")

// mailParts are the directories of a Maildir in which finished mails are.
var mailParts = [...]string{"new", "cur"}

// gone is what was removed.
type gone struct {
	mails, files int
	whole        bool // all that there was, and it was something
}

// remove removes all that is ours of a day.
func (k *keeper) remove(d day) (g gone, err error) {
	if err := k.turn(d, func() error { return nil }); err != nil {
		return g, err
	}
	folders, err := k.folders()
	if err != nil {
		return g, err
	}
	emptied := 0
	for _, f := range folders {
		if !f.flat && f.day != d {
			continue
		}
		for _, part := range mailParts {
			if err := k.removeMails(&g, f, path.Join(f.dir, part), d); err != nil {
				return g, err
			}
		}
		if !f.flat {
			n, err := k.removeFolder(f)
			if err != nil {
				return g, err
			}
			emptied += n
		}
	}
	for kind := range logKinds {
		name := kind.fileName(d)
		if kind == messagesLog || kind == sessionsLog {
			name = buriedName(name)
		}
		if err := k.turn(d, func() error { return k.removeFile(&g, name) }); err != nil {
			return g, err
		}
	}
	g.whole = g.mails+g.files+emptied > 0
	return g, nil
}

// turn does something while no process can be between a mail and its record, and the day has no records.
func (k *keeper) turn(d day, do func() error) error {
	for waited := 0; ; waited++ {
		err := k.alone(func() error {
			if err := k.bury(d); err != nil {
				return err
			}
			return do()
		})
		if err != errLater || waited == maxTurns || !k.pause(retainTurn) {
			return err
		}
	}
}

// alone does something while no process writes.
func (k *keeper) alone(do func() error) error {
	select {
	case <-k.end:
		return errLater
	default:
	}
	k.a.committing.Lock()
	defer k.a.committing.Unlock()
	if !k.a.gate.tryAlone() {
		return errLater
	}
	defer k.a.gate.leave()
	return do()
}

// bury takes the record files of a day their names, if there are any.
func (k *keeper) bury(d day) error {
	for kind := range logKinds {
		k.a.logs.closeLog(logKey{kind, d})
	}
	buried := false
	for _, kind := range []logKind{sessionsLog, messagesLog} {
		name := kind.fileName(d)
		err := k.regular(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = k.a.disk.Rename(k.a.path(name), k.a.path(buriedName(name)))
		}
		if err != nil {
			return err
		}
		buried = true
	}
	if buried && k.a.options.Fsync {
		return syncDir(k.a.disk, k.a.path("logs"))
	}
	return nil
}

func buriedName(name string) string { return path.Dir(name) + "/" + buriedPrefix + path.Base(name) }

// regular is an error for what is no regular file.
func (k *keeper) regular(name string) error {
	info, err := k.a.disk.Lstat(k.a.path(name))
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New(name + " is not a regular file; remove it")
	}
	return err
}

// removeFile removes a file, if there is one.
func (k *keeper) removeFile(g *gone, name string) error {
	err := k.regular(name)
	if err == nil {
		err = k.a.disk.Remove(k.a.path(name))
	}
	switch {
	case err == nil:
		g.files++
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// removeMails removes the mails of a day that are in a directory. It looks until it finds none, since what a directory
// lists while it changes is not sure, but not for ever, since mails of that day may still come.
func (k *keeper) removeMails(g *gone, f mailFolder, dir string, d day) error {
	for pass, found := 0, true; found && pass < maxPasses; pass++ {
		found = false
		var names []string
		err := k.each(dir, func(e fs.DirEntry) error {
			name, ok := parseMailName(e.Name())
			if !ok || e.IsDir() || f.dayOf(name, k.limits.Location) != d {
				return nil
			}
			found = true
			if names = append(names, e.Name()); len(names) < maxNames {
				return nil
			}
			full := names
			names = nil
			return k.removeNames(g, dir, full, d)
		})
		if err == nil {
			err = k.removeNames(g, dir, names, d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (k *keeper) removeNames(g *gone, dir string, names []string, d day) error {
	for len(names) > 0 {
		err := k.turn(d, func() error {
			for begin := time.Now(); len(names) > 0 && time.Since(begin) < maxHold; names = names[1:] {
				err := k.a.disk.Remove(k.a.path(path.Join(dir, names[0])))
				if err == nil {
					g.mails++
				} else if !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// removeFolder removes what is left of a day's folder, and returns how much that was. If there is anything in it that we
// do not know, all of it stays.
func (k *keeper) removeFolder(f mailFolder) (n int, err error) {
	strange := false
	var names []string
	for _, part := range []string{"", "tmp", "new", "cur"} {
		err := k.each(path.Join(f.dir, part), func(e fs.DirEntry) error {
			switch name := e.Name(); {
			case part == "" && e.IsDir() && (name == "tmp" || name == "new" || name == "cur"):
			case part == "" && e.Type().IsRegular() && (name == "maildirfolder" || strings.HasPrefix(name, "dovecot")):
				names = append(names, path.Join(f.dir, name))
			default:
				strange = true
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	if strange {
		return 0, nil
	}
	err = k.turn(f.day, func() error {
		k.a.mails.forget(path.Base(f.dir))
		for _, name := range append(names, f.dir+"/tmp", f.dir+"/new", f.dir+"/cur", f.dir) {
			switch err := k.a.disk.Remove(k.a.path(name)); {
			case err == nil:
				n++
			case errors.Is(err, fs.ErrExist): // something has come into it
				return nil
			case !errors.Is(err, fs.ErrNotExist):
				return err
			}
		}
		return nil
	})
	return n, err
}

// folders returns those mail folders that are there.
func (k *keeper) folders() ([]mailFolder, error) {
	list := []mailFolder{{dir: "mail", flat: true}}
	err := k.each("mail", func(e fs.DirEntry) error {
		if f, ok := parseFolder(e.Name()); ok && e.IsDir() {
			list = append(list, f)
		}
		return nil
	})
	return list, err
}
