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
		log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true})
	case "json":
		log.SetFormatter(&logrus.JSONFormatter{})
	default:
		return nil, usage("--log-format %s: choose from text and json", format)
	}
	return log, nil
}

// openArchive opens the data directory as the flags say; live: for what is seen as it happens.
func openArchive(c *cli.Context, log *logrus.Logger, live bool) (*archive.Archive, error) {
	keep, err := archive.ParseKinds(c.String("archive"))
	if err != nil {
		return nil, usage("--archive: %w", err)
	}
	if c.Bool("no-archive") {
		keep = archive.None
	}
	layout := c.String("maildir")
	if layout != "day" && layout != "flat" {
		return nil, usage("--maildir %s: choose from day and flat", layout)
	}
	return archive.Open(archive.Options{
		Dir: c.String("data"), Keep: keep, Flat: layout == "flat", Fsync: c.Bool("fsync"),
		Secrets: c.Bool("record-secrets"), Live: live, PID: os.Getpid(), Warn: func(msg string) { log.Warn(msg) },
	})
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
