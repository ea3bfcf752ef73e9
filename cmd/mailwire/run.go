package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/proxy"
	"github.com/mailwire/mailwire/tap"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "relay and capture in one process, as a configuration file says",
		ArgsUsage: " ",
		Description: `Does what proxy and tap -i do, with as many listeners and interfaces as the file names, and records all of it under one data
directory. The file's settings have the names of the flags; a flag wins over the file, and so does MAILWIRE_DATA.

   mailwire run --config /etc/mailwire/mailwire.yaml
   mailwire config check /etc/mailwire/mailwire.yaml

SIGHUP reads the file again: new listeners are opened, those that are gone take no more connections, and conversations go
on as they began.`,
		Flags:  runFlags(),
		Action: runAll,
	}
}

// runFlags are those of proxy and of a live tap.
func runFlags() []cli.Flag {
	flags := proxyCommand().Flags
	known := map[string]bool{"r": true, "c": true, "duration": true}
	for _, f := range flags {
		known[f.Names()[0]] = true
	}
	for _, f := range tapCommand().Flags {
		if !known[f.Names()[0]] {
			flags = append(flags, f)
		}
	}
	return flags
}

func runAll(c *cli.Context) error {
	if c.Args().Present() {
		return usage("run takes no argument %q; a file is named by --config FILE", c.Args().First())
	}
	return watch(c, runOptions)
}

// runOptions reads what is to be relayed and captured; nil for what is not.
func runOptions(g *given) (relayed *proxy.Options, captured *tap.Options, err error) {
	if len(g.routes()) > 0 {
		if relayed, _, err = relayOptions(g); err != nil {
			return nil, nil, err
		}
	}
	if len(g.StringSlice("i")) > 0 {
		if _, captured, err = captureOptions(g); err != nil {
			return nil, nil, err
		}
	}
	if relayed == nil && captured == nil {
		return nil, nil, usage("run needs something to watch; name listeners under proxy, or interfaces under tap, in a file for --config")
	}
	return relayed, captured, nil
}

// service is what one process watches, with one archive.
type service struct {
	*given
	flags    *cli.Context // without the file
	read     readOptions
	log      *logrus.Logger
	rare     *rareLog
	relay    *proxy.Proxy // nil: nothing is relayed
	tap      *tap.Live    // nil: nothing is captured
	captured *tap.Options // in force
	kept     *archive.Archive
	watch    *monitor
}

// readOptions makes options of what was given: of the proxy, of the tap, or of both.
type readOptions func(g *given) (*proxy.Options, *tap.Options, error)

// lateRecorder records when the archive is open, which is when the rights to open what is watched have been given up.
type lateRecorder struct{ inspect.Recorder }

// watch relays, captures, or does both, until it is told to end.
func watch(c *cli.Context, read readOptions) error {
	g, err := resolve(c)
	if err != nil {
		return err
	}
	relayed, captured, err := read(g)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // who reads the log may end, and no mail with it
	s := &service{given: g, flags: c, read: read}
	if s.log, err = newLog(g.Context); err != nil {
		return g.placed(err)
	}
	out := newUnhurried(c.App.ErrWriter)
	defer out.end()
	s.log.SetOutput(out)
	s.rare = newRareLog(s.log, out.full)
	hangups, ignore := s.hangups()
	defer ignore()
	to := new(lateRecorder)
	confined, err := s.open(relayed, captured, to)
	if err != nil {
		return errors.Join(err, s.close())
	}
	defer s.watch.stop()
	if relayed != nil {
		to.Recorder = s.watch.recorder(s.kept.NewRecorder())
		warnOpenRelay(s.log, relayed)
		s.log.WithFields(logrus.Fields{"routes": strings.Join(routeNames(relayed), " "), "data": s.String("data")}).Info("relaying")
		s.watch.listening(s.relay)
	}
	if captured != nil {
		s.log.WithFields(logrus.Fields{
			"interfaces": strings.Join(captured.Interfaces, " "), "data": s.String("data"), "confined": confined,
		}).Info("capturing")
		s.watch.capturing(s.tap)
	}
	notify("READY=1")
	return s.run(hangups)
}

// open opens all that is needed: first what needs rights, and when they are given up, the rest.
func (s *service) open(relayed *proxy.Options, captured *tap.Options, to inspect.Recorder) (confined string, err error) {
	if captured != nil {
		if err := s.openTap(captured); err != nil {
			return "", s.placed(err)
		}
		if err := s.openProxy(relayed, to); err != nil {
			return "", err
		}
		if err := dropTo(s.String("user"), relayed != nil); err != nil {
			return "", s.placed(err)
		}
	}
	if s.kept, err = openArchive(s.Context, s.log, true); err != nil {
		return "", s.placed(err)
	}
	if s.watch, err = startMonitor(s.Context, s.log, s.rare, s.kept); err != nil {
		return "", s.placed(err)
	}
	if captured == nil {
		err = s.openProxy(relayed, to)
	} else {
		confined, err = confine(relayed != nil, s.writable(relayed)...)
	}
	if err != nil {
		s.watch.stop()
	}
	return confined, err
}

func (s *service) openTap(o *tap.Options) (err error) {
	o.Warn = s.rare.warn
	s.captured = o
	s.tap, err = listenLive(s.Context, o)
	return err
}

// openProxy opens the listeners, if there are any.
func (s *service) openProxy(o *proxy.Options, to inspect.Recorder) (err error) {
	if o != nil {
		o.Warn, o.Recorder = s.rare.warn, to
		s.relay, err = proxy.Listen(s.Context.Context, *o)
	}
	return err
}

// writable are the directories that the process writes in: of the data, and of the sockets that it listens at.
func (s *service) writable(relayed *proxy.Options) []string {
	list := []string{s.String("data")}
	if relayed == nil {
		return list
	}
	for _, r := range relayed.Routes {
		if path, ok := strings.CutPrefix(r.Listen, "unix:"); ok && !strings.HasPrefix(path, "@") {
			list = append(list, filepath.Dir(path))
		}
	}
	return list
}

// close closes what open has opened.
func (s *service) close() (err error) {
	if s.tap != nil {
		s.tap.Close()
	}
	if s.relay != nil {
		s.relay.Close()
	}
	if s.kept != nil {
		err = s.kept.Close()
	}
	return err
}

// run watches until it is told to end, and says what it has seen.
func (s *service) run(hangups <-chan os.Signal) error {
	ctx, stop := context.WithCancel(s.Context.Context)
	defer stop()
	if d := s.Duration("duration"); d > 0 {
		ctx, stop = context.WithTimeout(ctx, d)
		defer stop()
	}
	again, end := onceMore(ctx, func() { notify("STOPPING=1"); s.watch.draining() })
	defer end()
	begin := time.Now()
	var parts, besides sync.WaitGroup
	var failed error
	besides.Go(func() { s.reloading(ctx, hangups) })
	processors := runtime.NumCPU()
	if s.relay != nil {
		processors += proxy.Loops() // each may keep one to itself
		parts.Go(func() {
			if failed = s.relay.Serve(ctx, again); failed != nil {
				stop()
			}
		})
	}
	if s.Bool("index") {
		besides.Go(func() { followIndex(ctx, s.log, s.String("data")) })
	}
	seen, enough := context.WithCancel(context.Background())
	defer enough()
	var captured tap.Stats
	if s.tap != nil {
		processors += len(s.StringSlice("i")) + 2 // who takes packets from the kernel, decodes them, and writes
		besides.Go(func() { tellLosses(seen, s.log, s.tap.Stats) })
		parts.Go(func() {
			captured = s.tap.Run(ctx, s.watch.recorder(s.kept.NewRecorder()))
			if s.relay == nil {
				stop() // it has captured what it was to
			}
		})
	}
	runtime.GOMAXPROCS(processors)
	parts.Wait()
	stop()
	enough()
	rested := make(chan struct{})
	go func() {
		defer close(rested)
		besides.Wait()
	}()
	select {
	case <-rested:
	case <-again.Done(): // they may wait for a disk that does not answer
	}
	err := errors.Join(failed, closeInTime(again, s.kept))
	s.rare.end()
	s.sum(captured, time.Since(begin))
	return err
}

// sum says what was relayed and captured.
func (s *service) sum(captured tap.Stats, took time.Duration) {
	stored := s.kept.Stats()
	if s.relay != nil {
		relayed := s.relay.Stats()
		s.log.WithFields(logrus.Fields{
			"connections": relayed.Accepted, "sessions": stored.Sessions, "mails": stored.Messages, "unstored": stored.NotStored,
			"overloaded": relayed.Overloaded[0] + relayed.Overloaded[1],
		}).Info("ended")
	}
	if s.tap != nil {
		fmt.Fprint(s.App.Writer, summary(s.String("data"), captured, stored, took))
	}
}
