package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/mailwire/mailwire/inspect/record"
)

// keeper is a mail server that keeps what it gets, and refuses some recipients.
type keeper struct {
	mu     sync.Mutex
	refuse []string
	got    []string // sender, recipients, mail; of each
}

func (k *keeper) serve(t *testing.T, options ...func(*smtp.Server, *net.Listener)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip("no loopback interface:", err)
	}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &keeping{k: k}, nil }))
	server.Domain, server.EnableDSN, server.MaxMessageBytes = "mx.example.net", true, 1<<20
	address := l.Addr().String()
	for _, o := range options {
		o(server, &l)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
	return address
}

type keeping struct {
	k     *keeper
	about []string
}

func (s *keeping) Mail(from string, o *smtp.MailOptions) error {
	s.about = []string{from + " RET=" + string(o.Return)}
	return nil
}

func (s *keeping) Rcpt(to string, o *smtp.RcptOptions) error {
	if slices.Contains(s.k.refuse, to) {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user here"}
	}
	for _, n := range o.Notify {
		to += " " + string(n)
	}
	s.about = append(s.about, to)
	return nil
}

func (s *keeping) Data(r io.Reader) error {
	mail, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	s.k.got = append(append(s.k.got, s.about...), string(mail))
	return nil
}

func (*keeping) Reset()        {}
func (*keeping) Logout() error { return nil }

// take returns what came since it was called last.
func (k *keeper) take() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	got := k.got
	k.got = nil
	return got
}

const replayed = "Subject: x\r\n\r\n.dot\r\n..dots\r\n.\r\nend\r\n"

func replayedMail(t *testing.T) (dir string) {
	from := "a@example.org"
	return storeMail(t, replayed, record.Message{
		ID: "abcd.1", Session: "abcd", Transaction: 1, From: &from, Params: map[string]string{"RET": "HDRS", "X-ODD": "1"},
		Rcpt: []record.Rcpt{
			{To: "b@example.net", Code: 250, Enhanced: "2.1.5", Params: map[string]string{"NOTIFY": "NEVER"}}, {To: "c@example.net", Code: 550, Enhanced: "5.1.1"},
		},
		Reply: &record.Reply{Code: 250, Enhanced: "2.0.0", Text: "queued as 4XyZ"},
	})
}

// TestReplay: the mail comes to the server as it was, with its envelope, and other decisions are marked.
func TestReplay(t *testing.T) {
	dir, k := replayedMail(t), new(keeper)
	at := k.serve(t)
	status, stdout, stderr := mailwire(t, nil, "replay", "abcd.1", "--to", at, "--data", dir)
	want := []string{"a@example.org RET=HDRS", "b@example.net NEVER", "c@example.net", replayed}
	if got := k.take(); status != 0 || !slices.Equal(got, want) || !strings.Contains(stderr, "not sent again: X-ODD") {
		t.Errorf("status %d, %s: %q", status, stderr, got)
	}
	for _, want := range []string{
		"CONNECT\n    220 mx | 220 mx.example.net ESMTP Service Ready\n", "RCPT TO:<b@example.net> NOTIFY=NEVER\n    250 2.1.5 | 250 2.0.0 ",
		"RCPT TO:<c@example.net>\n!   550 5.1.1 | 250 ", "DATA-END\n    250 2.0.0 queued as 4XyZ | 250 2.0.0 ",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	k.refuse = []string{"b@example.net", "d@example.net"}
	status, stdout, stderr = mailwire(t, nil, "replay", "abcd", "--to", at, "--data", dir)
	if got := k.take(); status != 1 || len(got) != 3 || !strings.Contains(stderr, "the server refuses RCPT TO:<b@example.net> NOTIFY=NEVER: 550 5.1.1 No such user") ||
		!strings.Contains(stdout, "!   250 2.1.5 | 550 5.1.1 No such user here\n    (") {
		t.Errorf("status %d, %s%s: %q", status, stdout, stderr, got)
	}
	status, stdout, stderr = mailwire(t, nil, "replay", "abcd", "--to", at, "--data", dir, "--from", "", "--rcpt", "d@example.net")
	if got := k.take(); status != 1 || got != nil || !strings.Contains(stdout, "MAIL FROM:<>") || !strings.Contains(stdout, "    - | 550 5.1.1") {
		t.Errorf("status %d, %s%s: %q", status, stdout, stderr, got)
	}
	k.refuse = nil
	status, stdout, stderr = mailwire(t, nil, "replay", "abcd", "--to", at, "--data", dir, "--rcpt", "c@example.net")
	if got := k.take(); status != 0 || len(got) != 3 || !strings.Contains(stdout, "RCPT TO:<c@example.net>\n!   550 5.1.1 | 250 ") {
		t.Errorf("to one of them again: status %d, %s%s: %q", status, stdout, stderr, got)
	}
}

// TestReplayChanged: of a mail that is not what it was, no end is sent, so that no server takes it.
func TestReplayChanged(t *testing.T) {
	dir, k := replayedMail(t), new(keeper)
	at := k.serve(t)
	if err := os.WriteFile(filepath.Join(dir, "mail/new/1.x"), []byte(strings.ToUpper(replayed)), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := mailwire(t, nil, "replay", "abcd.1", "--to", at, "--data", dir)
	if got := k.take(); status != 1 || got != nil || !strings.Contains(stderr, "was broken off, and so not sent") {
		t.Errorf("status %d, %s: %q", status, stderr, got)
	}
}

func TestReplayFile(t *testing.T) {
	file, k := filepath.Join(t.TempDir(), "mail.eml"), new(keeper)
	at := k.serve(t)
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(replayed, "\r\n", "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := mailwire(t, nil, "replay", file, "--to", at)
	if status != 2 || !strings.Contains(stderr, "a file has no envelope") {
		t.Errorf("status %d, %s", status, stderr)
	}
	status, _, stderr = mailwire(t, nil, "replay", file, "--to", at, "--from", "e@example.org", "--rcpt", "f@example.net", "--rcpt", "g@example.net")
	if got := k.take(); status != 0 || stderr != "" || !slices.Equal(got, []string{"e@example.org RET=", "f@example.net", "g@example.net", replayed}) {
		t.Errorf("status %d, %s: %q", status, stderr, got)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	status, _, stderr = mailwire(t, nil, "replay", file, "--to", l.Addr().String(), "--from", "e@example.org", "--rcpt", "f@example.net")
	if status != 1 || !strings.Contains(stderr, "cannot be reached") {
		t.Errorf("status %d, %s", status, stderr)
	}
	status, _, stderr = mailwire(t, nil, "replay", file, "--to", at, "--tls", "starttls", "--from", "e@example.org", "--rcpt", "f@example.net")
	if status != 1 || !strings.Contains(stderr, "STARTTLS") {
		t.Errorf("status %d, %s", status, stderr)
	}
}
