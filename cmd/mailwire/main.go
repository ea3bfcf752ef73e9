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
	"syscall"

	"github.com/urfave/cli/v2"
)

func main() {
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
		Commands:             []*cli.Command{proxyCommand(), tapCommand(), demoCommand(), versionCommand(), completionCommand()},
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
	err := app.RunContext(ctx, args)
	var wrong usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintln(stderr, "mailwire:", err)
		return 2
	}
	fmt.Fprintln(stderr, "mailwire:", err)
	return 1
}

func wrongUsage(c *cli.Context, err error, _ bool) error {
	name := "mailwire"
	if c.Command != nil && c.Command.Name != "" && c.Command.Name != name {
		name += " " + c.Command.Name
	}
	return usage("%w; see %s --help", err, name)
}
