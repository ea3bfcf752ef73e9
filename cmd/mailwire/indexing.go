package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/view"
	"github.com/mailwire/mailwire/view/index"
)

// openIndex opens the index of a data directory and takes in what it has not got. Where none can be opened or written, it
// makes one elsewhere for this time, which takes longer.
func openIndex(c *cli.Context, d *view.Data) (x *index.Index, end func() error, err error) {
	says := newIndexProgress(c)
	o := index.Options{Warn: func(s string) { says.end(); tell(c, s) }, Progress: says.show}
	end = func() error { return nil }
	x, err = index.Open(c.Context, d, o)
	if err != nil && c.Context.Err() == nil {
		tell(c, fmt.Sprintf("%v; an index is made for this time only", err))
		if o.Dir, err = os.MkdirTemp("", "mailwire-index-"); err != nil {
			return nil, nil, err
		}
		end = func() error { return os.RemoveAll(o.Dir) }
		x, err = index.Open(c.Context, d, o)
	}
	if err != nil {
		return nil, nil, errors.Join(err, end())
	}
	remove := end
	end = func() error { return errors.Join(x.Close(), remove()) }
	_, err = x.CatchUp(c.Context)
	says.end()
	switch {
	case c.Context.Err() != nil:
		return nil, nil, errors.Join(c.Context.Err(), end())
	case err != nil:
		tell(c, fmt.Sprintf("only what was taken in before is shown: %v", err))
	}
	return x, end, nil
}

// indexProgress says on a terminal how much was taken in, if that takes long.
type indexProgress struct {
	*progress
}

func newIndexProgress(c *cli.Context) indexProgress {
	return indexProgress{newProgress(c.App.ErrWriter)}
}

func (p indexProgress) show(added int) {
	if p.due() {
		fmt.Fprintf(p.out, "\r\x1b[Ktaking %s records into the index", count(int64(added)))
	}
}

// followIndex fills the index while sessions are recorded, until ctx is done. What it cannot do, whoever looks at the index
// does: it only makes that short.
func followIndex(ctx context.Context, log *logrus.Logger, dir string) {
	warn := func(s string) { log.Warn(s) }
	d, err := view.Open(dir)
	if err != nil {
		warn(err.Error())
		return
	}
	defer d.Close()
	x, err := index.Open(ctx, d, index.Options{Warn: warn})
	if err != nil {
		if ctx.Err() == nil {
			warn(err.Error())
		}
		return
	}
	x.Follow(ctx, indexEvery)
	if err := x.Close(); err != nil {
		warn(err.Error())
	}
}

// indexEvery is how often a running mailwire looks for what it can take into the index.
const indexEvery = 2 * time.Second
