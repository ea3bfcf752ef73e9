package inspect

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/mailwire/mailwire/inspect/wire"
)

// encode turns a script into the octets that decodeScript reads: for each flight a head and its data.
func (s *script) encode() []byte {
	out := []byte{byte(s.conn.Hint) | map[bool]byte{true: 4}[s.conn.Started]}
	for _, f := range s.flights {
		if i := slices.Index(acts, f.do); f.do != "" && i >= 0 {
			out = append(out, 6|byte(i)<<3, 0)
			continue
		}
		for data := f.data; ; data = data[min(len(data), 255):] {
			head := byte(f.dir) | map[bool]byte{true: 2}[f.lost != 0] | map[bool]byte{true: 4}[f.fin]
			n := min(len(data), 255)
			out = append(append(out, head, byte(n)), data[:n]...)
			if len(data) <= 255 {
				break
			}
		}
	}
	return out
}

// acts are what the source of the chunks does in a fuzzed script, at most maxActs times: it is no foe.
var acts = []string{"secured starttls", "secured stls", "secured implicit", "note n", "anomaly overload", "abandon"}

const maxActs = 20

func decodeScript(in []byte) *script {
	s := newScript()
	if len(in) == 0 {
		return s
	}
	s.conn.Hint, s.conn.Started = Hint(in[0]&3)%3, in[0]&4 != 0
	acted := 0
	for in = in[1:]; len(in) >= 2; {
		head, n := in[0], min(int(in[1]), len(in)-2)
		if i := int(head >> 3); head&6 == 6 && i < len(acts) {
			if acted++; acted <= maxActs {
				s.flights = append(s.flights, flight{do: acts[i]})
			}
			in = in[2:]
			continue
		}
		f := flight{dir: wire.Direction(head & 1), data: in[2 : 2+n], fin: head&4 != 0}
		if head&2 != 0 {
			f.lost = int64(head>>3) - 1
		}
		in = in[2+n:]
		f.data = append([]byte(nil), f.data...)
		s.add(f)
	}
	return s
}

// FuzzSession holds any conversation to what must be true of all: how it was cut does not matter, no more octets come out
// than went in, and there is a record unless it is no mail.
func FuzzSession(f *testing.F) {
	files, err := filepath.Glob("../testdata/transcripts/*/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(parseScript(f, section(ar, "dialogue")).encode())
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s := decodeScript(in)
		whole := s.play(0)
		for _, n := range []int{1, 3, -1} {
			if got := s.play(n); got != whole {
				t.Fatalf("in pieces of %d:\n%s\nwhole:\n%s", n, got, whole)
			}
		}
		if whole != "ignored\n" && strings.Count(whole, `"type":"session"`) != 1 {
			t.Fatalf("not one session record:\n%s", whole)
		}
		if len(whole) > 50_000+100*len(in) {
			t.Fatalf("%d octets of records from %d of input", len(whole), len(in))
		}
	})
}

// TestSecrets hunts canaries: no password or token shows in anything that is said, whatever mechanism carried it and
// whatever became of it.
func TestSecrets(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	const canary = "Canary-4711-Secret"
	forms := map[string][]string{ // a client's lines after the greeting; "<" is a challenge
		"plain":          {"AUTH PLAIN " + b64("\x00alice\x00"+canary)},
		"plain lower":    {"auth plain " + b64("\x00alice\x00"+canary)},
		"plain two":      {"AUTH PLAIN", "<", b64("\x00alice\x00" + canary)},
		"plain blanks":   {"AUTH  PLAIN\t" + b64("\x00alice\x00"+canary) + " "},
		"plain no user":  {"AUTH PLAIN " + b64(canary+"\x00\x00"+canary)},
		"plain broken":   {"AUTH PLAIN " + b64("alice "+canary)},
		"plain unpadded": {"AUTH PLAIN " + strings.TrimRight(b64("\x00alice\x00"+canary), "=")},
		"login":          {"AUTH LOGIN", "<", b64("alice"), "<", b64(canary)},
		"login initial":  {"AUTH LOGIN " + b64("alice"), "<", b64(canary)},
		"login clear":    {"AUTH LOGIN", "<", "alice", "<", canary},
		"login cancel":   {"AUTH LOGIN", "<", b64("alice"), "<", "*", b64(canary)},
		"login twice":    {"AUTH LOGIN", "<", b64("alice"), "<", b64(canary + "1"), "AUTH LOGIN", "<", b64("alice"), "<", b64(canary)},
		"login early":    {"AUTH LOGIN", b64("alice"), b64(canary)},
		"xoauth2":        {"AUTH XOAUTH2 " + b64("user=alice\x01auth=Bearer "+canary+"\x01\x01")},
		"oauthbearer":    {"AUTH OAUTHBEARER", "<", b64("n,a=alice,\x01auth=Bearer " + canary + "\x01\x01")},
		"unknown":        {"AUTH X-OWN", "<", b64(canary)},
		"equals":         {"AUTH=PLAIN " + b64("\x00alice\x00"+canary)},
		"no mechanism":   {"AUTH " + b64("\x00alice\x00"+canary)},
		"typo":           {"AUHT PLAIN " + b64("\x00alice\x00"+canary)},
		"control":        {"\x00AUTH PLAIN " + b64("\x00alice\x00"+canary)},
		"login in line":  {"AUTH LOGIN " + b64("alice") + " " + b64(canary)},
		"imap":           {"LOGIN alice " + canary},
		"imap tagged":    {`a1 LOGIN "alice" "` + canary + `"`},
		"plain in login": {"AUTH LOGIN", "<", b64("\x00alice\x00" + canary)},
		"external":       {"AUTH EXTERNAL " + b64("\x00alice\x00"+canary)},
		"x-exps":         {"X-EXPS LOGIN", "<", b64("alice"), "<", b64(canary)},
		"pass typo":      {"PAS " + canary},
		"user and pass":  {"USER alice " + canary},
		"pass":           {"USER alice", "PASS " + canary},
		"pass lower":     {"user alice", "pass " + canary + " with blanks"},
		"pass alone":     {"PASS " + canary},
		"apop":           {"APOP alice " + canary},
	}
	for name, lines := range forms {
		for _, hint := range []Hint{SMTP, POP3} {
			for _, result := range []string{"good", "bad", "echo", "none", "one-sided", "lost 0", "lost 2", "lost 4"} {
				s := secretScript(hint, lines, result)
				for _, n := range []int{0, 1, -1} {
					checkNoSecret(t, fmt.Sprintf("%s, port %d, %s", name, hint, result), s.play(n), canary)
				}
			}
		}
	}
}

// secretScript is a dialogue in which the client says the lines and the server answers as result says.
func secretScript(hint Hint, lines []string, result string) *script {
	s := newScript()
	s.conn.Hint = hint
	good, bad, challenge, greeting := "235 ok\r\n", "535 no\r\n", "334 \r\n", "220 mx ESMTP\r\n"
	if hint == POP3 {
		good, bad, challenge, greeting = "+OK\r\n", "-ERR no\r\n", "+ \r\n", "+OK ready\r\n"
	}
	server := func(text string) {
		if result != "one-sided" {
			s.add(flight{dir: wire.FromServer, data: []byte(text)})
		}
	}
	server(greeting)
	for i, line := range lines {
		if line == "<" {
			server(strings.Replace(challenge, " ", []string{" VXNlcm5hbWU6", " UGFzc3dvcmQ6"}[i/3%2], 1))
			continue
		}
		if result == fmt.Sprint("lost ", i) {
			s.add(flight{dir: wire.FromClient, lost: 12})
			continue
		}
		s.add(flight{dir: wire.FromClient, data: []byte(line + "\r\n")})
		if i+1 < len(lines) && lines[i+1] == "<" || result == "none" {
			continue
		}
		switch result {
		case "echo":
			server(strings.Replace(bad, " no", " what is "+line+" or "+decoded(line), 1))
		case "bad":
			server(bad)
		default:
			server(good)
		}
	}
	s.add(flight{dir: wire.FromClient, data: []byte("QUIT\r\n")})
	return s
}

// decoded is the last word of line without base64, as a server may echo it.
func decoded(line string) string {
	word := line[strings.LastIndexAny(line, " \t")+1:]
	out, _ := base64.StdEncoding.DecodeString(word)
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, string(out))
}

func checkNoSecret(t *testing.T, name, said, canary string) {
	t.Helper()
	found := strings.Contains(strings.ToLower(said), strings.ToLower(canary))
	for i := range 3 { // the canary within base64, whatever stands before it
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", i) + canary))
		found = found || strings.Contains(said, encoded[4:len(encoded)-4])
	}
	if found {
		t.Errorf("%s: the secret shows:\n%s", name, said)
	}
}
