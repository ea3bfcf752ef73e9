package tlsinfo

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"io"
	"math/big"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mailwire/mailwire/inspect/record"
)

// sniff gives what each side wrote to a Sniffer, in pieces of n octets.
func sniff(client, server []byte, n int) *Sniffer {
	s := new(Sniffer)
	for piece := range slices.Chunk(client, n) {
		s.Client(piece)
	}
	for piece := range slices.Chunk(server, n) {
		s.Server(piece)
	}
	return s
}

// pieces are the sizes into which the octets of a test are cut.
var pieces = []int{1, 2, 3, 5, 7, 100, 1 << 20}

// TestSniffer watches real handshakes, and holds what was seen equal to what the client says. The second
// connection resumes the first one's session: its server shows no certificate.
func TestSniffer(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		ends := newEnds(t, version)
		for _, resumed := range []bool{false, true} {
			h := ends.handshake(t)
			want := Of(&h.state, h.state.PeerCertificates[0])
			if version == tls.VersionTLS13 || resumed {
				want.Certificate = nil
			}
			if h.state.DidResume != resumed || want.Version != tls.VersionName(version) || want.SNI != "mx.example.net" {
				t.Fatalf("%+v", h.state)
			}
			for _, n := range pieces {
				if s := sniff(h.client, h.server, n); !s.Done() || !reflect.DeepEqual(s.Seen, want) {
					t.Errorf("%s, resumed %v, in pieces of %d: done %v\n%+v, want\n%+v", want.Version, resumed, n, s.Done(), s.Seen, want)
				}
			}
		}
	}
}

// TestHelloRetry: a server that asks for another hello has chosen version and cipher already.
func TestHelloRetry(t *testing.T) {
	ends := newEnds(t, tls.VersionTLS13)
	ends.client.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP384}
	ends.server.CurvePreferences = []tls.CurveID{tls.CurveP384}
	h := ends.handshake(t)
	if !h.state.HelloRetryRequest {
		t.Fatal("no HelloRetryRequest")
	}
	for _, n := range pieces {
		if s := sniff(h.client, h.server, n); !s.Done() || !reflect.DeepEqual(s.Seen, Of(&h.state, nil)) {
			t.Errorf("in pieces of %d: done %v, %+v", n, s.Done(), s.Seen)
		}
	}
}

// TestCertificate: names and text are bounded and valid UTF-8, whatever a certificate holds.
func TestCertificate(t *testing.T) {
	names := make([]string, record.MaxNames+20)
	for i := range names {
		names[i] = strings.Repeat("a", i+1) + ".example.net"
	}
	begin := time.Date(2026, 11, 22, 3, 4, 5, 0, time.UTC)
	der := newCertificate(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 25)},
		Subject: pkix.Name{CommonName: "mx.example.net", Organization: []string{strings.Repeat("ü", record.MaxText)}}, NotBefore: begin, NotAfter: begin.AddDate(0, 3, 0),
	}).Certificate[0]
	c := parse(der)
	if len(c.Names) != record.MaxNames || c.Names[9] != names[9] || len(c.Subject) != record.MaxText || !utf8.ValidString(c.Subject) ||
		!strings.HasPrefix(c.Subject, "CN=mx.example.net,O=") || c.NotBefore.Time != begin || len(c.SHA256) != 64 {
		t.Errorf("%+v", c)
	}
	if c := parse([]byte("no certificate")); c.Subject != "" || !c.NotAfter.IsZero() || c.SHA256 !=
		"de826f9e5acba22f80b95e447f9a1a29db2441d3f8dee9d83dfbb0e52370dfc0" {
		t.Errorf("%+v", c)
	}
}

// TestLongChain: of a message beyond the bound, and of one that never ends, the first certificate is seen.
func TestLongChain(t *testing.T) {
	hello := handshakeMessage(serverHello, append(append([]byte{3, 3}, make([]byte, 32)...), 0, 0xc0, 0x2f, 0))
	chain := append([]byte{0, 0xff, 0xff, 0, 0, 4}, "leaf"...)
	chain = append(chain, make([]byte, 0xffff-7)...)
	messages := append(hello, handshakeMessage(certificate, chain)...)
	var records []byte
	for part := range slices.Chunk(messages, 1000) {
		records = append(append(records, handshakeType, 3, 3, byte(len(part)>>8), byte(len(part))), part...)
	}
	for _, n := range pieces {
		s := new(Sniffer)
		for piece := range slices.Chunk(records, n) {
			s.Server(piece)
			if cap(s.server.buf) > 2*maxMessage {
				t.Fatalf("%d octets are kept", cap(s.server.buf))
			}
		}
		if c := s.Seen.Certificate; c == nil || c.SHA256 != digest([]byte("leaf")).SHA256 || s.Seen.Version != "TLS 1.2" ||
			!s.server.done || s.server.buf != nil {
			t.Errorf("in pieces of %d: %+v", n, s.Seen)
		}
	}
}

func handshakeMessage(kind byte, body []byte) []byte {
	return append([]byte{kind, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// TestNotPlain: what is no handshake ends the watch at once.
func TestNotPlain(t *testing.T) {
	for _, server := range []string{"\x15\x03\x03\x00\x02\x02\x28", "\x14\x03\x03\x00\x01\x01", "\x17\x03\x03\x40\x00", "220 mx ESMTP\r\n", "\x16\x05\x00\x00\x01"} {
		s := sniff(nil, []byte(server), 3)
		if !s.server.done || s.Done() || s.Seen != (record.Handshake{}) {
			t.Errorf("%q: %+v", server, s)
		}
	}
}

// ends are the two ends of TLS connections.
type ends struct{ client, server *tls.Config }

// newEnds makes ends that resume their sessions.
func newEnds(t *testing.T, version uint16) ends {
	begin := time.Now().Add(-time.Hour)
	own := newCertificate(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.net"}, Subject: pkix.Name{CommonName: "mx.example.net"}, NotBefore: begin, NotAfter: begin.AddDate(1, 0, 0),
	})
	return ends{
		client: &tls.Config{
			ServerName: "mx.example.net", InsecureSkipVerify: true, MaxVersion: version,
			ClientSessionCache: tls.NewLRUClientSessionCache(1),
		},
		server: &tls.Config{Certificates: []tls.Certificate{own}, MaxVersion: version},
	}
}

// handshook is a connection: what each side wrote, and the client's state.
type handshook struct {
	client, server []byte
	state          tls.ConnectionState
}

func (e ends) handshake(t *testing.T) handshook {
	a, b := net.Pipe()
	ca, cb := newTee(a), newTee(b)
	done := make(chan error)
	go func() {
		s := tls.Server(cb, e.server)
		_, err := s.Write([]byte("220 mx ESMTP\r\n"))
		io.Copy(io.Discard, s)
		cb.Close()
		done <- err
	}()
	c := tls.Client(ca, e.client)
	if _, err := c.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	state := c.ConnectionState()
	ca.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return handshook{client: ca.wrote.Bytes(), server: cb.wrote.Bytes(), state: state}
}

// tee keeps what is written. It does not wait for a reader as net.Pipe does: both sides of a handshake may write at once.
type tee struct {
	net.Conn
	wrote bytes.Buffer
	queue chan []byte
}

func newTee(c net.Conn) *tee {
	t := &tee{Conn: c, queue: make(chan []byte, 100)}
	go func() {
		for p := range t.queue {
			c.Write(p)
		}
		c.Close()
	}()
	return t
}

func (t *tee) Write(p []byte) (int, error) {
	t.queue <- bytes.Clone(p)
	return t.wrote.Write(p)
}

func (t *tee) Close() error {
	close(t.queue)
	return nil
}

func newCertificate(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// FuzzSniffer: hostile handshakes are bounded, never fail, and how they were cut does not matter.
func FuzzSniffer(f *testing.F) {
	f.Add([]byte{22, 3, 1, 0, 4, 1, 0, 0, 0}, []byte{22, 3, 3, 0, 0})
	hello, _ := hex.DecodeString("160303002c020000280303" + strings.Repeat("00", 32) + "00c02f00" + "0b00000c000009000006706172736564")
	f.Add([]byte{}, hello)
	f.Fuzz(func(t *testing.T, client, server []byte) {
		whole := sniff(client, server, 1<<20)
		if len(whole.Seen.SNI) > 3*len(client) || !utf8.ValidString(whole.Seen.SNI) {
			t.Errorf("%q", whole.Seen.SNI)
		}
		for _, n := range []int{1, 3} {
			if s := sniff(client, server, n); s.Done() != whole.Done() || !reflect.DeepEqual(s.Seen, whole.Seen) {
				t.Errorf("in pieces of %d: %+v, whole: %+v", n, s.Seen, whole.Seen)
			}
		}
	})
}
