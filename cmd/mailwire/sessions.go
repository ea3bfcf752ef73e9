package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/view"
	"github.com/mailwire/mailwire/view/index"
)

func sessionsCommand() *cli.Command {
	return &cli.Command{
		Name:      "sessions",
		Usage:     "list sessions that were recorded, the newest first",
		ArgsUsage: "[WORDS]",
		Description: `Lists the sessions for which all that is asked for holds. WORDS are looked for in mail addresses, names of users and hosts, subjects,
replies and names of attachments, in the first 64 KiB of these in a session; wor* is any word that begins so.

   mailwire sessions --errors --since today
   mailwire sessions --client 203.0.113.0/24 --auth-failed
   mailwire sessions --to example.net --code 5.7.1
   mailwire sessions invoice pdf

A time is a day (2026-11-22), a day and a time (2026-11-22 15:04), as in RFC 3339, or how long ago (2h, 7d). Where DATA/index cannot
be written, an index is made elsewhere for this time, which takes longer.`,
		Flags: []cli.Flag{
			dataFlag(),
			&cli.StringFlag{Name: "protocol", Usage: "`smtp|lmtp|pop3|unknown`"},
			&cli.StringFlag{Name: "client", Usage: "of clients in `CIDR`, or of one address"},
			&cli.StringFlag{Name: "server", Usage: "with servers in `CIDR`, or with one address"},
			&cli.StringFlag{Name: "user", Usage: "in which `NAME` logged in or tried; alice is alice@example.net too"},
			&cli.StringFlag{Name: "from", Usage: "with a mail from `ADDRESS`, a domain, or a name before the @; <> is the null sender"},
			&cli.StringFlag{Name: "to", Usage: "with a recipient `ADDRESS`, a domain, or a name before the @"},
			&cli.StringFlag{Name: "subject", Usage: "with a mail whose subject has these `WORDS`"},
			&cli.StringFlag{Name: "code", Usage: "in which the server refused with `CODE`: 550, 5xx, 5.7.1, or err for POP3's -ERR"},
			&cli.StringFlag{Name: "status", Usage: "that ended so: `closed|aborted|reset|timeout|refused|unknown`"},
			&cli.BoolFlag{Name: "errors", Usage: "in which the server refused something"},
			&cli.BoolFlag{Name: "auth-failed", Usage: "in which a login failed"},
			&cli.StringFlag{Name: "direction", Usage: "that went, or had a mail that went, `inbound|outbound|internal|external|unknown`"},
			&cli.StringFlag{Name: "min-size", Usage: "with a mail of at least `SIZE`, like 500kB or 10MiB"},
			&cli.StringFlag{Name: "since", Usage: "that began at this `TIME` or later"},
			&cli.StringFlag{Name: "until", Usage: "that began before this `TIME`"},
			&cli.IntFlag{Name: "limit", Value: 50, Usage: "show at most `N`; 0 is all"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "show these in the order of time, and then those that end from now on"},
			&cli.BoolFlag{Name: "json", Usage: "show the records, a line each"},
			&cli.BoolFlag{Name: "csv", Usage: "show comma separated values, for a spreadsheet"},
			&cli.BoolFlag{Name: "utc", Usage: "times in UTC instead of local time"},
		},
		Action: runSessions,
	}
}

func runSessions(c *cli.Context) (err error) {
	q, err := sessionsQuery(c, time.Now())
	if err != nil {
		return err
	}
	if c.Bool("json") && c.Bool("csv") {
		return usage("choose one of --json and --csv")
	}
	d, err := view.Open(c.String("data"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	x, end, err := openIndex(c, d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	for _, word := range c.Args().Slice() {
		if _, err := network(word); err == nil {
			tell(c, fmt.Sprintf("%s is looked for in what was said; --client %[1]s or --server %[1]s finds its sessions", word))
		}
	}
	out := newSessionsWriter(c, d)
	if c.Bool("follow") {
		err = followSessions(c, x, q, out)
	} else {
		err = listSessions(c.Context, x, q, out)
		if err == nil && !out.headed && !out.json && out.csv == nil {
			tell(c, "there is no such session")
		}
	}
	return errors.Join(err, tellProblems(c, x))
}

// tellProblems says what of the records is not in the index.
func tellProblems(c *cli.Context, x *index.Index) error {
	ctx := context.WithoutCancel(c.Context)
	return mended(ctx, x, func() error {
		said, err := x.Problems(ctx)
		if err != nil {
			return err
		}
		tell(c, said)
		if running, known := archive.InUse(c.String("data")); running || !known {
			return nil
		}
		torn, err := x.Torn(ctx)
		if len(torn) > 0 {
			tell(c, fmt.Sprintf("the last line is not whole, and left out (%s)", strings.Join(torn[:min(len(torn), 3)], ", ")))
		}
		return err
	})
}

// listSessions shows what is wanted as it is found.
func listSessions(ctx context.Context, x *index.Index, q index.Query, out *sessionsWriter) error {
	err := mended(ctx, x, func() error { return listOnce(ctx, x, &q, out) })
	return errors.Join(err, out.flush())
}

// mended reads an index. If it turns out to be damaged it is made anew, once, and read again.
func mended(ctx context.Context, x *index.Index, read func() error) error {
	err := read()
	if errors.Is(err, index.ErrDamaged) {
		if _, err = x.CatchUp(ctx); err == nil {
			err = read()
		}
	}
	return err
}

// listOnce leaves in q what was not shown.
func listOnce(ctx context.Context, x *index.Index, q *index.Query, out *sessionsWriter) error {
	for r, err := range x.Sessions(ctx, *q) {
		if err != nil {
			return err
		}
		if err := out.write(r); err != nil {
			return err
		}
		q.Before = r.Row
		if q.Limit--; q.Limit == 0 {
			return nil
		}
	}
	return nil
}

// followEvery is how often new sessions are looked for.
const followEvery = time.Second

// followSessions shows the newest, and then what comes, until it is interrupted.
func followSessions(c *cli.Context, x *index.Index, q index.Query, out *sessionsWriter) error {
	cursor, err := x.Cursor(c.Context)
	if err != nil {
		return err
	}
	var newest []index.Row
	for r, err := range x.Sessions(c.Context, q) {
		if err != nil {
			return err
		}
		if cursor.Has(r) {
			newest = append(newest, r)
		}
	}
	slices.Reverse(newest)
	for _, r := range newest {
		if err := out.write(r); err != nil {
			return err
		}
	}
	look := time.NewTicker(followEvery)
	defer look.Stop()
	for {
		if err := out.flush(); err != nil {
			return err
		}
		select {
		case <-c.Context.Done():
			return nil
		case <-look.C:
		}
		if _, err := x.CatchUp(c.Context); err != nil && c.Context.Err() == nil {
			return err
		}
		for r, err := range x.News(c.Context, q, cursor) {
			if c.Context.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			if err := out.write(r); err != nil {
				return err
			}
		}
	}
}

// sessionsQuery makes the flags a query, at that time.
func sessionsQuery(c *cli.Context, now time.Time) (index.Query, error) {
	q := index.Query{
		Protocol: c.String("protocol"), Direction: c.String("direction"), Status: c.String("status"), User: c.String("user"),
		From: c.String("from"), To: c.String("to"), Subject: c.String("subject"), Code: c.String("code"), Errors: c.Bool("errors"),
		AuthFailed: c.Bool("auth-failed"), Limit: c.Int("limit"), Text: strings.Join(c.Args().Slice(), " "),
	}
	for _, f := range []struct {
		flag, value string
		of          []string
	}{{"protocol", q.Protocol, index.Protocols}, {"direction", q.Direction, index.Directions}, {"status", q.Status, index.Statuses}} {
		if c.IsSet(f.flag) && !slices.Contains(f.of, f.value) {
			return q, usage("--%s %s: choose from %s", f.flag, f.value, strings.Join(f.of, ", "))
		}
	}
	var err error
	if c.IsSet("client") {
		if q.Client, err = network(c.String("client")); err != nil {
			return q, usage("--client %w", err)
		}
	}
	if c.IsSet("server") {
		if q.Server, err = network(c.String("server")); err != nil {
			return q, usage("--server %w", err)
		}
	}
	now = now.In(location(c))
	if c.IsSet("since") {
		if q.Since, err = moment(c.String("since"), now); err != nil {
			return q, usage("--since %w", err)
		}
	}
	if c.IsSet("until") {
		if q.Until, err = moment(c.String("until"), now); err != nil {
			return q, usage("--until %w", err)
		}
	}
	if !q.Until.IsZero() && !q.Since.Before(q.Until) {
		return q, usage("--until must be later than --since")
	}
	if c.IsSet("min-size") {
		if q.MinSize, err = view.ParseSize(c.String("min-size")); err != nil {
			return q, usage("--min-size %w", err)
		}
	}
	for _, f := range []string{"user", "from", "to", "subject", "code", "min-size"} {
		if c.IsSet(f) && c.String(f) == "" {
			return q, usage("--%s needs a value", f)
		}
	}
	if q.Limit < 0 {
		return q, usage("--limit %d: give a number of sessions, or 0 for all", q.Limit)
	}
	if err := q.Check(); err != nil {
		return q, usage("%w", err)
	}
	return q, nil
}
