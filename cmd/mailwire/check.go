package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/view"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "compare the archive with what its records say of it",
		ArgsUsage: " ",
		Description: `Finds records that name a mail which is not there, mails that no record names, mails of another size than was recorded, lines that
are torn or that mailwire did not write, records of a newer version, files that others may read, and what was left unfinished.
It changes nothing. The exit status is 1 if it finds anything.

   mailwire check --data /var/lib/mailwire --deep

While a mailwire records to the directory, what it has not finished is left out.`,
		Flags: []cli.Flag{
			dataFlag(),
			&cli.BoolFlag{Name: "deep", Usage: "read all mails too, and compare their SHA-256 with the records'"},
			&cli.BoolFlag{Name: "json", Usage: "say it as JSON Lines"},
		},
		Action: runCheck,
	}
}

func runCheck(c *cli.Context) error {
	if c.Args().Present() {
		return usage("check takes no argument %q; the data directory is named by --data DIR", c.Args().First())
	}
	lines := json.NewEncoder(c.App.Writer)
	kinds := map[string]int{}
	sum, err := archive.Check(c.Context, c.String("data"), c.Bool("deep"), func(f archive.Finding) {
		kinds[f.Kind]++
		if c.Bool("json") {
			_ = lines.Encode(f) // the summary will tell
			return
		}
		place := f.File
		if f.Offset != nil {
			place += fmt.Sprint(":", *f.Offset)
		}
		fmt.Fprintf(c.App.Writer, "%s: %s\n", view.Printable(place), view.Printable(f.Text))
	})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		if err := lines.Encode(struct {
			Type string `json:"type"`
			archive.Checked
			Kinds map[string]int `json:"kinds"`
		}{"summary", sum, kinds}); err != nil {
			return err
		}
	} else if _, err := fmt.Fprintln(c.App.Writer, checkSummary(sum, kinds)); err != nil {
		return err
	}
	if sum.Findings > 0 {
		return fmt.Errorf("not all in %s is as it should be", c.String("data"))
	}
	return nil
}

func checkSummary(sum archive.Checked, kinds map[string]int) string {
	days := "1 day"
	if sum.Days != 1 {
		days = count(int64(sum.Days)) + " days"
	}
	said := fmt.Sprintf("%s, %s sessions, %s messages, %s mails of %s: ", days, count(int64(sum.Sessions)), count(int64(sum.Messages)), count(int64(sum.Mails)), size(sum.Octets))
	if sum.Findings == 0 {
		said += "nothing is wrong"
	} else {
		var list []string
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			list = append(list, fmt.Sprintf("%s %s", count(int64(kinds[kind])), kind))
		}
		said += strings.Join(list, ", ")
	}
	if sum.Running {
		said += " (a mailwire is recording here; what it has not finished is left out)"
	}
	return said
}
