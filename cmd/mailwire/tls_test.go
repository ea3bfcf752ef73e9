//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

const testMail = "From: <a@example.org>\r\nTo: <alice@example.net>\r\nSubject: In TLS\r\nMessage-ID: <1@example.org>\r\n" +
	"Date: Sun, 22 Nov 2026 03:04:05 +0100\r\n\r\nSTARTTLS\r\n.\r\n..\r\n.x\r\nEnd.\r\n"

// terminating are the flags that end TLS.
func (s *servers) terminating() []string {
	return []string{
		"--tls", "terminate", "--tls-cert", filepath.Join(s.dir, "good.pem"), "--tls-key", filepath.Join(s.dir, "good.key"),
		"--upstream-ca", filepath.Join(s.dir, "ca.pem"), "--upstream-name", mailName,
	}
}

// mailClient is a program and how it is to send testMail, or to fetch the first mail of a maildrop, by TLS.
type mailClient struct {
	name     string
	implicit bool
	version  string // "" is the newest
	run      func(t *testing.T, s *servers, port string)
}

func sendClients(s *servers) []mailClient {
	lf := s.write("mail.lf", strings.ReplaceAll(testMail, "\r\n", "\n"))
	crlf := s.write("mail.crlf", testMail)
	ca := filepath.Join(s.dir, "ca.pem")
	swaks := func(args ...string) func(*testing.T, *servers, string) {
		return func(t *testing.T, s *servers, port string) {
			client(t, "swaks", append([]string{
				"-s", "localhost", "-p", port, "-f", "a@example.org", "-t", "alice@example.net", "--data", "@" + lf, "-au", "alice", "-ap", password,
				"--tls-verify", "--tls-ca-path", ca, "--tls-sni", "localhost", "--ehlo", "client.example.org",
			}, args...)...)
		}
	}
	curl := func(scheme string) func(*testing.T, *servers, string) {
		return func(t *testing.T, s *servers, port string) {
			client(t, "curl", "-sS", "--ssl-reqd", "--cacert", ca, scheme+"://localhost:"+port+"/client.example.org", "-u", "alice:"+password,
				"--mail-from", "a@example.org", "--mail-rcpt", "alice@example.net", "--mail-rcpt", "bob@example.net", "-T", crlf)
		}
	}
	msmtp := func(starttls string) func(*testing.T, *servers, string) {
		return func(t *testing.T, s *servers, port string) {
			need(t, "msmtp")
			client(t, "sh", "-c", `exec msmtp "$@" <`+lf, "-", "--host=localhost", "--port="+port, "--tls=on", "--tls-starttls="+starttls,
				"--tls-trust-file="+ca, "--auth=plain", "--user=alice", "--passwordeval=echo "+password, "--from=a@example.org", "--domain=client.example.org",
				"alice@example.net")
		}
	}
	return []mailClient{
		{"swaks --tls", false, "", swaks("--tls", "-a", "PLAIN")},
		{"swaks --tls LOGIN", false, "TLS 1.2", swaks("--tls", "-a", "LOGIN", "--tls-protocol", "tlsv1_2")},
		{"curl --ssl-reqd", false, "", curl("smtp")},
		{"msmtp", false, "", msmtp("on")},
		{"swaks --tlsc", true, "", swaks("--tlsc", "-a", "PLAIN")},
		{"swaks --tlsc TLS 1.2", true, "TLS 1.2", swaks("--tlsc", "-a", "LOGIN", "--tls-protocol", "tlsv1_2")},
		{"curl smtps", true, "", curl("smtps")},
		{"msmtp smtps", true, "", msmtp("off")},
	}
}

func fetchClients(s *servers) []mailClient {
	ca := filepath.Join(s.dir, "ca.pem")
	curl := func(scheme string, args ...string) func(*testing.T, *servers, string) {
		return func(t *testing.T, s *servers, port string) {
			out := filepath.Join(t.TempDir(), "mail")
			client(t, "curl", append([]string{"-sS", "--ssl-reqd", "--cacert", ca, "-u", "alice:" + password, scheme + "://localhost:" + port + "/1", "-o", out}, args...)...)
			if text, err := os.ReadFile(out); err != nil || string(text) != testMail {
				t.Errorf("curl fetched %q, %v", text, err)
			}
		}
	}
	fetchmail := func(how string) func(*testing.T, *servers, string) {
		return func(t *testing.T, s *servers, port string) {
			rc := filepath.Join(t.TempDir(), "fetchmailrc")
			text := fmt.Sprintf("set pidfile %s.pid\npoll localhost service %s proto pop3 timeout 20\n user alice password %s %s sslcertfile %q sslcertck fetchall keep mda \"cat >/dev/null\"\n",
				rc, port, password, how, ca)
			if err := os.WriteFile(rc, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			client(t, "fetchmail", "-f", rc, "-v", "--nosyslog", "-i", rc+".ids")
		}
	}
	mpop := func(starttls string) func(*testing.T, *servers, string) {
		return func(t *testing.T, s *servers, port string) {
			client(t, "mpop", "--host=localhost", "--port="+port, "--tls=on", "--tls-starttls="+starttls, "--tls-trust-file="+ca, "--auth=user", "--user=alice",
				"--passwordeval=echo "+password, "--keep=on", "--delivery=mbox,"+filepath.Join(t.TempDir(), "mbox"), "--uidls-file="+filepath.Join(t.TempDir(), "uidls"))
		}
	}
	return []mailClient{
		{"curl --ssl-reqd", false, "", curl("pop3")},
		{"curl --ssl-reqd TLS 1.2", false, "TLS 1.2", curl("pop3", "--tls-max", "1.2")},
		{"fetchmail stls", false, "", fetchmail(`sslproto "TLS1.2+"`)},
		{"mpop", false, "", mpop("on")},
		{"curl pop3s", true, "", curl("pop3s")},
		{"fetchmail ssl", true, "", fetchmail("ssl")},
		{"mpop pop3s", true, "", mpop("off")},
	}
}

func (c mailClient) how(starttls string) string {
	if c.implicit {
		return "implicit"
	}
	return starttls
}

// TestTerminatedSMTP: what real clients send through TLS that ends here is recorded as Postfix queued it.
func TestTerminatedSMTP(t *testing.T) {
	s := startServers(t, "postfix")
	for _, c := range sendClients(s) {
		t.Run(c.name, func(t *testing.T) {
			listen := freePort(t)
			route, server := "--smtp", "smtp"
			if c.implicit {
				route, server = "--smtps", "smtps"
			}
			p := relay(t, append(s.terminating(), route, listen+"="+s.at[server])...)
			c.run(t, s, portOf(listen))
			got := p.stop()
			checkTerminated(t, got, c, c.how("starttls"))
			if len(got.messages) != 1 {
				t.Fatalf("%d messages", len(got.messages))
			}
			m := got.messages[0]
			if !m.TLS || m.Outcome != record.Accepted || m.User != "alice" {
				t.Errorf("tls %v, %s, user %q", m.TLS, m.Outcome, m.User)
			}
			from, to, octets, digest := s.queued(m.QueueID)
			if m.From == nil || *m.From != from || len(m.Rcpt) != len(to) || m.Rcpt[0].To != to[0] || m.Octets != octets || m.SHA256 != digest {
				t.Errorf("recorded %v %+v %d %s, queued %s %v %d %s", m.From, m.Rcpt, m.Octets, m.SHA256, from, to, octets, digest)
			}
			sum := sha256.Sum256([]byte(testMail))
			if strings.Contains(c.name, "curl") && digest != hex.EncodeToString(sum[:]) {
				t.Errorf("%d octets were queued, not what was sent", octets)
			}
		})
	}
}

// TestTerminatedPOP3: the same for mails that are fetched.
func TestTerminatedPOP3(t *testing.T) {
	s := startServers(t)
	s.maildrop(testMail)
	sum := sha256.Sum256([]byte(testMail))
	for _, c := range fetchClients(s) {
		t.Run(c.name, func(t *testing.T) {
			listen := freePort(t)
			route, server := "--pop3", "pop3"
			if c.implicit {
				route, server = "--pop3s", "pop3s"
			}
			p := relay(t, append(s.terminating(), route, listen+"="+s.at[server])...)
			c.run(t, s, portOf(listen))
			got := p.stop()
			checkTerminated(t, got, c, c.how("stls"))
			i := slices.IndexFunc(got.messages, func(m record.Message) bool { return m.Via == "RETR" })
			if i < 0 || got.messages[i].SHA256 != hex.EncodeToString(sum[:]) || !got.messages[i].TLS || got.messages[i].User != "alice" {
				t.Errorf("recorded %+v", got.messages)
			}
		})
	}
}

// checkTerminated: one session, its dialogue in clear, its TLS on both sides, and no password anywhere.
func checkTerminated(t *testing.T, got recorded, c mailClient, how string) {
	t.Helper()
	if len(got.sessions) != 1 {
		t.Fatalf("%d sessions: %+v", len(got.sessions), got.sessions)
	}
	s := got.sessions[0]
	if s.Status != record.Closed || len(s.Anomalies) > 0 || len(s.Auth) != 1 || s.Auth[0].Outcome != record.Success || s.Auth[0].User != "alice" || !s.Auth[0].TLS {
		t.Errorf("%s, %+v, %+v", s.Status, s.Anomalies, s.Auth)
	}
	version := c.version
	if version == "" {
		version = "TLS 1.3"
	}
	if s.TLS == nil || s.TLS.How != how || !s.TLS.Ended || s.TLS.Version != version || s.TLS.Cipher == "" || s.TLS.SNI != "localhost" {
		t.Fatalf("recorded %+v", s.TLS)
	}
	if up := s.TLS.Upstream; up == nil || up.Version != "TLS 1.3" || up.Certificate == nil || !slices.Contains(up.Certificate.Names, mailName) {
		t.Errorf("recorded of the server's side %+v", up)
	}
	for _, text := range []string{" ~> ", " <~  "} {
		if !strings.Contains(string(got.all), text) {
			t.Errorf("no line with %q in the dialogue", text)
		}
	}
	checkPasswords(t, got)
}

// checkPasswords: neither the password nor a form of it that clients send stands in a file.
func checkPasswords(t *testing.T, got recorded) {
	t.Helper()
	for _, secret := range []string{password, "Y2FuYXJ5LWFsaWNlLTVlMmY", "AGFsaWNlAGNhbmFyeS1hbGljZS01ZTJm", "canary"} {
		if strings.Contains(string(got.all), secret) {
			t.Errorf("%q stands in a file", secret)
		}
	}
}

// TestPassedTLS: what goes through untouched stays closed, and what everybody can see of its handshake is recorded.
func TestPassedTLS(t *testing.T) {
	s := startServers(t, "postfix")
	s.maildrop(testMail)
	check := func(c mailClient, how, route, server string) {
		t.Run(route+" "+c.name, func(t *testing.T) {
			listen := freePort(t)
			p := relay(t, route, listen+"="+s.at[server])
			c.run(t, s, portOf(listen))
			got := p.stop()
			if len(got.sessions) != 1 || len(got.messages) != 0 {
				t.Fatalf("%d sessions, %d messages", len(got.sessions), len(got.messages))
			}
			r := got.sessions[0]
			if r.TLS == nil || r.TLS.How != how || r.TLS.Ended || r.TLS.SNI != "localhost" || r.TLS.Upstream != nil || len(r.Auth) > 0 {
				t.Fatalf("recorded %+v, %+v", r.TLS, r.Auth)
			}
			if c.version == "TLS 1.2" {
				if k := r.TLS.Certificate; r.TLS.Version != c.version || r.TLS.Cipher == "" || k == nil || !slices.Contains(k.Names, mailName) {
					t.Errorf("recorded %+v, certificate %+v", r.TLS, k)
				}
			} else if r.TLS.Version != "TLS 1.3" || r.TLS.Cipher == "" {
				t.Errorf("recorded %+v", r.TLS)
			}
			checkPasswords(t, got)
		})
	}
	for _, c := range sendClients(s) {
		if c.implicit {
			check(c, "implicit", "--smtps", "smtps")
		} else {
			check(c, "starttls", "--smtp", "smtp")
		}
	}
	for _, c := range fetchClients(s) {
		if c.implicit {
			check(c, "implicit", "--pop3s", "pop3s")
		} else {
			check(c, "stls", "--pop3", "pop3")
		}
	}
}

// TestUnbelieved: no mail goes to a server whose certificate is wrong.
func TestUnbelieved(t *testing.T) {
	s := startServers(t, "postfix")
	need(t, "swaks", "curl")
	s.maildrop(testMail)
	good := s.terminating()
	wrongName := slices.Concat(good[:len(good)-1], []string{"other.example.net"})
	for _, c := range []struct {
		name          string
		flags         []string
		route, server string
		ok            bool
	}{
		{"expired", good, "--smtp", "smtp-expired", false},
		{"other authority", good, "--smtp", "smtp-selfmade", false},
		{"other authority", good, "--smtps", "smtps-selfmade", false},
		{"wrong name", wrongName, "--smtp", "smtp", false},
		{"wrong name", wrongName, "--smtps", "smtps", false},
		{"wrong name", wrongName, "--pop3", "pop3", false},
		{"wrong name", wrongName, "--pop3s", "pop3s", false},
		{"insecure", slices.Concat(good[:6], []string{"--upstream-insecure"}), "--smtp", "smtp-expired", true},
		{"insecure", slices.Concat(good[:6], []string{"--upstream-insecure"}), "--smtps", "smtps-selfmade", true},
	} {
		t.Run(c.name+" "+c.server, func(t *testing.T) {
			listen, before := freePort(t), s.queueLength()
			p := relay(t, append(c.flags, c.route, listen+"="+s.at[c.server])...)
			var out string
			var err error
			if strings.HasPrefix(c.route, "--pop3") {
				out, err = tryClient(t, "curl", "-vsS", "--ssl-reqd", "-k", "-u", "alice:"+password, strings.Trim(c.route, "-")+"://localhost:"+portOf(listen)+"/1")
			} else {
				how := map[string]string{"--smtp": "--tls", "--smtps": "--tlsc"}[c.route]
				out, err = tryClient(t, "swaks", "-s", "localhost", "-p", portOf(listen), how, "-f", "a@example.org", "-t", "alice@example.net")
			}
			got := p.stop()
			if len(got.sessions) != 1 {
				t.Fatalf("%d sessions", len(got.sessions))
			}
			r := got.sessions[0]
			unbelieved := slices.ContainsFunc(r.Anomalies, func(a record.Anomaly) bool { return a.Kind == "upstream-tls" })
			if (err == nil) != c.ok || unbelieved == c.ok {
				t.Errorf("%v, %+v\n%s", err, r.Anomalies, out)
			}
			if c.ok {
				return
			}
			if n := s.queueLength() - before; n > 0 || len(got.messages) > 0 {
				t.Errorf("%d mails were queued, %d recorded", n, len(got.messages))
			}
			refusal := map[string]string{"--smtp": "454 4.7.0", "--pop3": "-ERR"}[c.route]
			if !strings.Contains(out, refusal) {
				t.Errorf("the client was not told %q:\n%s", refusal, out)
			}
			if !strings.Contains(p.log.String(), "TLS with the server") {
				t.Errorf("the log says %s", p.log)
			}
		})
	}
}

// TestTLSFiles: what cannot be used is said in one sentence, and nothing is begun.
func TestTLSFiles(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t, dir, "ca")
	a.sign("one", "one.example.net", time.Now().Add(time.Hour))
	a.sign("two", "two.example.net", time.Now().Add(time.Hour))
	if err := os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ cert, key, ca, want string }{
		{"one.pem", "none", "ca.pem", "no such file"},
		{"one.pem", "two.key", "ca.pem", "belong together"},
		{"empty", "one.key", "ca.pem", "cannot be used"},
		{"one.pem", "one.key", "empty", "holds no certificate"},
		{"one.pem", "one.key", "none", "cannot be read"},
	} {
		status, _, stderr := mailwire(t, nil, "proxy", "--data", t.TempDir(), "--smtp", freePort(t)+"=127.0.0.1:25", "--tls", "terminate", "--tls-cert", filepath.Join(dir, c.cert),
			"--tls-key", filepath.Join(dir, c.key), "--upstream-ca", filepath.Join(dir, c.ca))
		if status != 1 || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s, %s, %s: status %d, %q", c.cert, c.key, c.ca, status, stderr)
		}
	}
	for args, want := range map[string]string{
		"--tls terminate":                                  "needs --tls-cert FILE and --tls-key FILE",
		"--tls terminate --tls-cert one.pem":               "needs --tls-cert FILE and --tls-key FILE",
		"--tls-cert one.pem --tls-key one.key":             "is for --tls terminate",
		"--upstream-insecure":                              "is for --tls terminate",
		"--tls strip --tls-cert one.pem --tls-key one.key": "choose from pass and terminate",
	} {
		status, _, stderr := mailwire(t, nil, append([]string{"proxy", "--data", t.TempDir(), "--smtp", "127.0.0.1:0=127.0.0.1:25"}, strings.Fields(args)...)...)
		if status != 2 || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, %q", args, status, stderr)
		}
	}
}
