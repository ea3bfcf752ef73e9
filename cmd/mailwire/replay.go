package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/view"
	"github.com/mailwire/mailwire/view/explain"
	"github.com/mailwire/mailwire/view/replay"
)

func replayCommand() *cli.Command {
	return &cli.Command{
		Name:      "replay",
		Usage:     "send an archived mail again, and see where the server's replies differ",
		ArgsUsage: "ID|FILE",
		Description: `Sends a recorded mail with its envelope, or the mail in a file with the one that is given, to the server that is named. Each step shows
the reply that was recorded and the one that came now: ! marks another decision.

   mailwire replay d4ks.1 --to 127.0.0.1:2525
   mailwire replay mail.eml --to mx.example.net:25 --from a@example.org --rcpt b@example.net --tls starttls`,
		Flags: []cli.Flag{
			dataFlag(),
			&cli.StringFlag{Name: "to", Usage: "send it to the server at `HOST:PORT`; there is no default"},
			&cli.StringFlag{Name: "from", Usage: "this sender instead of the recorded one: `ADDRESS`, empty for the null reverse-path"},
			&cli.StringSliceFlag{Name: "rcpt", Usage: "these recipients instead of the recorded ones: `ADDRESS`, repeatable"},
			&cli.StringFlag{Name: "tls", Value: replay.None, Usage: "speak TLS: `starttls|implicit|none`"},
			&cli.BoolFlag{Name: "insecure", Usage: "with --tls: accept any certificate"},
			&cli.BoolFlag{Name: "lmtp", Usage: "speak LMTP"},
			&cli.StringFlag{Name: "helo", Usage: "call ourselves `NAME` (default: the host's name)"},
		},
		Action: runReplay,
	}
}

func runReplay(c *cli.Context) error {
	id, err := argument(c, "the id of a mail, or a file: mailwire replay ID|FILE --to HOST:PORT")
	if err != nil {
		return err
	}
	o, err := replayOptions(c)
	if err != nil {
		return err
	}
	m, closeMail, err := mailToSend(c, id)
	if err != nil {
		return err
	}
	defer closeMail()
	if left := replay.LeftOut(m); len(left) > 0 {
		tell(c, fmt.Sprintf("these parameters of the envelope are not sent again: %s", view.Printable(strings.Join(left, ", "))))
	}
	result, err := replay.Send(c.Context, m, o)
	showReplay(c, result)
	if err != nil {
		return err
	}
	for _, s := range result.Steps {
		if s.Refused() {
			return fmt.Errorf("the server refuses %s: %s", view.Printable(s.Command), oneLine(s.New))
		}
	}
	return nil
}

func replayOptions(c *cli.Context) (replay.Options, error) {
	o := replay.Options{To: c.String("to"), TLS: c.String("tls"), Insecure: c.Bool("insecure"), LMTP: c.Bool("lmtp"), Helo: c.String("helo")}
	if o.To == "" {
		return o, usage("replay sends nothing unless --to HOST:PORT says where to")
	}
	if _, _, err := net.SplitHostPort(o.To); err != nil {
		return o, usage("--to %s: give a host and a port, like 127.0.0.1:2525", o.To)
	}
	switch o.TLS {
	case replay.None, replay.Implicit:
	case replay.StartTLS:
		if o.LMTP {
			return o, usage("--lmtp goes with --tls none or implicit")
		}
	default:
		return o, usage("--tls %s: choose from starttls, implicit and none", o.TLS)
	}
	if o.Helo == "" {
		name, err := os.Hostname()
		if err != nil {
			return o, fmt.Errorf("the host's name cannot be found out, so give one by --helo: %w", err)
		}
		o.Helo = name
	}
	return o, nil
}

// mailToSend opens the mail that an id names, or a file.
func mailToSend(c *cli.Context, id string) (m replay.Mail, closeMail func(), err error) {
	if info, err := os.Stat(id); err == nil && info.Mode().IsRegular() {
		if !c.IsSet("from") || !c.IsSet("rcpt") {
			return m, nil, usage("a file has no envelope, so give one by --from and --rcpt")
		}
		f, err := os.Open(id)
		if err != nil {
			return m, nil, err
		}
		m.Octets = f
		setEnvelope(c, &m)
		return m, func() { f.Close() }, nil
	}
	return recordedMail(c, id)
}

func recordedMail(c *cli.Context, id string) (m replay.Mail, closeMail func(), err error) {
	d, err := openReader(c)
	if err != nil {
		return m, nil, err
	}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	rec, err := d.message(id)
	if err != nil {
		return m, nil, err
	}
	r, err := d.Mail(rec)
	if err != nil {
		return m, nil, err
	}
	m = replay.Mail{Octets: r, Wire: true, Rcpt: rec.Rcpt, Params: rec.Params}
	if s, err := d.sessionOf(rec.Session); err == nil {
		m.Old = replay.Recorded(s, rec)
	} else {
		m.Old = replay.Recorded(nil, rec)
	}
	if rec.From != nil {
		m.From = *rec.From
	}
	setEnvelope(c, &m)
	all := rec.Recipients
	switch {
	case len(rec.Holes) > 0:
		err = fmt.Errorf("the mail %s has holes, so it is not what was sent", view.Printable(rec.ID))
	case rec.From == nil && !c.IsSet("from"), len(m.Rcpt) == 0:
		err = usage("the mail %s has no envelope, so give one by --from and --rcpt", view.Printable(rec.ID))
	case !c.IsSet("rcpt") && all != nil && all.Accepted+all.Rejected+all.Unknown > len(rec.Rcpt):
		err = fmt.Errorf("the record of %s has only the first %d of its recipients; give them by --rcpt", view.Printable(rec.ID), len(rec.Rcpt))
	}
	if err != nil {
		return m, nil, errors.Join(err, r.Close())
	}
	return m, func() { r.Close(); d.Close() }, nil
}

// setEnvelope puts what the flags say in the place of what was recorded. What is another has no reply to compare with.
func setEnvelope(c *cli.Context, m *replay.Mail) {
	if c.IsSet("from") {
		m.From, m.Params, m.Old.Mail = c.String("from"), nil, ""
	}
	if c.IsSet("rcpt") {
		said := map[string]string{}
		for i, r := range m.Rcpt {
			said[r.To] = m.Old.Rcpt[i]
		}
		m.Rcpt, m.Old.Rcpt = nil, nil
		for _, to := range c.StringSlice("rcpt") {
			m.Rcpt = append(m.Rcpt, record.Rcpt{To: to})
			m.Old.Rcpt = append(m.Old.Rcpt, said[to])
		}
	}
}

// showReplay prints each step with the reply that was recorded and the one that came now.
func showReplay(c *cli.Context, r *replay.Result) {
	b := new(strings.Builder)
	for _, s := range r.Steps {
		mark := " "
		if s.Differs() {
			mark = "!"
		}
		fmt.Fprintln(b, view.Printable(s.Command))
		fmt.Fprintf(b, "%s   %s | %s\n", mark, orNone(s.Old), orNone(s.New))
		code, enhanced, text := explain.Split(record.SMTP, s.New)
		if meaning := explain.Reply(record.SMTP, code, enhanced, text); meaning != "" {
			fmt.Fprintf(b, "    (%s)\n", meaning)
		}
	}
	if r.LoneLF > 0 {
		tell(c, fmt.Sprintf("%d line ends were LF alone, which SMTP does not have; they were sent as CRLF", r.LoneLF))
	}
	_, _ = io.WriteString(c.App.Writer, b.String()) // the mail is sent whether or not someone reads this
}

func orNone(reply string) string {
	if reply == "" {
		return "-"
	}
	return oneLine(reply)
}

func oneLine(reply string) string { return view.Printable(strings.ReplaceAll(reply, "\n", " / ")) }
