package tlsinfo

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
)

// TestSniffer watches a real handshake, octet by octet and in pieces.
func TestSniffer(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client, server := handshake(t, version)
		for _, n := range []int{1, 7, len(client) + len(server)} {
			var s Sniffer
			for c := client; len(c) > 0; c = c[min(n, len(c)):] {
				s.Client(c[:min(n, len(c))])
			}
			for c := server; len(c) > 0; c = c[min(n, len(c)):] {
				s.Server(c[:min(n, len(c))])
			}
			if s.SNI != "mx.example.net" || s.Version != tls.VersionName(version) || s.Cipher == "" {
				t.Errorf("%s in pieces of %d: %+v", tls.VersionName(version), n, s)
			}
		}
	}
}

// handshake returns what each side of a real TLS connection wrote.
func handshake(t *testing.T, version uint16) (client, server []byte) {
	a, b := net.Pipe()
	ca, cb := &tee{Conn: a}, &tee{Conn: b}
	go func() {
		defer b.Close()
		s := tls.Server(cb, &tls.Config{Certificates: []tls.Certificate{certificate(t)}, MaxVersion: version})
		io.Copy(io.Discard, s)
	}()
	c := tls.Client(ca, &tls.Config{ServerName: "mx.example.net", InsecureSkipVerify: true, MaxVersion: version})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	a.Close()
	return ca.wrote, cb.wrote
}

type tee struct {
	net.Conn
	wrote []byte
}

func (t *tee) Write(p []byte) (int, error) {
	t.wrote = append(t.wrote, p...)
	return t.Conn.Write(p)
}

// FuzzSniffer: hostile hellos are bounded and never fail.
func FuzzSniffer(f *testing.F) {
	f.Add([]byte{22, 3, 1, 0, 4, 1, 0, 0, 0}, []byte{22, 3, 3, 0, 0})
	f.Fuzz(func(t *testing.T, client, server []byte) {
		var s Sniffer
		s.Client(client)
		s.Server(server)
		if len(s.SNI) > len(client) {
			t.Error("a name longer than what was sent")
		}
	})
}

func certificate(t *testing.T) tls.Certificate {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.net"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
