package inspect

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/mailwire/mailwire/inspect/wire"
)

// maxIdle is what a session may hold while nothing is said; most connections of a busy proxy are idle.
const maxIdle = 4 << 10

// TestIdleMemory measures what sessions hold at points at which clients like to wait.
func TestIdleMemory(t *testing.T) {
	const ehlo = "S250-mx.example.net\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-ETRN\r\n250-STARTTLS\r\n250-ENHANCEDSTATUSCODES\r\n" +
		"250-8BITMIME\r\n250-DSN\r\n250 CHUNKING\r\n"
	opening := []string{"S220 mx.example.net ESMTP Postfix\r\n", "CEHLO client.example.org\r\n", ehlo}
	for name, s := range map[string]*script{
		"silent":            dialogue(SMTP, opening[0]),
		"behind EHLO":       dialogue(SMTP, opening...),
		"octet by octet":    dialogue(SMTP, opening...),
		"behind a login":    dialogue(POP3, "S+OK ready\r\n", "CUSER alice\r\n", "S+OK\r\n", "CPASS secret\r\n", "S+OK\r\n", "CLIST\r\n", "S+OK\r\n1 100\r\n.\r\n"),
		"inside TLS":        transcript(t, "smtp/starttls-12.txt"),
		"TLS was taken off": parseScript(t, "secured implicit\nS: 220 mx ESMTP\nC: EHLO mx.example.org\nS: 250 mx\n"),
	} {
		t.Run(name, func(t *testing.T) {
			piece := 0
			if name == "octet by octet" {
				piece = 1
			}
			if n := idle(s, piece); n > maxIdle {
				t.Errorf("an idle session holds %d octets", n)
			} else {
				t.Logf("%s: %d octets", name, n)
			}
		})
	}
}

// transcript reads the dialogue of a transcript.
func transcript(t *testing.T, name string) *script {
	data, err := os.ReadFile(filepath.Join("../testdata/transcripts", name))
	if err != nil {
		t.Fatal(err)
	}
	return parseScript(t, section(txtar.Parse(data), "dialogue"))
}

// idle returns how much memory a session holds after a script, but for a mail's.
func idle(s *script, piece int) uint64 {
	const n = 2000
	cfg := new(Config)
	keep := make([]*Session, n)
	before := heap()
	for i := range keep {
		session := New(cfg, s.conn, nullSink{})
		for _, f := range s.flights {
			if f.do != "" {
				act(session, f.do, s.conn.Begin)
			}
			for _, c := range f.chunks(piece) {
				session.Feed(wire.Chunk{Dir: c.Dir, Time: s.conn.Begin, Lost: c.Lost, Data: c.Data})
			}
		}
		keep[i] = session
	}
	after := heap()
	runtime.KeepAlive(keep)
	return (after - before) / n
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the first one leaves what pools held
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
