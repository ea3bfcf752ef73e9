package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

// configFlag names the file; what flags and the environment say wins over it.
const configFlag = "config"

func fileFlag() cli.Flag {
	return &cli.StringFlag{Name: configFlag, Usage: "take what no flag says from the YAML `FILE`; it is read again on SIGHUP"}
}

// given are the flags, beneath them what a configuration file says, and beneath it the defaults.
type given struct {
	*cli.Context
	file *configFile // nil: there is none
	used settings    // of the file, those that no flag wins over
}

// resolve reads the file that the flags name, if they do.
func resolve(c *cli.Context) (*given, error) {
	g := &given{Context: c}
	name := c.String(configFlag)
	if name == "" {
		return g, nil
	}
	file, err := readConfig(name)
	if err != nil {
		return nil, err
	}
	return g.over(file)
}

// over puts the flags over a file.
func (g *given) over(file *configFile) (*given, error) {
	c := g.Context
	used := settings{}
	for name, s := range file.settings {
		if hasFlag(c.Command, name) && !c.IsSet(name) && !aside(c, name) {
			used[name] = s
		}
	}
	layer, err := layered(c, used)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.name, err)
	}
	return &given{Context: layer, file: file, used: used}, nil
}

// aside says whether a flag means that the file's setting of another name is not to count.
func aside(c *cli.Context, name string) bool {
	switch name {
	case "archive":
		return c.IsSet("no-archive")
	case "no-archive":
		return c.IsSet("archive")
	case "i", "ring-size", "burst-size", "snaplen", "bpf-file", "user", "keep-days", "keep-size", "free-space":
		return c.IsSet("r")
	case "http":
		return c.Command.Name == "tap" && c.IsSet("r")
	}
	return false
}

func hasFlag(command *cli.Command, name string) bool { return flagOf(command, name) != nil }

func flagOf(command *cli.Command, name string) cli.Flag {
	for _, f := range command.Flags {
		if f.Names()[0] == name {
			return f
		}
	}
	return nil
}

// layered returns a context in which the settings are set, and all else is as in c.
func layered(c *cli.Context, s settings) (*cli.Context, error) {
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, f := range runFlags() {
		s, ok := s[f.Names()[0]]
		if !ok {
			continue
		}
		if err := f.Apply(set); err != nil {
			return nil, err
		}
		for _, value := range s.values {
			if err := set.Set(f.Names()[0], value); err != nil {
				return nil, err
			}
		}
	}
	layer := cli.NewContext(c.App, set, c)
	layer.Command = c.Command
	return layer, nil
}

// routes are those of the flags, or of the file.
func (g *given) routes() []givenRoute {
	var list []givenRoute
	for _, l := range listeners {
		for _, route := range g.StringSlice(l.flag) {
			list = append(list, givenRoute{flag: l.flag, route: route})
		}
	}
	if len(list) > 0 || g.file == nil {
		return list
	}
	for i := range g.file.listeners {
		l := &g.file.listeners[i]
		list = append(list, givenRoute{flag: l.flag, route: l.route.values[0], in: l})
	}
	return list
}

// givenRoute is a route as somebody wrote it.
type givenRoute struct {
	flag, route string
	in          *fileListener // nil: a flag
}

// placed puts before a complaint about --NAME where in the file NAME is, if it is there.
func (g *given) placed(err error, own ...settings) error {
	wrong, ok := errors.AsType[usageError](err)
	if !ok || g.file == nil {
		return err
	}
	text := wrong.Error()
	name, _, _ := strings.Cut(strings.TrimLeft(text, "-"), " ")
	name = strings.TrimRight(name, ":;,")
	for _, s := range append(own, g.used) {
		if s, ok := s[name]; ok && strings.HasPrefix(text, "-") {
			return usage("%s:%d: %s%s", g.file.name, s.line, s.key, strings.TrimPrefix(strings.TrimLeft(text, "-"), name))
		}
	}
	return err
}

// source says where a setting comes from.
func (g *given) source(name string) string {
	if s, ok := g.used[name]; ok {
		return fmt.Sprintf("%s:%d", g.file.name, s.line)
	}
	if !g.IsSet(name) {
		return "default"
	}
	if f, ok := flagOf(g.Command, name).(cli.DocGenerationFlag); ok {
		for _, variable := range f.GetEnvVars() {
			if value := os.Getenv(variable); value != "" && value == g.String(name) {
				return variable
			}
		}
	}
	return "flag"
}
