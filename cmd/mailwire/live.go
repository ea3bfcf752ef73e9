package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/tap"
)

// The ports that a live tap looks at if it is not told otherwise.
var (
	smtpPorts = []uint16{25, 587, 2525, 465}
	pop3Ports = []uint16{110, 995}
)

// liveOptions adds to a tap's options what is for interfaces.
func liveOptions(c *cli.Context, o *tap.Options) (err error) {
	o.Interfaces = c.StringSlice("i")
	if len(o.SMTPPorts) == 0 {
		o.SMTPPorts = smtpPorts
	}
	if len(o.POP3Ports) == 0 {
		o.POP3Ports = pop3Ports
	}
	o.Filter, err = kernelFilter(c.String("bpf-file"))
	return err
}

// listenLive opens the interfaces.
func listenLive(c *cli.Context, o *tap.Options) (*tap.Live, error) {
	if err := mayCapture(); err != nil {
		return nil, err
	}
	live, err := tap.Listen(*o)
	switch {
	case errors.Is(err, tap.ErrNoInterface):
		return nil, usage("-i: %w; ip link shows those there are", err)
	case errors.Is(err, tap.ErrFilter) && o.Filter != nil:
		return nil, usage("--bpf-file %s: %w", c.String("bpf-file"), err)
	}
	return live, err
}

// kernelFilter reads --bpf-file.
func kernelFilter(name string) (tap.Filter, error) {
	if name == "" {
		return nil, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, usage("--bpf-file: %w", err)
	}
	defer file.Close()
	program, err := tap.ReadFilter(file)
	if err != nil {
		return nil, usage("--bpf-file %s: %w", name, err)
	}
	return program, nil
}

// tellLosses says what could not be seen: at once, and then every minute in which there is more of it, and at the end.
func tellLosses(ctx context.Context, log *logrus.Logger, stats func() tap.Stats) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	dropped := loss{advice: "the kernel dropped packets, as this host was too busy to take them; a larger --burst-size or --ring-size helps against bursts"}
	missed := loss{advice: "not everything was seen; what the kernel did not drop was lost on the way to this host: look at the mirror port"}
	for last := false; !last; {
		select {
		case <-ctx.Done():
			last = true
		case <-look.C:
		}
		now := stats()
		dropped.tell(log, last, map[string]int64{"packets": now.Dropped, "ring_freezes": now.Frozen})
		missed.tell(log, last, map[string]int64{
			"octets": now.Lost, "evicted_connections": now.Evicted, "incomplete_fragments": now.Unassembled,
		})
	}
}

// loss is what of one kind was lost.
type loss struct {
	advice string
	said   map[string]int64
	when   time.Time
}

// tell says what has come to it since it was said last, unless that was just now.
func (l *loss) tell(log *logrus.Logger, last bool, counts map[string]int64) {
	more := logrus.Fields{}
	for name, n := range counts {
		if n > l.said[name] {
			more[name] = n - l.said[name]
		}
	}
	if len(more) == 0 || !last && time.Since(l.when) < sayAgain {
		return
	}
	l.said, l.when = counts, time.Now()
	log.WithFields(more).Warn(l.advice)
}
