package view

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
)

const auditLog = "logs/audit.log"

// Secret is a password or token that was kept (--record-secrets).
type Secret struct {
	V         int             `json:"v"`
	Type      string          `json:"type"` // "secret"
	Time      record.Time     `json:"time"`
	Session   string          `json:"session"`
	Protocol  string          `json:"protocol"`
	Client    record.Endpoint `json:"client"`
	Server    record.Endpoint `json:"server"`
	Mechanism string          `json:"mechanism"`
	User      string          `json:"user"`
	Secret    string          `json:"secret"`
}

// SecretsOf says whose secrets are asked for: a session's, or those that a user sent.
type SecretsOf struct{ Session, User string }

func (of SecretsOf) has(x *Secret) bool {
	if of.User != "" {
		return isUser(x.User, of.User)
	}
	return x.Session == of.Session
}

// Asker is who wants to see a secret, as the audit log says.
type Asker struct{ User, UID, Sudo, TTY, SSH string }

// Secrets gives secrets to who asks, in the order in which they were sent. That is written to the audit log first; where it cannot be
// written, there are none.
func (d *Data) Secrets(of SecretsOf, who Asker, now record.Time, p *Problems) ([]Secret, error) {
	days, kept, err := d.secretDays()
	if err != nil {
		return nil, err
	}
	if !kept {
		return nil, fmt.Errorf("no passwords were kept in %s; mailwire keeps them only where it is told to by --record-secrets", d.dir)
	}
	if err := d.audit(of, who, now); err != nil {
		return nil, fmt.Errorf("the audit log %s cannot be written, and without it no password is shown: %w", auditLog, err)
	}
	var list []Secret
	for _, day := range days {
		name := "logs/secrets-" + day + ".jsonl"
		err := d.lines(name, 0, func(offset int64, octets int, line []byte) bool {
			var x Secret
			err := json.Unmarshal(line, &x)
			switch {
			case x.V > record.Version:
				p.bad(errNewer, name, offset)
			case err != nil || x.V < 1 || x.Type != "secret":
				p.bad(errNoRecord, name, offset)
			case of.has(&x):
				list = append(list, x)
			}
			return true
		})
		if err != nil {
			p.unread(name, err)
		}
	}
	slices.SortStableFunc(list, func(a, b Secret) int { return a.Time.Compare(b.Time.Time) })
	return list, nil
}

func (d *Data) secretDays() (days []string, kept bool, err error) {
	entries, err := fs.ReadDir(d.root.FS(), "logs")
	if err != nil {
		return nil, false, fmt.Errorf("the logs in %s cannot be listed: %w", d.dir, err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".jsonl")
		day, is := strings.CutPrefix(name, "secrets-")
		if ok && is && isDay(day) {
			days = append(days, day)
		}
	}
	slices.Sort(days)
	return days, len(days) > 0, nil
}

// audit appends a line to the audit log, and has it on the disk.
func (d *Data) audit(of SecretsOf, who Asker, now record.Time) error {
	info, err := d.root.Lstat(auditLog)
	missing := errors.Is(err, fs.ErrNotExist)
	flag := os.O_WRONLY | os.O_APPEND
	switch {
	case missing:
		flag |= os.O_CREATE | os.O_EXCL
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("it is not a regular file")
	}
	f, err := d.root.OpenFile(auditLog, flag, 0o600)
	if err != nil {
		return err
	}
	opened, err := f.Stat()
	if err == nil && !missing && !os.SameFile(info, opened) {
		err = errors.New("it became another file while it was opened")
	}
	if err == nil {
		err = f.Chmod(0o600)
	}
	if err == nil {
		line := append(now.Append(nil), " SECRETS "...)
		if of.User != "" {
			line = record.AppendQuoted(append(line, "of="...), of.User)
		} else {
			line = record.AppendEscaped(append(line, "session="...), of.Session)
		}
		for _, f := range []struct{ name, value string }{
			{"user", who.User}, {"uid", who.UID}, {"sudo", who.Sudo}, {"tty", who.TTY}, {"ssh", who.SSH},
		} {
			if f.value != "" {
				line = record.AppendQuoted(append(line, " "+f.name+"="...), f.value)
			}
		}
		_, err = f.Write(append(line, '\n'))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
