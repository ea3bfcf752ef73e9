package view

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect/record"
)

// Mail gives the octets that a mail had on the wire, without the dots that protected it there. At its end they are held
// against the record: where they differ, the last Read gives an error instead of io.EOF. A mail that is nowhere is an
// error that says why.
func (d *Data) Mail(m *record.Message) (io.ReadCloser, error) {
	switch {
	case m.Stored == nil && m.Via == "":
		return nil, fmt.Errorf("no mail was sent in %s, so there is none to show", Printable(m.ID))
	case m.Stored == nil:
		return nil, fmt.Errorf("the mail %s was not to be kept (--archive), only its record", Printable(m.ID))
	case m.Stored.Error != "":
		return nil, fmt.Errorf("the mail %s was not stored: %s", Printable(m.ID), record.AppendEscaped(nil, m.Stored.Error))
	}
	name := m.Stored.Path
	plain := string(record.AppendEscaped(nil, name)) == name // which has no backslash either
	if !strings.HasPrefix(name, "mail/") || path.Clean(name) != name || !plain {
		return nil, fmt.Errorf("the record of %s names %s, which is no path of a mail", Printable(m.ID), record.AppendQuoted(nil, name))
	}
	f, err := d.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = d.openMoved(name)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the file of the mail %s is gone: %s", Printable(m.ID), name)
	case err != nil:
		return nil, fmt.Errorf("the mail %s cannot be read: %w", Printable(m.ID), err)
	}
	return &mail{f: f, r: archive.WireReader(f, m.Stored.Exact), hash: sha256.New(), m: m}, nil
}

// openMoved opens a mail that a mail program has moved from new to cur, where it gets its flags behind its name.
func (d *Data) openMoved(name string) (*os.File, error) {
	dir, base := path.Split(name)
	folder, isNew := strings.CutSuffix(dir, "new/")
	if !isNew {
		return nil, fs.ErrNotExist
	}
	entries, err := fs.ReadDir(d.root.FS(), folder+"cur")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), base); ok && (rest == "" || strings.ContainsAny(rest[:1], ":,;!")) {
			return d.open(folder + "cur/" + e.Name())
		}
	}
	return nil, fs.ErrNotExist
}

type mail struct {
	f    *os.File
	r    io.Reader
	hash hash.Hash
	n    int64
	m    *record.Message
}

func (r *mail) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.hash.Write(p[:n])
	r.n += int64(n)
	if errors.Is(err, io.EOF) {
		switch sum := hex.EncodeToString(r.hash.Sum(nil)); {
		case r.n != r.m.Octets:
			err = fmt.Errorf("the file of the mail %s was changed: it has %d octets, the record says %d", Printable(r.m.ID), r.n, r.m.Octets)
		case r.m.SHA256 != "" && sum != r.m.SHA256:
			err = fmt.Errorf("the file of the mail %s was changed: its SHA-256 is %s, the record says %s", Printable(r.m.ID), sum, r.m.SHA256)
		}
	}
	return n, err
}

func (r *mail) Close() error { return r.f.Close() }
