package tlsinfo

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"

	"github.com/mailwire/mailwire/inspect/record"
)

// Of says what the handshake of a TLS connection that ends here settled. server is the server's certificate: of our own
// where we are the server, of the peer where we are the client (nil: none is shown).
func Of(state *tls.ConnectionState, server *x509.Certificate) record.Handshake {
	h := record.Handshake{
		Version: tls.VersionName(state.Version), Cipher: tls.CipherSuiteName(state.CipherSuite),
		SNI: record.Text(state.ServerName),
	}
	if server != nil {
		h.Certificate = Certificate(server)
	}
	return h
}

// Certificate says what a record shows of a certificate.
func Certificate(x *x509.Certificate) *record.Certificate {
	c := digest(x.Raw)
	c.Subject, c.Issuer = record.Text(x.Subject.String()), record.Text(x.Issuer.String())
	c.NotBefore, c.NotAfter = record.Time{Time: x.NotBefore.UTC()}, record.Time{Time: x.NotAfter.UTC()}
	for _, name := range x.DNSNames[:min(len(x.DNSNames), record.MaxNames)] {
		c.Names = append(c.Names, record.Text(name))
	}
	for _, ip := range x.IPAddresses[:min(len(x.IPAddresses), record.MaxNames-len(c.Names))] {
		c.Names = append(c.Names, ip.String())
	}
	return c
}

// parse is Certificate for a certificate as sent, which may be anything.
func parse(der []byte) *record.Certificate {
	x, err := x509.ParseCertificate(der)
	if err != nil {
		return digest(der)
	}
	return Certificate(x)
}

func digest(der []byte) *record.Certificate {
	sum := sha256.Sum256(der)
	return &record.Certificate{SHA256: hex.EncodeToString(sum[:])}
}
