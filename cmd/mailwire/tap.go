package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/tap"
)

func tapCommand() *cli.Command {
	return &cli.Command{
		Name:      "tap",
		Usage:     "record the mail traffic in packets: from capture files",
		ArgsUsage: " ",
		Description: `Reads capture files (pcap or pcapng, also compressed by gzip or zstd) and records every SMTP, LMTP and POP3
conversation in them: the dialogue, each login attempt, each reply, each mail.

   mailwire tap -r mail.pcap
   zcat mail.pcap.gz | mailwire tap -r - --data /var/lib/mailwire

Several files are read in the order given; where one goes on where the last one stopped, so do its conversations. Without
port lists the protocol is found on any port.`,
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "r", Usage: "read the capture `FILE`; - is standard input; repeatable"},
			&cli.StringSliceFlag{Name: "smtp-port", Usage: "look at these servers' `PORTS` only, for SMTP and LMTP"},
			&cli.StringSliceFlag{Name: "pop3-port", Usage: "look at these servers' `PORTS` only, for POP3"},
			&cli.Int64Flag{Name: "c", Usage: "stop after `N` packets"},
			&cli.IntFlag{Name: "workers", Usage: "use `N` processors (default: all); the records do not depend on it"},
		}, recordFlags(false)...),
		Action: runTap,
	}
}

func runTap(c *cli.Context) error {
	if c.Args().Present() {
		return usage("tap takes no argument %q; a capture file is named by -r FILE", c.Args().First())
	}
	files := c.StringSlice("r")
	if len(files) == 0 {
		return usage("tap needs a capture file: mailwire tap -r FILE")
	}
	options := tap.Options{
		Files: files, Stdin: c.App.Reader, Packets: c.Int64("c"), Location: location(c), Workers: c.Int("workers"),
	}
	var err error
	if options.SMTPPorts, err = ports(c, "smtp-port"); err != nil {
		return err
	}
	if options.POP3Ports, err = ports(c, "pop3-port"); err != nil {
		return err
	}
	if options.Inspect, err = inspectConfig(c); err != nil {
		return err
	}
	log, err := newLog(c)
	if err != nil {
		return err
	}
	kept, err := openArchive(c, log, false)
	if err != nil {
		return err
	}
	options.Recorder = kept
	progress := newProgress(c.App.ErrWriter)
	options.Progress = progress.show
	begin := time.Now()
	read, err := tap.Read(c.Context, options)
	progress.end()
	err = errors.Join(err, kept.Close())
	fmt.Fprint(c.App.Writer, summary(c.String("data"), read, kept.Stats(), time.Since(begin)))
	return err
}

// summary says what was read, what was recorded, and what is missing.
func summary(dir string, read tap.Stats, kept archive.Stats, took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "read      %s packets, %s (%s)\n", count(read.Packets), size(read.Octets), rate(read.Octets, took))
	fmt.Fprintf(&b, "recorded  %s sessions, %s mails, %s error replies, under %s\n",
		count(kept.Sessions), count(kept.Messages), count(kept.ErrorReplies), dir)
	if kept.Duplicates > 0 {
		fmt.Fprintf(&b, "skipped   %s records that were there already\n", count(kept.Duplicates))
	}
	if read.Lost > 0 {
		fmt.Fprintf(&b, "missing   %s octets of conversations, marked in their records\n", count(read.Lost))
	}
	if read.Undecodable > 0 || read.Unassembled > 0 {
		fmt.Fprintf(&b, "unread    %s packets that could not be decoded, %s incomplete IP fragments\n",
			count(read.Undecodable), count(read.Unassembled))
	}
	if read.Evicted > 0 {
		fmt.Fprintf(&b, "evicted   %s connections, as too many were open at once\n", count(read.Evicted))
	}
	if kept.NotStored+kept.LinesLost > 0 {
		fmt.Fprintf(&b, "unstored  %s mails, whose records say why, and %s lines could not be written\n",
			count(kept.NotStored), count(kept.LinesLost))
	}
	return b.String()
}
