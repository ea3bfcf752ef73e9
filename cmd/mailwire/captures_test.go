package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

// oracle is what the servers of a capture say that they did (testdata/pcap/README.md).
type oracle struct {
	Protocol string
	Visible  string
	Mails    []struct {
		Maildrop, From, SHA256 string
		QueueID                string `json:"queue_id"`
		Rcpt                   []string
		Octets                 int64
	}
	Rejected []struct {
		Command, Enhanced, Text string
		Code                    int
	}
	Logins   []struct{ Mechanism, User, Outcome string }
	Sessions []struct {
		Client   string
		Commands map[string]struct{ Good, Total int }
	}
	Missing *record.Octets
	Secrets []string
}

// recorded is what mailwire says about a capture.
type recorded struct {
	sessions []record.Session
	messages []record.Message
	summary  map[string]string // by the client's address: the last line of its dialogue
	all      []byte            // every file, one after the other
}

// TestOwnCaptures holds the records against what the servers themselves say: their queues, their logs, their maildrops.
func TestOwnCaptures(t *testing.T) {
	captures, err := filepath.Glob("../../testdata/pcap/*.pcap")
	if err != nil || len(captures) == 0 {
		t.Fatal("no captures", err)
	}
	for _, capture := range captures {
		t.Run(strings.TrimSuffix(filepath.Base(capture), ".pcap"), func(t *testing.T) {
			text, err := os.ReadFile(strings.TrimSuffix(capture, "pcap") + "json")
			if err != nil {
				t.Fatal(err)
			}
			var want oracle
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			got := record1(t, capture)
			checkSecrets(t, got, want)
			checkMissing(t, got, want)
			if want.Visible != "all" {
				checkTLS(t, got)
				return
			}
			if want.Protocol == record.POP3 {
				checkMaildrops(t, got, want)
			} else {
				checkQueued(t, got, want)
			}
			checkRejected(t, got, want)
			checkLogins(t, got, want)
			checkCommands(t, got, want)
		})
	}
}

// record1 reads one capture.
func record1(t *testing.T, capture string) recorded {
	dir := t.TempDir()
	if status, _, stderr := mailwire(t, nil, "tap", "-r", capture, "--data", dir); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	got := recorded{summary: map[string]string{}}
	client := map[string]string{}
	for name, data := range files(t, dir) {
		got.all = append(got.all, data...)
		for line := range strings.Lines(data) {
			switch base := filepath.Base(name); {
			case strings.HasPrefix(base, "sessions-"):
				var s record.Session
				unmarshal(t, line, &s)
				got.sessions = append(got.sessions, s)
				client[s.ID] = net.JoinHostPort(s.Client.IP, fmt.Sprint(s.Client.Port))
			case strings.HasPrefix(base, "messages-"):
				var m record.Message
				unmarshal(t, line, &m)
				got.messages = append(got.messages, m)
			case strings.Contains(base, "-sessions-") && strings.Contains(line, "=== ") && strings.Contains(line, " commands="):
				got.summary[strings.Fields(line)[1]] = line
			}
		}
	}
	for id, c := range client {
		got.summary[c] = got.summary[id]
	}
	slices.SortFunc(got.sessions, func(a, b record.Session) int { return a.Begin.Compare(b.Begin.Time) })
	return got
}

func unmarshal(t *testing.T, line string, into any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
}

func checkSecrets(t *testing.T, got recorded, want oracle) {
	for _, secret := range want.Secrets {
		if bytes.Contains(got.all, []byte(secret)) {
			t.Errorf("%q stands in a file", secret)
		}
	}
}

func checkMissing(t *testing.T, got recorded, want oracle) {
	var lost record.Octets
	for _, s := range got.sessions {
		lost.Client += s.Lost.Client
		lost.Server += s.Lost.Server
	}
	if want.Missing == nil {
		want.Missing = &record.Octets{}
	}
	if lost != *want.Missing {
		t.Errorf("lost %+v, want %+v", lost, *want.Missing)
	}
}

func checkTLS(t *testing.T, got recorded) {
	if !slices.ContainsFunc(got.sessions, func(s record.Session) bool { return s.TLS != nil && s.TLS.Version != "" }) {
		t.Error("no session with a TLS version")
	}
}

// checkQueued compares the accepted messages with the server's queue: count, envelope, octets.
func checkQueued(t *testing.T, got recorded, want oracle) {
	accepted := map[string]record.Message{}
	for _, m := range got.messages {
		if m.Outcome == record.Accepted {
			accepted[m.QueueID] = m
		}
	}
	ids := map[string]bool{}
	for _, w := range want.Mails {
		ids[w.QueueID] = true
		m, ok := accepted[w.QueueID]
		if !ok && want.Missing != nil {
			continue // its reply may be among what is missing
		}
		if !ok {
			t.Errorf("the mail queued as %s is not recorded as accepted", w.QueueID)
			continue
		}
		if m.From != nil && *m.From != w.From || m.From == nil && want.Missing == nil {
			t.Errorf("%s: from %v, want %q", w.QueueID, m.From, w.From)
		}
		for _, to := range w.Rcpt {
			if !slices.ContainsFunc(m.Rcpt, func(r record.Rcpt) bool { return r.To == to && r.Code/100 == 2 }) && want.Missing == nil {
				t.Errorf("%s: %s is no accepted recipient of %+v", w.QueueID, to, m.Rcpt)
			}
		}
		if w.SHA256 != "" && len(m.Holes) == 0 && (m.SHA256 != w.SHA256 || m.Octets != w.Octets) {
			t.Errorf("%s: %d octets %s, want %d %s", w.QueueID, m.Octets, m.SHA256, w.Octets, w.SHA256)
		}
	}
	if len(accepted) != len(ids) && want.Missing == nil {
		t.Errorf("%d messages accepted, want %d: %v", len(accepted), len(ids), slices.Collect(maps.Keys(accepted)))
	}
}

// checkMaildrops: what RETR gave is what the maildrops hold.
func checkMaildrops(t *testing.T, got recorded, want oracle) {
	whole, known := map[string]bool{}, map[string]bool{}
	for _, w := range want.Mails {
		whole[w.SHA256], known[w.Maildrop] = true, true
	}
	for _, m := range got.messages { // a maildrop that was emptied is not known any more
		if m.Via == "RETR" && m.Outcome == record.Accepted && known[m.User] && !whole[m.SHA256] {
			t.Errorf("message %s of %d octets is in no maildrop", m.ID, m.Octets)
		}
	}
}

func checkRejected(t *testing.T, got recorded, want oracle) {
	for _, w := range want.Rejected {
		found := slices.ContainsFunc(got.sessions, func(s record.Session) bool {
			return slices.ContainsFunc(s.Errors, func(e record.Error) bool {
				return (w.Code == 0 || e.Code == w.Code) && (w.Enhanced == "" || e.Enhanced == w.Enhanced) &&
					(w.Command == "" || strings.HasPrefix(strings.ToUpper(e.Command), w.Command))
			})
		})
		if !found {
			t.Errorf("the refusal %+v is not recorded", w)
		}
	}
}

func checkLogins(t *testing.T, got recorded, want oracle) {
	var logins []record.Login
	for _, s := range got.sessions {
		for _, l := range s.Auth {
			// AUTH out of order, by a mechanism there is not, or with a response that is none: no server calls that a login.
			if l.Code != 503 && l.Code != 504 && !(l.Code == 535 && strings.Contains(l.Text, "Invalid ")) {
				logins = append(logins, l)
			}
		}
	}
	slices.SortStableFunc(logins, func(a, b record.Login) int { return a.Time.Compare(b.Time.Time) })
	if len(logins) != len(want.Logins) {
		t.Errorf("%d logins, want %d", len(logins), len(want.Logins))
		return
	}
	for i, w := range want.Logins {
		l := logins[i]
		outcome := strings.Replace(w.Outcome, "cancelled", record.Failure, 1)
		same := l.Mechanism == w.Mechanism || l.Mechanism == "USER/PASS" && w.Mechanism == "PLAIN"
		if !same || l.Outcome != outcome || w.User != "" && l.User != w.User && w.User != "guest" {
			t.Errorf("login %d: %s %q %s, want %s %q %s", i, l.Mechanism, l.User, l.Outcome, w.Mechanism, w.User, w.Outcome)
		}
	}
}

// checkCommands compares the summary of each session with the one that Postfix logs.
func checkCommands(t *testing.T, got recorded, want oracle) {
	for _, w := range want.Sessions {
		if w.Client == "" || want.Missing != nil {
			continue
		}
		summary, ok := got.summary[w.Client]
		if !ok {
			t.Errorf("no session of %s", w.Client)
			continue
		}
		for verb, n := range w.Commands {
			if verb == "commands" || verb == "unknown" {
				continue
			}
			text := fmt.Sprintf(" %s=%d", verb, n.Total)
			if n.Good != n.Total {
				text = fmt.Sprintf(" %s=%d/%d", verb, n.Good, n.Total)
			}
			if !regexp.MustCompile(regexp.QuoteMeta(text) + `( |$)`).MatchString(summary) {
				t.Errorf("%s: Postfix counted%s, we %s", w.Client, text, summary)
			}
		}
	}
}

// TestForeignCaptures compares with the truths of captures that are not part of the project, by their own script.
func TestForeignCaptures(t *testing.T) {
	dir := os.Getenv("MAILWIRE_CAPTURES")
	if dir == "" {
		t.Skip("MAILWIRE_CAPTURES names no directory of captures with compare.py")
	}
	bin := filepath.Join(t.TempDir(), "mailwire")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command("python3", filepath.Join(dir, "compare.py"), bin, dir).CombinedOutput()
	last := ""
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		last = s.Text()
		t.Log(last)
	}
	if !strings.HasSuffix(last, "conversations exact") {
		t.Fatalf("compare.py: %v", err)
	}
}
