// Package archive is the durable form of what mailwire saw: logs by day that can be followed, records as JSON Lines,
// a Maildir++ tree with the mails, and the packets.
//
// A source of conversations takes a Journal for each of its goroutines; a Journal is an inspect.Sink. What it is told
// it renders at once, into buffers, and mails it writes at once, into files. Cut ends a batch of a journal, and Commit
// appends the batch of all journals to the logs, in the order of the packets that caused the lines, so that the files
// do not depend on how the work was shared out.
//
// In live mode journals never wait for a disk, be it slow, full or frozen: what is for the disk joins their batch, and
// only Commit (and Close) touches it, and the one goroutine that spools large mails. Mails are stored in groups, which
// share what an fsync costs. What waits is bounded: a mail that finds spoolMemory used up is given up, and its record says
// so; packets, lines of dialogue and records have a memory each, and what finds it used up is lost and counted. Before that
// happens to a record, mails are given up, whose way to the disk is what records wait for.
//
// The day of a file is the day, in its own location, of the time that the line carries: a line of dialogue, a login
// and a secret that of the event; a session that of its begin; all that is said of a mail (its record, its line, its
// Maildir) that of the mail's begin.
//
// A session whose record is in the file of its day when it is first heard of is not written again, nor is a message
// whose record is there. Since a mail is in its place before its record is written, and a session's record comes last
// of all that is said of it, a run that was killed can be repeated: it adds what was missing. Only lines of dialogue and
// logins of sessions that were not finished are then there twice. In live mode, where nothing happens again, nothing is
// looked up or remembered.
//
// A trace, if one is asked for, has the packets behind all this, as pcapng by the day of each packet. Nobody looks
// whether it has them already: of a capture that is read twice it has each packet twice.
//
// A file that cannot be written never stops a run: the record says that its mail was not stored, Stats counts it, and
// Options.Warn hears of it once a minute.
package archive

import (
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Kinds is a set of kinds of mail.
type Kinds uint8

// The kinds of mail. A mail with holes, or whose outcome was not seen, is Incomplete, whatever else it is.
const (
	Accepted Kinds = 1 << iota
	Rejected
	Incomplete
	POP3

	None Kinds = 0
	All        = Accepted | Rejected | Incomplete | POP3
)

// ParseKinds reads a comma list of accepted, rejected, incomplete and pop3, or all, or none.
func ParseKinds(s string) (Kinds, error) {
	var kinds Kinds
	for word := range strings.SplitSeq(s, ",") {
		switch strings.ToLower(strings.TrimSpace(word)) {
		case "accepted":
			kinds |= Accepted
		case "rejected":
			kinds |= Rejected
		case "incomplete":
			kinds |= Incomplete
		case "pop3":
			kinds |= POP3
		case "all":
			kinds |= All
		case "none":
		default:
			return None, fmt.Errorf("%q is no kind of mail; choose from accepted, rejected, incomplete and pop3, or all or none", word)
		}
	}
	return kinds, nil
}

func (k Kinds) String() string {
	switch k & All {
	case None:
		return "none"
	case All:
		return "all"
	}
	var words []string
	for i, word := range []string{"accepted", "rejected", "incomplete", "pop3"} {
		if k&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	return strings.Join(words, ",")
}

// Options says where and how an archive keeps things.
type Options struct {
	Dir     string           // the data directory; made where it is missing
	Keep    Kinds            // which mails to keep; the zero value keeps none
	Flat    bool             // one Maildir folder for all days
	Fsync   bool             // a mail is on the disk before its record is written
	Secrets bool             // keep what Secret says
	Trace   bool             // keep what Packet gives
	Live    bool             // journals never touch the disk: Commit does all of it; and nothing is looked up, since nothing happens twice
	PID     int              // of this process, for the log lines
	Warn    func(msg string) // the program's log; called at most once a cause and minute, by any goroutine; nil: no one listens
	Say     func(msg string) // the same, of what was removed because of Retention

	Retention Retention // what need not be kept; of live mode only

	disk disk // nil: the real one
}

// Archive is an open data directory. Journal, Commit, Stats and Close may be called by any goroutine.
type Archive struct {
	options Options
	dir     string // absolute
	disk    disk
	lock    lock
	gate    gate
	keeper  *keeper // nil: everything is kept
	warner  warner
	spooler *spooler // of live mode
	known   *known   // nil in live mode
	mails   maildir
	buffers buffers
	waiting lineMemories
	counts  counts

	warnings sync.WaitGroup // those that are being said, in live mode

	*Recorder            // for who shares the archive with nobody
	mu        sync.Mutex // guards recorders and their journals
	recorders []*Recorder

	committing sync.Mutex // guards what follows: one Commit at a time
	logs       daylogs
	group      group // of live mode
	cursors    []cursor
	outs       []out
}

// Open opens the data directory, makes what is missing of it, and removes what a crash left unfinished. An error says
// in one sentence why the directory cannot be written.
func Open(o Options) (*Archive, error) {
	if o.disk == nil {
		o.disk = osDisk{}
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("the data directory %s cannot be found: %w", o.Dir, err)
	}
	a := &Archive{options: o, dir: dir, disk: o.disk, warner: warner{say: o.Warn}}
	if o.Live && o.Warn != nil {
		a.warner.say = func(msg string) { a.warnings.Go(func() { o.Warn(msg) }) } // nor does a journal wait for the program's log
	}
	a.Recorder = a.NewRecorder()
	a.mails = maildir{disk: o.disk, root: filepath.Join(dir, "mail"), fsync: o.Fsync, made: map[string]bool{}}
	a.logs = daylogs{a: a, open: map[logKey]*daylog{}}
	a.group = group{a: a, max: maxGroup}
	if !o.Live {
		a.known = &known{a: a, seed: maphash.MakeSeed(), days: map[day]*knownDay{}}
	}
	if err := a.prepare(); err != nil {
		_ = errors.Join(a.lock.Close(), a.gate.close())
		return nil, fmt.Errorf("the data directory %s cannot be written; name another, or give this user the right: %w", dir, err)
	}
	if o.Live {
		if o.Fsync && o.Keep&All != None {
			if a.group.root, err = os.Open(a.mails.root); err != nil {
				_ = errors.Join(a.lock.Close(), a.gate.close())
				return nil, fmt.Errorf("the mails' directory cannot be read: %w", err)
			}
		}
		a.spooler = newSpooler()
		if o.Retention.limited() {
			a.keeper = newKeeper(a, o.Retention)
			go a.keeper.run()
		}
	}
	return a, nil
}

func (a *Archive) prepare() error {
	if err := os.MkdirAll(a.dir, dirMode); err != nil {
		return err
	}
	lock, alone, err := lockFile(a.path(".lock"))
	if err != nil {
		return err
	}
	a.lock = lock
	dirs := []string{"logs"}
	if a.options.Trace {
		dirs = append(dirs, "trace")
	}
	for _, dir := range dirs {
		if err := makeDir(a.disk, a.path(dir)); err != nil {
			return err
		}
		if err := probe(a.disk, a.path(dir)); err != nil {
			return err
		}
	}
	if a.options.Keep&All != None {
		if err := a.mails.begin(a.options.PID, alone); err != nil {
			return err
		}
	}
	if a.options.Retention.Free > 0 {
		if _, err := a.disk.Free(a.dir); err != nil {
			return fmt.Errorf("the free space of its disk cannot be found out: %w", err)
		}
	}
	if a.gate, err = a.openGate(); err != nil {
		return err
	}
	if !a.options.Live { // a journal writes mails at any time
		if err := a.gate.enter(); err != nil {
			return err
		}
	}
	return lock.share()
}

// path returns where a name relative to the data directory is.
func (a *Archive) path(name string) string { return filepath.Join(a.dir, filepath.FromSlash(name)) }

// Close commits all that the journals were told, cut or not, and closes the files. No goroutine may use a journal any
// more.
func (a *Archive) Close() error {
	if a.keeper != nil {
		a.keeper.stop()
	}
	a.mu.Lock()
	recorders := a.recorders
	a.mu.Unlock()
	a.committing.Lock()
	defer a.committing.Unlock()
	var errs []error
	for _, r := range recorders {
		for _, j := range r.journals {
			j.Cut()
		}
		for batches := r.take(true); batches != nil; batches = r.take(true) {
			errs = append(errs, a.write(batches))
		}
	}
	if a.spooler != nil {
		a.spooler.end()
	}
	if a.group.root != nil {
		errs = append(errs, a.group.root.Close())
	}
	errs = append(errs, a.logs.close(), a.gate.close(), a.lock.Close())
	a.warnings.Wait()
	return errors.Join(errs...)
}

// Stats counts what an archive did since it was opened.
type Stats struct {
	Sessions          int64 // records of sessions
	ErrorReplies      int64 // replies in them that refuse
	Messages          int64 // records of messages
	Logins            int64 // attempts in the auth log
	Stored            int64 // mails
	NotStored         int64 // mails whose record has a stored.error
	Duplicates        int64 // sessions whose record was there already
	DuplicateMessages int64 // messages whose record, or whose session's, was there already
	LinesLost         int64 // lines of any log or record file that could not be written
	PacketsLost       int64 // packets that could not be written to the trace
	Errors            int64 // file operations that failed and lost something
	RemovedDays       int64 // because of Retention
	MailsWaiting      int64 // octets of memory that hold mails which are unfinished or, in live mode, not written yet
	LinesWaiting      int64 // octets of memory that hold what else is not written yet, in live mode
}

type counts struct {
	sessions, errorReplies, messages, logins, stored, notStored, duplicates, duplicateMessages, linesLost, packetsLost, errors, removedDays atomic.Int64
}

// Stats returns the counts so far.
func (a *Archive) Stats() Stats {
	c := &a.counts
	return Stats{
		Sessions: c.sessions.Load(), ErrorReplies: c.errorReplies.Load(), Messages: c.messages.Load(), Logins: c.logins.Load(),
		Stored: c.stored.Load(), NotStored: c.notStored.Load(),
		Duplicates: c.duplicates.Load(), DuplicateMessages: c.duplicateMessages.Load(),
		LinesLost: c.linesLost.Load(), PacketsLost: c.packetsLost.Load(), Errors: c.errors.Load(), RemovedDays: c.removedDays.Load(),
		MailsWaiting: a.buffers.lent.Load(), LinesWaiting: a.waiting.sum(),
	}
}

// failed counts an error that lost something and says so.
func (a *Archive) failed(what string, err error) {
	a.counts.errors.Add(1)
	a.warner.warn(what+reason(err), what+": "+err.Error())
}

// reason returns the system's word for an error, without the names of files.
func reason(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err.Error()
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}
