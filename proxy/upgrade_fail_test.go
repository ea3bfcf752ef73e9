package proxy

import (
	"crypto/tls"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

// failing is a parser that panics at a word.
type failing struct {
	wire.Parser
	at string
}

func (f failing) Feed(c wire.Chunk, emit func(wire.Event)) {
	if strings.Contains(string(c.Data), f.at) {
		panic("a failure that the test makes")
	}
	f.Parser.Feed(c, emit)
}

// TestFailingUpgrade: where the parser fails, the conversation goes on, and TLS in it is the server's.
func TestFailingUpgrade(t *testing.T) {
	a := newAuthority(t)
	terminate, _ := a.terminate()
	for _, at := range []string{"EHLO", "STARTTLS", "250 mx", "220 2", "go ahead"} {
		synctest.Test(t, func(t *testing.T) {
			g := newPiped(t, Route{Protocol: inspect.SMTP}, terminate)
			said, p := "", g.call.r.p
			p.Options().Warn = func(_, message string) { said = message }
			synctest.Wait()
			g.call.upgrade.parser = failing{g.call.upgrade.parser, at}
			g.play([]spoken{
				serverSays("220 mx\r\n"), clientSays("EHLO client\r\n"), serverSays("250 mx\r\n"), clientSays("STARTTLS\r\n"),
			}, uncut)
			g.server.say("220 2", ".0.0 go ahead\r\n")
			if heard, want := g.client.hears(), "220 2.0.0 go ahead\r\n"; heard != want {
				t.Errorf("%s: the client hears %q, want %q", at, heard, want)
			}
			g.play([]spoken{clientSays("\x16\x03\x01\x00\x05hello"), serverSays("\x16\x03\x03\x00\x05hello")}, uncut)
			if n := p.Stats().Failures; n != 1 || !strings.HasPrefix(said, "a conversation could not be looked through for its STARTTLS; ") {
				t.Errorf("%s: %d failures, and the log says %q", at, n, said)
			}
			if r := g.session(); r.TLS != nil && r.TLS.Ended {
				t.Errorf("%s: recorded %+v", at, r.TLS)
			}
		})
	}
}

// TestPartialAnswer: what the server has begun to answer to STARTTLS, and will not end, comes to the client too.
func TestPartialAnswer(t *testing.T) {
	a := newAuthority(t)
	for _, b := range begins[:2] {
		for n := 1; n < len(b.agree); n++ {
			terminate, _ := a.terminate()
			s := newStage(t, b.route, Options{Terms: Terms{Terminate: terminate}})
			client, server := s.pair()
			talk(client, server, b.plain...)
			client.say(b.command)
			server.hear(b.command)
			server.say(b.agree[:n])
			_ = server.conn.Close()
			if heard, err := client.rest(); heard != b.agree[:n] || err != nil {
				t.Errorf("%s: the client hears %q of %q, %v", b.how, heard, b.agree[:n], err)
			}
			_ = client.conn.Close()
			if r := s.session(); r.Octets.Server < int64(n) || r.TLS != nil {
				t.Errorf("%s: recorded %d octets, %+v", b.how, r.Octets.Server, r.TLS)
			}
		}
	}
}

// TestLateHandshake: the time for a TLS handshake is its own, however long ago something was said before.
func TestLateHandshake(t *testing.T) {
	a := newAuthority(t)
	terminate, certificate := a.terminate()
	terminate.Name = serverName
	words := agreements[inspect.SMTP]
	synctest.Test(t, func(t *testing.T) {
		g := newPiped(t, Route{Protocol: inspect.SMTP}, terminate)
		g.play(plainDialogues[inspect.SMTP][:1], uncut)
		time.Sleep(DefaultIdleTimeout - time.Second)
		g.play([]spoken{clientSays(words.ask)}, uncut)
		serving := make(chan error, 1)
		go func() {
			g.server.say(words.agree)
			time.Sleep(DefaultConnectTimeout / 2)
			serving <- tls.Server(g.server, &tls.Config{Certificates: []tls.Certificate{certificate}}).Handshake()
		}()
		if err := <-serving; err != nil {
			t.Fatal("TLS with the server:", err)
		}
		if heard := g.client.hears(); heard != words.agree {
			t.Fatalf("the client hears %q", heard)
		}
		time.Sleep(DefaultConnectTimeout / 2)
		if err := tls.Client(g.client, &tls.Config{RootCAs: a.pool(), ServerName: proxyName}).Handshake(); err != nil {
			t.Fatal("TLS with the client:", err)
		}
		if r := g.session(); r.TLS == nil || !r.TLS.Ended {
			t.Errorf("recorded %+v", r.TLS)
		}
	})
}
