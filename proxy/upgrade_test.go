package proxy

import (
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

// plainDialogues are dialogues up to STARTTLS or STLS: words that look like it, and are none, stand in them.
var plainDialogues = map[inspect.Hint][]spoken{
	inspect.SMTP: {
		serverSays("220 mx ESMTP\r\n"), clientSays("EHLO client\r\n"), serverSays("250-mx\r\n250 STARTTLS\r\n"),
		clientSays("STARTTLS now\r\n"), serverSays("501 5.5.4 Syntax: STARTTLS\r\n"),
		clientSays("AUTH LOGIN\r\n"), serverSays("334 VXNlcm5hbWU6\r\n"), clientSays("STARTTLS\r\n"), serverSays("334 UGFzc3dvcmQ6\r\n"),
		clientSays("starttls\r\n"), serverSays("535 5.7.8 no\r\n"),
		clientSays("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n"), serverSays("250 ok\r\n250 ok\r\n"),
		clientSays("DATA\r\n"), serverSays("354 go\r\n"), clientSays("Subject: x\r\n\r\nSTARTTLS\r\n..\r\nSTARTTLS\r\n.\r\n"), serverSays("250 queued\r\n"),
		clientSays("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nBDAT 10 LAST\r\nSTARTTLS\r\n"), serverSays("250 ok\r\n250 ok\r\n250 queued\r\n"),
	},
	inspect.POP3: {
		serverSays("+OK ready\r\n"), clientSays("CAPA\r\n"), serverSays("+OK\r\nSTLS\r\nUSER\r\n.\r\n"),
		clientSays("STLS now\r\n"), serverSays("-ERR no argument\r\n"),
		clientSays("AUTH LOGIN\r\n"), serverSays("+ VXNlcm5hbWU6\r\n"), clientSays("STLS\r\n"), serverSays("+ UGFzc3dvcmQ6\r\n"), clientSays("stls\r\n"), serverSays("-ERR no\r\n"),
		clientSays("USER STLS\r\n"), serverSays("+OK\r\n"), clientSays("PASS STLS\r\n"), serverSays("-ERR no\r\n"),
	},
}

var agreements = map[inspect.Hint]struct{ ask, agree, refuse, no string }{
	inspect.SMTP: {"STARTTLS\r\n", "220 2.0.0 go ahead\r\n", "454 4.7.0 not now\r\n", "454 4.7.0 TLS not available due to temporary reason\r\n"},
	inspect.POP3: {"STLS\r\n", "+OK go ahead\r\n", "-ERR not now\r\n", "-ERR [SYS/TEMP] TLS not available due to temporary reason\r\n"},
}

// TestUpgradeCuts: TLS begins at the same octet, however the octets before it were cut.
func TestUpgradeCuts(t *testing.T) {
	a := newAuthority(t)
	terminate, certificate := a.terminate()
	terminate.Name = serverName
	for protocol, steps := range plainDialogues {
		words := agreements[protocol]
		upgrade := func(t *testing.T, cut func(string) []string) {
			synctest.Test(t, func(t *testing.T) {
				g := newPiped(t, Route{Protocol: protocol}, terminate)
				g.play(steps, cut)
				g.play([]spoken{clientSays(words.ask), serverSays(words.refuse)}, cut)
				g.play([]spoken{clientSays(words.ask)}, cut)
				serving := make(chan error, 1)
				insideServer := tls.Server(g.server, &tls.Config{Certificates: []tls.Certificate{certificate}})
				go func() {
					g.server.say(cut(words.agree)...)
					serving <- insideServer.Handshake()
				}()
				if err := <-serving; err != nil {
					t.Fatal("TLS with the server:", err)
				}
				if heard := g.client.hears(); heard != words.agree {
					t.Fatalf("the client hears %q", heard)
				}
				insideClient := tls.Client(g.client, &tls.Config{RootCAs: a.pool(), ServerName: proxyName})
				if err := insideClient.Handshake(); err != nil {
					t.Fatal("TLS with the client:", err)
				}
				go func() { _, _ = io.WriteString(insideClient, "NOOP\r\n") }()
				heard := make([]byte, len("NOOP\r\n"))
				if _, err := io.ReadFull(insideServer, heard); err != nil || string(heard) != "NOOP\r\n" {
					t.Fatalf("inside TLS, the server hears %q: %v", heard, err)
				}
				if r := g.session(); r.TLS == nil || !r.TLS.Ended || len(r.Anomalies) > 0 {
					t.Fatalf("recorded %+v, %+v", r.TLS, r.Anomalies)
				}
			})
		}
		for _, s := range append(steps, clientSays(words.ask), serverSays(words.refuse), serverSays(words.agree)) {
			for i, cut := range cuts(s.text) {
				if !t.Run(fmt.Sprintf("%q cut %d", s.text, i-1), func(t *testing.T) { upgrade(t, cut) }) {
					return
				}
			}
		}
	}
}

// TestUpgradeDenied: where the server's TLS cannot be had, the client hears only that, however the server's agreement
// was cut.
func TestUpgradeDenied(t *testing.T) {
	a := newAuthority(t)
	terminate, _ := a.terminate()
	for protocol, words := range agreements {
		for i, cut := range cuts(words.agree) {
			synctest.Test(t, func(t *testing.T) {
				g := newPiped(t, Route{Protocol: protocol}, terminate)
				g.play(plainDialogues[protocol][:1], uncut)
				g.play([]spoken{clientSays(words.ask)}, uncut)
				g.server.say(cut(words.agree)...)
				g.server.say("\x15\x03\x03\x00\x02\x02\x28") // a fatal alert
				if heard := g.client.hears(); heard != words.no {
					t.Errorf("cut %d: the client hears %q, want %q", i-1, heard, words.no)
				}
				if r := g.session(); !hasAnomaly(r, wire.UpstreamTLS) {
					t.Errorf("cut %d: %+v", i-1, r.Anomalies)
				}
			})
		}
	}
}

// TestInjection: plain text behind the command, however it comes, ends the conversation, and the server never sees it.
func TestInjection(t *testing.T) {
	a := newAuthority(t)
	terminate, _ := a.terminate()
	for protocol, words := range agreements {
		injected := words.ask + "NOOP injected\r\n"
		for n := 1; n <= len(injected); n++ {
			synctest.Test(t, func(t *testing.T) {
				g := newPiped(t, Route{Protocol: protocol}, terminate)
				g.play(plainDialogues[protocol][:1], uncut)
				done := make(chan struct{})
				go func() { // nobody reads what is behind the command
					defer close(done)
					_, _ = io.WriteString(g.client.Conn, injected[:n])
					_, _ = io.WriteString(g.client.Conn, injected[n:])
				}()
				if heard := g.server.hears(); heard != words.ask {
					t.Errorf("cut %d: the server hears %q", n, heard)
				}
				if n <= len(words.ask) { // in a pipe, only a socket tells that more is waiting (TestInjectionLater)
					g.stop()
					return
				}
				g.server.say(words.agree)
				if heard := g.client.hears(); heard != "" {
					t.Errorf("cut %d: the client hears %q", n, heard)
				}
				<-done
				if r := g.session(); !hasAnomaly(r, wire.STARTTLSInject) || r.TLS != nil && r.TLS.Ended {
					t.Errorf("cut %d: %+v, %+v", n, r.Anomalies, r.TLS)
				}
			})
		}
	}
}

// TestInjectionLater: so does plain text in a packet of its own, before the server's answer or while TLS with it begins.
func TestInjectionLater(t *testing.T) {
	a := newAuthority(t)
	for _, b := range begins[:2] {
		for _, when := range []string{"before the answer", "during the handshake", "behind the answer", "by the server", "by the server, later"} {
			t.Run(b.how+" "+when, func(t *testing.T) {
				terminate, certificate := a.terminate()
				s := newStage(t, b.route, Options{Terms: Terms{Terminate: terminate}})
				client, server := s.pair()
				talk(client, server, b.plain...)
				client.say(b.command)
				server.hear(b.command)
				said := ""
				switch when {
				case "before the answer":
					client.say("NOOP injected\r\n")
					server.say(b.agree)
				case "during the handshake":
					hello := make(chan struct{})
					config := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
						close(hello)
						client.say("NOOP injected\r\n")
						return &certificate, nil
					}}
					_, done := server.secured(config, false)
					server.say(b.agree)
					<-hello
					<-done
				case "behind the answer":
					_, done := server.secured(&tls.Config{Certificates: []tls.Certificate{certificate}}, false)
					server.say(b.agree)
					<-done
					client.hear(b.agree)
					client.say("NOOP injected\r\n")
				case "by the server":
					server.say(b.agree + "250 injected\r\n")
				case "by the server, later":
					server.say(b.agree)
					if hello, err := server.r.Peek(1); err != nil || hello[0] != 0x16 {
						t.Fatal("no handshake with the server", err)
					}
					server.say("250 injected\r\n")
					said = b.no
				}
				if text, _ := client.rest(); text != said && when != "behind the answer" && when != "during the handshake" {
					t.Errorf("the client hears %q, want %q", text, said)
				}
				if text, _ := server.rest(); strings.Contains(text, "injected") {
					t.Errorf("the server hears %q", text)
				}
				r := s.session()
				if r.TLS != nil && r.TLS.Version != "" {
					t.Errorf("recorded as TLS: %+v", r.TLS)
				}
				switch when {
				case "behind the answer":
					if len(r.Anomalies) == 0 {
						t.Error("no anomaly")
					}
				case "by the server, later":
					if !hasAnomaly(r, wire.UpstreamTLS) {
						t.Errorf("anomalies %+v", r.Anomalies)
					}
				default:
					if !hasAnomaly(r, wire.STARTTLSInject) {
						t.Errorf("anomalies %+v", r.Anomalies)
					}
				}
			})
		}
	}
}

// TestHeldUpgrade: a STARTTLS that had gone to the server before anybody could know that it is one, since a reply made it a
// command, is never followed by TLS of ours; refused, it changes nothing.
func TestHeldUpgrade(t *testing.T) {
	a := newAuthority(t)
	terminate, _ := a.terminate()
	for _, c := range []struct {
		name  string
		steps []spoken
	}{
		{"DATA", []spoken{clientSays("DATA\r\nSTARTTLS\r\nNOOP injected\r\n"), serverSays("503 no\r\n")}},
		{"AUTH", []spoken{clientSays("AUTH LOGIN\r\nSTARTTLS\r\nNOOP injected\r\n"), serverSays("503 no\r\n")}},
		{"STARTTLS", []spoken{clientSays("DATA\r\nSTARTTLS now\r\nSTARTTLS\r\nNOOP injected\r\n"), serverSays("503 no\r\n"), serverSays("501 no\r\n")}},
		{"doubt", []spoken{
			clientSays("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"), serverSays("250 ok\r\n250 ok\r\n354 go\r\n"),
			clientSays("x\r\n\n.\nSTARTTLS\r\nNOOP injected\r\n"), serverSays("250 queued\r\n"),
		}},
	} {
		t.Run(c.name+" granted", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newPiped(t, Route{Protocol: inspect.SMTP}, terminate)
				g.play(plainDialogues[inspect.SMTP][:1], uncut)
				g.play(c.steps, uncut)
				g.server.say("220 go\r\n")
				if heard := g.server.hears(); heard != "" {
					t.Errorf("the server hears %q", heard)
				}
				if heard := g.client.hears(); heard != "" {
					t.Errorf("the client hears %q", heard)
				}
				if r := g.session(); !hasAnomaly(r, wire.STARTTLSInject) || r.TLS != nil && r.TLS.Ended {
					t.Errorf("recorded %+v, %+v", r.Anomalies, r.TLS)
				}
			})
		})
		t.Run(c.name+" refused", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newPiped(t, Route{Protocol: inspect.SMTP}, terminate)
				g.play(plainDialogues[inspect.SMTP][:1], uncut)
				g.play(c.steps, uncut)
				g.play([]spoken{serverSays("454 no\r\n"), serverSays("250 ok\r\n")}, uncut)
				g.play([]spoken{clientSays("RSET\r\n"), serverSays("250 ok\r\n")}, uncut)
				// The next one waits for its own answer.
				go func() { _, _ = io.WriteString(g.client.Conn, "STARTTLS\r\nNOOP injected\r\n") }()
				if heard := g.server.hears(); heard != "STARTTLS\r\n" {
					t.Errorf("the server hears %q", heard)
				}
				g.stop()
			})
		})
	}
}

// TestLongInjection: nor is one that had gone to the server when so much came behind it that the parser had to guess.
func TestLongInjection(t *testing.T) {
	a := newAuthority(t)
	terminate, _ := a.terminate()
	for _, first := range []string{"DATA\r\nNOOP\r\n", "DATA\r\n", "AUTH LOGIN\r\nNOOP\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			g := newPiped(t, Route{Protocol: inspect.SMTP}, terminate)
			g.play(plainDialogues[inspect.SMTP][:1], uncut)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = io.WriteString(g.client.Conn, first+"STARTTLS\r\n"+strings.Repeat("NOOP injected\r\n", 600))
			}()
			g.server.hears()
			for _, reply := range []string{"503 no\r\n", "250 ok\r\n", "220 go\r\n"} {
				g.server.say(reply)
			}
			if heard := g.server.hears(); strings.Contains(heard, "\x16\x03") {
				t.Errorf("behind %q the server gets a handshake", first)
			}
			if heard := g.client.hears(); strings.Contains(heard, "220 go") {
				t.Errorf("behind %q the client hears %q", first, heard)
			}
			if r := g.session(); len(r.Anomalies) == 0 || r.TLS != nil && r.TLS.Version != "" {
				t.Errorf("behind %q: recorded %+v, %+v", first, r.Anomalies, r.TLS)
			}
			<-done
		})
	}
}

// TestOddUpgrade: nor is a command that only the server takes for STARTTLS. Postfix, for one, takes these.
func TestOddUpgrade(t *testing.T) {
	a := newAuthority(t)
	terminate, _ := a.terminate()
	for _, command := range []string{"STARTTLS\v", "\vSTARTTLS", "STARTTLS\x00x", "STARTTLS\r", "STARTTLS\f"} {
		synctest.Test(t, func(t *testing.T) {
			g := newPiped(t, Route{Protocol: inspect.SMTP}, terminate)
			g.play(plainDialogues[inspect.SMTP][:1], uncut)
			g.client.say(command + "\r\n")
			g.server.say("220 go\r\n")
			if heard := g.client.hears(); strings.Contains(heard, "220 go") {
				t.Errorf("%q: the client hears %q", command, heard)
			}
			if heard := g.server.hears(); strings.Contains(heard, "\x16\x03") {
				t.Errorf("%q: the server gets a handshake", command)
			}
			if r := g.session(); !hasAnomaly(r, wire.STARTTLSInject) {
				t.Errorf("%q: %+v", command, r.Anomalies)
			}
		})
	}
}

// TestHeldUpgrades: two of them that are refused do not hang the conversation.
func TestHeldUpgrades(t *testing.T) {
	a := newAuthority(t)
	terminate, _ := a.terminate()
	s := newStage(t, Route{Protocol: inspect.SMTP}, Options{Terms: Terms{Terminate: terminate}})
	client, server := s.pair()
	talk(client, server, "S: 220 mx", "C: DATA\r\nSTARTTLS now\r\nSTARTTLS now\r\nSTARTTLS now\r\nNOOP", "S: 503 no", "S: 501 no", "S: 501 no", "S: 501 no",
		"S: 250 ok", "C: QUIT", "S: 221 bye")
}

// TestServerDies: the server goes away while the client waits for its answer.
func TestServerDies(t *testing.T) {
	a := newAuthority(t)
	for _, b := range begins[:2] {
		for _, how := range []string{"end", "reset"} {
			terminate, _ := a.terminate()
			s := newStage(t, b.route, Options{Terms: Terms{Terminate: terminate}})
			client, server := s.pair()
			talk(client, server, b.plain...)
			client.say(b.command)
			server.hear(b.command)
			if how == "end" {
				_ = server.conn.Close()
			} else {
				server.reset()
			}
			client.cutOff()
			if r := s.session(); r.TLS != nil {
				t.Errorf("%+v", r.TLS)
			}
		}
	}
}
