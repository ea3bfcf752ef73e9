package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

// oracle is what the servers of a case of record.sh say that they did (testdata/pcap/README.md).
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
	Sessions []counted
	Peers    []string // the addresses that the servers saw
	Missing  *record.Octets
	Secrets  []string

	proxied bool // what the servers call the client may be the proxy
}

// counted is a session in Postfix's words.
type counted struct {
	Client   string
	Commands map[string]struct{ Good, Total int }
}

// recorded is what mailwire says about a case.
type recorded struct {
	dir      string
	sessions []record.Session
	messages []record.Message
	tallies  []tally             // of each dialogue
	said     map[string][]string // by the session's id: the lines of its dialogue, without their times
	all      []byte              // every file, one after the other
}

// tally is the last line of a dialogue, which counts its commands.
type tally struct{ client, text string }

func readOracle(t *testing.T, file string) (want oracle) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	return want
}

// load reads what was recorded in a data directory.
func load(t *testing.T, dir string) recorded {
	t.Helper()
	got := recorded{dir: dir, said: map[string][]string{}}
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
			case strings.Contains(base, "-sessions-"):
				_, line, _ = strings.Cut(strings.TrimSuffix(line, "\n"), " ")
				id, text, _ := strings.Cut(line, " ")
				got.said[id] = append(got.said[id], text)
			}
		}
	}
	for id, lines := range got.said {
		got.tallies = append(got.tallies, tally{client[id], lines[len(lines)-1]})
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

// check holds what was recorded against what the servers say.
func (want oracle) check(t *testing.T, got recorded) {
	t.Helper()
	checkSecrets(t, got, want)
	checkMissing(t, got, want)
	checkStored(t, got)
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

// checkStored: each mail is in the archive, with the octets that its record says.
func checkStored(t *testing.T, got recorded) {
	for _, m := range got.messages {
		if m.Via == "" {
			continue
		}
		if data := archived(t, got.dir, m); int64(len(data)) != m.Octets || hash(data) != m.SHA256 {
			t.Errorf("%s: the archive has %d octets %s, the record %d %s", m.ID, len(data), hash(data), m.Octets, m.SHA256)
		}
	}
}

// archived returns the octets of the wire of a mail in the archive.
func archived(t *testing.T, dir string, m record.Message) []byte {
	t.Helper()
	if m.Stored == nil || m.Stored.Error != "" {
		t.Fatalf("%s is not stored: %+v", m.ID, m.Stored)
	}
	data, err := os.ReadFile(filepath.Join(dir, m.Stored.Path))
	if err != nil {
		t.Fatal(err)
	}
	if !m.Stored.Exact {
		data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
	}
	return data
}

func hash(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

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

// checkCommands compares the summary of each session with the one that Postfix logs. Behind a proxy Postfix may know the
// client by another port: then any session will do, but for one only. The kernel may also give a port twice.
func checkCommands(t *testing.T, got recorded, want oracle) {
	if want.Missing != nil {
		return
	}
	left := slices.Clone(got.tallies)
	// Who counted more verbs chooses first, so that nobody takes what only another one can have.
	slices.SortFunc(want.Sessions, func(a, b counted) int { return len(b.Commands) - len(a.Commands) })
	for _, w := range want.Sessions {
		if w.Client == "" { // Dovecot's
			continue
		}
		may := func(s tally) bool { return want.proxied || s.client == w.Client }
		i := slices.IndexFunc(left, func(s tally) bool { return may(s) && w.difference(s.text) == "" })
		if i < 0 {
			if i = slices.IndexFunc(left, may); i < 0 {
				t.Errorf("no session of %s", w.Client)
				continue
			}
			t.Errorf("%s: Postfix counted%s, we %s", w.Client, w.difference(left[i].text), left[i].text)
		}
		left = slices.Delete(left, i, i+1)
	}
}

// difference is what Postfix counted and the summary of a session has not.
func (w counted) difference(summary string) string {
	for verb, n := range w.Commands {
		// To Postfix a STARTTLS is bad also if the handshake behind it fails.
		if verb == "commands" || verb == "unknown" || verb == "starttls" {
			continue
		}
		text := fmt.Sprintf(" %s=%d", verb, n.Total)
		if n.Good != n.Total {
			text = fmt.Sprintf(" %s=%d/%d", verb, n.Good, n.Total)
		}
		if !regexp.MustCompile(regexp.QuoteMeta(text) + `( |$)`).MatchString(summary) {
			return text
		}
	}
	return ""
}
