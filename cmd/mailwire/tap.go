package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/proxy"
	"github.com/mailwire/mailwire/tap"
)

// Limits of what can be asked for.
const (
	minSnap, maxSnap   = 96, 1 << 18 // octets: headers with some encapsulation; libpcap's largest
	minRing, maxRing   = 2, 2047     // MiB
	minBurst, maxBurst = 16, 2047
)

func tapCommand() *cli.Command {
	return &cli.Command{
		Name:      "tap",
		Usage:     "record the mail traffic in packets, from a mirror port or from capture files",
		ArgsUsage: " ",
		Description: `Captures from network interfaces (Linux), or reads capture files (pcap or pcapng, also compressed by gzip or zstd), and records
every SMTP, LMTP and POP3 conversation: the dialogue, each login attempt, each reply, each mail.

   mailwire tap -i eth1 --user mailwire --data /var/lib/mailwire
   mailwire tap -r mail.pcap
   zcat mail.pcap.gz | mailwire tap -r - --data /var/lib/mailwire

-i looks at the ports 25, 587, 2525 and 465, 110 and 995 unless it is told others; -r without port lists finds the protocol
on any port. Several files are read in the order given; where one goes on where the last one stopped, so do its
conversations.`,
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "i", Usage: "capture from the interface `IFACE`; any is all of them; repeatable"},
			&cli.StringSliceFlag{Name: "r", Usage: "read the capture `FILE`; - is standard input; repeatable"},
			&cli.StringSliceFlag{Name: "smtp-port", Usage: "look at these servers' `PORTS` only, for SMTP and LMTP"},
			&cli.StringSliceFlag{Name: "pop3-port", Usage: "look at these servers' `PORTS` only, for POP3"},
			&cli.Int64Flag{Name: "c", Usage: "stop after `N` packets"},
			&cli.DurationFlag{Name: "duration", Usage: "with -i: stop after `TIME`"},
			&cli.IntFlag{Name: "snaplen", Usage: "with -i: capture `N` octets of each packet (default: all)"},
			&cli.IntFlag{Name: "ring-size", Value: tap.DefaultRing >> 20, Usage: "with -i: let the kernel hold `MIB` of each interface's packets"},
			&cli.IntFlag{Name: "burst-size", Value: tap.DefaultBurst() >> 20, Usage: "with -i: let `MIB` of packets wait while more come than can be recorded"},
			&cli.StringFlag{Name: "bpf-file", Usage: "with -i: let only packets through that the program in `FILE` takes, as tcpdump -ddd -y EN10MB prints it"},
			&cli.BoolFlag{Name: "tunnels", Value: true, Usage: "look into MPLS, PPPoE, PPTP, L2TP, GRE, VXLAN and other encapsulations"},
			&cli.StringFlag{Name: "user", Usage: "with -i: become `USER` as soon as the interfaces are open"},
			&cli.StringFlag{Name: "http", Usage: "with -i: serve /metrics, /livez and /readyz at `ADDR`"},
			&cli.IntFlag{Name: "workers", Usage: "use `N` processors (default: all); the records do not depend on it"},
			fileFlag(),
		}, recordFlags(false)...),
		Action: runTap,
	}
}

func runTap(c *cli.Context) error {
	if c.Args().Present() {
		return usage("tap takes no argument %q; a capture file is named by -r FILE", c.Args().First())
	}
	if len(c.StringSlice("r")) == 0 {
		return watch(c, captureOptions)
	}
	g, err := resolve(c)
	if err != nil {
		return err
	}
	options, err := tapOptions(g.Context)
	if err != nil {
		return g.placed(err)
	}
	return g.placed(readFiles(g.Context, options))
}

// captureOptions are those of a live tap.
func captureOptions(g *given) (*proxy.Options, *tap.Options, error) {
	o, err := tapOptions(g.Context)
	if err == nil {
		err = liveOptions(g.Context, &o)
	}
	return nil, &o, g.placed(err)
}

func tapOptions(c *cli.Context) (tap.Options, error) {
	o := tap.Options{
		Packets: c.Int64("c"), Location: location(c), Workers: c.Int("workers"), NoTunnels: !c.Bool("tunnels"),
		Trace: c.Bool("trace"),
		Snap:  c.Int("snaplen"), Ring: c.Int("ring-size") << 20, Burst: c.Int("burst-size") << 20,
	}
	files, live := c.StringSlice("r"), c.StringSlice("i")
	switch {
	case len(files)+len(live) == 0:
		return o, usage("tap needs an interface or a capture file: mailwire tap -i IFACE, or mailwire tap -r FILE")
	case len(files) > 0 && len(live) > 0:
		return o, usage("tap takes -i or -r, not both")
	case o.Packets < 0:
		return o, usage("-c %d: give the number of packets to stop after", o.Packets)
	case c.IsSet("duration") && c.Duration("duration") <= 0:
		return o, usage("--duration must be more than 0")
	case c.IsSet("snaplen") && (o.Snap < minSnap || o.Snap > maxSnap):
		return o, usage("--snaplen %d: give from %d to %d octets", o.Snap, minSnap, maxSnap)
	case o.Ring < minRing<<20 || o.Ring > maxRing<<20:
		return o, usage("--ring-size %d: give from %d to %d MiB", o.Ring>>20, minRing, maxRing)
	case o.Burst < minBurst<<20 || o.Burst > maxBurst<<20:
		return o, usage("--burst-size %d: give from %d to %d MiB", o.Burst>>20, minBurst, maxBurst)
	}
	for _, name := range []string{"duration", "snaplen", "ring-size", "burst-size", "bpf-file", "user", "http"} {
		if len(files) > 0 && c.IsSet(name) {
			return o, usage("--%s is for capturing from an interface with -i", name)
		}
	}
	var err error
	if o.SMTPPorts, err = ports(c, "smtp-port"); err != nil {
		return o, err
	}
	if o.POP3Ports, err = ports(c, "pop3-port"); err != nil {
		return o, err
	}
	o.Inspect, err = inspectConfig(c)
	return o, err
}

// readFiles records what is in capture files.
func readFiles(c *cli.Context, options tap.Options) error {
	options.Files, options.Stdin = c.StringSlice("r"), c.App.Reader
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
	if read.Dropped > 0 {
		fmt.Fprintf(&b, "dropped   %s packets, by the kernel, as they came faster than they were taken\n", count(read.Dropped))
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
