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
		Usage:     "the passwords of a session, where they were recorded; the audit log says who asked",
		ArgsUsage: "SESSION",
		Description: `Prints the passwords that a session's client sent, if mailwire recorded them (--record-secrets). Before it does, it writes who asks,
and when, to logs/audit.log in the data directory; where it cannot, it prints nothing.`,
		Flags: []cli.Flag{
			dataFlag(),
			&cli.BoolFlag{Name: "json", Usage: "show the lines as they were kept"},
			&cli.BoolFlag{Name: "utc", Usage: "the time in the audit log in UTC"},
		},
		Action: runSecrets,
	}
}

func runSecrets(c *cli.Context) error {
	id, err := argument(c, "the id of a session: mailwire secrets SESSION")
	if err != nil {
		return err
	}
	d, err := openReader(c)
	if err != nil {
		return err
	}
	defer d.Close()
	found, err := d.one(id)
	if err != nil {
		return err
	}
	var p view.Problems
	list, err := d.Secrets(found.Session, asker(), record.Time{Time: time.Now().In(location(c))}, &p)
	tell(c, p.String())
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("no password was recorded in the session %s", found.Session)
	}
	for _, x := range list {
		line := view.Printable(fmt.Sprintf("%s  %-12s  user %s  password %s", x.Time, x.Mechanism, x.User, x.Secret))
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
