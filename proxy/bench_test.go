package proxy

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/mailwire/mailwire/inspect"
)

// BenchmarkRelay relays commands and their replies, whole conversations, one after the other, and a mail without an end;
// and to compare, does the same without a proxy.
func BenchmarkRelay(b *testing.B) {
	for _, through := range []string{"loops", "goroutines", "nothing"} {
		b.Run(through, func(b *testing.B) {
			b.Run("commands", func(b *testing.B) {
				c := benchmarked(b, through)()
				for b.Loop() {
					send(b, c, "NOOP\r\n")
					receive(b, c, "250 Ok\r\n")
				}
			})
			b.Run("conversations", func(b *testing.B) {
				dial := benchmarked(b, through)
				for b.Loop() {
					c := dial()
					send(b, c, "NOOP\r\n")
					receive(b, c, "250 Ok\r\n")
					_ = c.CloseWrite()
					receiveEnd(b, c)
					_ = c.Close()
				}
			})
			b.Run("mail", func(b *testing.B) {
				c := benchmarked(b, through)()
				send(b, c, envelope)
				receive(b, c, accepts)
				octets := append([]byte("\r\n"), bytes.Repeat([]byte("some text of a mail, in lines, twice\r\n"), 1<<20/38)...)
				b.SetBytes(int64(len(octets)))
				for b.Loop() {
					if _, err := c.Write(octets); err != nil {
						b.Fatal(err)
					}
				}
				reset(c)
			})
		})
	}
}

// benchmarked returns how to begin a conversation, whose server has said its greeting, through a relay.
func benchmarked(b *testing.B, through string) (dial func() *net.TCPConn) {
	server := listenAt(b, "tcp", "127.0.0.1:0")
	address := server.Addr().String()
	processors := runtime.GOMAXPROCS(runtime.NumCPU() + Loops()) // as in the program: each loop may keep one to itself
	b.Cleanup(func() { runtime.GOMAXPROCS(processors) })
	if through != "nothing" {
		m := newMemory()
		m.forgetful = true
		r := newRig(b, Options{
			Routes:   []Route{{Protocol: inspect.SMTP, Listen: "127.0.0.1:0", Upstream: address}},
			Recorder: m, goroutines: through == "goroutines",
		})
		address = r.Addrs()[0].String()
	}
	serveEach(b, server, answer)
	return func() *net.TCPConn {
		c := dialTo(b, address)
		receive(b, c, smtpGreeting)
		return c
	}
}

// answer is a server that answers each command at once, and takes a mail without an end.
func answer(c *net.TCPConn) {
	_, err := io.WriteString(c, smtpGreeting)
	buf := make([]byte, 64<<10)
	for n := 0; err == nil; {
		switch n, err = c.Read(buf); {
		case err != nil:
		case bytes.HasSuffix(buf[:n], []byte("DATA\r\n")):
			_, err = io.WriteString(c, accepts)
			for err == nil {
				_, err = c.Read(buf)
			}
		default:
			_, err = io.WriteString(c, "250 Ok\r\n")
		}
	}
}
