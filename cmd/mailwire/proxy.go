package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/proxy"
	"github.com/mailwire/mailwire/tap"
)

// listeners are the flags that make routes.
var listeners = []listenerFlag{
	{"smtp", "relay SMTP, or LMTP, from one address to another: `LISTEN=UPSTREAM`, repeatable", inspect.SMTP, false, 25},
	{"smtps", "the same for SMTP inside TLS", inspect.SMTP, true, 465},
	{"pop3", "the same for POP3", inspect.POP3, false, 110},
	{"pop3s", "the same for POP3 inside TLS", inspect.POP3, true, 995},
}

type listenerFlag struct {
	flag, usage string
	protocol    inspect.Hint
	tls         bool
	port        int // of a server for which none is given
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
wanted to go before the packet filter redirected it to this proxy. To unix:PATH everybody may connect who may enter its
directory. SIGTERM lets conversations end, a second one ends them; SIGHUP reads
--config FILE again, and does nothing without one.`,
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
			&cli.DurationFlag{Name: "connect-timeout", Value: proxy.DefaultConnectTimeout, Usage: "give the server `TIME`, like 10s or 1m, to accept a connection"},
			&cli.DurationFlag{Name: "idle-timeout", Value: proxy.DefaultIdleTimeout, Usage: "close connections on which nothing was said for `TIME`"},
			&cli.DurationFlag{Name: "drain-timeout", Value: proxy.DefaultDrainTimeout, Usage: "let conversations go on for `TIME` after SIGTERM"},
			&cli.Int64Flag{Name: "session-budget", Value: proxy.DefaultSessionBudget, Usage: "let so many `OCTETS` of a conversation wait to be recorded; more are relayed only"},
			&cli.Int64Flag{Name: "total-budget", Value: proxy.DefaultTotalBudget, Usage: "and so many `OCTETS` of all conversations"},
			&cli.StringFlag{Name: "http", Usage: "serve /metrics, /livez and /readyz at `ADDR`"},
			fileFlag(),
		), recordFlags(true)...),
		Action: runProxy,
	}
}

func runProxy(c *cli.Context) error {
	if c.Args().Present() {
		return usage("proxy takes no argument %q; a route is given by --smtp LISTEN=UPSTREAM", c.Args().First())
	}
	return watch(c, relayOptions)
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
		signalled, done := signal.NotifyContext(again, syscall.SIGTERM, syscall.SIGINT)
		defer done()
		begun()
		<-signalled.Done()
		cancel()
	})
	return again, func() { unregister(); cancel() }
}

// relayOptions are those of proxyOptions.
func relayOptions(g *given) (*proxy.Options, *tap.Options, error) {
	o, err := proxyOptions(g)
	return &o, nil, err
}

// proxyOptions reads what was given.
func proxyOptions(g *given) (proxy.Options, error) {
	o := proxy.Options{
		MaxConnections: g.Int("max-connections"), DrainTimeout: g.Duration("drain-timeout"),
		SessionBudget: g.Int64("session-budget"), TotalBudget: g.Int64("total-budget"),
		Location: location(g.Context), Trace: g.Bool("trace"),
	}
	for _, limit := range []struct {
		name     string
		positive bool
	}{
		{"max-connections", o.MaxConnections > 0},
		{"drain-timeout", o.DrainTimeout > 0},
		{"session-budget", o.SessionBudget > 0},
		{"total-budget", o.TotalBudget > 0},
	} {
		if !limit.positive {
			return o, g.placed(usage("--%s must be more than 0", limit.name))
		}
	}
	if err := addRoutes(g, &o); err != nil {
		return o, err
	}
	if len(o.Routes) == 0 {
		return o, usage("proxy needs a route: mailwire proxy --smtp :25=mail.example.net:25")
	}
	var err error
	o.Inspect, err = inspectConfig(g.Context)
	return o, g.placed(err)
}

// addRoutes adds the routes, each with its terms.
func addRoutes(g *given, o *proxy.Options) error {
	list := g.routes()
	for _, l := range list {
		kind := listeners[slices.IndexFunc(listeners, func(of listenerFlag) bool { return of.flag == l.flag })]
		own, named, c := settings{}, settings{}, g.Context
		isSet := func(name string) bool { _, inFile := g.used[name]; return g.IsSet(name) && !inFile }
		if l.in != nil {
			own, named[l.flag] = l.in.own, l.in.route
			var err error
			if c, err = layered(c, own); err != nil {
				return err
			}
			isSet = func(name string) bool { _, ok := own[name]; return ok }
		}
		route, err := proxy.ParseRoute(l.route, proxy.Route{Protocol: kind.protocol, TLS: kind.tls}, kind.port)
		if err != nil {
			return g.placed(usage("--%s %w", l.flag, err), named)
		}
		terms, err := routeTerms(c, isSet)
		if err == nil {
			err = checkServerName(route, terms.Terminate)
		}
		if err != nil {
			return g.placed(err, own, named)
		}
		route.Own = &terms
		o.Routes = append(o.Routes, route)
	}
	if len(list) == 0 || list[0].in == nil {
		return nil
	}
	return g.placed(unusedTLS(g, o.Routes))
}

// unusedTLS complains about what a file says of TLS for all its listeners, if none of them ends it.
func unusedTLS(g *given, routes []proxy.Route) error {
	if g.IsSet("tls") || slices.ContainsFunc(routes, func(r proxy.Route) bool { return r.Own.Terminate != nil }) {
		return nil
	}
	_, err := terminate(g.Context, func(name string) bool { _, inFile := g.used[name]; return inFile })
	return err
}

// routeTerms reads what a route can have of its own. isSet says what was said of it in particular.
func routeTerms(c *cli.Context, isSet func(name string) bool) (proxy.Terms, error) {
	t := proxy.Terms{
		ConnectTimeout: c.Duration("connect-timeout"), IdleTimeout: c.Duration("idle-timeout"), Transparent: c.Bool("transparent"),
	}
	switch {
	case t.ConnectTimeout <= 0:
		return t, usage("--connect-timeout must be more than 0")
	case t.IdleTimeout <= 0:
		return t, usage("--idle-timeout must be more than 0")
	}
	switch version := c.String("send-proxy"); version {
	case "":
	case "v1":
		t.SendProxy = 1
	case "v2":
		t.SendProxy = 2
	default:
		return t, usage("--send-proxy %s: choose from v1 and v2", version)
	}
	for _, s := range c.StringSlice("accept-proxy") {
		net, err := network(s)
		if err != nil {
			return t, usage("--accept-proxy %w", err)
		}
		t.AcceptProxy = append(t.AcceptProxy, net)
	}
	var err error
	t.Terminate, err = terminate(c, isSet)
	return t, err
}

// checkServerName makes sure that there is a name for the server's certificate to be for.
func checkServerName(r proxy.Route, t *proxy.Terminate) error {
	if t == nil || t.Name != "" || t.Insecure || !strings.HasPrefix(r.Upstream, "unix:") {
		return nil
	}
	return usage("%s: a socket has no name that the server's certificate could be for; give it by --upstream-name NAME, "+
		"or believe any certificate by --upstream-insecure", r)
}

// terminate reads what is said about TLS; nil is to pass it on.
func terminate(c *cli.Context, isSet func(name string) bool) (*proxy.Terminate, error) {
	switch how := c.String("tls"); how {
	case "pass":
		for _, name := range []string{"tls-cert", "tls-key", "upstream-ca", "upstream-name", "upstream-insecure"} {
			if isSet(name) {
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
	for _, r := range o.Routes {
		if r.Protocol == inspect.SMTP && !r.Own.Transparent && r.Own.SendProxy == 0 {
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
		net, err = addr.Unmap().WithZone("").Prefix(addr.Unmap().BitLen())
	}
	if err != nil {
		return net, fmt.Errorf("%s: give a network like 192.0.2.0/24 or 2001:db8::/32, or an address", s)
	}
	return net.Masked(), nil
}
