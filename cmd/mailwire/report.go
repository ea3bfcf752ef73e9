package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/view"
	"github.com/mailwire/mailwire/view/index"
	reporting "github.com/mailwire/mailwire/view/report"
)

func reportCommand() *cli.Command {
	return &cli.Command{
		Name:  "report",
		Usage: "refusals ranked, attacks on passwords, misuse, load, sizes, what is slow",
		Description: "Without a span of time the report is about all that was recorded. Whoever begins in it counts.\n" +
			"A time is a day (2026-11-22), a day and a time (2026-11-22 15:04), as in RFC 3339, or how long ago (2h, 7d).",
		Flags: []cli.Flag{
			dataFlag(),
			&cli.StringFlag{Name: "day", Usage: "about this `DAY`: 2026-11-22, today or yesterday"},
			&cli.StringFlag{Name: "since", Usage: "about what began at this `TIME` or later"},
			&cli.StringFlag{Name: "until", Usage: "about what began before this `TIME`"},
			&cli.StringFlag{Name: "client", Usage: "about these clients only: `ADDRESS|CIDR`"},
			&cli.StringFlag{Name: "server", Usage: "about this server only: `ADDRESS`"},
			&cli.IntFlag{Name: "top", Value: reporting.DefaultTop, Usage: "show `N` rows of each section"},
			&cli.StringSliceFlag{Name: "only", Usage: "show these sections only: `NAME`, repeatable; --json has the names"},
			&cli.BoolFlag{Name: "json", Usage: "write JSON, for scripts"},
			&cli.StringFlag{Name: "html", Usage: "write one page with charts to `FILE` (- is standard output)"},
			&cli.BoolFlag{Name: "utc", Usage: "days and times in UTC instead of local time"},
		},
		Action: runReport,
	}
}

func runReport(c *cli.Context) error {
	options, err := reportOptions(c, time.Now())
	if err != nil {
		return err
	}
	r, err := makeReport(c, options)
	if err != nil {
		return err
	}
	if options.Clients.IsValid() && (slices.Contains(options.Only, "waits") || slices.Contains(options.Only, "slowest")) {
		tell(c, "how long replies took is not kept by client, so waits and slowest are left out; mailwire show has the times of a session")
	}
	switch {
	case c.String("html") == "-":
		err = r.HTML(c.App.Writer)
	case c.IsSet("html"):
		err = replaceFile(c.String("html"), r.HTML)
	case c.Bool("json"):
		var b []byte
		if b, err = json.MarshalIndent(r, "", "  "); err == nil {
			_, err = fmt.Fprintln(c.App.Writer, view.PrintableJSON(b))
		}
	default:
		err = r.Text(c.App.Writer)
	}
	if err != nil {
		return fmt.Errorf("the report cannot be written: %w", err)
	}
	return nil
}

// reportOptions makes the flags options, at that time.
func reportOptions(c *cli.Context, now time.Time) (reporting.Options, error) {
	o := reporting.Options{Top: c.Int("top"), Location: location(c)}
	if c.Args().Present() {
		return o, usage("report takes flags only, not %q", c.Args().First())
	}
	if c.Int("top") < 1 {
		return o, usage("--top %d: give a number of rows, from 1 on", c.Int("top"))
	}
	for _, name := range c.StringSlice("only") {
		if !slices.Contains(reporting.Names(), name) {
			return o, usage("--only %s: there is no such section; choose from %s", name, strings.Join(reporting.Names(), ", "))
		}
		o.Only = append(o.Only, name)
	}
	if c.Bool("json") && c.IsSet("html") || c.IsSet("html") && c.String("html") == "" {
		return o, usage("choose one of --json and --html FILE")
	}
	if c.IsSet("day") && (c.IsSet("since") || c.IsSet("until")) {
		return o, usage("choose --day, or --since and --until")
	}
	for _, f := range []struct {
		name string
		into *time.Time
	}{{"since", &o.Since}, {"until", &o.Until}, {"day", &o.Since}} {
		if !c.IsSet(f.name) {
			continue
		}
		t, err := moment(c.String(f.name), now.In(o.Location))
		if err != nil {
			return o, usage("--%s %w", f.name, err)
		}
		*f.into = t
	}
	if c.IsSet("day") {
		o.Since = midnight(o.Since)
		o.Until = dayAfter(o.Since, 1)
	}
	if !o.Until.IsZero() && !o.Since.Before(o.Until) {
		return o, usage("--until must be later than --since")
	}
	if c.IsSet("client") {
		n, err := network(c.String("client"))
		if err != nil {
			return o, usage("--client %w", err)
		}
		o.Clients = n
	}
	if c.IsSet("server") {
		ip, err := netip.ParseAddr(c.String("server"))
		if err != nil {
			return o, usage("--server %s is no IP address", c.String("server"))
		}
		o.Server = ip.Unmap()
	}
	return o, nil
}

func makeReport(c *cli.Context, o reporting.Options) (_ *reporting.Report, err error) {
	data, err := view.Open(c.String("data"))
	if err != nil {
		return nil, err
	}
	defer data.Close()
	x, end, err := openIndex(c, data)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	var r *reporting.Report
	err = mended(c.Context, x, func() (err error) {
		r, err = reporting.Make(c.Context, x.DB(), o)
		if err == nil {
			return nil
		}
		if said := x.Explain(err); errors.Is(said, index.ErrDamaged) {
			return said
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, tellProblems(c, x)
}
