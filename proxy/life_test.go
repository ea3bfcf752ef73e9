package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// TestUpstreamDown: where the server cannot be reached, the client sees a reset, as it would have seen. When the server is
// back, so is the service.
func TestUpstreamDown(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		var warned atomic.Value
		o.Warn = func(_, message string) { warned.Store(message) }
		r := newRig(t, o)
		address := r.server.Addr().String()
		_ = r.server.Close()
		r.turnedAway()
		if s := r.memory.record(t); s.Status != record.Refused || s.Octets != (record.Octets{}) {
			t.Errorf("the record says %s, %+v", s.Status, s.Octets)
		}
		want := "the server " + address + " cannot be reached: "
		if got, _ := warned.Load().(string); len(got) <= len(want) || got[:len(want)] != want {
			t.Errorf("the warning is %q", got)
		}
		if s := r.Stats(); s.Refused != 1 || s.Accepted != 1 {
			t.Errorf("counted %+v", s)
		}
		r.server = listenAt(t, "tcp", address)
		client, server := r.pair()
		say(t, server, client, smtpGreeting)
		_ = client.Close()
		_ = server.Close()
		r.memory.records(t, 2)
	})
}

// TestServerDiesInDialogue: the client sees nothing that the server did not say.
func TestServerDiesInDialogue(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		r := newRig(t, o)
		client, server := r.mailing()
		send(t, client, "Subject: x\r\n\r\nhalf a mail")
		receive(t, server, "Subject: x\r\n\r\nhalf a mail")
		send(t, server, "421 4.3.2 shutting down\r\n25")
		_ = server.Close()
		if got, err := io.ReadAll(client); string(got) != "421 4.3.2 shutting down\r\n25" || err != nil {
			t.Errorf("the client got %q, %v", got, err)
		}
		_ = client.Close()
		if _, mails := r.memory.records(t, 1); len(mails) != 1 || mails[0].Outcome != record.Rejected || mails[0].Reply.Code != 421 {
			t.Errorf("%d mails were recorded: %+v", len(mails), mails)
		}
	})
}

// inFlight are states of a conversation that does not end by itself.
var inFlight = map[string]func(t *testing.T, client, server *net.TCPConn){
	"silent":  func(*testing.T, *net.TCPConn, *net.TCPConn) {},
	"greeted": func(t *testing.T, client, server *net.TCPConn) { say(t, server, client, smtpGreeting) },
	"the client has ended": func(t *testing.T, client, server *net.TCPConn) {
		_ = client.CloseWrite()
		receiveEnd(t, server)
	},
	"the server has ended": func(t *testing.T, client, server *net.TCPConn) {
		_ = server.CloseWrite()
		receiveEnd(t, client)
	},
	"the server takes nothing": func(t *testing.T, client, server *net.TCPConn) { clog(client, server) },
	"the client takes nothing": func(t *testing.T, client, server *net.TCPConn) { clog(server, client) },
}

// clog sends until there is no room any more.
func clog(from, to *net.TCPConn) {
	_ = to.SetReadBuffer(4 << 10)
	data := make([]byte, 1<<20)
	for err := error(nil); err == nil; _, err = from.Write(data) {
		_ = from.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	}
	_ = from.SetWriteDeadline(time.Now().Add(tooLong))
}

// expectReset expects that a connection is reset, whatever came before.
func expectReset(t *testing.T, who string, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, struct{ io.Reader }{c})
	if err == nil { // its end has come before
		eventually(t, who+" is reset", func() bool { _, err := c.Write([]byte("x")); return isReset(err) })
	} else if !isReset(err) {
		t.Errorf("%s sees %v", who, err)
	}
}

// TestIdleTimeout: a conversation in which nothing is said ends by a reset for both sides, and not too early.
func TestIdleTimeout(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		o.IdleTimeout = 100 * time.Millisecond
		for name, reach := range inFlight {
			t.Run(name, func(t *testing.T) {
				r := newRig(t, o)
				begin := time.Now()
				client, server := r.pair()
				reach(t, client, server)
				if s := r.memory.record(t); s.Status != record.Timeout || s.End.Sub(begin) < o.IdleTimeout {
					t.Errorf("the record says %s after %v", s.Status, s.End.Sub(begin))
				}
				expectReset(t, "the client", client)
				expectReset(t, "the server", server)
			})
		}
	})
}

// dead is an end whose peer the kernel has given up.
type dead struct {
	end
	told bool
}

func (d *dead) Read([]byte) (int, error) {
	if d.told {
		return 0, io.EOF
	}
	d.told = true
	return 0, os.NewSyscallError("read", syscall.ETIMEDOUT)
}

// TestDeadPeer: a side that the kernel has given up has not ended in order.
func TestDeadPeer(t *testing.T) {
	for _, from := range []wire.Direction{wire.FromClient, wire.FromServer} {
		u := idlePump(1<<20, 64<<20)
		_, one := newPipe()
		_, other := newPipe()
		c := newCall(&route{p: u.in.p, Terms: Terms{}.withDefaults()}, one)
		c.pump = u
		c.ends[from], c.ends[from.Reverse()] = &dead{end: one}, other
		c.under = c.ends
		if c.move(from); !c.over || c.how != inspect.EndReset {
			t.Errorf("the %s has ended by %v", from, c.how)
		}
		c.close()
	}
}

// TestDrain: who is in the middle of something may end it; nobody new comes in.
func TestDrain(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		const conversations = 200
		r := newRig(t, o)
		var ends [conversations]struct{ client, server *net.TCPConn }
		for i := range ends {
			ends[i].client, ends[i].server = r.mailing()
			say(t, ends[i].client, ends[i].server, "Subject: x\r\n\r\n")
		}
		r.stop()
		eventually(t, "connections are refused", func() bool {
			c, err := net.Dial("tcp", r.Addrs()[0].String())
			if err == nil {
				reset(c)
			}
			return errors.Is(err, syscall.ECONNREFUSED)
		})
		for _, e := range ends {
			say(t, e.client, e.server, "text\r\n.\r\n")
			say(t, e.server, e.client, "250 Ok\r\n")
			say(t, e.client, e.server, "QUIT\r\n")
			say(t, e.server, e.client, "221 bye\r\n")
			_ = e.server.Close()
			receiveEnd(t, e.client)
			_ = e.client.Close()
		}
		r.ended()
		accepted, closed := 0, 0
		sessions, mails := r.memory.records(t, conversations)
		for _, m := range mails {
			if m.Outcome == record.Accepted {
				accepted++
			}
		}
		for _, s := range sessions {
			if s.Status == record.Closed && s.Messages == 1 {
				closed++
			}
		}
		if accepted != conversations || closed != conversations {
			t.Errorf("%d mails were recorded as accepted and %d sessions as closed, want %d", accepted, closed, conversations)
		}
	})
}

// TestDrainEnds: what does not end by itself is reset, for both sides, when the drain has lasted too long or the
// administrator does not want to wait for it.
func TestDrainEnds(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		for name, reach := range inFlight {
			t.Run(name, func(t *testing.T) {
				for _, byHand := range []bool{false, true} {
					o := o
					if o.DrainTimeout = 20 * time.Millisecond; byHand {
						o.DrainTimeout = time.Hour
					}
					r := newRig(t, o)
					client, server := r.pair()
					reach(t, client, server)
					r.stop()
					if byHand {
						r.kill()
					}
					r.ended()
					expectReset(t, "the client", client)
					expectReset(t, "the server", server)
					if s := r.memory.record(t); s.Status != record.Aborted {
						t.Errorf("the record says %s", s.Status)
					}
				}
			})
		}
	})
}

// TestMaxConnections: who comes when all places are taken waits for one.
func TestMaxConnections(t *testing.T) {
	const places = 10
	eachRelay(t, func(t *testing.T, o Options) {
		said := make(chan string, 100)
		o.MaxConnections, o.Warn = places, func(_, message string) {
			select {
			case said <- message:
			default:
			}
		}
		r := newRig(t, o)
		r.eachAccepted(func(c *net.TCPConn) {
			if active := r.Stats().Active; active > places+int64(runtime.NumCPU()) { // each loop looks for itself
				t.Errorf("%d connections are relayed at once, want %d", active, places)
			}
			greetAndEcho(c)
		})
		var first []net.Conn
		for range places {
			c := r.dial()
			receive(t, c, smtpGreeting)
			first = append(first, c)
		}
		var waiting sync.WaitGroup
		for range 5 * places {
			c := r.dial()
			waiting.Go(func() { converse(t, c) })
		}
		say(t, first[0], first[0], "NOOP\r\n")
		if got := r.Stats(); got.Accepted != places {
			t.Errorf("counted %+v", got)
		}
		if got, want := <-said, "10 connections are open; more have to wait (--max-connections, or the limit of open files: "; !strings.HasPrefix(got, want) {
			t.Errorf("the log says %q, want %q", got, want)
		}
		for _, c := range first {
			_ = c.Close()
		}
		waiting.Wait()
		r.memory.records(t, 6*places)
	})
}

// TestIdleExactly: a call ends when nothing was said for the idle timeout, to the moment, whoever spoke last.
func TestIdleExactly(t *testing.T) {
	terminate, _ := newAuthority(t).terminate()
	synctest.Test(t, func(t *testing.T) {
		g := newPiped(t, Route{Protocol: inspect.SMTP}, terminate)
		g.play([]spoken{serverSays(smtpGreeting)}, uncut)
		for range 20 {
			time.Sleep(DefaultIdleTimeout - time.Nanosecond)
			g.play([]spoken{clientSays("NOOP\r\n")}, uncut)
			time.Sleep(DefaultIdleTimeout / 2)
			g.play([]spoken{serverSays("250 ")}, uncut)
			time.Sleep(DefaultIdleTimeout / 2)
			g.play([]spoken{serverSays("Ok\r\n")}, uncut)
		}
		last := time.Now()
		<-g.ended
		if idle := time.Since(last); idle != DefaultIdleTimeout {
			t.Errorf("the call ends after %v", idle)
		}
		if s := g.session(); s.Status != record.Timeout {
			t.Errorf("the record says %s", s.Status)
		}
	})
}
