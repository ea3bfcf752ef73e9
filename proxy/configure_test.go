package proxy

import (
	"context"
	"crypto/sha256"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
)

// reconfigure puts the rig's options in force, with what change does to them.
func (r *rig) reconfigure(change func(o *Options)) {
	r.t.Helper()
	if err := r.tryReconfigure(change); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) tryReconfigure(change func(o *Options)) error {
	o := *r.Options()
	o.Routes = append([]Route(nil), o.Routes...)
	change(&o)
	return r.Reconfigure(context.Background(), o)
}

// nobodyListens expects that nobody listens at an address any more.
func nobodyListens(t *testing.T, address string) {
	t.Helper()
	eventually(t, address+" refuses connections", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			reset(c)
		}
		return err != nil
	})
}

// TestReconfigure: conversations go on as they began, whatever becomes of their route.
func TestReconfigure(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		r := newRig(t, o)
		first := r.Addrs()[0].String()
		client, server := r.pair()
		say(t, server, client, smtpGreeting)

		other := listenAt(t, "tcp", "127.0.0.1:0")
		serveEach(t, other, greetAndEcho)
		r.reconfigure(func(o *Options) {
			o.Routes[0].Upstream = other.Addr().String()
			o.Routes = append(o.Routes, Route{Protocol: inspect.POP3, Listen: "localhost:0", Upstream: r.server.Addr().String()})
		})
		if got := r.Addrs()[0].String(); got != first {
			t.Errorf("the listener is another: %s", got)
		}
		converse(t, dialTo(t, first)) // with the other server
		second := dialTo(t, r.Addrs()[1].String())
		secondServer := r.accept()
		say(t, secondServer, second, "+OK\r\n")
		hangUp(t, second, secondServer)
		say(t, client, server, "EHLO client\r\n")

		r.reconfigure(func(o *Options) { o.Routes = o.Routes[1:] })
		nobodyListens(t, first)
		say(t, server, client, "250 mx\r\n")
		hangUp(t, client, server)
		sessions, _ := r.memory.records(t, 3)
		for _, s := range sessions {
			if s.Status == record.Reset || s.Status == record.Refused {
				t.Errorf("a session is %s", s.Status)
			}
		}
	})
}

// TestReconfigureUnderTraffic: no connection is refused and no octet is lost while a listener goes from one relay to the
// other and back.
func TestReconfigureUnderTraffic(t *testing.T) {
	r := newRig(t, Options{})
	r.eachAccepted(greetAndEcho)
	address := r.Addrs()[0].String()
	strangers := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} // who accepts PROXY headers has no use for loops
	var clients sync.WaitGroup
	done := make(chan struct{})
	clients.Go(func() {
		begin := dialTo(t, address)
		receive(t, begin, smtpGreeting)
		sent, got := sha256.New(), sha256.New()
		data := make([]byte, 32<<10)
		for source := newNoise(5); ; {
			select {
			case <-done:
				if string(sent.Sum(nil)) != string(got.Sum(nil)) {
					t.Error("octets came back other than they were sent")
				}
				return
			default:
			}
			_, _ = source.Read(data)
			sent.Write(data)
			if _, err := begin.Write(data); err != nil {
				t.Error("the long conversation was cut:", err)
				return
			}
			if _, err := io.CopyN(got, struct{ io.Reader }{begin}, int64(len(data))); err != nil {
				t.Error("the long conversation was cut:", err)
				return
			}
		}
	})
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				c, err := net.Dial("tcp", address)
				if err != nil {
					t.Error("a client is refused:", err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(tooLong))
				words := make([]byte, len(smtpGreeting))
				if _, err := io.ReadFull(c, words); err != nil || string(words) != smtpGreeting {
					t.Errorf("a client gets %q: %v", words, err)
				}
				_ = c.Close()
			}
		})
	}
	for i := range scaled(40, 400) {
		before := r.Stats().Accepted
		r.reconfigure(func(o *Options) {
			if o.AcceptProxy = nil; i%2 == 0 {
				o.AcceptProxy = strangers
			}
		})
		eventually(t, "connections are accepted again", func() bool { return r.Stats().Accepted > before+4 })
	}
	close(done)
	clients.Wait()
}

// TestReconfigureFails: what cannot be put in force changes nothing.
func TestReconfigureFails(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		r := newRig(t, o)
		r.eachAccepted(greetAndEcho)
		taken := listenAt(t, "tcp", "127.0.0.1:0").Addr().String()
		free := listenAt(t, "tcp", "127.0.0.1:0")
		_ = free.Close()
		before := r.Options()
		for want, change := range map[string]func(o *Options){
			"there is no route": func(o *Options) { o.Routes = nil },
			"is in use": func(o *Options) {
				o.Routes[0].Upstream = "127.0.0.1:9"
				o.Routes = append(o.Routes, Route{Listen: free.Addr().String(), Upstream: "127.0.0.1:9"}, Route{Listen: taken, Upstream: "127.0.0.1:9"})
			},
			"is this proxy itself": func(o *Options) { o.Routes[0].Upstream = r.Addrs()[0].String() },
			"--tls-cert":           func(o *Options) { o.Terminate = &Terminate{Cert: "/nowhere", Key: "/nowhere"} },
		} {
			if err := r.tryReconfigure(change); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %v, want %q", err, want)
			}
			if r.Options() != before {
				t.Errorf("%s: the options have changed", want)
			}
			nobodyListens(t, free.Addr().String())
			converse(t, r.dial())
		}
		r.end()
		if err := r.tryReconfigure(func(*Options) {}); err == nil {
			t.Error("a proxy that has ended is reconfigured")
		}
	})
}

// TestNewTerms: new terms are those of new conversations, each route's own those of its.
func TestNewTerms(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		o.MaxConnections = 1
		r := newRig(t, o)
		old, server := r.pair()
		say(t, server, old, smtpGreeting)
		r.reconfigure(func(o *Options) {
			o.MaxConnections, o.IdleTimeout = 10, time.Hour
			o.Routes[0].Own = &Terms{IdleTimeout: 50 * time.Millisecond}
			o.Routes = append(o.Routes, Route{Protocol: inspect.SMTP, Listen: "localhost:0", Upstream: r.server.Addr().String()})
		})
		patient := dialTo(t, r.Addrs()[1].String())
		patientServer := r.accept()
		hasty, hastyServer := r.pair()
		if s := r.memory.record(t); s.Status != record.Timeout {
			t.Errorf("the hasty one is %s", s.Status)
		}
		expectReset(t, "the client", hasty)
		expectReset(t, "the server", hastyServer)
		say(t, patient, patientServer, "NOOP\r\n")
		say(t, old, server, "NOOP\r\n")
	})
}

// TestReconfigureUnix: a unix socket is there as long as a route listens at it.
func TestReconfigureUnix(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		r := newRig(t, o)
		r.eachAccepted(greetAndEcho)
		path := t.TempDir() + "/s"
		converseThere := func() {
			t.Helper()
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(tooLong))
			converse(t, c)
		}
		for range 2 {
			r.reconfigure(func(o *Options) {
				o.Routes = append(o.Routes, Route{Protocol: inspect.SMTP, Listen: "unix:" + path, Upstream: r.server.Addr().String()})
			})
			converseThere()
			r.reconfigure(func(o *Options) { o.IdleTimeout = time.Hour })
			converseThere()
			r.reconfigure(func(o *Options) { o.Routes = o.Routes[:1] })
			if _, err := net.Dial("unix", path); err == nil {
				t.Error("the socket is still there")
			}
		}
	})
}
