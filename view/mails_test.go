package view

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

func storedMail(text, path string, exact bool) *record.Message {
	sum := sha256.Sum256([]byte(text))
	return &record.Message{
		ID: "a.1", Via: "DATA", Octets: int64(len(text)), SHA256: hex.EncodeToString(sum[:]),
		Stored: &record.Stored{Path: path, Exact: exact},
	}
}

func TestMail(t *testing.T) {
	d := dataDir(t, map[string]string{
		"logs/x": "", "mail/.d/new/1.a": "Subject: x\n\ny\n", "mail/.d/new/2.a": "a\nb\r\n", "mail/.d/cur/3.a:2,S": "moved\n", "mail/.d/cur/3.ab:2,S": "other\n",
		"mail/.d/new/4.a": "changed\n", "mail/.d/new/5.a": "short",
	})
	for path, want := range map[string]string{
		"mail/.d/new/1.a": "Subject: x\r\n\r\ny\r\n", "mail/.d/new/2.a": "a\nb\r\n", "mail/.d/new/3.a": "moved\r\n",
	} {
		r, err := d.Mail(storedMail(want, path, path == "mail/.d/new/2.a"))
		if err != nil {
			t.Error(err)
			continue
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
		r.Close()
	}
	for path, text := range map[string]string{"mail/.d/new/4.a": "Changed\r\n", "mail/.d/new/5.a": "shorter"} {
		r, err := d.Mail(storedMail(text, path, false))
		if err != nil {
			t.Error(err)
			continue
		}
		if got, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "was changed") {
			t.Errorf("%s: %q, %v", path, got, err)
		}
		r.Close()
	}
}

func TestNoMail(t *testing.T) {
	d := dataDir(t, map[string]string{"logs/secrets": "x", "mail/.d/new/x": "x"})
	if err := os.Symlink("x", filepath.Join(d.Dir(), "mail", ".d", "new", "link")); err != nil {
		t.Log(err)
	}
	wanted := storedMail("x", "", false)
	wanted.Stored = nil
	failed := storedMail("x", "", false)
	failed.Stored = &record.Stored{Error: "disk full"}
	for want, m := range map[string]*record.Message{
		"no mail was sent": {ID: "a.1"}, "was not to be kept": wanted, "was not stored: disk full": failed,
		"is gone":            storedMail("x", "mail/.d/new/y", false),
		"is no path":         storedMail("x", "logs/secrets", false),
		"no path of a mail":  storedMail("x", "mail/../logs/secrets", false),
		"is no path of":      storedMail("x", "/etc/passwd", false),
		"not a regular file": storedMail("x", "mail/.d/new", false),
		"symbolic link":      storedMail("x", "mail/.d/new/link", false),
	} {
		if _, err := d.Mail(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
