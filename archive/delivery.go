package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/mailwire/mailwire/inspect/record"
)

// maxGroup bounds the mails, each with an open file, that share what an fsync costs. On ext4 a mail of 2 kB takes with 64
// of them a fifth of the time, and of the work, that it takes alone; 256 are no better.
const maxGroup = 64

// manyMails are as many as make a sync of the whole file system cheaper than one of each file, which has the disk empty its
// cache each time: with 64 mails of 2 kB, a third of the time and of the work.
const manyMails = 16

// delivery is a finished mail on its way to its folder, and its record on its way to the logs.
type delivery struct {
	m     *record.Message
	spool *spool // nil: no octets are kept
	exact bool   // the octets are those of the wire
	to    *batch // takes the record
	stamp int64

	folder, dir string // dir is the folder's new
	name        string
	octets      []byte   // what is not in the spool's file
	file        mailFile // nil: closed
	unnamed     unnamed  // the same file, if it is in no directory yet
	placed      bool     // it is in dir
	err         error    // the first one; then nothing is left of the mail
}

// group delivers mails together, step by step. One goroutine uses it.
type group struct {
	a      *Archive
	max    int
	mails  []delivery
	root   *os.File // of all folders, opened before anything was written; nil where mails need not be on the disk
	folder struct { // the last one's
		day       day
		kind      Kinds
		name, dir string
	}
}

// add begins the delivery of a mail: its octets are written. A group that is full is settled.
func (g *group) add(d *delivery) {
	if d.spool == nil && len(g.mails) == 0 { // none that it would have to wait for
		g.a.record(d)
		return
	}
	if d.spool != nil {
		d.spool.under.Wait()
		d.octets, d.err = d.spool.next()
		g.address(d)
		err := g.write(d)
		if len(g.mails) > 0 && (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) {
			g.settle() // closes files
			err = g.write(d)
		}
		d.fail("write", err)
	}
	g.mails = append(g.mails, *d)
	if len(g.mails) >= g.max {
		g.settle()
	}
}

// path returns where the mail goes.
func (d *delivery) path() string { return d.dir + string(filepath.Separator) + d.name }

// fail ends a delivery, unless err is nil.
func (d *delivery) fail(what string, err error) {
	if err != nil && d.err == nil {
		d.err = fmt.Errorf("%s: %w", what, err)
	}
}

// address says where a mail goes.
func (g *group) address(d *delivery) {
	kind, of := kindOf(d.m), dayOf(d.m.Begin)
	if g.folder.kind != kind || g.folder.day != of {
		g.folder.day, g.folder.kind, g.folder.name = of, kind, folder(g.a.options.Flat, of, kind)
		g.folder.dir = g.a.mails.new(g.folder.name)
	}
	d.folder, d.dir = g.folder.name, g.folder.dir
	d.name = fmt.Sprintf("%s,S=%d", fileName(d.m), d.spool.size+int64(len(d.octets)))
}

// write writes what is in no file yet, and leaves the file open.
func (g *group) write(d *delivery) error {
	if d.err != nil {
		return nil
	}
	if err := g.a.mails.ensure(d.folder); err != nil {
		return err
	}
	s := d.spool
	if s.tmp == "" {
		if f, err := g.a.disk.OpenUnnamed(d.dir); err == nil { // else tmp will tell, if it is an error
			d.file, d.unnamed = f, f
			_, err = f.Write(d.octets)
			return err
		}
	} else if len(d.octets) == 0 && !g.a.options.Fsync {
		return nil
	}
	f, err := s.open()
	if err != nil {
		return err
	}
	d.file = f
	_, err = f.Write(d.octets)
	return err
}

// settle completes all deliveries. Then a mail is in its folder, and on the disk if that is wanted, or nothing is left
// of it, and its record says so.
func (g *group) settle() {
	if len(g.mails) == 0 {
		return
	}
	if g.a.options.Fsync {
		g.sync()
	}
	for i := range g.mails {
		d := &g.mails[i]
		if d.spool != nil && d.err == nil {
			d.fail("deliver", g.place(d))
		}
	}
	if g.a.options.Fsync {
		g.syncFolders()
	}
	for i := range g.mails {
		d := &g.mails[i]
		if d.spool != nil {
			g.finish(d)
		}
		g.a.record(d)
	}
	clear(g.mails)
	g.mails = g.mails[:0]
}

// sync puts the files on the disk. All are on their way before one is waited for: else each fsync would be a transaction
// of the file system.
func (g *group) sync() {
	if len(g.mails) >= manyMails && g.a.disk.SyncAll(g.root) == nil { // else the files tell what is wrong
		return
	}
	for i := range g.mails {
		d := &g.mails[i]
		if len(g.mails) > 1 && d.file != nil && d.err == nil {
			d.fail("write", d.file.StartSync())
		}
	}
	for i := range g.mails {
		d := &g.mails[i]
		if d.file != nil && d.err == nil {
			d.fail("write", d.file.Sync())
		}
	}
}

// place gives a mail its name in new.
func (g *group) place(d *delivery) error {
	to := d.path()
	if d.unnamed != nil {
		err := d.unnamed.Link(to)
		d.placed = err == nil
		again := errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrExist) // by way of tmp then
		if e := d.close(); err == nil || again {
			err = e
		}
		if !again || err != nil {
			return err
		}
		if err := d.spool.write(d.octets, g.a.options.Fsync); err != nil {
			return err
		}
	}
	if err := d.close(); err != nil {
		return err
	}
	if err := g.a.mails.move(d.spool.tmp, d.folder, to); err != nil {
		return err
	}
	d.placed, d.spool.tmp = true, ""
	return nil
}

func (d *delivery) close() error {
	if d.file == nil {
		return nil
	}
	err := d.file.Close()
	d.file, d.unnamed = nil, nil
	return err
}

// syncFolders puts the names on the disk.
func (g *group) syncFolders() {
	errs := map[string]error{}
	for i := range g.mails {
		d := &g.mails[i]
		if !d.placed || d.err != nil {
			continue
		}
		err, done := errs[d.folder]
		if !done {
			err = syncDir(g.a.disk, d.dir)
			errs[d.folder] = err
		}
		d.fail("deliver", err)
	}
}

// finish says in the record what became of a mail, and removes what is left of one that failed.
func (g *group) finish(d *delivery) {
	g.a.buffers.giveBack(d.octets)
	if d.err == nil {
		g.a.counts.stored.Add(1)
		d.m.Stored = &record.Stored{Path: relative(d.folder, d.name), Exact: d.exact}
		return
	}
	_ = d.close() // it is of no use any more
	if d.placed {
		if err := g.a.disk.Remove(d.path()); err != nil {
			d.err = errors.Join(d.err, err)
		}
	}
	d.spool.remove()
	g.a.counts.notStored.Add(1)
	if !errors.Is(d.err, errSlow) { // which was said when it was given up
		g.a.failed("a mail could not be stored", d.err)
	}
	d.m.Stored = &record.Stored{Error: "the mail could not be stored: " + reason(d.err)}
}

// record makes the lines of a message.
func (a *Archive) record(d *delivery) {
	of := dayOf(d.m.Begin)
	d.to.add(mailLog, d.stamp, of, appendMail(d.to.streams[mailLog].tail(), a.options.PID, d.m))
	d.to.add(messagesLog, d.stamp, of, append(d.m.AppendJSON(d.to.streams[messagesLog].tail()), '\n'))
	a.known.add(of, d.m.ID)
	a.counts.messages.Add(1)
}
