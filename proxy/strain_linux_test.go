package proxy

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// eachProcess runs a test for each relay in a process of its own.
func eachProcess(t *testing.T, test func(t *testing.T, to setup)) {
	t.Run("loops", func(t *testing.T) { test(t, setup{}) })
	t.Run("goroutines", func(t *testing.T) { test(t, setup{Goroutines: true}) })
}

const mebi = 1 << 20

// mailing begins a conversation up to the reply to DATA.
func (p *process) mailing() (client, server *net.TCPConn) {
	p.t.Helper()
	client, server = p.pair()
	say(p.t, server, client, smtpGreeting)
	say(p.t, client, server, envelope)
	say(p.t, server, client, accepts)
	return client, server
}

// TestHugeMail: a mail of any size is relayed as it is, in little memory.
func TestHugeMail(t *testing.T) {
	const head = "Subject: huge\r\nContent-Type: application/octet-stream; name=huge\r\nContent-Transfer-Encoding: base64\r\n\r\n"
	repeated := bytes.Repeat([]byte(strings.Repeat("b2N0", 19)+"\r\n"), 1<<20/78)
	eachProcess(t, func(t *testing.T, to setup) {
		p := newProcess(t, to)
		client, server := p.mailing() // the first one, to see what the process needs at all
		say(t, client, server, head+string(repeated[:7800])+".\r\n")
		say(t, server, client, "250 Ok\r\n")
		base, _ := p.resident()
		times := scaled(256, 5120) * mebi / len(repeated)
		_ = client.SetDeadline(time.Time{})
		_ = server.SetDeadline(time.Time{})
		var sender sync.WaitGroup
		sender.Go(func() {
			send(t, client, "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
			receive(t, client, "250 Ok\r\n250 Ok\r\n354 go on\r\n")
			send(t, client, head)
			for range times {
				if _, err := client.Write(repeated); err != nil {
					t.Error(err)
					return
				}
			}
			send(t, client, ".\r\n")
		})
		receive(t, server, "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
		send(t, server, "250 Ok\r\n250 Ok\r\n354 go on\r\n")
		receive(t, server, head)
		got := make([]byte, len(repeated))
		for n := range times {
			if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, repeated) {
				t.Fatalf("behind %d octets something else arrives: %v", n*len(repeated), err)
			}
		}
		receive(t, server, ".\r\n")
		sender.Wait()
		say(t, server, client, "250 Ok\r\n")
		hangUp(t, client, server)
		sessions, mails := p.records(t, 1)
		if len(mails) != 2 {
			t.Fatalf("%d mails were recorded", len(mails))
		}
		s, m := sessions[0], mails[1]
		if m.Outcome != record.Accepted && s.Lost.Client+s.Lost.Server == 0 {
			t.Errorf("the mail was recorded as %s", m.Outcome)
		}
		sent, known, open := int64(times*len(repeated)+len(head)), int64(0), false
		for _, h := range m.Holes {
			if h.Octets == wire.LostUnknown { // its end is in there, and nobody knows what else
				open = true
			} else {
				known += h.Octets
			}
		}
		const end = 3 // octets of the end of data, which can be in a hole too
		all := m.Octets + s.Lost.Client
		if all < sent || all > sent+end || known > s.Lost.Client || known < s.Lost.Client && !open {
			t.Errorf("the mail had %d octets; recorded are %d, with the holes %v; %d are lost", sent, m.Octets, m.Holes, s.Lost.Client)
		}
		_, peak := p.resident()
		t.Logf("%d MiB of mail: %d MiB before, %d MiB at most; %d MiB were not inspected", times*len(repeated)/mebi, base/mebi, peak/mebi, s.Lost.Client/mebi)
		if peak > base+64*mebi && !raced() {
			t.Errorf("the process had %d MiB, and before the mail %d MiB", peak/mebi, base/mebi)
		}
	})
}

// TestSlow: thousands of clients that send a few octets at a time, and a server that takes little of what another client
// sends without a pause.
func TestSlow(t *testing.T) {
	eachProcess(t, func(t *testing.T, to setup) {
		p := newProcess(t, to)
		fast, slow := p.mailing()
		base, _ := p.resident()
		_ = slow.SetReadBuffer(4 << 10)
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := io.Copy(fast, struct{ io.Reader }{newNoise(1)}); !isReset(err) {
				t.Errorf("a client that sends without a pause sees %v", err)
			}
		})
		type conversation struct{ client, server *net.TCPConn }
		conversations := make([]conversation, scaled(200, 5000))
		for i := range conversations {
			client, server := p.mailing()
			conversations[i] = conversation{client, server}
		}
		_, open := p.resident()
		const rounds, piece = 10, "some octets of a line, and then its end\r\n"
		for range rounds {
			if _, err := io.ReadFull(slow, make([]byte, 4<<10)); err != nil {
				t.Fatal(err)
			}
			for _, c := range conversations {
				say(t, c.client, c.server, piece)
			}
		}
		_, peak := p.resident()
		reset(slow)
		all.Wait()
		for _, c := range conversations {
			say(t, c.client, c.server, ".\r\n")
			say(t, c.server, c.client, "250 Ok\r\n")
			hangUp(t, c.client, c.server)
		}
		_, mails := p.records(t, len(conversations)+1)
		for _, m := range mails {
			if m.Outcome == record.Accepted && m.Octets != int64(rounds*len(piece)) {
				t.Fatalf("a mail of %d octets was recorded, want %d", m.Octets, rounds*len(piece))
			}
		}
		t.Logf("%d conversations: %d MiB before, %d MiB when all were open, %d MiB at most", len(conversations), base/mebi, open/mebi, peak/mebi)
		if limit := base + 64*mebi + int64(len(conversations))*(24<<10); peak > limit && !raced() {
			t.Errorf("the process had %d MiB, and before %d MiB", peak/mebi, base/mebi)
		}
	})
}

// TestTooMany: more clients come than may be served at once, or than there are descriptors for. Who is in is served, who is
// not waits, without costing anything, and is served when others have left.
func TestTooMany(t *testing.T) {
	const clients, room = 1000, 96
	for name, to := range map[string]setup{
		"connections": {MaxConnections: room},
		"descriptors": {Descriptors: room*descriptors + reservedFor(1)},
	} {
		t.Run(name, func(t *testing.T) {
			eachProcess(t, func(t *testing.T, relay setup) {
				to.Goroutines = relay.Goroutines
				p := newProcess(t, to)
				serveEach(t, p.server, greetAndEcho)
				var in atomic.Int64
				leave := make(chan bool)
				var all sync.WaitGroup
				for range clients {
					all.Go(func() {
						c := dialTo(t, p.address)
						receive(t, c, smtpGreeting)
						in.Add(1)
						say(t, c, c, "EHLO client\r\n")
						<-leave
						say(t, c, c, "QUIT\r\n")
						_ = c.Close()
					})
				}
				eventually(t, "as many as may be are served", func() bool { return in.Load() >= room })
				if busy := p.busy(200 * time.Millisecond); busy > 0.5 {
					t.Errorf("while clients wait, the process is busy for %.2f of the time", busy)
				}
				if n := in.Load(); n > room+int64(runtime.NumCPU()) {
					t.Errorf("%d are served at once, want %d", n, room)
				}
				close(leave)
				all.Wait()
				p.records(t, clients)
				if s := p.end(); s.Accepted != clients || s.Refused != 0 || s.Active != 0 {
					t.Errorf("counted %+v", s)
				}
			})
		})
	}
}

// TestDescriptorsUsedUp: other things than connections have taken the descriptors. Who is in is served; who is not waits or
// is refused.
func TestDescriptorsUsedUp(t *testing.T) {
	for _, limit := range []int{100, 101} { // what is left can be odd
		t.Run(strconv.Itoa(limit), func(t *testing.T) {
			eachProcess(t, func(t *testing.T, to setup) {
				to.MaxConnections, to.Descriptors, to.Surprise = 1000, limit, true
				to.ConnectTimeout = 300 * time.Millisecond
				p := newProcess(t, to)
				serveEach(t, p.server, greetAndEcho)
				const clients = 300
				var in, out atomic.Int64
				leave := make(chan bool)
				var all sync.WaitGroup
				for range clients {
					all.Go(func() {
						c, err := net.Dial("tcp", p.address)
						if err == nil {
							defer c.Close()
							_ = c.SetDeadline(time.Now().Add(tooLong))
							_, err = io.ReadFull(c, make([]byte, len(smtpGreeting)))
						}
						switch {
						case err == nil:
							in.Add(1)
							<-leave
							say(t, c, c, "QUIT\r\n")
						case isReset(err):
							out.Add(1)
						default:
							t.Error(err)
						}
					})
				}
				eventually(t, "the descriptors are used up", func() bool { return in.Load() > 30 })
				busy := p.busy(200 * time.Millisecond)
				t.Logf("%d served, %d refused, busy for %.2f of the time", in.Load(), out.Load(), busy)
				if busy > 0.5 {
					t.Errorf("while clients wait, the process is busy for %.2f of the time", busy)
				}
				close(leave)
				all.Wait()
				p.records(t, clients)
				if s := p.end(); s.Accepted != clients || s.Refused != out.Load() || s.Active != 0 {
					t.Errorf("counted %+v, and %d refused", s, out.Load())
				}
			})
		})
	}
}

// TestResetUngreeted: a server that never spoke resets while much of what the client said is held for it. It is in a process
// of its own, as what a loop reads by mistake then is standard input.
func TestResetUngreeted(t *testing.T) {
	eachProcess(t, func(t *testing.T, to setup) {
		p := newProcess(t, to)
		for range 2 * runtime.NumCPU() { // each loop
			client, server := p.pair()
			clog(client, server)
			reset(server)
			expectReset(t, "the client", client)
		}
		for range 2 * runtime.NumCPU() {
			client, server := p.pair()
			say(t, server, client, smtpGreeting)
			hangUp(t, client, server)
		}
	})
}

// TestEndedLoop: what wakes loops up goes to none that has ended, whose descriptor may be that of a file by now.
func TestEndedLoop(t *testing.T) {
	l, err := newLoop(bare(Options{}))
	if err != nil {
		t.Fatal(err)
	}
	wake := l.wake
	l.close()
	name := filepath.Join(t.TempDir(), "file")
	for range 1000 {
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if int(f.Fd()) == wake {
			break
		}
	}
	l.wakeUp()
	if text, err := os.ReadFile(name); err != nil || len(text) > 0 {
		t.Errorf("%q was written to a file, %v", text, err)
	}
}
