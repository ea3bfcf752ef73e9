package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/view"
)

func traceCommand() *cli.Command {
	return &cli.Command{
		Name:      "trace",
		Usage:     "see what clients and servers say just now",
		ArgsUsage: " ",
		Description: `Shows the dialogues as any mailwire records them in the data directory, line by line, until Ctrl-C.

   mailwire trace --data /var/lib/mailwire --client 203.0.113.0/24
   mailwire trace --errors --only-new

-> is said by the client, <- by the server, ~> and <~ inside TLS; <** is a reply that refuses, === is no dialogue. Behind the
time is the session's id, for mailwire show.`,
		Flags: []cli.Flag{
			dataFlag(),
			&cli.StringSliceFlag{Name: "client", Usage: "only clients from `CIDR`, or with this address; repeatable"},
			&cli.StringFlag{Name: "server", Usage: "only this `SERVER`: an address, ADDRESS:PORT or a network"},
			&cli.StringFlag{Name: "user", Usage: "only sessions in which `NAME` tries to log in; alice is alice@example.net too"},
			&cli.StringFlag{Name: "protocol", Usage: "only `smtp|pop3`"},
			&cli.BoolFlag{Name: "errors", Usage: "only sessions in which a reply refuses, from their beginning on"},
			&cli.BoolFlag{Name: "only-new", Usage: "only sessions that begin from now on"},
			&cli.BoolFlag{Name: "only-one", Usage: "the first session, and then no more"},
			&cli.BoolFlag{Name: "terse", Usage: "only how sessions begin and end, and what is refused"},
		},
		Action: runTrace,
	}
}

func runTrace(c *cli.Context) error {
	if c.Args().Present() {
		return usage("trace takes no argument %q; mailwire trace --help lists what it can look for", c.Args().First())
	}
	o, err := traceOptions(c)
	if err != nil {
		return err
	}
	d, err := view.Open(c.String("data"))
	if err != nil {
		return err
	}
	defer d.Close()
	if running, known := archive.InUse(d.Dir()); known && !running {
		tell(c, fmt.Sprintf("no mailwire records to %s just now; waiting for one", d.Dir()))
	}
	done, err := d.Follow(c.Context, o, c.App.Writer)
	if done.Broken > 0 {
		tell(c, fmt.Sprintf("%s lines are none that mailwire writes, and left out; mailwire check says where they are", count(int64(done.Broken))))
	}
	if done.Forgotten > 0 {
		tell(c, fmt.Sprintf("there were too many sessions to remember all: %s were forgotten, and not shown to their end", count(int64(done.Forgotten))))
	}
	return err
}

func traceOptions(c *cli.Context) (o view.FollowOptions, err error) {
	o = view.FollowOptions{
		User: c.String("user"), Protocol: c.String("protocol"), Errors: c.Bool("errors"), OnlyNew: c.Bool("only-new"),
		OnlyOne: c.Bool("only-one"), Terse: c.Bool("terse"), Style: styleOf(c), Warn: func(s string) { tell(c, s) },
	}
	for _, s := range c.StringSlice("client") {
		net, err := network(s)
		if err != nil {
			return o, usage("--client %w", err)
		}
		o.Client = append(o.Client, net)
	}
	if s := c.String("server"); s != "" {
		if o.Server, o.ServerPort, err = serverFilter(s); err != nil {
			return o, usage("--server %w", err)
		}
	}
	switch o.Protocol {
	case "", record.SMTP, record.POP3:
		return o, nil
	}
	return o, usage("--protocol %s: choose from smtp and pop3", o.Protocol)
}

// serverFilter reads an address, an address with its port, a port with a colon before it, or a network.
func serverFilter(s string) (net netip.Prefix, port uint16, err error) {
	if address, err := netip.ParseAddrPort(s); err == nil {
		net, err = network(address.Addr().Unmap().String())
		return net, address.Port(), err
	}
	if number, ok := strings.CutPrefix(s, ":"); ok {
		if n, err := strconv.ParseUint(number, 10, 16); err == nil && n > 0 {
			return net, uint16(n), nil
		}
	}
	net, err = network(s)
	return net, 0, err
}
