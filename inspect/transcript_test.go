package inspect

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

var update = flag.Bool("update", false, "rewrite the expectations of the transcripts; review reads the diff")

// TestTranscripts runs the dialogues of testdata/transcripts and compares what is said about them. Each runs whole, octet
// by octet and cut at random, and the input is overwritten after each Feed.
//
// A line of a dialogue is one of
//
//	C: EHLO mx.example.org     the client's line, CRLF is added
//	S= "250-a\r\n250 b\r\n"    the server's octets, exactly, as a Go string
//	lost C 100                 octets of the client are missing (-1: an unknown number)
//	fin S                      the server sends no more
//	secured starttls           the source of the chunks takes TLS off from here on: starttls, stls or implicit
//	note text                  the source has something to say
//	anomaly overload           the source saw an anomaly
//	abandon                    the inspection is given up
//	end closed                 how it ends: closed, reset, refused, timeout, aborted or unknown (the default)
//	port pop3                  the hint: smtp (the default), pop3 or any
//	midstream                  the beginning of the connection was not seen
//
// and lines of one side that follow each other are one flight, a millisecond after the one before.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("../testdata/transcripts/*/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := section(ar, "said")
			whole := parseScript(t, section(ar, "dialogue")).play(0)
			if *update {
				ar.Files = []txtar.File{{Name: "dialogue", Data: []byte(section(ar, "dialogue"))}, {Name: "said", Data: []byte(whole)}}
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if whole != want {
				t.Fatalf("got:\n%s\nwant:\n%s", whole, want)
			}
			for _, n := range []int{1, 2, 3, -1, -2, -3} {
				if got := parseScript(t, section(ar, "dialogue")).play(n); got != want {
					t.Fatalf("in pieces of %d, got:\n%s\nwant:\n%s", n, got, want)
				}
			}
		})
	}
}

func section(ar *txtar.Archive, name string) string {
	for _, f := range ar.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// script is a dialogue to be played.
type script struct {
	conn    Conn
	flights []flight
	end     End
}

// flight is what one side sends at once.
type flight struct {
	dir  wire.Direction
	lost int64
	data []byte
	fin  bool
	do   string // instead: what the source of the chunks does
}

func newScript() *script {
	return &script{conn: Conn{
		Client: netip.MustParseAddrPort("192.0.2.7:51514"), Server: netip.MustParseAddrPort("198.51.100.9:25"),
		Begin: time.Date(2026, 11, 22, 3, 4, 5, 0, time.UTC), Mode: record.ModeTap, Hint: SMTP, Started: true,
	}}
}

func parseScript(t testing.TB, dialogue string) *script {
	s := newScript()
	for line := range strings.Lines(dialogue) {
		line = strings.TrimSuffix(line, "\n")
		word, rest, _ := strings.Cut(line, " ")
		dir := wire.FromClient
		if strings.HasPrefix(line, "S") || strings.HasPrefix(rest, "S") && (word == "lost" || word == "fin") {
			dir = wire.FromServer
		}
		switch word {
		case "C:", "S:":
			s.add(flight{dir: dir, data: []byte(rest + "\r\n")})
		case "C=", "S=":
			raw, err := strconv.Unquote(rest)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			s.add(flight{dir: dir, data: []byte(raw)})
		case "lost":
			lost, err := strconv.ParseInt(rest[2:], 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			s.add(flight{dir: dir, lost: lost})
		case "fin":
			s.add(flight{dir: dir, fin: true})
		case "secured", "note", "anomaly", "abandon":
			s.flights = append(s.flights, flight{do: line})
		case "end":
			s.end = map[string]End{
				"closed": EndClosed, "reset": EndReset, "refused": EndRefused, "timeout": EndTimeout, "aborted": EndAborted,
			}[rest]
		case "port":
			s.conn.Hint = map[string]Hint{"pop3": POP3, "any": AnyProtocol}[rest]
		case "midstream":
			s.conn.Started = false
		default:
			t.Fatalf("what is %q?", line)
		}
	}
	return s
}

func (s *script) add(f flight) {
	if k := len(s.flights); k > 0 && f.lost == 0 && !f.fin && !s.flights[k-1].fin && s.flights[k-1].do == "" && s.flights[k-1].dir == f.dir {
		s.flights[k-1].data = append(s.flights[k-1].data, f.data...)
	} else {
		s.flights = append(s.flights, f)
	}
}

// play runs the script in pieces of at most n octets (0: whole flights; negative: random, seeded by n) and returns what
// was said.
func (s *script) play(n int) string {
	sink := new(textSink)
	session := New(&Config{Sensor: "test"}, s.conn, sink)
	random := rand.New(rand.NewPCG(1, uint64(-n)))
	now := s.conn.Begin
	for _, f := range s.flights {
		now = now.Add(time.Millisecond)
		switch {
		case f.fin:
			session.HalfClose(f.dir, now)
			continue
		case f.do != "":
			act(session, f.do, now)
			continue
		}
		c := wire.Chunk{Dir: f.dir, Time: now, Lost: f.lost}
		for rest := f.data; len(rest) > 0 || c.Lost != 0; c.Lost = 0 {
			k := len(rest)
			switch {
			case n > 0:
				k = min(k, n)
			case n < 0 && k > 0:
				k = 1 + random.IntN(k)
			}
			c.Data = bytes.Clone(rest[:k])
			rest = rest[k:]
			session.Feed(c)
			for i := range c.Data {
				c.Data[i] = 'X'
			}
		}
	}
	session.Close(now.Add(time.Millisecond), s.end)
	if session.Ignored() {
		return "ignored\n"
	}
	return sink.out.String()
}

// act does what a script has the source of the chunks do.
func act(s *Session, what string, now time.Time) {
	switch word, rest, _ := strings.Cut(what, " "); word {
	case "secured":
		upstream := record.Handshake{
			Version: "TLS 1.2", Cipher: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", SNI: "mx.example.net",
			Certificate: &record.Certificate{
				Subject: "CN=mx.example.net", Issuer: "CN=Example CA", Names: []string{"mx.example.net"},
				NotAfter: record.Time{Time: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}, SHA256: strings.Repeat("0", 64),
			},
		}
		client := record.Handshake{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", SNI: "mx.example.net"}
		s.Secured(now, record.TLS{How: rest, Handshake: client, Upstream: &upstream})
	case "note":
		s.Note(now, "%s", rest)
	case "anomaly":
		s.Anomaly(rest, now)
	case "abandon":
		s.Abandon(now)
	}
}

// textSink writes what it is told, one line each.
type textSink struct{ out strings.Builder }

func (k *textSink) Line(s *record.Session, l record.Line) {
	mark := []string{" -> ", "<-  ", "<** ", " -> ", "<-  ", "=== "}[l.Kind]
	if l.TLS {
		mark = strings.NewReplacer("-> ", "~> ", "<- ", "<~ ").Replace(mark)
	}
	text := string(l.Text)
	if l.Kind == record.ClientBody || l.Kind == record.ServerBody {
		text = fmt.Sprintf("[%d octets of message]", l.Octets)
	}
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(&k.out, "%s%s\n", mark, strings.Trim(strconv.Quote(line), `"`))
	}
}

func (k *textSink) Login(s *record.Session, attempt int, l record.Login) {
	fmt.Fprintf(&k.out, "login %d %s %q %s %d\n", attempt, l.Mechanism, l.User, l.Outcome, l.Code)
}

func (k *textSink) Secret(s *record.Session, x record.Secret) {
	fmt.Fprintf(&k.out, "secret %q\n", x.Secret)
}

func (k *textSink) OpenMail(m *record.Message) Mail { return new(textMail) }

func (k *textSink) Message(m *record.Message, mail Mail) {
	kept, _ := mail.(*textMail)
	if kept != nil {
		fmt.Fprintf(&k.out, "mail %q\n", kept.String())
	}
	k.out.Write(append(m.AppendJSON(nil), '\n'))
}

func (k *textSink) Session(s *record.Session) {
	s.Dialogue = nil // the lines above say the same
	k.out.Write(append(s.AppendJSON(nil), '\n'))
}

type textMail struct{ bytes.Buffer }

func (m *textMail) Write(p []byte) { m.Buffer.Write(p) }
func (m *textMail) Discard()       {}
