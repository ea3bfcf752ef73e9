package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/view"
	"github.com/mailwire/mailwire/view/index"
)

// dataFlag names the directory that is read.
func dataFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "data", Value: "mailwire-data", EnvVars: []string{"MAILWIRE_DATA"},
		Usage: "read what is in `DIR`",
	}
}

// outFlags say where something goes that is no text for a terminal.
func outFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "o", Usage: "write to `FILE` instead of standard output"},
		&cli.BoolFlag{Name: "force", Usage: "with -o: replace a file that is there"},
	}
}

// argument returns the only argument of a command.
func argument(c *cli.Context, what string) (string, error) {
	if c.Args().Len() != 1 || c.Args().First() == "" {
		return "", usage("%s needs %s", c.Command.HelpName, what)
	}
	return c.Args().First(), nil
}

// styleOf is with colours where a person reads that did not ask for none (https://no-color.org).
func styleOf(c *cli.Context) view.Style {
	return view.Style{Colour: isTerminal(c.App.Writer) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// tell says something on standard error.
func tell(c *cli.Context, text string) {
	if text != "" {
		fmt.Fprintln(c.App.ErrWriter, "mailwire:", view.PrintableLines(text))
	}
}

// reader is a data directory that is read, with its index if that is of use.
type reader struct {
	*view.Data
	c     *cli.Context
	index *index.Index // nil: all records are gone through
}

func openReader(c *cli.Context) (*reader, error) {
	d, err := view.Open(c.String("data"))
	if err != nil {
		return nil, err
	}
	r := &reader{Data: d, c: c}
	x, err := index.Open(c.Context, d, index.Options{Warn: func(s string) { tell(c, s) }})
	if err == nil {
		if _, err = x.CatchUp(c.Context); err != nil {
			err = errors.Join(err, x.Close())
			x = nil
		}
	}
	if err != nil {
		tell(c, fmt.Sprintf("the index cannot be used, so all records are gone through: %v", err))
	}
	r.index = x
	return r, nil
}

func (r *reader) Close() error {
	var err error
	if r.index != nil {
		err = r.index.Close()
	}
	return errors.Join(err, r.Data.Close())
}

// one finds the one record that an id names.
func (r *reader) one(id string) (view.Found, error) {
	found, err := r.all(id)
	if err != nil {
		return view.Found{}, err
	}
	for _, f := range found {
		if strings.EqualFold(f.ID, id) {
			return f, nil
		}
	}
	switch len(found) {
	case 0:
		if r.index != nil { // it may be in a line that is left out
			_ = tellProblems(r.c, r.index)
		}
		return view.Found{}, fmt.Errorf("there is no session, mail, Message-ID or queue id %s in %s", view.Printable(id), r.Dir())
	case 1:
		return found[0], nil
	}
	const most = 20
	var b strings.Builder
	fmt.Fprintf(&b, "%s may be any of these, so give the whole id of one:", view.Printable(id))
	for _, f := range found[:min(len(found), most)] {
		fmt.Fprintf(&b, "\n  %-19s %s", view.Printable(f.ID), f.Text)
	}
	if len(found) >= most {
		b.WriteString("\n  and perhaps others")
	}
	return view.Found{}, errors.New(b.String())
}

// all finds what an id may name.
func (r *reader) all(id string) ([]view.Found, error) {
	if r.index != nil {
		found, err := r.index.Find(r.c.Context, id)
		if err == nil {
			return found, nil
		}
		tell(r.c, fmt.Sprintf("the index cannot be used, so all records are gone through: %v", err))
	}
	var p view.Problems
	found, err := r.Find(id, &p)
	tell(r.c, p.String())
	return found, err
}

// session reads the session that an id names, or the one of the mail that it names.
func (r *reader) session(id string) (*record.Session, error) {
	f, err := r.one(id)
	if err != nil {
		return nil, err
	}
	if !f.Message {
		return r.Session(f.Place)
	}
	return r.sessionOf(f.Session)
}

// sessionOf reads a mail's session; there is no record of it as long as it is open.
func (r *reader) sessionOf(id string) (*record.Session, error) {
	f, err := r.one(id)
	if err != nil {
		return nil, fmt.Errorf("the session %s has no record yet, and may still be open: %w", view.Printable(id), err)
	}
	return r.Session(f.Place)
}

// message reads the mail that an id names; a session that has one mail only names that.
func (r *reader) message(id string) (*record.Message, error) {
	f, err := r.one(id)
	if err != nil {
		return nil, err
	}
	if f.Message {
		return r.Message(f.Place)
	}
	s, err := r.Session(f.Place)
	if err != nil {
		return nil, err
	}
	list, err := r.MessagesOf(s, nil)
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, fmt.Errorf("the session %s has no mail", view.Printable(s.ID))
	case len(list) > 1:
		return nil, fmt.Errorf("the session %s has %d mails, so name one, as %s", view.Printable(s.ID), len(list), view.Printable(list[0].ID))
	}
	return list[0], nil
}

// writeJSON writes a record for a person to read: indented, and fit for a terminal.
func writeJSON(c *cli.Context, line []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, line, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintln(c.App.Writer, view.PrintableJSON(b.Bytes()))
	return err
}

// writeOut writes what is foreign and may be binary: to a file that must not be there yet, or to standard output, if
// that is no terminal.
func writeOut(c *cli.Context, name string, write func(io.Writer) error) (err error) {
	if name == "" || name == "-" {
		if isTerminal(c.App.Writer) {
			return errors.New("standard output is a terminal, which foreign octets might drive; name a file, or use a pipe")
		}
		return write(c.App.Writer)
	}
	if c.Bool("force") {
		return replaceFile(name, write)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already; --force replaces it", name)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

// replaceFile writes a file that only its owner may read. It gets its name when it is whole. What is no file, as a device
// or a pipe, is written to and stays.
func replaceFile(name string, write func(io.Writer) error) error {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".mailwire-*")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
