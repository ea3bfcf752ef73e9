package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
	"github.com/mailwire/mailwire/view"
)

// everyCapture records each capture of the project, and calls do with what there is of it.
func everyCapture(t *testing.T, do func(t *testing.T, got recorded)) {
	captures, err := filepath.Glob("../../testdata/pcap/*.pcap")
	if err != nil || len(captures) < 20 {
		t.Fatal("no captures", err)
	}
	for _, c := range captures {
		t.Run(filepath.Base(c), func(t *testing.T) { do(t, record1(t, c, "--utc")) })
	}
}

// TestSteps: counting replies finds the commands that the parser found, and the times.
func TestSteps(t *testing.T) {
	everyCapture(t, func(t *testing.T, got recorded) {
		for _, s := range got.sessions {
			longest, refused := -1.0, []string(nil)
			for _, step := range view.Steps(&s) {
				longest = max(longest, step.Wait)
				if step.Refusal {
					refused = append(refused, strings.TrimSuffix(step.Command, " ***"))
				}
			}
			if longest < 0 {
				continue // octets were lost
			}
			if s.Slowest == nil || math.Abs(longest-s.Slowest.MS) > 0.2 {
				t.Errorf("%s: %.1f ms, not %+v", s.ID, longest, s.Slowest)
			}
			var want []string
			for _, e := range s.Errors {
				want = append(want, strings.TrimSuffix(e.Command, " ***"))
			}
			if !slices.Equal(refused, want) {
				t.Errorf("%s: %q, not %q", s.ID, refused, want)
			}
		}
	})
}

// TestPackets: the tap reads in the packets of a session what the records say.
func TestPackets(t *testing.T) {
	everyCapture(t, func(t *testing.T, got recorded) {
		for _, s := range got.sessions {
			file := filepath.Join(t.TempDir(), "talk.pcap")
			if status, _, stderr := mailwire(t, nil, "show", s.ID, "--pcap", file, "--data", got.dir); status != 0 || stderr != "" {
				t.Fatalf("status %d: %s", status, stderr)
			}
			// An end of data that is none by the book is written as one; what was sent too early as if it had waited.
			odd := slices.ContainsFunc(s.Anomalies, func(a record.Anomaly) bool {
				return a.Kind == wire.Smuggling || a.Kind == wire.AmbiguousEOD || a.Kind == wire.STARTTLSInject
			})
			if len(s.Dialogue) == 0 || s.Lost != (record.Octets{}) || odd {
				continue
			}
			again := record1(t, file, "--utc")
			if len(again.sessions) != 1 {
				t.Fatalf("%s: %d sessions", s.ID, len(again.sessions))
			}
			if want, now := said(&s), said(&again.sessions[0]); now != want {
				t.Errorf("%s: said\n%s\nnot\n%s", s.ID, now, want)
			}
			var want []record.Message
			for _, m := range got.messages {
				if m.Session == s.ID {
					want = append(want, m)
				}
			}
			if now, want := mailed(again.messages), mailed(want); now != want {
				t.Errorf("%s: mails\n%s\nnot\n%s", s.ID, now, want)
			}
		}
	})
}

// said is a dialogue without its times.
func said(s *record.Session) string {
	var b strings.Builder
	for _, e := range s.Dialogue {
		e.MS = 0
		if line, err := json.Marshal(e); err == nil {
			b.Write(append(line, '\n'))
		}
	}
	return b.String()
}

// mailed is what is told of mails, but for times and names.
func mailed(list []record.Message) string {
	var b strings.Builder
	for _, m := range list {
		about := []any{m.Transaction, m.Via, m.From, m.Params, m.Rcpt, m.Octets, m.SHA256, m.Outcome, m.QueueID, m.Header, m.Parts}
		if line, err := json.Marshal(about); err == nil {
			b.Write(append(line, '\n'))
		}
	}
	return b.String()
}

func TestShow(t *testing.T) {
	got := record1(t, "../../testdata/pcap/postfix-rejected.pcap", "--utc", "--sensor", "mx1")
	show := func(args ...string) string {
		t.Helper()
		status, stdout, stderr := mailwire(t, nil, append(append([]string{"show"}, args...), "--data", got.dir)...)
		if status != 0 || stderr != "" {
			t.Fatalf("%v: status %d: %s", args, status, stderr)
		}
		return stdout
	}
	s := got.sessions[0]
	text := show(s.ID)
	for _, want := range []string{
		"session   " + s.ID + ", smtp, by tap mx1", "client    192.0.2.7:", "recipients: ",
		"-> RCPT TO:<nobody@example.net>\n", "<** 550 5.1.1 <nobody@example.net>: Recipient address rejected",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Error("colours in a pipe")
	}
	if again := show("--json", s.ID); !json.Valid([]byte(again)) || !strings.Contains(again, "\n  \"id\": \""+s.ID+"\"") {
		t.Error(again)
	}
	if hexed := show(s.ID, "--hex"); !strings.Contains(hexed, "52 43 50 54 20 54 4f 3a") || !strings.Contains(hexed, "a password as ***") {
		t.Error(hexed)
	}
	prefix := s.ID[:6]
	if show(prefix) != text {
		t.Errorf("%s is not %s", prefix, s.ID)
	}
}

// TestFind: an id, the beginning of one, a Message-ID and a queue id name the same session, with an index and without.
func TestFind(t *testing.T) {
	got := record1(t, "../../testdata/pcap/postfix-simple.pcap", "--utc")
	i := slices.IndexFunc(got.messages, func(m record.Message) bool { return m.QueueID != "" && m.Header.MessageID != "" })
	if i < 0 {
		t.Fatal("no mail with both ids")
	}
	m := got.messages[i]
	ids := []string{m.Session, m.Session[:5], strings.ToUpper(m.Session), m.ID, m.Session[:5] + ".1", m.QueueID, m.Header.MessageID, strings.Trim(m.Header.MessageID, "<>")}
	check := func(want string) {
		t.Helper()
		for _, id := range ids {
			status, stdout, stderr := mailwire(t, nil, "show", id, "--data", got.dir)
			if status != 0 || !strings.HasPrefix(stdout, "session   "+m.Session) || !strings.Contains(stderr, want) || want == "" && stderr != "" {
				t.Errorf("%s: status %d, %s%s", id, status, stdout, stderr)
			}
		}
		status, stdout, stderr := mailwire(t, nil, "show", "nobody-knows\x1b[2J", "--data", got.dir)
		if status != 1 || stdout != "" || !strings.Contains(stderr, `there is no session, mail, Message-ID or queue id nobody-knows\x1b[2J`) {
			t.Errorf("status %d, %s%q", status, stdout, stderr)
		}
	}
	check("")
	if err := os.RemoveAll(filepath.Join(got.dir, "index")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(got.dir, "index"), nil, 0o600); err != nil { // no directory can be made there
		t.Fatal(err)
	}
	check("all records are gone through")
}

// TestAmbiguous: who gives too little of an id is told what it may be.
func TestAmbiguous(t *testing.T) {
	dir := t.TempDir()
	var lines []byte
	for _, id := range []string{"abcdefghjkmnpqrs", "abcdefghjkmnpqrt"} {
		s := record.Session{V: 1, Type: "session", ID: id, Protocol: "smtp", Client: record.Endpoint{IP: "192.0.2.7", Port: 5}, Status: "closed"}
		lines = append(s.AppendJSON(lines), '\n')
	}
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "logs", "sessions-2026-11-22.jsonl"), lines, 0o600); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := mailwire(t, nil, "show", "abcd", "--data", dir)
	if status != 1 || stdout != "" || !strings.Contains(stderr, "abcdefghjkmnpqrs ") || !strings.Contains(stderr, "abcdefghjkmnpqrt ") {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
	if status, _, stderr := mailwire(t, nil, "show", "abcdefghjkmnpqrt", "--data", dir); status != 0 {
		t.Error(stderr)
	}
}

// TestShowNewer: where nothing has an id, one that a newer mailwire recorded may have it.
func TestShowNewer(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	line := `{"v":99,"type":"session","id":"abcdefghjkmnpqrs"}` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "logs", "sessions-2026-11-22.jsonl"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := mailwire(t, nil, "show", "abcd", "--data", dir)
	if status != 1 || !strings.Contains(stderr, "1 record is from a newer mailwire") || !strings.Contains(stderr, "no session, mail, Message-ID or queue id abcd") {
		t.Errorf("status %d, %s", status, stderr)
	}
}

// TestShowHostile: nothing that foreigners said reaches a terminal as a command to it.
func TestShowHostile(t *testing.T) {
	evil := "x\x1b[2J\x07\u009b31m\u202e\r\ny"
	body := int64(3)
	s := record.Session{
		V: 1, Type: "session", ID: "abcdefghjkmnpqrs", Protocol: "smtp", Mode: evil, Sensor: evil, Status: evil, Helo: evil, Via: evil, Direction: evil,
		Client: record.Endpoint{IP: "192.0.2.7", Side: evil}, Server: record.Endpoint{IP: evil, Side: evil}, Messages: 1,
		TLS:       &record.TLS{How: evil, Handshake: record.Handshake{Version: evil, Cipher: evil, SNI: evil, Certificate: &record.Certificate{Subject: evil}}},
		Auth:      []record.Login{{Mechanism: evil, User: evil, Outcome: evil, Enhanced: evil, Text: evil}},
		Anomalies: []record.Anomaly{{Kind: evil, Count: 1}},
		Dialogue:  []record.Entry{{From: evil, Text: &evil}, {From: "server", Raw: &evil}, {From: "client", Text: &evil}, {From: "server", Body: &body}},
	}
	m := record.Message{
		V: 1, Type: "message", ID: "abcdefghjkmnpqrs.1", Session: s.ID, Protocol: evil, Via: evil, Outcome: evil, User: evil, UIDL: evil, From: &evil, Transaction: 1,
		Params: map[string]string{evil: evil}, Rcpt: []record.Rcpt{{To: evil, Text: evil, Enhanced: evil, Code: 550, Delivered: &record.Reply{Text: evil}}},
		Reply: &record.Reply{Text: evil}, QueueID: evil, SHA256: evil, Stored: &record.Stored{Path: evil},
		Header: &record.Header{Date: evil, From: []string{evil}, Subject: evil, MessageID: evil, UserAgent: evil},
		Parts:  []record.Part{{Type: evil, Charset: evil, Name: evil, Disposition: evil}},
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string][]byte{"sessions": s.AppendJSON(nil), "messages": m.AppendJSON(nil)} {
		if err := os.WriteFile(filepath.Join(dir, "logs", name+"-2026-11-22.jsonl"), append(line, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range []string{
		"show abc", "show abc --hex", "show abc --json", "show abc --mail 1", "show abc --mail 1 --json", "mail list", "mail list --json", "mail show abc",
		"mail show --json abc", "mail show --header abc", "mail export abc -o x", "replay abc --to 127.0.0.1:1", "show abc --pcap x", "secrets abc",
	} {
		_, stdout, stderr := mailwire(t, nil, append(strings.Fields(args), "--data", dir)...)
		all := stdout + stderr
		if all == "" || strings.ContainsAny(all, "\x1b\x07\r\u009b\u202e") || strings.Contains(all, "\ny") {
			t.Errorf("%s: %q", args, all)
		}
	}
}

// TestShowForged: an id that nobody but a forger gives drives no terminal either, and makes no line.
func TestShowForged(t *testing.T) {
	evil := "abcd\x1b[2J\x07\u202e\ny"
	var sessions, messages []byte
	s := record.Session{V: 1, Type: "session", ID: evil, Protocol: "smtp", Client: record.Endpoint{IP: "192.0.2.7"}, Server: record.Endpoint{IP: "192.0.2.8"}, Messages: 2}
	sessions = append(s.AppendJSON(nil), '\n')
	for i := range 2 {
		m := record.Message{
			V: 1, Type: "message", ID: fmt.Sprint(evil, ".", i+1), Session: evil, Transaction: i + 1, Via: "DATA", QueueID: fmt.Sprint("both", i/2),
			Stored: &record.Stored{Path: "mail/new/1.x"}, Header: &record.Header{MessageID: fmt.Sprint("<", i, "@x>")}, Holes: []record.Hole{{Octets: 1}},
		}
		messages = append(m.AppendJSON(messages), '\n')
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, lines := range map[string][]byte{"sessions": sessions, "messages": messages} {
		if err := os.WriteFile(filepath.Join(dir, "logs", name+"-2026-11-22.jsonl"), lines, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(t.TempDir())
	for _, args := range []string{
		"show abcd", "show both0", "show abcd --mail 1", "mail show abcd", "mail show 0@x", "mail export 0@x", "mail export --mbox 0@x 1@x",
		"mail export both0", "show abcd --pcap x", "secrets abcd", "replay 0@x --to 127.0.0.1:1", "mail list", "sessions", "check", "report",
	} {
		_, stdout, stderr := mailwire(t, nil, append(strings.Fields(args), "--data", dir)...)
		all := stdout + stderr
		if all == "" && !strings.Contains(args, "--pcap") || strings.ContainsAny(all, "\x1b\x07\r\u202e") || strings.Contains(all, "\ny") {
			t.Errorf("%s: %q", args, all)
		}
	}
}

func TestShowUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	for args, want := range map[string]string{
		"show":                          "mailwire show needs the id of a session",
		"show a b":                      "mailwire show needs the id",
		"show a --pcap x --json":        "--pcap goes without",
		"mail show":                     "mailwire mail show needs the id of a mail",
		"mail export":                   "mailwire mail export needs the id",
		"mail export a b":               "only an mbox",
		"mail export a --mbox --part 1": "choose one of --mbox and --part",
		"mail list x":                   "mail list takes flags only",
		"mail list --outcome lost":      "--outcome lost: choose from",
		"mail list --limit -1":          "--limit -1: give a number",
		"mail list --min-size big":      "--min-size big: give a size",
		"mail list --day someday":       "--day someday: give a day",
		"secrets":                       "mailwire secrets needs the id",
		"replay a":                      "replay sends nothing unless --to",
		"replay a --to here":            "--to here: give a host and a port",
		"replay a --to h:1 --tls yes":   "--tls yes: choose from",
		"replay --lmtp a --to h:1 --tls starttls": "--lmtp goes with",
	} {
		status, stdout, stderr := mailwire(t, nil, strings.Fields(args)...)
		if status != 2 || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("mailwire %s: status %d, %s%s", args, status, stdout, stderr)
		}
	}
	status, _, stderr := mailwire(t, nil, "show", "abc")
	if status != 1 || !strings.Contains(stderr, "there is no data directory mailwire-data") {
		t.Errorf("status %d, %s", status, stderr)
	}
}

// TestPcapOut: packets go where they are told to, and no file is lost.
func TestPcapOut(t *testing.T) {
	got := record1(t, capture, "--utc")
	id := got.sessions[0].ID
	file := filepath.Join(t.TempDir(), "talk.pcap")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := mailwire(t, nil, "show", id, "--pcap", file, "--data", got.dir)
	if data, err := os.ReadFile(file); status != 1 || !strings.Contains(stderr, "is there already") || err != nil || string(data) != "precious" {
		t.Errorf("status %d, %s: %q, %v", status, stderr, data, err)
	}
	status, stdout, _ := mailwire(t, nil, "show", id, "--pcap", "-", "--data", got.dir)
	if status != 0 {
		t.Error(status)
	}
	status, _, stderr = mailwire(t, nil, "show", id, "--pcap", file, "--force", "--data", got.dir)
	if data, err := os.ReadFile(file); status != 0 || err != nil || !bytes.Equal(data, []byte(stdout)) {
		t.Errorf("status %d, %s, %v", status, stderr, err)
	}
}
