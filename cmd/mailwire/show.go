package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/view"
)

func showCommand() *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "what was said in a session, and what it means",
		ArgsUsage: "ID",
		Description: `ID is a session's id or how it begins, a mail's (SESSION.N), a Message-ID, or a queue id.

   mailwire show d4ks                    the dialogue, with the time that each reply took, refusals explained
   mailwire show 4XyZ7q --mail 1         the session's first mail
   mailwire show d4ks --pcap talk.pcap   as packets, for Wireshark

The packets have what the records and the archive know: passwords are ***, a mail that was not kept is a gap.`,
		Flags: []cli.Flag{
			dataFlag(),
			&cli.BoolFlag{Name: "hex", Usage: "show the octets too"},
			&cli.BoolFlag{Name: "json", Usage: "show the record"},
			&cli.StringFlag{Name: "pcap", Usage: "write the conversation as packets to `FILE`; - is standard output"},
			&cli.BoolFlag{Name: "force", Usage: "with --pcap: replace a file that is there"},
			&cli.IntFlag{Name: "mail", Usage: "show the session's mail `N`: header, text, parts"},
		},
		Action: runShow,
	}
}

func runShow(c *cli.Context) error {
	id, err := argument(c, "the id of a session: mailwire show ID")
	if err != nil {
		return err
	}
	if c.IsSet("pcap") && (c.Bool("json") || c.Bool("hex") || c.IsSet("mail")) {
		return usage("--pcap goes without --json, --hex and --mail")
	}
	d, err := openReader(c)
	if err != nil {
		return err
	}
	defer d.Close()
	s, err := d.session(id)
	switch {
	case err != nil:
		return err
	case c.IsSet("pcap"):
		warn := func(err error) { tell(c, err.Error()) }
		return writeOut(c, c.String("pcap"), func(w io.Writer) error { return d.WritePackets(w, s, warn) })
	case c.IsSet("mail"):
		m, err := d.message(record.MessageID(s.ID, c.Int("mail")))
		if err != nil {
			return err
		}
		return showMail(c, d, m)
	case c.Bool("json"):
		return writeJSON(c, s.AppendJSON(nil))
	}
	_, err = fmt.Fprint(c.App.Writer, view.Show{Style: styleOf(c), Hex: c.Bool("hex")}.Session(s))
	return err
}
