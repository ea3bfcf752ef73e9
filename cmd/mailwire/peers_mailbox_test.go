package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// checkMutt opens each folder of an archive in mutt: its index shows all subjects, and what it hands to a program are the
// octets of the mails.
func checkMutt(t *testing.T, got recorded) {
	dir := t.TempDir()
	rc, save := filepath.Join(dir, "muttrc"), filepath.Join(dir, "save")
	// Mutt asks whether to make a folder that is missing, and takes the first keys for the answer.
	write(t, rc, "set folder='"+dir+"' index_format='subject:%s' charset=utf-8 wait_key=no pipe_decode=no header_cache=''\n", 0o600)
	write(t, save, "#!/bin/sh\ncat >\"$(mktemp -p '"+dir+"' --suffix=.got)\"\n", 0o700)
	for folder, mails := range folders(t, got) {
		keys := "<first-entry>" + strings.Repeat("<pipe-message>"+save+"<enter><next-entry>", len(mails)) + "<exit>"
		command := fmt.Sprintf("mutt -n -F %s -R -f %s -e 'push \"%s\"'", rc, filepath.Join(got.dir, "mail", folder), keys)
		cmd := underKnownName(t.Context(), "script", "-qec", command, "/dev/null")
		cmd.Env = append(os.Environ(), "HOME="+dir, "TERM=xterm", "LC_ALL=C.UTF-8")
		screen, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %q", command, err, screen)
		}
		var seen []string
		for name, data := range files(t, dir) {
			if strings.HasSuffix(name, ".got") {
				seen = append(seen, data)
				os.Remove(dir + name)
			}
		}
		var want []string
		for _, m := range mails {
			want = append(want, m.text)
			if m.subject != "" && !bytes.Contains(screen, []byte("subject:"+m.subject)) {
				t.Errorf("%s: the index of mutt does not show the subject %q", folder, m.subject)
			}
		}
		compareTexts(t, "mutt "+folder, seen, want)
	}
}

// checkDovecot lets Dovecot serve a copy of an archive.
func checkDovecot(t *testing.T, got recorded) {
	dir := sharedDir(t)
	if err := os.CopyFS(filepath.Join(dir, "mail"), os.DirFS(filepath.Join(got.dir, "mail"))); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "conf")
	write(t, conf, fmt.Sprintf("mail_location = maildir:%s/mail\nbase_dir = %s/run\nlog_path = /dev/stderr\nssl = no\nfirst_valid_uid = 8\nfirst_valid_gid = 8\n", dir, dir), 0o644)
	if out, err := exec.Command("chown", "-R", "mail:mail", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for folder, mails := range folders(t, got) {
		cmd := underKnownName(t.Context(), "setpriv", "--reuid", "mail", "--regid", "mail", "--clear-groups", "doveadm", "-c", conf, "-f", "json",
			"fetch", "hdr.subject.utf8 text", "mailbox", strings.TrimPrefix(folder, "."), "all")
		cmd.Env = append(os.Environ(), "USER=mail", "HOME="+dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v: %s", cmd, err, &stderr)
		}
		var fetched []struct {
			Subject string `json:"hdr.subject.utf8"`
			Text    string
		}
		if err := json.Unmarshal(out, &fetched); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var seen, want []string
		for _, f := range fetched {
			seen = append(seen, f.Subject+"\n"+f.Text)
		}
		for _, m := range mails {
			want = append(want, m.subject+"\n"+m.text)
		}
		compareTexts(t, "Dovecot "+folder, seen, want)
	}
}

// archivedMail is a mail as its record and its octets say, with the line ends of Unix.
type archivedMail struct{ subject, text string }

// folders returns the archived mails by their folder.
func folders(t *testing.T, got recorded) map[string][]archivedMail {
	t.Helper()
	all := map[string][]archivedMail{}
	for _, m := range got.messages {
		if m.Via == "" {
			continue
		}
		mail := archivedMail{text: string(bytes.ReplaceAll(archived(t, got.dir, m), []byte("\r\n"), []byte("\n")))}
		if m.Header != nil {
			mail.subject = m.Header.Subject
		}
		folder := filepath.Base(filepath.Dir(filepath.Dir(m.Stored.Path)))
		all[folder] = append(all[folder], mail)
	}
	if len(all) == 0 {
		t.Fatal("no mails")
	}
	return all
}

func compareTexts(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// sharedDir is a directory that servers may look into when they have dropped their rights, with a name short enough for the
// paths of sockets.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, file, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
