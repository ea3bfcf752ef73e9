package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
)

const defaultConfig = "mailwire.yaml"

func configCommand() *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "check a configuration file, and say what would be in force",
		Subcommands: []*cli.Command{{
			Name:      "check",
			Usage:     "check a configuration file, and say what would be in force",
			ArgsUsage: "[FILE]",
			Description: `Reads FILE, mailwire.yaml if none is named, as mailwire run would, and prints each setting with where it comes from: the file,
a flag, the environment, or the default. Nothing is opened and nothing is changed. With the flags of mailwire run it says
what they would make of the file.`,
			Flags:        runFlags(),
			Action:       checkConfig,
			OnUsageError: wrongUsage,
		}},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usage("config has no %q; try mailwire config check FILE", c.Args().First())
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

func checkConfig(c *cli.Context) error {
	name := cmp.Or(c.Args().First(), c.String(configFlag), defaultConfig)
	if c.NArg() > 1 {
		return usage("config check takes one file, and its flags before it; %q is too much", c.Args().Get(1))
	}
	g, err := checked(c, name)
	if err != nil {
		return failure{err} // a file that is wrong is what this command is to find out
	}
	return g.show(c.App.Writer)
}

// failure is an error whose exit status is 1, also where something was written wrong.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// checked reads a file and makes of it all that can be made without opening anything.
func checked(c *cli.Context, name string) (*given, error) {
	file, err := readConfig(name)
	if err != nil {
		return nil, err
	}
	g, err := (&given{Context: c}).over(file)
	if err != nil {
		return nil, err
	}
	if _, err := newLog(g.Context); err != nil {
		return nil, g.placed(err)
	}
	if _, err := archiveOptions(g.Context, true); err != nil {
		return nil, g.placed(err)
	}
	if err := checkHTTP(g.String("http")); err != nil {
		return nil, g.placed(err)
	}
	if _, err := inspectConfig(g.Context); err != nil {
		return nil, g.placed(err)
	}
	if len(g.routes())+len(g.StringSlice("i")) > 0 { // else it is for proxy or tap, with flags that say what to watch
		_, _, err = runOptions(g)
	}
	return g, err
}

// show prints all settings with their sources.
func (g *given) show(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	row := func(name, value, source string) {
		fmt.Fprintf(table, "%s\t%s\t%s\n", name, cmp.Or(value, "-"), source)
	}
	var names []string
	for _, f := range runFlags() {
		if name := f.Names()[0]; !isRoute(name) && name != "i" && name != configFlag && name != "help" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		row(name, g.text(name), g.source(name))
	}
	for _, r := range g.routes() {
		if r.in == nil {
			row(r.flag, r.route, "flag")
			continue
		}
		row(r.flag, r.route, fmt.Sprintf("%s:%d", g.file.name, r.in.route.line))
		for _, name := range ownTerms {
			if s, ok := r.in.own[name]; ok {
				row("  "+name, strings.Join(s.values, ","), fmt.Sprintf("%s:%d", g.file.name, s.line))
			}
		}
	}
	for _, name := range g.StringSlice("i") {
		row("interface", name, g.source("i"))
	}
	return table.Flush()
}

// text is a setting as a file would have it.
func (g *given) text(name string) string {
	switch v := g.Value(name).(type) {
	case cli.StringSlice:
		return strings.Join(v.Value(), ",")
	case time.Duration:
		s := v.String()
		if strings.HasSuffix(s, "m0s") {
			s = strings.TrimSuffix(s, "0s")
		}
		if strings.HasSuffix(s, "h0m") {
			s = strings.TrimSuffix(s, "0m")
		}
		return s
	default:
		return fmt.Sprint(v)
	}
}
