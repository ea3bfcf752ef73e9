package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// begins are the dialogues up to the command that begins TLS, and what agrees to it.
var begins = []struct {
	route          Route
	how            string
	plain          []string
	command, agree string
	no             string // what the client gets where the server is not believed
}{
	{
		Route{Protocol: inspect.SMTP},
		"starttls",
		[]string{"S: 220 mx ESMTP", "C: EHLO client", "S: 250-mx\r\n250 STARTTLS"},
		"STARTTLS\r\n", "220 2.0.0 Ready to start TLS\r\n", "454 4.7.0 TLS not available due to temporary reason\r\n",
	},
	{
		Route{Protocol: inspect.POP3},
		"stls",
		[]string{"S: +OK ready", "C: CAPA", "S: +OK\r\nSTLS\r\n."},
		"STLS\r\n", "+OK Begin TLS\r\n", "-ERR [SYS/TEMP] TLS not available due to temporary reason\r\n",
	},
	{Route{Protocol: inspect.SMTP, TLS: true}, "implicit", nil, "", "", ""},
	{Route{Protocol: inspect.POP3, TLS: true}, "implicit", nil, "", "", ""},
}

// TestTerminate: TLS on both sides, each with its own certificate, and the dialogue inside.
func TestTerminate(t *testing.T) {
	a := newAuthority(t)
	for _, b := range begins {
		terminate, certificate := a.terminate()
		s := newStage(t, b.route, Options{Terms: Terms{Terminate: terminate}})
		client, server := s.pair()
		insideClient, insideServer := beginTLS(a, client, server, b.plain, b.command, b.agree, certificate)
		if b.route.Protocol == inspect.POP3 {
			if b.route.TLS {
				talk(insideClient, insideServer, "S: +OK ready")
			}
			talk(insideClient, insideServer, "C: USER alice", "S: +OK", "C: PASS canary-5e2f", "S: +OK", "C: QUIT", "S: +OK")
		} else {
			if b.route.TLS {
				talk(insideClient, insideServer, "S: 220 mx")
			}
			talk(insideClient, insideServer, "C: EHLO again", "S: 250 mx", "C: QUIT", "S: 221 bye")
		}
		_ = insideServer.conn.Close()
		if _, err := insideClient.rest(); err != nil {
			t.Errorf("%s: the client's end: %v", b.how, err)
		}
		_ = insideClient.conn.Close()
		r := s.session()
		if r.TLS == nil || r.TLS.How != b.how || !r.TLS.Ended || r.TLS.Version != "TLS 1.3" || r.TLS.Cipher == "" || r.TLS.SNI != proxyName {
			t.Fatalf("%s: recorded %+v", b.how, r.TLS)
		}
		if up := r.TLS.Upstream; up == nil || up.Version != "TLS 1.3" || up.Certificate == nil || !slices.Contains(up.Certificate.Names, serverName) {
			t.Errorf("%s: recorded of the server's side %+v", b.how, up)
		}
		if r.Status != record.Closed || len(r.Anomalies) > 0 {
			t.Errorf("%s: %s, %+v", b.how, r.Status, r.Anomalies)
		}
	}
}

// beginTLS has the dialogue up to TLS, and begins TLS on both sides.
func beginTLS(a *authority, client, server *player, plain []string, command, agree string, certificate tls.Certificate) (insideClient, insideServer *player) {
	a.t.Helper()
	talk(client, server, plain...)
	client.say(command)
	server.hear(command)
	insideServer, serverDone := server.secured(&tls.Config{Certificates: []tls.Certificate{certificate}}, false)
	server.say(agree)
	if err := <-serverDone; err != nil {
		a.t.Fatal("TLS with the server:", err)
	}
	client.hear(agree)
	insideClient, clientDone := client.secured(&tls.Config{RootCAs: a.pool(), ServerName: proxyName}, true)
	if err := <-clientDone; err != nil {
		a.t.Fatal("TLS with the client:", err)
	}
	return insideClient, insideServer
}

// TestVerify: a server that is not believed gets no mail, and its client no TLS.
func TestVerify(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	good, expired := a.sign(serverName, time.Now().Add(time.Hour)), a.sign(serverName, time.Now().Add(-time.Hour))
	for _, c := range []struct {
		name   string
		change func(*Terminate)
		cert   tls.Certificate
		ok     bool
	}{
		{"signed", func(*Terminate) {}, good, true},
		{"by name", func(t *Terminate) { t.Name = serverName }, good, true},
		{"wrong name", func(t *Terminate) { t.Name = "other.example.net" }, good, false},
		{"expired", func(*Terminate) {}, expired, false},
		{"other authority", func(t *Terminate) { t.UpstreamCA = other.file }, good, false},
		{"the system's authorities", func(t *Terminate) { t.UpstreamCA = "" }, good, false},
		{"insecure", func(t *Terminate) { t.UpstreamCA, t.Insecure, t.Name = "", true, "other.example.net" }, expired, true},
	} {
		for _, b := range begins {
			t.Run(c.name+" "+b.route.String(), func(t *testing.T) {
				terminate, _ := a.terminate()
				c.change(terminate)
				s := newStage(t, b.route, Options{Terms: Terms{Terminate: terminate}})
				client, server := s.pair()
				if c.ok {
					beginTLS(a, client, server, b.plain, b.command, b.agree, c.cert)
					return
				}
				talk(client, server, b.plain...)
				client.say(b.command)
				server.hear(b.command)
				inside, done := server.secured(&tls.Config{Certificates: []tls.Certificate{c.cert}}, false)
				server.say(b.agree)
				client.hear(b.no)
				client.cutOff()
				<-done
				inside.cutOff()
				if r := s.session(); !hasAnomaly(r, wire.UpstreamTLS) || r.TLS != nil && r.TLS.Ended {
					t.Errorf("recorded: %+v, %+v", r.Anomalies, r.TLS)
				}
			})
		}
	}
}

// TestVerifyWarnings: one server's failure does not hide another's.
func TestVerifyWarnings(t *testing.T) {
	u := idlePump(1<<20, 64<<20)
	said := map[string]int{}
	u.in.p.Options().Warn = func(cause, _ string) { said[cause]++ }
	for _, server := range []string{"one.example.net:465", "two.example.net:465"} {
		c := &call{r: &route{Route: Route{Upstream: server}, p: u.in.p}, pump: u}
		c.serverTLSFailed(errTruncated)
		c.serverTLSFailed(errTruncated)
	}
	if len(said) != 2 {
		t.Errorf("the log is told of %v", said)
	}
}

// TestNoTLS: what a client says where its TLS should begin is counted, and seen.
func TestNoTLS(t *testing.T) {
	const plain = "EHLO client.example.org\r\n"
	a := newAuthority(t)
	for _, b := range begins {
		for _, says := range []string{plain, "\x16\x03\x01\x00\x04\x01\x00\x00\x00"} {
			terminate, certificate := a.terminate()
			s := newStage(t, b.route, Options{Terms: Terms{Terminate: terminate}})
			client, server := s.pair()
			talk(client, server, b.plain...)
			client.say(b.command)
			server.hear(b.command)
			_, done := server.secured(&tls.Config{Certificates: []tls.Certificate{certificate}}, false)
			server.say(b.agree)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			client.hear(b.agree)
			client.say(says)
			_, _ = client.rest() // an alert
			r := s.session()
			before := len(b.command)
			for _, line := range b.plain {
				if line, ok := strings.CutPrefix(line, "C: "); ok {
					before += len(line) + len("\r\n")
				}
			}
			if got := r.Octets.Client - int64(before); got != int64(len(says)) {
				t.Errorf("%s: %d octets of %q are recorded; %+v", b.route, got, says, r.Anomalies)
			}
			if says == plain && !hasAnomaly(r, wire.PlainAfterTLS) && (b.how != "implicit" || r.Commands != 1) {
				t.Errorf("%s: nothing tells of the plain text: %+v", b.route, r)
			}
		}
	}
}

// TestTruncation: who breaks off TLS without saying so is not taken to have ended in order.
func TestTruncation(t *testing.T) {
	a := newAuthority(t)
	for _, b := range begins {
		for _, who := range []string{"client", "server"} {
			for _, how := range []string{"end", "reset"} {
				terminate, certificate := a.terminate()
				s := newStage(t, b.route, Options{Terms: Terms{Terminate: terminate}})
				client, server := s.pair()
				insideClient, insideServer := beginTLS(a, client, server, b.plain, b.command, b.agree, certificate)
				talk(insideClient, insideServer, "C: NOOP")
				breaks, other := client, insideServer
				if who == "server" {
					breaks, other = server, insideClient
				}
				if how == "end" {
					_ = breaks.conn.(*net.TCPConn).CloseWrite()
				} else {
					breaks.reset()
				}
				if text, err := other.rest(); err == nil || text != "" {
					t.Errorf("%s, the %s's %s: the other side hears %q and an orderly end", b.route, who, how, text)
				}
				_ = other.conn.Close()
				if r := s.session(); r.Status == record.Closed {
					t.Errorf("%s, the %s's %s: %s", b.route, who, how, r.Status)
				}
			}
		}
	}
}

// TestLastWords: what a server said before it broke off TLS still comes to a slow client.
func TestLastWords(t *testing.T) {
	a := newAuthority(t)
	b := begins[1]
	terminate, certificate := a.terminate()
	s := newStage(t, b.route, Options{Terms: Terms{Terminate: terminate}})
	client, server := s.pair()
	insideClient, insideServer := beginTLS(a, client, server, b.plain, b.command, b.agree, certificate)
	mail := strings.Repeat(strings.Repeat("x", 98)+"\r\n", 40_000)
	go func() {
		_, _ = io.WriteString(insideServer.conn, mail)
		_ = server.conn.(*net.TCPConn).CloseWrite()
	}()
	if text, err := insideClient.rest(); len(text) != len(mail) || err == nil {
		t.Errorf("%d of %d octets, %v", len(text), len(mail), err)
	}
}

// TestHalfHandshake: a side that stops in the middle of a handshake is given up after the connect timeout.
func TestHalfHandshake(t *testing.T) {
	a := newAuthority(t)
	for _, b := range begins {
		for _, who := range []string{"client", "server"} {
			terminate, certificate := a.terminate()
			s := newStage(t, b.route, Options{Terms: Terms{Terminate: terminate, ConnectTimeout: time.Second}})
			client, server := s.pair()
			talk(client, server, b.plain...)
			client.say(b.command)
			server.hear(b.command)
			server.say(b.agree)
			if who == "client" {
				_, done := server.secured(&tls.Config{Certificates: []tls.Certificate{certificate}}, false)
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				client.hear(b.agree)
				client.say("\x16\x03\x01\x02\x00\x01")
			}
			if text, _ := client.rest(); who == "client" && text != "" || who == "server" && text != b.no {
				t.Errorf("%s, the %s stops: the client hears %q", b.route, who, text)
			}
			r := s.session()
			if hasAnomaly(r, wire.UpstreamTLS) != (who == "server") {
				t.Errorf("%s, the %s stops: %+v", b.route, who, r.Anomalies)
			}
		}
	}
}

// TestReload: a certificate that is replaced is used for new connections; one that is broken is not.
func TestReload(t *testing.T) {
	a := newAuthority(t)
	b := begins[2]
	terminate, certificate := a.terminate()
	s := newStage(t, b.route, Options{Terms: Terms{Terminate: terminate}})
	shown := func() string {
		client, server := s.pair()
		_, serverDone := server.secured(&tls.Config{Certificates: []tls.Certificate{certificate}}, false)
		var name string
		_, clientDone := client.secured(&tls.Config{InsecureSkipVerify: true, VerifyConnection: func(c tls.ConnectionState) error {
			name = c.PeerCertificates[0].Subject.CommonName
			return nil
		}}, true)
		if err := errors.Join(<-serverDone, <-clientDone); err != nil {
			t.Fatal(err)
		}
		return name
	}
	if name := shown(); name != proxyName {
		t.Fatalf("the client is shown %s", name)
	}
	if err := os.WriteFile(terminate.Cert, []byte("no certificate\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	select {
	case warning := <-s.warnings:
		if !strings.Contains(warning, "stays in use") {
			t.Errorf("the log says %q", warning)
		}
	case <-time.After(patience):
		t.Fatal("the log does not say that the certificate is broken")
	}
	if name := shown(); name != proxyName {
		t.Fatalf("with a broken file, the client is shown %s", name)
	}
	before := terminate.certificate.Load()
	a.save("proxy", a.sign("new.example.net", time.Now().Add(time.Hour)))
	for end := time.Now().Add(patience); terminate.certificate.Load() == before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the new certificate is not used")
		}
	}
	if name := shown(); name != "new.example.net" {
		t.Errorf("the client is shown %s", name)
	}
	if len(s.warnings) > 0 {
		t.Errorf("the log says more: %s", <-s.warnings)
	}
}

// TestBadFiles: what cannot be used is said at the start, in one sentence.
func TestBadFiles(t *testing.T) {
	a := newAuthority(t)
	hour := time.Now().Add(time.Hour)
	cert, key := a.save("one", a.sign("one.example.net", hour))
	_, otherKey := a.save("two", a.sign("two.example.net", hour))
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		terminate *Terminate
		want      string
	}{
		{&Terminate{Cert: cert, Key: otherKey}, "belong together"},
		{&Terminate{Cert: cert, Key: filepath.Join(a.dir, "none")}, "no such file"},
		{&Terminate{Cert: empty, Key: key}, "cannot be used"},
		{&Terminate{Cert: cert, Key: key, UpstreamCA: empty}, "holds no certificate"},
		{&Terminate{Cert: cert, Key: key, UpstreamCA: key}, "holds no certificate"},
		{&Terminate{Cert: cert, Key: key, UpstreamCA: filepath.Join(a.dir, "none")}, "cannot be read"},
	} {
		p, err := Listen(t.Context(), Options{
			Terms: Terms{Terminate: c.terminate}, Inspect: &inspect.Config{}, Recorder: sessionRecorder{},
			Routes: []Route{{Protocol: inspect.SMTP, Listen: "127.0.0.1:0", Upstream: "127.0.0.1:25"}},
		})
		if err == nil {
			p.closeListeners()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
