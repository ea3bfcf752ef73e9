package proxy

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// TestReset: a reset of one side is a reset for the other, whatever was under way.
func TestReset(t *testing.T) {
	for name, before := range map[string]func(t *testing.T, from, to *net.TCPConn){
		"at once":     func(t *testing.T, from, to *net.TCPConn) {},
		"in dialogue": func(t *testing.T, from, to *net.TCPConn) { say(t, from, to, "221 \r\n"); say(t, to, from, "221 \r\n") },
		"half closed": func(t *testing.T, from, to *net.TCPConn) {
			_ = from.CloseWrite()
			if _, err := to.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the other side sees %v", err)
			}
			say(t, to, from, "250 Ok\r\n")
		},
		"other half closed": func(t *testing.T, from, to *net.TCPConn) {
			_ = to.CloseWrite()
			if _, err := from.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the other side sees %v", err)
			}
			say(t, from, to, "250 Ok\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachSide(t, func(t *testing.T, o Options, side wire.Direction) {
				r := newRig(t, o)
				rounds := scaled(50, 500)
				for range rounds {
					ends := [2]*net.TCPConn{}
					ends[wire.FromClient], ends[wire.FromServer] = r.pair()
					from, to := ends[side], ends[side.Reverse()]
					before(t, from, to)
					reset(from)
					if name == "other half closed" { // it does not hear of it until it reads
						if _, err := to.Read(make([]byte, 1)); !isReset(err) {
							t.Errorf("the other side sees %v", err)
						}
					} else if _, err := to.Read(make([]byte, 1)); !isReset(err) {
						if err == io.EOF && name == "half closed" { // it had that before
							eventually(t, "writing fails", func() bool { _, err := to.Write([]byte("x")); return isReset(err) })
						} else {
							t.Errorf("the other side sees %v", err)
						}
					}
					_ = to.Close()
				}
				sessions, _ := r.memory.records(t, rounds)
				for _, s := range sessions {
					atOnce := name == "at once" && side == wire.FromServer && s.Status == record.Refused
					if s.Status != record.Reset && !atOnce {
						t.Fatalf("the record says %s", s.Status)
					}
				}
			})
		})
	}
}

// eachSide runs a test for each relay and each side.
func eachSide(t *testing.T, test func(t *testing.T, o Options, side wire.Direction)) {
	eachRelay(t, func(t *testing.T, o Options) {
		for _, side := range []wire.Direction{wire.FromClient, wire.FromServer} {
			t.Run(side.String(), func(t *testing.T) { test(t, o, side) })
		}
	})
}

// TestResetUnread: who closes without reading all resets (RFC 2525 section 2.17), also here. What it said before still
// arrives.
func TestResetUnread(t *testing.T) {
	eachSide(t, func(t *testing.T, o Options, side wire.Direction) {
		r := newRig(t, o)
		for range scaled(50, 500) {
			ends := [2]*net.TCPConn{}
			ends[wire.FromClient], ends[wire.FromServer] = r.pair()
			from, to := ends[side], ends[side.Reverse()]
			send(t, to, "something unread\r\n")
			if _, err := from.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			send(t, from, "554 go away\r\n")
			_ = from.Close()
			receive(t, to, "554 go away\r\n")
			if _, err := to.Read(make([]byte, 1)); !isReset(err) {
				t.Fatalf("the other side sees %v", err)
			}
			_ = to.Close()
		}
	})
}

// TestResetInFlow: one side resets while the other sends to it without an end.
func TestResetInFlow(t *testing.T) {
	eachSide(t, func(t *testing.T, o Options, side wire.Direction) {
		r := newRig(t, o)
		rounds := scaled(100, 1000)
		data := make([]byte, 100<<10)
		for range rounds {
			ends := [2]*net.TCPConn{}
			ends[wire.FromClient], ends[wire.FromServer] = r.pair()
			from, to := ends[side], ends[side.Reverse()]
			failed := make(chan error, 1)
			go func() {
				for {
					if _, err := to.Write(data); err != nil {
						failed <- err
						return
					}
				}
			}()
			if _, err := io.ReadFull(from, make([]byte, 1+rand.IntN(300<<10))); err != nil {
				t.Fatal(err)
			}
			reset(from)
			_, err := to.Read(make([]byte, 1))
			if e := <-failed; !isReset(err) && !isReset(e) {
				t.Fatalf("the other side sees %v when it reads, and %v when it writes", err, e)
			}
			_ = to.Close()
		}
		sessions, _ := r.memory.records(t, rounds)
		for _, s := range sessions {
			if s.Status != record.Reset {
				t.Fatalf("the record says %s", s.Status)
			}
		}
	})
}

// TestBothReset: both sides have sent more than the other takes, and both give up.
func TestBothReset(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		r := newRig(t, o)
		client, server := r.pair()
		var all sync.WaitGroup
		for _, c := range []*net.TCPConn{client, server} {
			_ = c.SetReadBuffer(4 << 10)
			_ = c.SetWriteDeadline(time.Now().Add(time.Second / 2)) // the pipes are full by then
			all.Go(func() { _, _ = io.Copy(c, struct{ io.Reader }{newNoise(5)}) })
		}
		all.Wait()
		reset(client)
		reset(server)
		eventually(t, "the conversation has ended", func() bool { return r.Stats().Active == 0 })
		if t.Failed() {
			r.kill()
		}
		if s := r.memory.record(t); s.Status != record.Reset {
			t.Errorf("the record says %s", s.Status)
		}
	})
}

const (
	envelope = "EHLO client\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
	accepts  = "250 mx\r\n250 Ok\r\n250 Ok\r\n354 go on\r\n"
)

// mailing begins a conversation up to the reply to DATA.
func (r *rig) mailing() (client, server *net.TCPConn) {
	r.t.Helper()
	client, server = r.pair()
	say(r.t, server, client, "220 mx ESMTP\r\n")
	say(r.t, client, server, envelope)
	say(r.t, server, client, accepts)
	return client, server
}

// TestCutInMail: the client is cut in the middle of a mail. The server never sees an end of data.
func TestCutInMail(t *testing.T) {
	mail := "Subject: x\r\n\r\n" + strings.Repeat("..text\r\n.\r", 30000) + "\n.\r\n"
	mail = strings.ReplaceAll(mail, "\r\n.\r\n", "\r\n..\r\n")
	mail = mail[:len(mail)-len("..\r\n")] + ".\r\n"
	eachRelay(t, func(t *testing.T, o Options) {
		r := newRig(t, o)
		rounds := scaled(100, 500)
		for i := range rounds {
			client, server := r.mailing()
			n := rand.IntN(len(mail))
			if i%5 == 0 {
				n = len(mail) - 1 - i/5%8
			}
			var sender sync.WaitGroup
			sender.Go(func() {
				send(t, client, mail[:n])
				if i%2 == 0 {
					_ = client.Close()
				} else {
					reset(client)
				}
			})
			got, err := io.ReadAll(server)
			sender.Wait()
			if !strings.HasPrefix(mail, string(got)) || bytes.Contains(got, []byte("\r\n.\r\n")) {
				t.Fatalf("the server got %d octets that were not sent so", len(got))
			}
			if i%2 == 0 && (len(got) != n || err != nil) {
				t.Fatalf("the server got %d octets of %d: %v", len(got), n, err)
			}
			if i%2 == 1 && !isReset(err) {
				t.Fatalf("the server sees %v", err)
			}
			_ = server.Close()
		}
		_, messages := r.memory.records(t, rounds)
		if len(messages) != rounds {
			t.Errorf("%d mails were recorded, want %d", len(messages), rounds)
		}
		for _, m := range messages {
			if m.Outcome != record.Aborted {
				t.Fatalf("a mail that was cut is %s", m.Outcome)
			}
		}
	})
}

// TestServerDiesAfterMail: the server ends between the end of data and the end of its reply. The client never sees more of
// one than there was.
func TestServerDiesAfterMail(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		r := newRig(t, o)
		rounds := scaled(100, 500)
		for i := range rounds {
			client, server := r.mailing()
			say(t, client, server, "Subject: x\r\n\r\ntext\r\n.\r\n")
			half := "250 2.0.0 Ok: queued as 4XyZ"[:i/2%20]
			send(t, server, half)
			if i%2 == 0 {
				_ = server.Close()
			} else {
				reset(server)
			}
			got, err := io.ReadAll(client)
			if i%2 == 0 && (string(got) != half || err != nil) || i%2 == 1 && (!strings.HasPrefix(half, string(got)) || !isReset(err)) {
				t.Fatalf("the client got %q of %q, %v", got, half, err)
			}
			_ = client.Close()
		}
		sessions, messages := r.memory.records(t, rounds)
		for _, m := range messages {
			if m.Outcome != record.Unknown {
				t.Fatalf("a mail without a reply is %s", m.Outcome)
			}
		}
		for _, s := range sessions {
			if s.Status != record.Aborted && s.Status != record.Reset {
				t.Fatalf("a session without its last reply is %s", s.Status)
			}
		}
	})
}
