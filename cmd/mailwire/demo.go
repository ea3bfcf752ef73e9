package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/tap"
)

func demoCommand() *cli.Command {
	return &cli.Command{
		Name:      "demo",
		Usage:     "record some sample mail, and show what was recorded",
		ArgsUsage: "[CAPTURE ...]",
		Description: `Starts a small mail server on this host, sends it some mail, right and wrong, and records the conversations. Then it
reads the capture files that are named, if any, and shows what there is to see and where.

   mailwire demo
   mailwire demo testdata/pcap/*.pcap`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Value: "mailwire-demo", Usage: "keep everything under `DIR`, which is made anew"},
		},
		Action: runDemo,
	}
}

func runDemo(c *cli.Context) error {
	dir := c.String("data")
	if err := makeAnew(dir); err != nil {
		return err
	}
	out := c.App.Writer
	config := &inspect.Config{Sensor: "demo", LocalDomains: []string{"example.net"}}
	fmt.Fprintln(out, "A mail server for example.net is started on this host, and four clients talk to it through the proxy.")
	seen, err := demoLive(c.Context, config, dir)
	if err != nil {
		return fmt.Errorf("the demo's mail server: %w", err)
	}
	files := c.Args().Slice()
	if len(files) == 0 {
		return showRecorded(out, dir, seen, 0)
	}
	fmt.Fprintf(out, "%d capture files are read.\n", len(files))
	read, packets, err := demoCaptures(c.Context, config, dir, files)
	if err != nil {
		return err
	}
	seen.Sessions += read.Sessions
	seen.Messages += read.Messages
	return showRecorded(out, dir, seen, packets)
}

// demoLive records what the demo's clients and its server say to each other.
func demoLive(ctx context.Context, config *inspect.Config, dir string) (archive.Stats, error) {
	kept, err := archive.Open(archive.Options{Dir: dir, Keep: archive.All, Live: true, PID: os.Getpid()})
	if err != nil {
		return archive.Stats{}, err
	}
	err = errors.Join(demoSessions(ctx, config, kept), kept.Close())
	return kept.Stats(), err
}

// demoCaptures records what is in capture files, one by one, as they have nothing to do with each other.
func demoCaptures(ctx context.Context, config *inspect.Config, dir string, files []string) (archive.Stats, int64, error) {
	kept, err := archive.Open(archive.Options{Dir: dir, Keep: archive.All, PID: os.Getpid()})
	if err != nil {
		return archive.Stats{}, 0, err
	}
	packets := int64(0)
	for _, file := range files {
		stats, err := tap.Read(ctx, tap.Options{
			Files: []string{file}, AnyPort: true, Location: time.Local, Inspect: config, Recorder: kept,
		})
		if err != nil {
			return kept.Stats(), packets, errors.Join(err, kept.Close())
		}
		packets += stats.Packets
	}
	err = kept.Close()
	return kept.Stats(), packets, err
}

// makeAnew removes what an earlier demo left in dir, and nothing else.
func makeAnew(dir string) error {
	mark := filepath.Join(dir, "demo")
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		if _, err := os.Stat(mark); err != nil {
			return fmt.Errorf("%s holds something else than a demo; name another directory by --data", dir)
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing the last demo: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the demo's directory, or name another by --data: %w", err)
	}
	return os.WriteFile(mark, nil, 0o600)
}

// showRecorded prints what the demo was for: samples of each log, and where everything is.
func showRecorded(out io.Writer, dir string, s archive.Stats, packets int64) error {
	today := time.Now().Format(time.DateOnly)
	logs := filepath.Join(dir, "logs")
	for _, sample := range []struct {
		title, file string
		lines       int
	}{
		{"Every dialogue, line by line as it happens", "smtp-sessions-" + today + ".log", 21},
		{"One line a mail", "mail-" + today + ".log", 3},
		{"One line a login attempt, ready for fail2ban", "auth-" + today + ".log", 2},
	} {
		path := filepath.Join(logs, sample.file)
		fmt.Fprintf(out, "\n%s: %s\n", sample.title, path)
		if err := head(out, path, sample.lines); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "\nRecorded: %s sessions and %s mails", count(s.Sessions), count(s.Messages))
	if packets > 0 {
		fmt.Fprintf(out, ", of them most from %s packets in captures", count(packets))
	}
	fmt.Fprintf(out, ".\n\n  %s/*.jsonl     the records: one JSON line a session, one a mail\n", logs)
	fmt.Fprintf(out, "  %s/*.log       the logs, one file a day\n", logs)
	folders, err := filepath.Glob(filepath.Join(dir, "mail", ".*", "new"))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "  %s/             the mails: %d folders that any mail client opens:\n", filepath.Join(dir, "mail"), len(folders))
	for _, f := range folders {
		fmt.Fprintf(out, "\n  mutt -f %s", filepath.Dir(f))
	}
	fmt.Fprint(out, "\n\nWhat was refused, to whom, and what that means; and what an administrator should know of all this:\n")
	for _, command := range []string{"sessions --errors", "report"} {
		fmt.Fprintf(out, "\n  %s %s --data %s", os.Args[0], command, dir)
	}
	fmt.Fprintln(out)
	return nil
}

// head prints the first lines of a file, indented.
func head(out io.Writer, path string, lines int) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(out, "  (nothing)")
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); lines-- {
		if lines == 0 {
			fmt.Fprintln(out, "  ...")
			break
		}
		fmt.Fprintln(out, " ", strings.TrimRight(s.Text(), " "))
	}
	return nil
}
