package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/view"
)

const (
	batchSessions = 4000     // taken in by one transaction
	batchOctets   = 16 << 20 // of records
	batchMessages = 4 * batchSessions
	strangers     = 500 // messages in a row that belong to other sessions
)

// kinds of files, as they are called.
const (
	sessionsFile = "sessions"
	messagesFile = "messages"
)

// CatchUp takes in what was written since it was called last, and returns how many sessions and messages that was. What
// is not there any more it forgets. Several processes may do it at once. Lines that are no records are left out, and
// are what Problems speaks of.
func (x *Index) CatchUp(ctx context.Context) (added int, err error) {
	return x.catchUp(ctx, batchSessions, func(added int) error { x.progress(added); return nil })
}

// catchUp does it in batches of so many sessions, and calls after each batch, with what was added up to then.
func (x *Index) catchUp(ctx context.Context, size int, after func(added int) error) (added int, err error) {
	x.filling.Lock()
	defer x.filling.Unlock()
	if err := x.reopen(ctx); err != nil {
		return 0, err
	}
	if why := x.takeDamage(); why != nil {
		if err := x.remake(ctx, why); err != nil {
			return 0, err
		}
	}
	added, err = x.fillAll(ctx, size, after)
	if isBroken(err) {
		if err := x.remake(ctx, err); err != nil {
			return added, err
		}
		added, err = x.fillAll(ctx, size, after)
	}
	if err != nil {
		err = fmt.Errorf("the index %s cannot be filled: %w", x.Name(), err)
	}
	return added, err
}

func (x *Index) fillAll(ctx context.Context, size int, after func(added int) error) (added int, err error) {
	f, err := x.startFilling(ctx, size)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.end()) }()
	days, err := x.data.Days()
	if err != nil {
		return 0, err
	}
	if err := f.forgetVanished(ctx, days); err != nil {
		return 0, err
	}
	for _, day := range days {
		more, err := f.grown(ctx, day)
		for err == nil && more {
			var n int
			if n, more, err = f.take(ctx, day); n > 0 && err == nil {
				if added += n; after != nil {
					err = after(added)
				}
			}
		}
		if err != nil {
			return added, err
		}
	}
	return added, nil
}

// filler fills the index by one connection.
type filler struct {
	*Index
	conn       *sql.Conn
	statements [statements]*sql.Stmt
	size       int
}

func (x *Index) startFilling(ctx context.Context, size int) (*filler, error) {
	conn, err := x.DB().Conn(ctx)
	if err != nil {
		return nil, err
	}
	f := &filler{Index: x, conn: conn, size: size}
	for i, text := range statementText {
		if f.statements[i], err = conn.PrepareContext(ctx, text); err != nil {
			return nil, errors.Join(err, f.end())
		}
	}
	return f, nil
}

func (f *filler) end() error {
	var errs []error
	for _, s := range f.statements {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(append(errs, f.conn.Close())...)
}

// transaction does something with nobody else writing.
func (f *filler) transaction(ctx context.Context, do func() error) error {
	if _, err := f.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := do()
	if err == nil {
		_, err = f.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		_, undo := f.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		if isBroken(err) || undo == nil {
			return err
		}
		return errors.Join(err, undo)
	}
	return nil
}

// grown says whether the day's files have more than was taken in. What came from another file by that name it forgets.
func (f *filler) grown(ctx context.Context, day string) (more bool, err error) {
	for _, kind := range []string{sessionsFile, messagesFile} {
		was, err := f.file(ctx, kind, day) // first: what others take in meanwhile is no shorter file
		if err != nil {
			return false, err
		}
		has, changed, err := f.stat(kind, day)
		if err != nil {
			return false, err
		}
		switch {
		case has < was.read || !f.same(nameOf(kind, day), &was, has, changed):
			if err := f.forget(ctx, kind, day); err != nil {
				return false, err
			}
			more = true
		case has > was.read && has != was.seen:
			more = true
		}
	}
	return more, nil
}

// same says that a file begins with what was taken in. It looks at each once, and at one that was written to since.
func (f *filler) same(name string, was *file, has int64, changed time.Time) bool {
	if was.read == 0 || has == was.seen && f.looked[name].Equal(changed) {
		return true
	}
	f.looked[name] = changed
	print, err := f.data.Fingerprint(name, was.read)
	return err != nil || print == was.print // who reads it on hears of the error
}

func nameOf(kind, day string) string { return "logs/" + kind + "-" + day + ".jsonl" }

// stat returns the length of a file, and when it was written to; one that is not there has none.
func (f *filler) stat(kind, day string) (octets int64, changed time.Time, err error) {
	info, err := os.Lstat(filepath.Join(f.data.Dir(), nameOf(kind, day)))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return 0, changed, nil
	case err != nil:
		return 0, changed, err
	case !info.Mode().IsRegular():
		return 0, changed, nil
	}
	return info.Size(), info.ModTime(), nil
}

// file is a row of files. Seen is how long the file was when it was read.
type file struct {
	read, seen    int64
	print         string
	broken, newer int
	said          string
}

func (f *filler) file(ctx context.Context, kind, day string) (file, error) {
	var v file
	err := f.conn.QueryRowContext(ctx, "SELECT read, seen, print, broken, newer, said FROM files WHERE day = ? AND kind = ?", day, kind).
		Scan(&v.read, &v.seen, &v.print, &v.broken, &v.newer, &v.said)
	if errors.Is(err, sql.ErrNoRows) {
		return file{}, nil
	}
	return v, err
}

// reading is one file of a day that is read on.
type reading struct {
	kind, day string
	was       file
	octets    int64         // of the file, before it was read
	p         view.Problems // with what was read
}

func (f *filler) look(ctx context.Context, kind, day string) (*reading, error) {
	was, err := f.file(ctx, kind, day)
	if err != nil {
		return nil, err
	}
	octets, _, err := f.stat(kind, day)
	return &reading{kind, day, was, octets, view.Problems{Next: was.read}}, err
}

// settle writes down how far a file was read. One that cannot be read is tried again.
func (f *filler) settle(ctx context.Context, r *reading, whole bool) error {
	v := r.was
	v.read = max(v.read, r.p.Next)
	v.broken += r.p.Broken
	v.newer += r.p.Newer
	switch {
	case r.p.Err != nil:
		f.warnOnce(r.p.Err)
	case whole:
		v.seen = r.octets
	default:
		v.seen = 0
	}
	if v == r.was {
		return nil
	}
	if v.said == "" && r.p.Err == nil {
		v.said = r.p.String()
	}
	if v.read != r.was.read {
		v.print, _ = f.data.Fingerprint(nameOf(r.kind, r.day), v.read) // without one it is read again
	}
	_, err := f.conn.ExecContext(ctx, "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		r.day, r.kind, v.read, v.seen, v.print, v.broken, v.newer, v.said)
	return err
}

// take takes in one batch of a day: some sessions, and the messages that were recorded up to their ends. The messages'
// lines are written before their session's: those of a session that was read are there to be read.
func (f *filler) take(ctx context.Context, day string) (added int, more bool, err error) {
	err = f.transaction(ctx, func() error {
		s, err := f.look(ctx, sessionsFile, day)
		if err != nil {
			return err
		}
		sessions, allSessions := some(f.data.Sessions(day, s.was.read, &s.p), f.size)
		m, err := f.look(ctx, messagesFile, day)
		if err != nil {
			return err
		}
		messages, allMessages := messagesOf(f.data.Messages(day, m.was.read, &m.p), &m.p, sessions, allSessions)
		if added = len(sessions) + len(messages); added > 0 {
			if err := newBatch(f).write(ctx, day, sessions, messages); err != nil {
				return err
			}
		}
		more = !allSessions || !allMessages
		return errors.Join(f.settle(ctx, s, allSessions), f.settle(ctx, m, allMessages))
	})
	return added, more, err
}

// located is a record with its place.
type located[R any] struct {
	at view.Place
	r  *R
}

// some returns at most n records; whole says that there are no others.
func some[R any](all iter.Seq2[view.Place, *R], n int) (list []located[R], whole bool) {
	octets := 0
	for at, r := range all {
		list = append(list, located[R]{at, r})
		if octets += at.Octets; len(list) == n || octets > batchOctets {
			return list, false
		}
	}
	return list, true
}

// messagesOf returns all messages or, where these are not all sessions, those up to the last one of theirs. P is then
// what was known when that was read.
func messagesOf(
	all iter.Seq2[view.Place, *record.Message], p *view.Problems, sessions []located[record.Session], allSessions bool,
) (list []located[record.Message], whole bool) {
	ids := map[string]bool{}
	for _, s := range sessions {
		ids[s.r.ID] = true
	}
	kept, then := 0, *p
	for at, m := range all {
		list = append(list, located[record.Message]{at, m})
		if allSessions || ids[m.Session] {
			kept, then = len(list), *p
		}
		if len(list)-kept == strangers || len(list) == batchMessages {
			*p = then
			return list[:kept], false
		}
	}
	return list, true
}
