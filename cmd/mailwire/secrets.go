package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/view"
)

func secretsCommand() *cli.Command {
	return &cli.Command{
		Name:      "secrets",
		Usage:     "the passwords of a session or a user, where they were recorded; the audit log says who asked",
		ArgsUsage: "SESSION",
		Description: `Prints the passwords that a session's client sent, or all that were sent for a user, if mailwire recorded them (--record-secrets).
Before it does, it writes who asks, and when, to logs/audit.log in the data directory; where it cannot, it prints nothing.

   mailwire secrets d4ks
   mailwire secrets --user alice     the newest last, behind its session and how the login ended`,
		Flags: []cli.Flag{
			dataFlag(),
			&cli.StringFlag{Name: "user", Usage: "those sent for `NAME`, wrong ones too, instead of a session's; alice is alice@example.net too"},
			&cli.BoolFlag{Name: "json", Usage: "show the lines as they were kept"},
			&cli.BoolFlag{Name: "utc", Usage: "the time in the audit log in UTC"},
		},
		Action: runSecrets,
	}
}

func runSecrets(c *cli.Context) error {
	of := view.SecretsOf{User: c.String("user")}
	var id string
	var err error
	if of.User == "" {
		id, err = argument(c, "the id of a session, or --user NAME: mailwire secrets SESSION")
	} else if c.Args().Present() {
		err = usage("choose a session or --user")
	}
	if err != nil {
		return err
	}
	d, err := openReader(c)
	if err != nil {
		return err
	}
	defer d.Close()
	if of.User == "" {
		found, err := d.one(id)
		if err != nil {
			return err
		}
		of.Session = found.Session
	}
	var p view.Problems
	list, err := d.Secrets(of, asker(), record.Time{Time: time.Now().In(location(c))}, &p)
	tell(c, p.String())
	switch {
	case err != nil:
		return err
	case len(list) == 0 && of.User != "":
		return fmt.Errorf("no password was recorded of %s", view.Printable(of.User))
	case len(list) == 0:
		return fmt.Errorf("no password was recorded in the session %s", view.Printable(of.Session))
	}
	for _, x := range list {
		line := fmt.Sprintf("%s  %-12s  user %s  password %s", x.Time, x.Mechanism, x.User, x.Secret)
		if of.User != "" {
			line = fmt.Sprintf("%s  %-7s  %s", x.Session, d.outcome(&x), line)
		}
		line = view.Printable(line)
		if c.Bool("json") {
			b, err := json.Marshal(x)
			if err != nil {
				return err
			}
			line = view.PrintableJSON(b)
		}
		if _, err := fmt.Fprintln(c.App.Writer, line); err != nil {
			return err
		}
	}
	return nil
}

// outcome says how the login ended in which a secret was sent; that is unknown as long as its session goes on.
func (r *reader) outcome(x *view.Secret) string {
	if s, err := r.session(x.Session); err == nil {
		for _, a := range s.Auth {
			if a.Time.Equal(x.Time.Time) {
				return a.Outcome
			}
		}
	}
	return record.Unknown
}

// asker says who runs this program, as far as it can be known.
func asker() view.Asker {
	who := view.Asker{UID: strconv.Itoa(os.Getuid()), Sudo: os.Getenv("SUDO_USER"), SSH: os.Getenv("SSH_CLIENT")}
	if u, err := user.Current(); err == nil {
		who.User = u.Username
	}
	if name, err := os.Readlink("/proc/self/fd/0"); err == nil && strings.HasPrefix(name, "/dev/") {
		who.TTY = name
	}
	return who
}
