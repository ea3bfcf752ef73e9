// Package index finds sessions again: by who took part, by what was said, by when it was.
//
// The index is a SQLite file beside the records. All that it says is derived from them: whoever deletes it loses
// nothing. It is filled by whoever looks at it (CatchUp), and by a running mailwire meanwhile (Follow), from the day files,
// each from the octet on at which it was left. What a file made anew says is equal, row by row.
package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/mailwire/mailwire/view"
)

const (
	folder   = "index"
	fileName = "mailwire.db"
	patience = 20 * time.Second // with another process that writes a batch
	pages    = 8 << 10          // KiB of them in memory: more makes filling and reports slower
	walPages = 2 << 10          // written before they go to their places: many are written again before that
)

// Options say how an index is opened.
type Options struct {
	Dir      string          // where it is; "" is index in the data directory
	Warn     func(string)    // hears what an administrator should know; may be nil
	Progress func(added int) // hears after each batch of CatchUp how many records were taken in; may be nil
}

// Index is an open index. Any goroutine may use it.
type Index struct {
	data     *view.Data
	dir      string
	warn     func(string)
	progress func(int)

	filling sync.Mutex           // one goroutine fills
	said    map[string]bool      // what it warned of
	looked  map[string]time.Time // at the fingerprints of files that were written to last then
	mu      sync.Mutex
	damage  error // that was found by reading
	db      *sql.DB
	file    os.FileInfo // that db is
}

// Open opens the index of a data directory, and makes it if there is none. A damaged one, or one of another version, is
// made anew; it is then empty until CatchUp.
func Open(ctx context.Context, d *view.Data, o Options) (*Index, error) {
	x := &Index{data: d, dir: o.Dir, warn: o.Warn, progress: o.Progress, said: map[string]bool{}, looked: map[string]time.Time{}}
	if x.dir == "" {
		x.dir = filepath.Join(d.Dir(), folder)
	}
	if x.warn == nil {
		x.warn = func(string) {}
	}
	if x.progress == nil {
		x.progress = func(int) {}
	}
	if err := x.open(ctx); err != nil {
		return nil, err
	}
	return x, nil
}

// Close closes it.
func (x *Index) Close() error {
	x.filling.Lock()
	defer x.filling.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.db.Close()
}

// DB is for reading only. It is good until the next CatchUp or Close.
func (x *Index) DB() *sql.DB {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.db
}

// Name returns the name of the index's file.
func (x *Index) Name() string { return filepath.Join(x.dir, fileName) }

// warnOnce says what went wrong with a file, once.
func (x *Index) warnOnce(err error) {
	if s := err.Error(); !x.said[s] {
		x.said[s] = true
		x.warn(s)
	}
}

// open opens the file, or a new one if that is not good.
func (x *Index) open(ctx context.Context) error {
	err := x.makeFile()
	if err == nil {
		err = x.openFile(ctx)
	}
	if errors.Is(err, errVersion) {
		err = errors.Join(x.remove(), x.openFile(ctx))
	}
	if isBroken(err) {
		err = x.setAside(ctx, err)
	}
	if mayNot(err) {
		err = fmt.Errorf("%w (%w)", fs.ErrPermission, err)
	}
	if err != nil {
		return fmt.Errorf("the index %s cannot be opened: %w", x.Name(), err)
	}
	return nil
}

// makeDir makes the directory, as that of who has the data directory.
func (x *Index) makeDir() error {
	err := os.Mkdir(x.dir, 0o700)
	switch {
	case err == nil:
		return ownAs(x.dir, x.data.Dir())
	case errors.Is(err, fs.ErrExist):
		return is(x.dir, fs.ModeDir)
	}
	return err
}

// makeFile makes the file in it, an empty one, if there is none.
func (x *Index) makeFile() error {
	if err := x.makeDir(); err != nil {
		return err
	}
	f, err := os.OpenFile(x.Name(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return is(x.Name(), 0)
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), ownAs(x.Name(), x.data.Dir()))
}

// is returns an error unless a file is of that type; a symbolic link is none of ours.
func is(name string, wanted fs.FileMode) error {
	info, err := os.Lstat(name)
	if err == nil && info.Mode().Type() != wanted {
		err = fmt.Errorf("%s is something else; remove it", name)
	}
	return err
}

var errVersion = errors.New("it is of another version")

// openFile opens the file that is there. Nothing in it is worth an fsync.
func (x *Index) openFile(ctx context.Context) error {
	name, err := filepath.Abs(x.Name())
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(" + strconv.FormatInt(patience.Milliseconds(), 10) + ")", "journal_mode(wal)", "synchronous(off)",
		"temp_store(memory)", "cache_size(-" + strconv.Itoa(pages) + ")", "wal_autocheckpoint(" + strconv.Itoa(walPages) + ")",
	}}
	x.setFile(nil, info)
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: filepath.ToSlash(name), RawQuery: q.Encode()}).String())
	if err != nil {
		return err
	}
	if err := prepare(ctx, db); err != nil {
		return errors.Join(err, db.Close())
	}
	x.setFile(db, info)
	return nil
}

// setFile says what the file is; without db only that it is being looked at.
func (x *Index) setFile(db *sql.DB, info os.FileInfo) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.file = info
	if db != nil {
		x.db = db
	}
}

// prepare makes the tables, if there are none yet.
func prepare(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var has, tables int
	if err := tx.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&has); err != nil {
		return err
	}
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema`).Scan(&tables); err != nil {
		return err
	}
	switch {
	case has == version && tables > 0:
		return nil
	case has > version:
		return errors.New("a newer mailwire made it; update this one, or delete it")
	case has != 0 || tables > 0:
		return errVersion
	}
	if _, err := tx.ExecContext(ctx, schema+loadSchema+`PRAGMA user_version = `+strconv.Itoa(version)); err != nil {
		return err
	}
	return tx.Commit()
}

// isBroken says that the error means that the file is damaged.
func isBroken(err error) bool { return isCode(err, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) }

// mayNot says that it means that this process may not write to it.
func mayNot(err error) bool {
	return isCode(err, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
}

func isCode(err error, codes ...int) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && slices.Contains(codes, e.Code()&0xff)
}

// ErrDamaged is that the file is damaged. CatchUp makes it anew.
var ErrDamaged = errors.New("it is damaged")

// Explain makes a sentence of an error of DB.
func (x *Index) Explain(err error) error {
	if isBroken(err) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.damage = err
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return fmt.Errorf("the index %s cannot be read: %w", x.Name(), err)
}

// takeDamage returns what reading found, once.
func (x *Index) takeDamage() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	err := x.damage
	x.damage = nil
	return err
}

// setAside renames the damaged file, unless another process did, and opens a new one.
func (x *Index) setAside(ctx context.Context, why error) error {
	if !x.isCurrent() {
		return errors.Join(x.makeFile(), x.openFile(ctx))
	}
	aside := x.Name() + ".broken-" + time.Now().UTC().Format("20060102T150405Z")
	if err := x.removeAll("-wal", "-shm"); err != nil {
		return err
	}
	if err := os.Rename(x.Name(), aside); err != nil {
		return err
	}
	x.warn(fmt.Sprintf("the index was damaged (%v); it is now %s, may be deleted, and is made anew from the records", why, aside))
	if err := x.makeFile(); err != nil {
		return err
	}
	return x.openFile(ctx)
}

// remove makes the file an empty one.
func (x *Index) remove() error {
	if err := x.removeAll("-wal", "-shm", ""); err != nil {
		return err
	}
	return x.makeFile()
}

func (x *Index) removeAll(suffixes ...string) error {
	for _, s := range suffixes {
		if err := os.Remove(x.Name() + s); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// isCurrent says that the file by that name is the one that was opened.
func (x *Index) isCurrent() bool {
	info, err := os.Stat(x.Name())
	x.mu.Lock()
	defer x.mu.Unlock()
	return err == nil && os.SameFile(info, x.file)
}

// reopen opens the file again if there is another one by its name, or none: somebody deleted it or set it aside.
func (x *Index) reopen(ctx context.Context) error {
	if x.isCurrent() {
		return nil
	}
	old := x.DB()
	if err := x.open(ctx); err != nil {
		return err
	}
	return old.Close()
}

// remake sets a file aside that turned out to be damaged while it was used.
func (x *Index) remake(ctx context.Context, why error) error {
	old := x.DB()
	if err := x.setAside(ctx, why); err != nil {
		return err
	}
	_ = old.Close() // it is damaged
	return nil
}
