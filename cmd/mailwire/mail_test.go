package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

func digest(octets string) string {
	sum := sha256.Sum256([]byte(octets))
	return hex.EncodeToString(sum[:])
}

// TestExport: each mail comes out with the octets of the wire, each part with those that the record speaks of.
func TestExport(t *testing.T) {
	mails, parts := 0, 0
	for _, name := range []string{"postfix-simple", "postfix-clients", "exim-bdat", "dovecot-pop3", "postfix-smuggling"} {
		file := "../../testdata/pcap/" + name + ".pcap"
		if _, err := os.Stat(file); err != nil {
			continue
		}
		got := record1(t, file, "--utc")
		for _, m := range got.messages {
			if m.Stored == nil || m.Stored.Path == "" {
				continue
			}
			mails++
			status, whole, stderr := mailwire(t, nil, "mail", "export", m.ID, "--data", got.dir)
			if status != 0 || len(m.Holes) == 0 && stderr != "" || digest(whole) != m.SHA256 {
				t.Errorf("%s: status %d, %s, %d octets", m.ID, status, stderr, len(whole))
			}
			status, mbox, _ := mailwire(t, nil, "mail", "export", "--mbox", m.ID, "--data", got.dir)
			if want := strings.ReplaceAll(whole, "\r\n", "\n"); status != 0 || fromMbox(t, mbox) != strings.TrimSuffix(want, "\n") {
				t.Errorf("%s: %s", m.ID, mbox)
			}
			for i, p := range m.Parts {
				parts++
				status, part, stderr := mailwire(t, nil, "mail", "export", "--part", strconv.Itoa(i+1), m.ID, "--data", got.dir)
				if status != 0 || int64(len(part)) != p.Octets || p.SHA256 != "" && digest(part) != p.SHA256 {
					t.Errorf("%s part %d: status %d, %s, %d octets, not %d", m.ID, i+1, status, stderr, len(part), p.Octets)
				}
			}
			status, _, stderr = mailwire(t, nil, "mail", "export", m.ID, "--part", strconv.Itoa(len(m.Parts)+1), "--data", got.dir)
			if status != 1 || !strings.Contains(stderr, "has no part") {
				t.Errorf("%s: status %d, %s", m.ID, status, stderr)
			}
		}
	}
	if mails < 10 || parts < 10 {
		t.Errorf("only %d mails and %d parts", mails, parts)
	}
}

// fromMbox undoes what mboxrd does to one mail, but for the last line end.
func fromMbox(t *testing.T, mbox string) string {
	t.Helper()
	first, rest, ok := strings.Cut(mbox, "\n")
	if !ok || !regexp.MustCompile(`^From \S+ \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$`).MatchString(first) {
		t.Errorf("%q begins no mbox", first)
	}
	if regexp.MustCompile(`(?m)^From `).MatchString(rest) {
		t.Error("a line looks like the next mail's first")
	}
	rest = regexp.MustCompile(`(?m)^>(>*From )`).ReplaceAllString(rest, "$1")
	return strings.TrimSuffix(rest, "\n\n")
}

// storeMail makes a data directory with one mail, as it was on the wire.
func storeMail(t *testing.T, octets string, m record.Message) (dir string) {
	t.Helper()
	dir = t.TempDir()
	at := record.Time{Time: time.Date(2026, 11, 22, 3, 4, 5, 0, time.UTC)}
	s := record.Session{V: 1, Type: "session", ID: m.Session, Begin: at, End: at, Messages: 1, Banner: "220 mx"}
	m.Begin, m.End = at, at
	m.V, m.Type, m.Protocol, m.Via, m.Octets, m.SHA256 = 1, "message", record.SMTP, "DATA", int64(len(octets)), digest(octets)
	m.Stored = &record.Stored{Path: "mail/new/1.x", Exact: true}
	for name, text := range map[string]string{
		"mail/new/1.x": octets, "logs/messages-2026-11-22.jsonl": string(m.AppendJSON(nil)) + "\n",
		"logs/sessions-2026-11-22.jsonl": string(s.AppendJSON(nil)) + "\n",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestMbox(t *testing.T) {
	long := strings.Repeat("x", 64<<10-1)
	octets := "Subject: x\r\n\r\nFrom here\r\n>From there\r\n>>From far\r\nnot From\r\nFromage\r\n" + long + "\r\nFrom behind\r\n" + long + "xFrom in the middle\r\nopen"
	dir := storeMail(t, octets, record.Message{ID: "abcd.1", Session: "abcd", Transaction: 1})
	status, mbox, stderr := mailwire(t, nil, "mail", "export", "--mbox", "abcd.1", "--data", dir)
	if want := strings.ReplaceAll(octets, "\r\n", "\n"); status != 0 || fromMbox(t, mbox) != want {
		t.Errorf("status %d, %s: %d octets, not %d", status, stderr, len(mbox), len(want))
	}
	if !strings.Contains(mbox, "\n>From here\n>>From there\n>>>From far\n") || !strings.HasPrefix(mbox, "From MAILER-DAEMON ") {
		t.Errorf("%.200s", mbox)
	}
}

// TestExportTo: no file is lost, nor left behind half, and none is named by a mail.
func TestExportTo(t *testing.T) {
	octets := "Content-Type: text/x; name=\"../evil\"\r\n\r\nhello\r\n"
	dir := storeMail(t, octets, record.Message{ID: "abcd.1", Session: "abcd", Transaction: 1, Parts: []record.Part{{Type: "text/x", Name: "../evil", Octets: 7}}})
	t.Chdir(t.TempDir())
	export := func(want int, args ...string) string {
		t.Helper()
		status, stdout, stderr := mailwire(t, nil, append([]string{"mail", "export", "abcd.1", "--data", dir}, args...)...)
		if status != want || stdout != "" && args != nil {
			t.Errorf("%q: status %d, %s%s", args, status, stdout, stderr)
		}
		return stderr
	}
	export(0, "-o", "mail.eml")
	if data, err := os.ReadFile("mail.eml"); err != nil || string(data) != octets {
		t.Errorf("%q, %v", data, err)
	}
	if stderr := export(1, "-o", "mail.eml", "--part", "1"); !strings.Contains(stderr, "is there already") {
		t.Error(stderr)
	}
	export(0, "-o", "mail.eml", "--part", "1", "--force")
	if data, err := os.ReadFile("mail.eml"); err != nil || string(data) != "hello\r\n" {
		t.Errorf("%q, %v", data, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mail/new/1.x"), []byte(strings.ToUpper(octets)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-o", "changed.eml"}, {"-o", "mail.eml", "--force"}, {"-o", "changed.eml", "--part", "1"}, {"-o", "changed.mbox", "--mbox"}} {
		if stderr := export(1, args...); !strings.Contains(stderr, "was changed: its SHA-256 is") {
			t.Errorf("%q: %s", args, stderr)
		}
	}
	if err := os.Remove(filepath.Join(dir, "mail/new/1.x")); err != nil {
		t.Fatal(err)
	}
	if stderr := export(1); !strings.Contains(stderr, "is gone") {
		t.Error(stderr)
	}
	entries, err := os.ReadDir(".")
	if err != nil || len(entries) != 1 || entries[0].Name() != "mail.eml" {
		t.Errorf("%v, %v", entries, err)
	}
	if data, err := os.ReadFile("mail.eml"); err != nil || string(data) != "hello\r\n" {
		t.Errorf("%q, %v", data, err)
	}
}

// TestMboxWithoutOne: a mail whose file is gone keeps no other out of an mbox.
func TestMboxWithoutOne(t *testing.T) {
	dir := recordedDir(t, "postfix-simple", "dovecot-pop3-clients")
	_, list, _ := mailwire(t, nil, "mail", "list", "--json", "--data", dir)
	var ids []string
	for line := range strings.Lines(list) {
		var m record.Message
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m.Stored != nil && len(ids) < 3 {
			if ids = append(ids, m.ID); len(ids) == 2 {
				if err := os.Remove(filepath.Join(dir, m.Stored.Path)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	status, mbox, stderr := mailwire(t, nil, append([]string{"mail", "export", "--mbox", "--data", dir}, ids...)...)
	if status != 1 || strings.Count("\n"+mbox, "\nFrom ") != 2 {
		t.Errorf("status %d: %s", status, mbox)
	}
	if !strings.Contains(stderr, "the file of the mail "+ids[1]+" is gone") || !strings.Contains(stderr, "1 of 3 mails are not there") {
		t.Error(stderr)
	}
	status, mbox, stderr = mailwire(t, nil, "mail", "export", "--mbox", "--data", dir, ids[1], ids[1])
	if status != 1 || mbox != "" || !strings.Contains(stderr, "2 of 2 mails are not there") {
		t.Errorf("status %d: %s%s", status, mbox, stderr)
	}
}

func TestMailShow(t *testing.T) {
	octets := "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-Own: \x1b[2J\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n" +
		"Content-Transfer-Encoding: quoted-printable\r\n\r\nSch=F6n =1B[31m\r\n--b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		"aGVsbG8=\r\n--b--\r\n"
	from := "a@example.org"
	dir := storeMail(t, octets, record.Message{
		ID: "abcd.1", Session: "abcd", Transaction: 1, From: &from, Params: map[string]string{"SIZE": "100"}, Outcome: "accepted", QueueID: "4XyZ",
		Rcpt:   []record.Rcpt{{To: "b@example.net", Code: 250, Enhanced: "2.1.5"}, {To: "c@example.net", Code: 550, Enhanced: "5.1.1", Text: "User unknown"}},
		Header: &record.Header{Subject: "Grüße"},
		Parts:  []record.Part{{Type: "text/plain", Charset: "iso-8859-1", Octets: 12}, {Type: "application/pdf", Name: "a.pdf", Octets: 5, SHA256: digest("hello")}},
	})
	status, stdout, stderr := mailwire(t, nil, "mail", "show", "4XyZ", "--data", dir)
	if status != 0 || stderr != "" {
		t.Fatalf("status %d: %s", status, stderr)
	}
	for _, want := range []string{
		"from      <a@example.org> SIZE=100\n", "to        <b@example.net>  250 2.1.5\n", "to        <c@example.net>  550 5.1.1 User unknown (", "Subject: Grüße\n",
		"\nSchön \\x1b[31m\n", "   1  text/plain ", `"a.pdf"`, "queue id  4XyZ",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	_, stdout, _ = mailwire(t, nil, "mail", "show", "abcd", "--header", "--data", dir)
	if !strings.Contains(stdout, "X-Own: \\x1b[2J\n") || strings.Contains(stdout, "--b") {
		t.Error(stdout)
	}
	if err := os.Remove(filepath.Join(dir, "mail/new/1.x")); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr = mailwire(t, nil, "mail", "show", "abcd", "--data", dir)
	if status != 1 || !strings.Contains(stderr, "is gone") || !strings.Contains(stdout, "Subject: Grüße") {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
}

func TestMailList(t *testing.T) {
	got := record1(t, "../../testdata/pcap/postfix-rejected.pcap", "--utc")
	mailwire(t, nil, "tap", "-r", capture, "--utc", "--data", got.dir)
	all := len(load(t, got.dir).messages)
	list := func(args ...string) []record.Message {
		t.Helper()
		status, stdout, stderr := mailwire(t, nil, append([]string{"mail", "list", "--json", "--data", got.dir}, args...)...)
		if status != 0 || stderr != "" {
			t.Fatalf("%q: status %d, %s", args, status, stderr)
		}
		var mails []record.Message
		for d := json.NewDecoder(bytes.NewReader([]byte(stdout))); d.More(); {
			var m record.Message
			if err := d.Decode(&m); err != nil {
				t.Fatal(err)
			}
			mails = append(mails, m)
		}
		return mails
	}
	whole := list()
	if len(whole) != all || all < 4 {
		t.Fatalf("%d mails of %d", len(whole), all)
	}
	for i := 1; i < len(whole); i++ {
		if whole[i].Begin.After(whole[i-1].Begin.Time) {
			t.Errorf("%s stands behind %s", whole[i].ID, whole[i-1].ID)
		}
	}
	if first := list("--limit", "2"); len(first) != 2 || first[0].ID != whole[0].ID || first[1].ID != whole[1].ID {
		t.Errorf("%d mails", len(first))
	}
	for _, c := range []struct {
		args []string
		is   func(m record.Message) bool
	}{
		{[]string{"--outcome", "rejected"}, func(m record.Message) bool { return m.Outcome == record.Rejected }},
		{[]string{"--to", "ALICE@"}, func(m record.Message) bool { return strings.Contains(string(m.AppendJSON(nil)), "alice@") }},
		{[]string{"--min-size", "0.2kB"}, func(m record.Message) bool { return m.Octets >= 200 }},
		{[]string{"--day", "2020-01-01"}, func(m record.Message) bool { return false }},
	} {
		want := 0
		for _, m := range whole {
			if c.is(m) {
				want++
			}
		}
		found := list(c.args...)
		for _, m := range found {
			if !c.is(m) {
				t.Errorf("%q lists %s", c.args, m.ID)
			}
		}
		if len(found) != want {
			t.Errorf("%q lists %d, not %d", c.args, len(found), want)
		}
	}
}

// TestMailListZone: days and times are the reader's, whatever those were of the mailwire that recorded.
func TestMailListZone(t *testing.T) {
	const zone = "Etc/GMT+8" // where 2026-11-22T07:17Z is the day before
	if _, err := os.Stat("/usr/share/zoneinfo/" + zone); err != nil {
		t.Skip("the system knows no time zones: ", err)
	}
	dir := recordedDir(t, "postfix-rejected")
	program := buildProgram(t)
	for args, want := range map[string]string{
		"":                       "2026-11-21 23:17:35  ",
		"--utc":                  "2026-11-22 07:17:35  ",
		"--day 2026-11-21":       "2026-11-21 23:17:35  ",
		"--day 2026-11-22":       "",
		"--day 2026-11-22 --utc": "2026-11-22 07:17:35  ",
		"--day 2026-11-21 --utc": "",
	} {
		list := exec.Command(program, append([]string{"mail", "list", "--data", dir}, strings.Fields(args)...)...)
		list.Env = append(os.Environ(), "TZ="+zone)
		out, err := list.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), want) || want == "" && len(out) > 0 {
			t.Errorf("%s: %v, %s", args, err, out)
		}
	}
}
