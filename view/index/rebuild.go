package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mailwire/mailwire/view"
)

// Rebuild makes the index of a data directory anew, whatever there is, and returns how many records it has. The old one
// is there until the new one is whole.
func Rebuild(ctx context.Context, d *view.Data, o Options) (records int, err error) {
	if o.Dir == "" {
		o.Dir = filepath.Join(d.Dir(), folder)
	}
	old := &Index{data: d, dir: o.Dir}
	o.Dir = filepath.Join(o.Dir, "new")
	if err := errors.Join(old.makeDir(), os.RemoveAll(o.Dir)); err != nil {
		return 0, fmt.Errorf("the index cannot be made: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
	x, err := Open(ctx, d, o)
	if err != nil {
		return 0, err
	}
	records, err = x.CatchUp(ctx)
	if err == nil {
		_, err = x.DB().ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	if err = errors.Join(err, x.Close()); err != nil {
		return records, err
	}
	if err := errors.Join(old.removeAll("-wal", "-shm"), os.Rename(x.Name(), old.Name())); err != nil {
		return records, fmt.Errorf("the new index cannot take the place of the old one: %w", err)
	}
	return records, nil
}
