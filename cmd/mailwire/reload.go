package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/sirupsen/logrus"
)

// hangups returns a channel for SIGHUP if there is a file to read again, and how to ignore it from then on.
func (s *service) hangups() (hangups chan os.Signal, ignore func()) {
	if s.file == nil {
		return nil, func() {}
	}
	hangups = make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	return hangups, func() { signal.Ignore(syscall.SIGHUP) }
}

// reloading reads the file again at each SIGHUP, until ctx is done.
func (s *service) reloading(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		notify("RELOADING=1\n" + monotonic())
		if err := s.reload(ctx); err != nil && ctx.Err() == nil {
			s.log.Errorf("%s is not in force, and what was before still is: %v", s.file.name, err)
		}
		notify("READY=1")
	}
}

// reload puts the file in force as it is now.
func (s *service) reload(ctx context.Context) error {
	next, err := resolve(s.flags)
	if err != nil {
		return err
	}
	relayed, captured, err := s.read(next)
	if err != nil {
		return err
	}
	if (relayed == nil) != (s.relay == nil) || (captured == nil) != (s.tap == nil) {
		return fmt.Errorf("it has listeners, or interfaces, where there were none, or none where there were; that needs a restart")
	}
	level, err := logrus.ParseLevel(next.String("log-level"))
	if err != nil {
		return next.placed(usage("--log-level %s: choose from error, warn, info and debug", next.String("log-level")))
	}
	if s.tap != nil {
		if err := s.tap.Reconfigure(*captured); err != nil {
			return err
		}
	}
	if s.relay != nil {
		if err := s.relay.Reconfigure(ctx, *relayed); err != nil {
			if s.tap != nil {
				err = errors.Join(err, s.tap.Reconfigure(*s.captured))
			}
			return err
		}
		s.log.WithField("routes", strings.Join(routeNames(relayed), " ")).Info("reloaded " + s.file.name)
		warnOpenRelay(s.log, relayed)
	}
	s.captured = captured
	s.log.SetLevel(level)
	if fixed := s.fixed(next); len(fixed) > 0 {
		s.log.Warnf("%s: %s cannot change without a restart; until then the old value stays", s.file.name, strings.Join(fixed, ", "))
	}
	return nil
}

// fixed are the settings that differ from those at the start, and cannot be changed.
func (s *service) fixed(next *given) (names []string) {
	changeable := map[string]bool{
		"sensor": true, "local-net": true, "local-domain": true, "log-level": true, "i": true,
		"max-connections": true, "drain-timeout": true, "session-budget": true, "total-budget": true,
	}
	for _, name := range ownTerms {
		changeable[name] = true
	}
	all := settings{}
	maps.Copy(all, s.used)
	maps.Copy(all, next.used)
	for name, setting := range all {
		if !changeable[name] && fmt.Sprint(s.Value(name)) != fmt.Sprint(next.Value(name)) {
			names = append(names, setting.key)
		}
	}
	slices.Sort(names)
	return names
}
