package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/view"
)

func mailCommand() *cli.Command {
	return &cli.Command{
		Name:  "mail",
		Usage: "the mails that were recorded: list them, read them, take them out",
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usage("mail has no %q; try mailwire mail list", c.Args().First())
			}
			return cli.ShowSubcommandHelp(c)
		},
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list mails, the newest first", ArgsUsage: " ", OnUsageError: wrongUsage, Action: runMailList,
				Flags: []cli.Flag{
					dataFlag(),
					&cli.StringFlag{Name: "day", Usage: "of this `DAY` only: 2026-11-22, today or yesterday"},
					&cli.StringFlag{Name: "from", Usage: "whose sender, in the envelope or the header, contains `TEXT`"},
					&cli.StringFlag{Name: "to", Usage: "one of whose recipients, in the envelope or the header, contains `TEXT`"},
					&cli.StringFlag{Name: "subject", Usage: "whose subject contains `TEXT`"},
					&cli.StringFlag{Name: "outcome", Usage: "that were `accepted|rejected|aborted|unknown`"},
					&cli.StringFlag{Name: "min-size", Usage: "of at least `SIZE`, like 500kB or 10MiB"},
					&cli.IntFlag{Name: "limit", Value: 50, Usage: "show at most `N` mails; 0 is all"},
					&cli.BoolFlag{Name: "json", Usage: "show the records, a line each"},
					&cli.BoolFlag{Name: "utc", Usage: "days and times in UTC instead of local time"},
				},
			},
			{
				Name: "show", Usage: "read a mail: its way, header, text and parts", ArgsUsage: "ID", OnUsageError: wrongUsage, Action: runMailShow,
				Flags: []cli.Flag{
					dataFlag(),
					&cli.BoolFlag{Name: "json", Usage: "show the record"},
					&cli.BoolFlag{Name: "header", Usage: "show the whole header section as it was sent"},
				},
			},
			{
				Name: "export", Usage: "write mails as they were on the wire, or a part of one", ArgsUsage: "ID…", OnUsageError: wrongUsage,
				Action: runMailExport,
				Description: `Writes a mail with the octets that it had on the wire (.eml), held against their SHA-256 in the record.

   mailwire mail export d4ks.1 -o mail.eml
   mailwire mail export --mbox d4ks.1 d4ks.2 >> found.mbox
   mailwire mail export --part 2 d4ks.1 -o scan.pdf`,
				Flags: append([]cli.Flag{
					dataFlag(),
					&cli.BoolFlag{Name: "mbox", Usage: "write an mbox (mboxrd)"},
					&cli.IntFlag{Name: "part", Usage: "write the part `N` alone, decoded; mailwire mail show has the numbers"},
				}, outFlags()...),
			},
		},
	}
}

func runMailList(c *cli.Context) error {
	if c.Args().Present() {
		return usage("mail list takes flags only, not %q", c.Args().First())
	}
	q := view.MailQuery{From: c.String("from"), To: c.String("to"), Subject: c.String("subject"), Outcome: c.String("outcome"), Limit: c.Int("limit")}
	switch q.Outcome {
	case "", record.Accepted, record.Rejected, record.Aborted, record.Unknown:
	default:
		return usage("--outcome %s: choose from accepted, rejected, aborted and unknown", q.Outcome)
	}
	if q.Limit < 0 {
		return usage("--limit %d: give a number of mails, or 0 for all", q.Limit)
	}
	var err error
	if c.IsSet("min-size") {
		if q.MinSize, err = view.ParseSize(c.String("min-size")); err != nil {
			return usage("--min-size %w", err)
		}
	}
	if c.IsSet("day") {
		day, err := moment(c.String("day"), time.Now().In(location(c)))
		if err != nil {
			return usage("--day %w", err)
		}
		q.Since, q.Until = midnight(day), dayAfter(day, 1)
	}
	d, err := view.Open(c.String("data"))
	if err != nil {
		return err
	}
	defer d.Close()
	var p view.Problems
	for m := range d.Mails(q, &p) {
		line := view.PrintableLines(view.MailLine(m, location(c)))
		if c.Bool("json") {
			line = view.PrintableJSON(m.AppendJSON(nil))
		}
		if _, err := fmt.Fprintln(c.App.Writer, line); err != nil {
			return err
		}
	}
	tell(c, p.String())
	return nil
}

func runMailShow(c *cli.Context) error {
	id, err := argument(c, "the id of a mail: mailwire mail show ID")
	if err != nil {
		return err
	}
	d, err := openReader(c)
	if err != nil {
		return err
	}
	defer d.Close()
	m, err := d.message(id)
	if err != nil {
		return err
	}
	return showMail(c, d, m)
}

// showMail shows what there is of a mail, also where its file is gone.
func showMail(c *cli.Context, d *reader, m *record.Message) error {
	switch {
	case c.Bool("json"):
		return writeJSON(c, m.AppendJSON(nil))
	case c.Bool("header"):
		text, err := d.RawHeader(m)
		_, err2 := fmt.Fprint(c.App.Writer, view.PrintableLines(text))
		return errors.Join(err, err2)
	}
	text, err := view.Show{Style: styleOf(c)}.Letter(d.Data, m)
	_, err2 := fmt.Fprint(c.App.Writer, text)
	return errors.Join(err, err2)
}

func runMailExport(c *cli.Context) error {
	ids := c.Args().Slice()
	switch {
	case len(ids) == 0:
		return usage("mailwire mail export needs the id of a mail: mailwire mail export ID")
	case len(ids) > 1 && !c.Bool("mbox"):
		return usage("only an mbox (--mbox) holds more than one mail")
	case c.Bool("mbox") && c.IsSet("part"):
		return usage("choose one of --mbox and --part")
	}
	d, err := openReader(c)
	if err != nil {
		return err
	}
	defer d.Close()
	mails := make([]*record.Message, len(ids))
	for i, id := range ids {
		if mails[i], err = d.message(id); err != nil {
			return err
		}
	}
	there := mails[:0]
	for _, m := range mails {
		r, err := d.Mail(m)
		if err != nil {
			if len(ids) == 1 {
				return err
			}
			tell(c, err.Error())
			continue
		}
		r.Close()
		there = append(there, m)
	}
	if missing := len(ids) - len(there); missing > 0 { // the others are wanted all the same
		err = fmt.Errorf("%d of %d mails are not there", missing, len(ids))
	}
	if len(there) == 0 {
		return err
	}
	return errors.Join(writeOut(c, c.String("o"), func(w io.Writer) error {
		for _, m := range there {
			if err := exportMail(c, d, m, w); err != nil {
				return err
			}
		}
		return nil
	}), err)
}

func exportMail(c *cli.Context, d *reader, m *record.Message, w io.Writer) error {
	if n := len(m.Holes); n > 0 {
		tell(c, fmt.Sprintf("the mail %s has %d holes: octets that were not seen are not there", view.Printable(m.ID), n))
	}
	switch {
	case c.Bool("mbox"):
		return d.WriteMbox(w, m)
	case c.IsSet("part"):
		return d.WritePart(w, m, c.Int("part"))
	}
	r, err := d.Mail(m)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, r)
	return err
}
