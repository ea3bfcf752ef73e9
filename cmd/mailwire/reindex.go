package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/view"
	"github.com/mailwire/mailwire/view/index"
)

func reindexCommand() *cli.Command {
	return &cli.Command{
		Name:      "reindex",
		Usage:     "make the index anew from the records",
		ArgsUsage: " ",
		Description: `The index, DATA/index, only makes finding fast: it can be deleted at any time, and is made by whatever needs it. This makes it
anew at once. A running mailwire goes on meanwhile, and the old index is used until the new one is whole.`,
		Flags:  []cli.Flag{dataFlag()},
		Action: runReindex,
	}
}

func runReindex(c *cli.Context) (err error) {
	if c.Args().Present() {
		return usage("reindex takes no argument %q", c.Args().First())
	}
	d, err := view.Open(c.String("data"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	says := newIndexProgress(c)
	begin := time.Now()
	n, err := index.Rebuild(c.Context, d, index.Options{Warn: func(s string) { says.end(); tell(c, s) }, Progress: says.show})
	says.end()
	if err != nil {
		return err
	}
	took := time.Since(begin)
	if _, err = fmt.Fprintf(c.App.Writer, "indexed   %s records in %s\n", count(int64(n)), took.Round(time.Millisecond)); err != nil {
		return err
	}
	x, end, err := openIndex(c, d)
	if err != nil {
		return err
	}
	return errors.Join(tellProblems(c, x), end())
}
