// Command mailwire shows what really happens between mail servers and their clients. This package is the command line:
// flags become options, the parts are wired together, and nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/view"
)

func main() {
	signal.Ignore(syscall.SIGHUP) // a terminal that closes, or a rotation of logs, cuts no mail
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// usageError is what the user wrote wrong: exit status 2.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run is the program: it returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	app := &cli.App{
		Name:                 "mailwire",
		Usage:                "see what really happens between mail servers and their clients",
		Reader:               stdin,
		Writer:               stdout,
		ErrWriter:            stderr,
		HideVersion:          true,
		EnableBashCompletion: true,
		Commands:             []*cli.Command{proxyCommand(), tapCommand(), runCommand(), configCommand(), demoCommand(), sessionsCommand(), reindexCommand(), showCommand(), mailCommand(), replayCommand(), secretsCommand(), reportCommand(), checkCommand(), traceCommand(), versionCommand(), completionCommand()},
		OnUsageError:         wrongUsage,
		ExitErrHandler:       func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usage("there is no command %q; mailwire help lists those there are", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, c := range app.Commands {
		c.OnUsageError = wrongUsage
	}
	err := app.RunContext(ctx, flagsFirst(app.Commands, args))
	var wrong usageError
	var failed failure
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "mailwire:", view.PrintableLines(err.Error()))
	if errors.As(err, &wrong) && !errors.As(err, &failed) {
		return 2
	}
	return 1
}

func wrongUsage(c *cli.Context, err error, _ bool) error {
	name := "mailwire"
	if c.Command != nil && c.Command.Name != "" && c.Command.Name != name {
		name = c.Command.HelpName
		for _, f := range c.Command.Flags {
			flag := "-" + f.Names()[0]
			if !strings.HasSuffix(err.Error(), "for flag "+flag+": parse error") {
				continue
			}
			if len(flag) > 2 {
				flag = "-" + flag
			}
			if _, ok := f.(*cli.DurationFlag); ok {
				return usage("%s: give a number with its unit, like 3s or 10m", flag)
			}
			return usage("%s: give a whole number", flag)
		}
	}
	return usage("%w; see %s --help", err, name)
}
