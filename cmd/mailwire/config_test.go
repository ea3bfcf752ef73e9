package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// configured writes a configuration file, and returns its name.
func configured(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "mailwire.yaml")
	writeConfig(t, name, text)
	return name
}

func writeConfig(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestConfigErrors: each is a sentence with its line, and all are told at once.
func TestConfigErrors(t *testing.T) {
	for text, want := range map[string]string{
		"dta: x":                               `:1: there is no setting "dta"; did you mean data?`,
		"data: x\nwhatever: 1":                 `:2: there is no setting "whatever"; the file can have archive, data, `,
		"data: x\ntls: pass":                   ":2: tls does not belong here, but under proxy",
		"proxy:\n  data: x":                    ":2: data does not belong here, but at the top of the file",
		"proxy:\n  user: x":                    ":2: user does not belong here, but under tap",
		"proxy:\n- smtp: :25=x\n  listners: 1": `:3: there is no setting "listners"; a listener can have accept-proxy, `,
		"sensor: a\nsensor: b":                 ":2: sensor was set in line 1 already",
		"sensor:":                              ":1: sensor: there is no value",
		"sensor: true":                         ":1: sensor: true is not right here; give text",
		"sensor: [a]":                          ":1: sensor: give one value, not a list",
		"local-net: {}":                        ":1: local-net: give a value, not settings of its own",
		"local-net:\n- 10.0.0.0/8\n- [a]":      ":3: local-net: give one value, not a list",
		"local-net: []":                        ":1: local-net is an empty list",
		"fsync: yes":                           ":1: fsync: yes is not right here; give true or false",
		"keep-days: many":                      ":1: keep-days: many is not right here; give a number",
		"proxy:\n  max-connections: 1.5":       ":2: max-connections: 1.5 is not right here; give a number",
		"proxy:\n  max-connections: 99999999999999999999": ":2: max-connections: 99999999999999999999 is not right here",
		"proxy:\n  idle-timeout: 3":                       ":2: idle-timeout: 3 is not right here; give a number with its unit, like 3s or 10m",
		"proxy: 5":                                        ":1: proxy must have settings, each in a line like KEY: VALUE",
		"proxy:\n  listeners: x":                          ":2: listeners are a list",
		"proxy:\n- tls: pass":                             ":2: this listener has no route",
		"proxy:\n- smtp: :25=a\n  pop3: :1=a":             ":3: pop3: this listener is one for smtp already",
		"proxy:\n- smtp: [a, b]":                          ":2: smtp: give one value, not a list",
		"- a":                                             ":1: the file must have settings",
		"data: [x":                                        ":1: ",
		"\n" + strings.Repeat("[", 250_000):               ":2: more than 100 lists or settings begin inside each other",
		strings.Repeat("- ", 125_000):                     ":1: more than 100 lists or settings begin inside each other",
		"a: " + strings.Repeat("{a: ", 60_000):            ":1: more than 100 lists or settings begin inside each other",
		"data: x\n\tsensor: y":                            ":2: ",
		"data: x\n---\ndata: y":                           ":3: a second document begins here",
		"data: &a x":                                      ":1: data: give a plain value in one line",
		"<<: {data: x}":                                   `:1: there is no setting "<<"`,
		// What only the flags know.
		"maildir: week":                           ":1: maildir week: choose from day and flat",
		"archive: [some]":                         `:1: archive: "some" is no kind of mail`,
		"log-level: loud":                         ":1: log-level loud: choose from",
		"local-net: ours":                         ":1: local-net ours: give a network",
		"http: x":                                 ":1: http x: give HOST:PORT",
		"proxy:\n- smtp: \":25\"":                 `:2: smtp ":25" is no route`,
		"proxy:\n- smtp: :25=a\n  tls: strip":     ":3: tls strip: choose from pass and terminate",
		"proxy:\n- smtp: :25=a\n  tls-cert: x":    ":3: tls-cert is for --tls terminate",
		"proxy:\n- smtp: :25=a\n  tls: terminate": ":3: tls terminate needs",
		"proxy:\n- smtp: :25=unix:/a\n  tls: terminate\n  tls-cert: x\n  tls-key: x": ":2: smtp :25=unix:/a: a socket has no name",
		// The same for all listeners, and interfaces.
		"proxy:\n  tls-cert: x\n  listeners:\n  - smtp: :25=a":    ":2: tls-cert is for --tls terminate",
		"proxy:\n  send-proxy: v3\n  listeners:\n  - smtp: :25=a": ":2: send-proxy v3: choose from v1 and v2",
		"tap:\n  interfaces: [lo]\n  snaplen: 1":                  ":3: snaplen 1: give from",
		"tap:\n  interfaces: lo\n  smtp-port: [0]":                ":3: smtp-port 0: give port numbers",
	} {
		name := configured(t, text+"\n")
		status, stdout, stderr := mailwire(t, nil, "config", "check", name)
		if status != 1 || stdout != "" || !strings.Contains(stderr, name+want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: status %d, %q, want %q", text, status, stderr, want)
		}
		if status, _, stderr := mailwire(t, nil, "run", "--config", name); status != 2 {
			t.Errorf("%q: run ends with status %d: %s", text, status, stderr)
		}
	}
	status, _, stderr := mailwire(t, nil, "config", "check", configured(t, "proxy: [{smtp: a, x: 1}]\nb: 1\nfsync: 3\n"))
	if want := []string{":1: there", ":2: there", ":3: fsync"}; status != 1 || strings.Count(stderr, "\n") != len(want) {
		t.Errorf("status %d, %s", status, stderr)
	} else {
		for i, line := range strings.Split(stderr, "\n")[:len(want)] {
			if !strings.Contains(line, want[i]) {
				t.Errorf("%q, want %q", line, want[i])
			}
		}
	}
	if status, _, stderr := mailwire(t, nil, "config", "check", "/nowhere.yaml"); status != 1 || !strings.Contains(stderr, "cannot be read") {
		t.Errorf("status %d, %s", status, stderr)
	}
}

// TestConfigCheck: flags win over the environment, and that over the file; nothing is opened.
func TestConfigCheck(t *testing.T) {
	t.Setenv("MAILWIRE_DATA", "/of/environment")
	name := configured(t, `# everything
data: /of/file
sensor: 007
local-net: [192.0.2.0/24, "2001:db8::/32"]
archive: [accepted, rejected]
fsync: false
utc: true
proxy:
  tls-cert: a.pem
  tls-key: a.key
  idle-timeout: 5m
  listeners:
  - smtp: :25=127.0.0.1:2525
  - smtps: "[::1]:465=127.0.0.1:465"
    tls: terminate
    send-proxy: v2
    accept-proxy: [10.0.0.0/8, 192.0.2.1]
tap: [none0, any]
`)
	status, stdout, stderr := mailwire(t, nil, "config", "check", "--utc=false", name, "--max-connections", "7")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, %s", status, stderr)
	}
	got := regexp.MustCompile(` {2,}`).ReplaceAllString("\n"+stdout, "|")
	for _, want := range []string{
		"\ndata|/of/environment|MAILWIRE_DATA\n", "\nsensor|007|" + name + ":3\n", "\nlocal-net|192.0.2.0/24,2001:db8::/32|" + name + ":4\n",
		"\narchive|accepted,rejected|" + name + ":5\n", "\nfsync|false|" + name + ":6\n", "\nutc|false|flag\n", "\nmax-connections|7|flag\n",
		"\nidle-timeout|5m|" + name + ":11\n", "\ndrain-timeout|30s|default\n", "\nkeep-size|-|default\n",
		"\nsmtp|:25=127.0.0.1:2525|" + name + ":13\n", "\nsmtps|[::1]:465=127.0.0.1:465|" + name + ":14\n|tls|terminate|" + name + ":15\n|",
		"|accept-proxy|10.0.0.0/8,192.0.2.1|" + name + ":17\n", "\ninterface|none0|" + name + ":18\ninterface|any|" + name + ":18\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	_, stdout, _ = mailwire(t, nil, "config", "check", "--smtp", ":1=a", "--data", "/of/flag", "--no-archive", name)
	got = regexp.MustCompile(` {2,}`).ReplaceAllString("\n"+stdout, "|")
	for _, want := range []string{"\nsmtp|:1=a|flag\n", "\ndata|/of/flag|flag\n", "\narchive|all|default\n", "\nno-archive|true|flag\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	if strings.Contains(got, ":25=127.0.0.1") {
		t.Error("the file's listeners are there beside the flag's")
	}
}

// TestTapConfig: a file for everything does not hinder the reading of a capture.
func TestTapConfig(t *testing.T) {
	name := configured(t, "sensor: of-file\nkeep-days: 3\nhttp: 127.0.0.1:1\nproxy: [{smtp: :25=a}]\ntap: {interfaces: [none0], user: nobody, ring-size: 4}\n")
	dir := t.TempDir()
	status, stdout, stderr := mailwire(t, nil, "tap", "-r", capture, "--config", name, "--data", dir)
	if status != 0 || !strings.Contains(stdout, "2 sessions, 2 mails") {
		t.Fatalf("status %d, %s", status, stderr)
	}
	for _, s := range load(t, dir).sessions {
		if s.Sensor != "of-file" {
			t.Errorf("the sensor is %q", s.Sensor)
		}
	}
}

// TestConfigNoise: whatever is in a file, what is wrong is said with its line. It cuts and damages files instead of fuzzing
// them, since the fuzzer would have to build all libraries of the program anew.
func TestConfigNoise(t *testing.T) {
	files := []string{
		"data: x\nproxy:\n  listeners:\n  - smtp: :25=a\n    tls: pass\ntap: [lo]\n",
		"a: [1, {b: c}]\n? d\n: |\n  e\n--- !x &y\n*y\n",
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		text := []byte(files[r.IntN(len(files))])
		for range r.IntN(4) {
			text[r.IntN(len(text))] = " \t\n:-?[]{}&*!|>'\"%@`#,x\x00\xff"[r.IntN(24)]
		}
		text = text[:r.IntN(len(text)+1)]
		_, err := parseConfig("F", text)
		if err == nil {
			continue
		}
		wrong, ok := errors.AsType[usageError](err)
		if !ok {
			t.Fatalf("%q: %v", text, err)
		}
		for line := range strings.SplitSeq(wrong.Error(), "\n") {
			if !regexp.MustCompile(`^F:\d+: .`).MatchString(line) {
				t.Errorf("%q: %q", text, line)
			}
		}
	}
}
