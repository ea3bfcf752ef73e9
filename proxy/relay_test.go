package proxy

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// TestDialogues: whatever is said in whatever pieces comes out as it went in, and is recorded.
func TestDialogues(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		const atOnce = 64
		total := scaled(600, 10000)
		smtp, pop3 := listenAt(t, "tcp", "127.0.0.1:0"), listenAt(t, "tcp", "127.0.0.1:0")
		o.Routes = []Route{
			{Protocol: inspect.SMTP, Listen: "127.0.0.1:0", Upstream: smtp.Addr().String()},
			{Protocol: inspect.POP3, Listen: "127.0.0.1:0", Upstream: pop3.Addr().String()},
		}
		r := newRig(t, o)
		var servers, clients sync.WaitGroup
		answer := func(l net.Listener, greeting string) {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				servers.Go(func() {
					defer c.Close()
					_ = c.SetDeadline(time.Now().Add(tooLong))
					seed := 0
					if _, err := io.WriteString(c, greeting); err != nil {
						t.Errorf("server: %v", err)
					}
					if _, err := fmt.Fscanf(io.LimitReader(c, int64(len(introduction(0)))), introduction(-1), &seed); err != nil {
						t.Errorf("server: %v", err)
					}
					play(t, c, wire.FromServer, dialogueOf(seed).flights[2:])
				})
			}
		}
		servers.Go(func() { answer(smtp, smtpGreeting) })
		servers.Go(func() { answer(pop3, pop3Greeting) })
		turn := make(chan bool, atOnce)
		mails, octets := 0, [2]int64{}
		for i := range total {
			d := dialogueOf(i)
			mails += d.mails
			for _, f := range d.flights {
				octets[f.from] += int64(len(f.octets))
			}
			turn <- true
			clients.Go(func() {
				defer func() { <-turn }()
				c, err := net.Dial("tcp", r.Addrs()[d.route].String())
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(tooLong))
				play(t, c, wire.FromClient, d.flights)
			})
		}
		clients.Wait()
		sessions, messages := r.memory.records(t, total)
		_ = smtp.Close()
		_ = pop3.Close()
		servers.Wait()
		for _, s := range sessions {
			if s.Status != record.Closed {
				t.Errorf("a session is %s: %+v", s.Status, s)
			}
		}
		if len(messages) != mails {
			t.Errorf("%d mails were recorded, want %d", len(messages), mails)
		}
		got := r.Stats()
		if got.Relayed != octets || got.Accepted != int64(total) {
			t.Errorf("counted %+v, want %d", got, octets)
		}
	})
}

// dialogue is what the two sides say, in turns.
type dialogue struct {
	route, mails int
	flights      []flight
}

type flight struct {
	from   wire.Direction
	octets []byte
}

const (
	smtpGreeting = "220 mx ESMTP\r\n"
	pop3Greeting = "+OK ready\r\n"
)

// introduction is the client's first command, from which the server learns which dialogue it is.
func introduction(seed int) string {
	if seed < 0 {
		return "NOOP %d\r\n"
	}
	return fmt.Sprintf("NOOP %09d\r\n", seed)
}

// dialogueOf makes the dialogue of a seed: SMTP, LMTP or POP3, with mails of up to some 100 KiB.
func dialogueOf(seed int) dialogue {
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	var d dialogue
	say := func(from wire.Direction, format string, args ...any) {
		d.flights = append(d.flights, flight{from, fmt.Appendf(nil, format, args...)})
	}
	mail := func() string {
		d.mails++
		var b strings.Builder
		b.WriteString("Subject: noise\r\n\r\n")
		for n := 1 << random.IntN(18); b.Len() < n; {
			fmt.Fprintf(&b, "x%0*x\r\n", random.IntN(900), random.Uint64())
		}
		return b.String()
	}
	hello := "EHLO"
	switch random.IntN(3) {
	case 0:
		d.route = 1
		say(wire.FromServer, pop3Greeting)
		say(wire.FromClient, "%s", introduction(seed))
		say(wire.FromServer, "+OK\r\n")
		for n := range 1 + random.IntN(3) {
			say(wire.FromClient, "RETR %d\r\n", n+1)
			say(wire.FromServer, "+OK\r\n%s.\r\n", mail())
		}
		say(wire.FromClient, "QUIT\r\n")
		say(wire.FromServer, "+OK\r\n")
		return d
	case 1:
		hello = "LHLO"
	}
	say(wire.FromServer, smtpGreeting)
	say(wire.FromClient, "%s", introduction(seed))
	say(wire.FromServer, "250 Ok\r\n")
	say(wire.FromClient, "%s client\r\n", hello)
	say(wire.FromServer, "250-mx\r\n250-PIPELINING\r\n250 SIZE\r\n")
	for range 1 + random.IntN(3) {
		say(wire.FromClient, "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
		say(wire.FromServer, "250 Ok\r\n250 Ok\r\n354 go on\r\n")
		say(wire.FromClient, "%s.\r\n", mail())
		say(wire.FromServer, "250 2.0.0 Ok: queued as 4XyZ\r\n")
	}
	say(wire.FromClient, "QUIT\r\n")
	say(wire.FromServer, "221 bye\r\n")
	return d
}

// play plays one side of a dialogue: its own flights in random pieces with random pauses, and expects the other's.
func play(t testing.TB, c net.Conn, as wire.Direction, flights []flight) {
	for i, f := range flights {
		if f.from == as {
			for rest := f.octets; len(rest) > 0; {
				n := min(len(rest), 1+rand.IntN(1<<rand.IntN(17)))
				if _, err := c.Write(rest[:n]); err != nil {
					t.Errorf("%v, flight %d: %v", as, i, err)
					return
				}
				rest = rest[n:]
				pause()
			}
			continue
		}
		if got, n, err := digest(c, int64(len(f.octets))); err != nil || got != sha256.Sum256(f.octets) {
			t.Errorf("%v, flight %d: got %d octets, want %d, as they were sent: %v", as, i, n, len(f.octets), err)
			return
		}
	}
	if as == wire.FromServer {
		return
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("behind the dialogue there is something: %v", err)
	}
}

// pause lets others run, for a random while.
func pause() {
	switch rand.IntN(8) {
	case 0:
		time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
	case 1, 2, 3:
		runtime.Gosched()
	}
}

// TestBothDirections: 64 MiB of all values flow in both directions at once.
func TestBothDirections(t *testing.T) {
	const octets = 64 << 20
	eachRelay(t, func(t *testing.T, o Options) {
		r := newRig(t, o)
		client, server := r.pair()
		var all sync.WaitGroup
		for seed, way := range [][2]*net.TCPConn{{client, server}, {server, client}} {
			all.Go(func() {
				if _, err := io.CopyN(way[0], struct{ io.Reader }{newNoise(uint64(seed))}, octets); err != nil {
					t.Error(err)
				}
				_ = way[0].CloseWrite()
			})
			all.Go(func() {
				want, _, _ := digest(newNoise(uint64(seed)), octets)
				if got, n, err := digest(way[1], -1); got != want || err != nil {
					t.Errorf("got %d octets, want %d, as they were sent: %v", n, octets, err)
				}
			})
		}
		all.Wait()
		s := r.memory.record(t)
		if sum := (record.Octets{Client: s.Octets.Client + s.Lost.Client, Server: s.Octets.Server + s.Lost.Server}); sum != (record.Octets{Client: octets, Server: octets}) {
			t.Errorf("the record accounts for %v octets, want %d each", sum, octets)
		}
	})
}

// TestPipelining: the server answers 10,000 commands at their end only.
func TestPipelining(t *testing.T) {
	const commands = 10000
	eachRelay(t, func(t *testing.T, o Options) {
		r := newRig(t, o)
		client, server := r.pair()
		say(t, server, client, "220 mx ESMTP\r\n")
		var asked, answers strings.Builder
		for i := range commands {
			fmt.Fprintf(&asked, "NOOP %d\r\n", i)
			fmt.Fprintf(&answers, "250 %d\r\n", i)
		}
		say(t, client, server, asked.String())
		say(t, server, client, answers.String())
		_ = client.Close()
		if _, err := server.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the server sees %v at the end", err)
		}
		_ = server.Close()
		if s := r.memory.record(t); s.Commands != commands || s.Replies != commands+1 {
			t.Errorf("%d commands and %d replies were recorded", s.Commands, s.Replies)
		}
	})
}

// TestHalfClose: one side ends, and the other goes on for 50 MiB.
func TestHalfClose(t *testing.T) {
	const octets = 50 << 20
	eachRelay(t, func(t *testing.T, o Options) {
		for _, first := range []wire.Direction{wire.FromClient, wire.FromServer} {
			t.Run(first.String(), func(t *testing.T) {
				r := newRig(t, o)
				ends := [2]*net.TCPConn{}
				ends[wire.FromClient], ends[wire.FromServer] = r.pair()
				early, late := ends[first], ends[first.Reverse()]
				say(t, early, late, "one word\r\n")
				_ = early.CloseWrite()
				if _, err := late.Read(make([]byte, 1)); err != io.EOF {
					t.Fatalf("the other side sees %v", err)
				}
				var sender sync.WaitGroup
				sender.Go(func() {
					if _, err := io.CopyN(late, struct{ io.Reader }{newNoise(7)}, octets); err != nil {
						t.Error(err)
					}
					_ = late.Close()
				})
				want, _, _ := digest(newNoise(7), octets)
				if got, n, err := digest(early, -1); got != want || err != nil {
					t.Errorf("got %d octets, want %d, as they were sent: %v", n, octets, err)
				}
				sender.Wait()
				r.memory.record(t)
			})
		}
	})
}

// TestSlowReceiver: receivers that take little at a time, with small buffers, of flights whose sizes are around those of
// the relay's own buffers: an event that is missed would hang.
func TestSlowReceiver(t *testing.T) {
	eachRelay(t, func(t *testing.T, o Options) {
		r := newRig(t, o)
		var sizes []int
		for _, near := range []int{smallBlock, 16 << 10, largeBlock, 2 * largeBlock, 4 * largeBlock, 5 * largeBlock} {
			sizes = append(sizes, near-1, near, near+1)
		}
		data := make([]byte, 16<<20)
		_, _ = newNoise(3).Read(data)
		for i, size := range sizes {
			client, server := r.pair()
			ways := [][2]*net.TCPConn{{client, server}, {server, client}}
			var all sync.WaitGroup
			for _, way := range ways {
				_ = way[1].SetReadBuffer(64 << 10)
				all.Go(func() {
					rest := data[:max(size, 3<<20)+i]
					for len(rest) > 0 {
						n := min(size, len(rest))
						if _, err := way[0].Write(rest[:n]); err != nil {
							t.Error(err)
							return
						}
						rest = rest[n:]
					}
				})
				all.Go(func() {
					piece := make([]byte, 1+size/3)
					for rest := data[:max(size, 3<<20)+i]; len(rest) > 0; {
						n, err := way[1].Read(piece)
						if err != nil || !bytes.Equal(piece[:n], rest[:n]) {
							t.Errorf("%d octets before the end, in writes of %d: %v", len(rest), size, err)
							return
						}
						rest = rest[n:]
					}
				})
			}
			all.Wait()
			_ = client.Close()
			_ = server.Close()
		}
	})
}

// TestForeignProtocols: what is no mail is relayed all the same, with one record.
func TestForeignProtocols(t *testing.T) {
	hello := append([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), make([]byte, 507)...)
	random := make([]byte, 200000)
	_, _ = newNoise(11).Read(random)
	for name, said := range map[string][2]string{
		"http":  {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"tls":   {string(hello), "\x16\x03\x03\x00\x7a" + string(random[:122])},
		"ssh":   {"SSH-2.0-OpenSSH_10.0\r\n", "SSH-2.0-OpenSSH_10.0\r\n"},
		"noise": {string(random), string(random)},
		"zeros": {strings.Repeat("\x00", 100000), strings.Repeat("\r\n", 50000)},
		"mute":  {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			eachRelay(t, func(t *testing.T, o Options) {
				r := newRig(t, o)
				client, server := r.pair()
				say(t, client, server, said[0])
				say(t, server, client, said[1])
				_ = client.Close()
				if _, err := server.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the server sees %v at the end", err)
				}
				_ = server.Close()
				s := r.memory.record(t)
				if s.Octets != (record.Octets{Client: int64(len(said[0])), Server: int64(len(said[1]))}) {
					t.Errorf("the record says %+v", s)
				}
			})
		})
	}
}
