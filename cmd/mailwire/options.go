package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect"
)

// recordFlags say what is recorded and where: they are the same for every way to watch, but for fsync's default.
func recordFlags(fsync bool) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "data", Value: "mailwire-data", EnvVars: []string{"MAILWIRE_DATA"},
			Usage: "keep everything under `DIR`",
		},
		&cli.StringFlag{Name: "sensor", Usage: "say in each record that `NAME` recorded it (default: the host's name)"},
		&cli.StringSliceFlag{Name: "local-net", Usage: "these addresses are ours: `CIDR`, repeatable"},
		&cli.StringSliceFlag{Name: "local-domain", Usage: "this mail domain is ours: `NAME`, repeatable"},
		&cli.StringFlag{
			Name: "archive", Value: "all",
			Usage: "keep mails of these `KINDS`: accepted,rejected,incomplete,pop3 or all",
		},
		&cli.BoolFlag{Name: "no-archive", Usage: "keep no mails, only logs and records"},
		&cli.StringFlag{Name: "maildir", Value: "day", Usage: "one Maildir folder a day, or one for all: `day|flat`"},
		&cli.BoolFlag{Name: "fsync", Value: fsync, Usage: "put a mail on the disk before its record is written"},
		&cli.IntFlag{Name: "keep-days", Usage: "remove what is more than `N` days old (default: keep everything)"},
		&cli.StringFlag{Name: "keep-size", Usage: "remove the oldest days when mails, logs and traces are more than `SIZE`, like 20GB"},
		&cli.StringFlag{Name: "free-space", Usage: "remove the oldest days when less than `SIZE` of the disk is free"},
		&cli.BoolFlag{Name: "trace", Usage: "keep the packets too, as pcapng; they show passwords that were sent in clear"},
		&cli.BoolFlag{Name: "index", Value: true, Usage: "keep the index, which mailwire sessions and report look into, up to date while recording"},
		&cli.BoolFlag{Name: "record-secrets", Usage: "keep passwords, in a file of their own"},
		&cli.BoolFlag{Name: "utc", Usage: "days and times in UTC instead of local time"},
		&cli.StringFlag{Name: "log-level", Value: "info", Usage: "mailwire's own log: `LEVEL` is error, warn, info or debug"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "mailwire's own log: `text|json`"},
	}
}

// newLog makes the program's own log, on standard error.
func newLog(c *cli.Context) (*logrus.Logger, error) {
	log := logrus.New()
	log.SetOutput(c.App.ErrWriter)
	level, err := logrus.ParseLevel(c.String("log-level"))
	if err != nil {
		return nil, usage("--log-level %s: choose from error, warn, info and debug", c.String("log-level"))
	}
	log.SetLevel(level)
	switch format := c.String("log-format"); format {
	case "text":
		log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, ForceColors: isTerminal(c.App.ErrWriter)})
	case "json":
		log.SetFormatter(&logrus.JSONFormatter{})
	default:
		return nil, usage("--log-format %s: choose from text and json", format)
	}
	return log, nil
}

// openArchive opens the data directory as the flags say; live: for what is seen as it happens.
func openArchive(c *cli.Context, log *logrus.Logger, live bool) (*archive.Archive, error) {
	o, err := archiveOptions(c, live)
	if err != nil {
		return nil, err
	}
	o.Fsync = o.Fsync || live && !c.IsSet("fsync")
	o.PID, o.Warn, o.Say = os.Getpid(), func(msg string) { log.Warn(msg) }, func(msg string) { log.Info(msg) }
	return archive.Open(o)
}

// archiveOptions reads the flags about what is kept.
func archiveOptions(c *cli.Context, live bool) (o archive.Options, err error) {
	if o.Keep, err = archive.ParseKinds(c.String("archive")); err != nil {
		return o, usage("--archive: %w", err)
	}
	if c.Bool("no-archive") {
		o.Keep = archive.None
	}
	layout := c.String("maildir")
	if layout != "day" && layout != "flat" {
		return o, usage("--maildir %s: choose from day and flat", layout)
	}
	if o.Dir = c.String("data"); o.Dir == "" {
		return o, usage("--data needs the name of a directory")
	}
	o.Live, o.Flat, o.Fsync = live, layout == "flat", c.Bool("fsync")
	o.Secrets, o.Trace = c.Bool("record-secrets"), c.Bool("trace")
	o.Retention, err = retention(c, live)
	return o, err
}

// retention reads what need not be kept for ever.
func retention(c *cli.Context, live bool) (archive.Retention, error) {
	r := archive.Retention{Days: c.Int("keep-days"), Location: location(c)}
	if c.IsSet("keep-days") && r.Days < 1 {
		return r, usage("--keep-days %d: give a number of days from 1 on, or leave it out to keep everything", r.Days)
	}
	for name, size := range map[string]*int64{"keep-size": &r.Size, "free-space": &r.Free} {
		s := c.String(name)
		if s == "" {
			continue
		}
		var err error
		if *size, err = archive.ParseSize(s); err != nil {
			return r, usage("--%s: %w", name, err)
		}
	}
	if r != (archive.Retention{Location: r.Location}) && !live {
		return r, usage("--keep-days, --keep-size and --free-space are for what is watched as it happens; a capture file is kept whole")
	}
	return r, nil
}

// inspectConfig says what the sessions are told about us.
func inspectConfig(c *cli.Context) (*inspect.Config, error) {
	config := &inspect.Config{Sensor: c.String("sensor"), Secrets: c.Bool("record-secrets")}
	if config.Sensor == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("the host's name cannot be found out, so give one by --sensor: %w", err)
		}
		config.Sensor = name
	}
	for _, s := range c.StringSlice("local-net") {
		net, err := network(s)
		if err != nil {
			return nil, usage("--local-net %w", err)
		}
		config.LocalNets = append(config.LocalNets, net)
	}
	for _, s := range c.StringSlice("local-domain") {
		config.LocalDomains = append(config.LocalDomains, strings.ToLower(strings.Trim(s, ".@ ")))
	}
	return config, nil
}

func location(c *cli.Context) *time.Location {
	if c.Bool("utc") {
		return time.UTC
	}
	return time.Local
}

// ports reads a list of port numbers.
func ports(c *cli.Context, flag string) ([]uint16, error) {
	var list []uint16
	for _, s := range c.StringSlice(flag) {
		var port uint16
		if _, err := fmt.Sscanf(s, "%d", &port); err != nil || port == 0 || fmt.Sprint(port) != s {
			return nil, usage("--%s %s: give port numbers from 1 to 65535", flag, s)
		}
		list = append(list, port)
	}
	return list, nil
}
