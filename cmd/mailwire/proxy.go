package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/proxy"
)

// listeners are the flags that make routes.
var listeners = []struct {
	flag, usage string
	protocol    inspect.Hint
	tls         bool
	port        int // of a server for which none is given
}{
	{"smtp", "relay SMTP, or LMTP, from one address to another: `LISTEN=UPSTREAM`, repeatable", inspect.SMTP, false, 25},
	{"smtps", "the same for SMTP inside TLS", inspect.SMTP, true, 465},
	{"pop3", "the same for POP3", inspect.POP3, false, 110},
	{"pop3s", "the same for POP3 inside TLS", inspect.POP3, true, 995},
}

func proxyCommand() *cli.Command {
	var routes []cli.Flag
	for _, l := range listeners {
		routes = append(routes, &cli.StringSliceFlag{Name: l.flag, Usage: l.usage})
	}
	return &cli.Command{
		Name:      "proxy",
		Usage:     "relay mail connections to a server, unchanged, and record them",
		ArgsUsage: " ",
		Description: `Listens where the clients connect, relays every octet to the mail server and back, and records the dialogues, the login
attempts, the replies and the mails. Mail never waits for the recording.

   mailwire proxy --smtp :25=127.0.0.1:2525 --data /var/lib/mailwire
   mailwire proxy --smtp :10025=original --pop3 :10110=original --transparent

LISTEN is HOST:PORT, :PORT, unix:PATH or systemd[:NAME]; UPSTREAM is HOST:PORT, unix:PATH, or original: where the client
wanted to go before the packet filter redirected it to this proxy.`,
		Flags: append(append(routes,
			&cli.StringFlag{Name: "tls", Value: "pass", Usage: "what to do with TLS, `pass|terminate`: relay it as it is, or end it here and begin it anew towards the server"},
			&cli.StringFlag{Name: "tls-cert", Usage: "the certificate that clients get, with its chain: PEM `FILE`, read again when it changes"},
			&cli.StringFlag{Name: "tls-key", Usage: "its private key: PEM `FILE`"},
			&cli.StringFlag{Name: "upstream-ca", Usage: "believe the server's certificate if the authorities in `FILE` signed it (default: the system's)"},
			&cli.StringFlag{Name: "upstream-name", Usage: "the server's certificate is for `NAME` (default: the name in UPSTREAM)"},
			&cli.BoolFlag{Name: "upstream-insecure", Usage: "believe any certificate of the server"},
			&cli.StringFlag{Name: "send-proxy", Usage: "tell the server the client's address by the PROXY protocol: `v1|v2`"},
			&cli.StringSliceFlag{Name: "accept-proxy", Usage: "who connects from `CIDR` begins with a PROXY header that says who the client is, repeatable"},
			&cli.BoolFlag{Name: "transparent", Usage: "connect to the server from the client's own address (Linux, TPROXY)"},
			&cli.IntFlag{Name: "max-connections", Value: proxy.DefaultMaxConnections, Usage: "relay so many connections at once; more have to wait: `N`"},
			&cli.DurationFlag{Name: "connect-timeout", Value: proxy.DefaultConnectTimeout, Usage: "give the server `TIME` to accept a connection"},
			&cli.DurationFlag{Name: "idle-timeout", Value: proxy.DefaultIdleTimeout, Usage: "close connections on which nothing was said for `TIME`"},
			&cli.DurationFlag{Name: "drain-timeout", Value: proxy.DefaultDrainTimeout, Usage: "let conversations go on for `TIME` after SIGTERM"},
			&cli.Int64Flag{Name: "session-budget", Value: proxy.DefaultSessionBudget, Usage: "let so many `OCTETS` of a conversation wait to be recorded; more are relayed only"},
			&cli.Int64Flag{Name: "total-budget", Value: proxy.DefaultTotalBudget, Usage: "and so many `OCTETS` of all conversations"},
			&cli.StringFlag{Name: "http", Usage: "serve /metrics, /livez and /readyz at `ADDR`"},
		), recordFlags(true)...),
		Action: runProxy,
	}
}

func runProxy(c *cli.Context) error {
	if c.Args().Present() {
		return usage("proxy takes no argument %q; a route is given by --smtp LISTEN=UPSTREAM", c.Args().First())
	}
	options, err := proxyOptions(c)
	if err != nil {
		return err
	}
	log, err := newLog(c)
	if err != nil {
		return err
	}
	rare := newRareLog(log)
	options.Warn = rare.warn
	kept, err := openArchive(c, log, true)
	if err != nil {
		return err
	}
	watch, err := startMonitor(c, rare, kept)
	if err != nil {
		return errors.Join(err, kept.Close())
	}
	defer watch.stop()
	options.Recorder = watch.recorder(kept)
	p, err := proxy.Listen(c.Context, options)
	if err != nil {
		return errors.Join(err, kept.Close())
	}
	warnOpenRelay(log, &options)
	log.WithFields(logrus.Fields{"routes": strings.Join(routeNames(&options), " "), "data": c.String("data")}).Info("relaying")
	watch.listening(p)
	notify("READY=1")
	// A loop must not wait for its turn while inspectors are at work.
	runtime.GOMAXPROCS(runtime.NumCPU() + 2)
	again, stop := onceMore(c.Context, func() { notify("STOPPING=1"); watch.draining() })
	defer stop()
	err = p.Serve(c.Context, again)
	err = errors.Join(err, closeInTime(again, kept))
	relayed, stored := p.Stats(), kept.Stats()
	log.WithFields(logrus.Fields{
		"connections": relayed.Accepted, "sessions": stored.Sessions, "mails": stored.Messages, "unstored": stored.NotStored,
		"overloaded": relayed.Overloaded[0] + relayed.Overloaded[1],
	}).Info("ended")
	return err
}

// lastPatience is how long the disk has to take what is left after a second signal.
const lastPatience = 5 * time.Second

// closeInTime closes the archive. A disk that does not answer cannot keep the program when it is told to end at once.
func closeInTime(now context.Context, kept *archive.Archive) error {
	closed := make(chan error, 1)
	go func() { closed <- kept.Close() }()
	select {
	case err := <-closed:
		return err
	case <-now.Done():
	}
	select {
	case err := <-closed:
		return err
	case <-time.After(lastPatience):
		return errors.New("the data directory's disk does not answer: what waited for it is lost")
	}
}

// onceMore returns a context that is done when, after ctx is done, one more signal comes. At first it calls begun.
func onceMore(ctx context.Context, begun func()) (again context.Context, stop func()) {
	again, cancel := context.WithCancel(context.Background())
	unregister := context.AfterFunc(ctx, func() {
		begun()
		signalled, done := signal.NotifyContext(again, syscall.SIGTERM, syscall.SIGINT)
		defer done()
		<-signalled.Done()
		cancel()
	})
	return again, func() { unregister(); cancel() }
}

// proxyOptions reads the flags.
func proxyOptions(c *cli.Context) (proxy.Options, error) {
	o := proxy.Options{
		MaxConnections: c.Int("max-connections"), ConnectTimeout: c.Duration("connect-timeout"),
		IdleTimeout: c.Duration("idle-timeout"), DrainTimeout: c.Duration("drain-timeout"),
		Transparent: c.Bool("transparent"), SessionBudget: c.Int64("session-budget"), TotalBudget: c.Int64("total-budget"),
		Location: location(c),
	}
	for name, positive := range map[string]bool{
		"max-connections": o.MaxConnections > 0, "connect-timeout": o.ConnectTimeout > 0, "idle-timeout": o.IdleTimeout > 0,
		"drain-timeout": o.DrainTimeout > 0, "session-budget": o.SessionBudget > 0, "total-budget": o.TotalBudget > 0,
	} {
		if !positive {
			return o, usage("--%s must be more than 0", name)
		}
	}
	var err error
	for _, l := range listeners {
		for _, s := range c.StringSlice(l.flag) {
			r, err := proxy.ParseRoute(s, proxy.Route{Protocol: l.protocol, TLS: l.tls}, l.port)
			if err != nil {
				return o, usage("--%s %w", l.flag, err)
			}
			o.Routes = append(o.Routes, r)
		}
	}
	if len(o.Routes) == 0 {
		return o, usage("proxy needs a route: mailwire proxy --smtp :25=mail.example.net:25")
	}
	switch version := c.String("send-proxy"); version {
	case "":
	case "v1":
		o.SendProxy = 1
	case "v2":
		o.SendProxy = 2
	default:
		return o, usage("--send-proxy %s: choose from v1 and v2", version)
	}
	for _, s := range c.StringSlice("accept-proxy") {
		net, err := network(s)
		if err != nil {
			return o, usage("--accept-proxy %w", err)
		}
		o.AcceptProxy = append(o.AcceptProxy, net)
	}
	if o.Terminate, err = terminate(c); err != nil {
		return o, err
	}
	o.Inspect, err = inspectConfig(c)
	return o, err
}

// terminate reads the flags about TLS; nil is to pass it on.
func terminate(c *cli.Context) (*proxy.Terminate, error) {
	switch how := c.String("tls"); how {
	case "pass":
		for _, name := range []string{"tls-cert", "tls-key", "upstream-ca", "upstream-name", "upstream-insecure"} {
			if c.IsSet(name) {
				return nil, usage("--%s is for --tls terminate; with --tls pass TLS is relayed as it is", name)
			}
		}
		return nil, nil
	case "terminate":
		if c.String("tls-cert") == "" || c.String("tls-key") == "" {
			return nil, usage("--tls terminate needs --tls-cert FILE and --tls-key FILE, the certificate that clients get")
		}
		return &proxy.Terminate{
			Cert: c.String("tls-cert"), Key: c.String("tls-key"), UpstreamCA: c.String("upstream-ca"),
			Name: c.String("upstream-name"), Insecure: c.Bool("upstream-insecure"),
		}, nil
	default:
		return nil, usage("--tls %s: choose from pass and terminate", how)
	}
}

// warnOpenRelay says in plain words what has made many an open relay.
func warnOpenRelay(log *logrus.Logger, o *proxy.Options) {
	if o.Transparent || o.SendProxy != 0 {
		return
	}
	for _, r := range o.Routes {
		if r.Protocol == inspect.SMTP {
			log.Warn("The server sees every client as coming from this host. If it trusts this host's address (mynetworks, relay_from_hosts), " +
				"anybody can send mail through it to anybody. Take this host out of what it trusts, or use --send-proxy or --transparent.")
			return
		}
	}
}

func routeNames(o *proxy.Options) []string {
	var names []string
	for _, r := range o.Routes {
		names = append(names, r.String())
	}
	return names
}

// network reads a network, or an address as the network of itself.
func network(s string) (netip.Prefix, error) {
	net, err := netip.ParsePrefix(s)
	if addr, aerr := netip.ParseAddr(s); err != nil && aerr == nil {
		net, err = addr.Prefix(addr.BitLen())
	}
	if err != nil {
		return net, fmt.Errorf("%s: give a network like 192.0.2.0/24 or 2001:db8::/32, or an address", s)
	}
	return net.Masked(), nil
}
