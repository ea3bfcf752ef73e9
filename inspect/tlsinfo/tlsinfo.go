// Package tlsinfo reads what a TLS handshake shows to everybody: the server's name that the client asks for, the version,
// the cipher suite (RFC 8446 section 4.1, RFC 6066 section 3) and, up to TLS 1.2, the server's certificate (RFC 5246
// section 7.4.2). It decrypts nothing and is sans-io. For who ends TLS, it says the same of a tls.ConnectionState.
package tlsinfo

import (
	"crypto/tls"

	"golang.org/x/crypto/cryptobyte"

	"github.com/mailwire/mailwire/inspect/record"
)

// Sniffer collects what the plain part of a handshake says. Its zero value is ready. It keeps no octets of a side that is
// done.
type Sniffer struct {
	Seen record.Handshake // so far

	client, server flight
}

// Client takes the client's next octets.
func (s *Sniffer) Client(data []byte) { s.client.feed(data, s.clientMessage) }

// Server takes the server's next octets.
func (s *Sniffer) Server(data []byte) { s.server.feed(data, s.serverMessage) }

// Done says that nothing more can be learnt.
func (s *Sniffer) Done() bool { return s.client.done && s.server.done }

// Types of handshake messages (RFC 8446 section 4, RFC 5246 section 7.4).
const (
	clientHello = 1
	serverHello = 2
	certificate = 11
)

const (
	extServerName        = 0
	extSupportedVersions = 43
)

// clientMessage takes the client's first message. None that follows is plain and of interest.
func (s *Sniffer) clientMessage(kind uint8, b cryptobyte.String) (more bool) {
	var session, ciphers, compression cryptobyte.String
	if kind != clientHello || !b.Skip(2+32) || !b.ReadUint8LengthPrefixed(&session) ||
		!b.ReadUint16LengthPrefixed(&ciphers) || !b.ReadUint8LengthPrefixed(&compression) {
		return false
	}
	eachExtension(b, func(id uint16, ext cryptobyte.String) {
		var names, name cryptobyte.String
		var nameType uint8
		if id == extServerName && ext.ReadUint16LengthPrefixed(&names) && names.ReadUint8(&nameType) &&
			nameType == 0 && names.ReadUint16LengthPrefixed(&name) {
			s.Seen.SNI = record.Text(string(name))
		}
	})
	return false
}

// serverMessage takes the server's messages up to its certificate. Without one, as in a resumed session, another message
// or the end of the plain part comes instead.
func (s *Sniffer) serverMessage(kind uint8, b cryptobyte.String) (more bool) {
	switch kind {
	case serverHello:
		return s.Seen.Version == "" && s.serverHello(b)
	case certificate:
		var leaf cryptobyte.String
		if b.Skip(3) && b.ReadUint24LengthPrefixed(&leaf) { // behind it, and perhaps cut off, stands the rest of the chain
			s.Seen.Certificate = parse(leaf)
		}
	}
	return false
}

// serverHello says whether a certificate may follow in plain: in TLS 1.3 none does, behind a HelloRetryRequest neither,
// which is a ServerHello and has chosen already.
func (s *Sniffer) serverHello(b cryptobyte.String) (more bool) {
	var version, cipher uint16
	var session cryptobyte.String
	if !b.ReadUint16(&version) || !b.Skip(32) || !b.ReadUint8LengthPrefixed(&session) ||
		!b.ReadUint16(&cipher) || !b.Skip(1) {
		return false
	}
	eachExtension(b, func(id uint16, ext cryptobyte.String) {
		if id == extSupportedVersions {
			ext.ReadUint16(&version)
		}
	})
	s.Seen.Version, s.Seen.Cipher = tls.VersionName(version), cipherName(cipher)
	return version < tls.VersionTLS13
}

func eachExtension(b cryptobyte.String, do func(id uint16, ext cryptobyte.String)) {
	var extensions cryptobyte.String
	if !b.ReadUint16LengthPrefixed(&extensions) {
		return
	}
	for !extensions.Empty() {
		var id uint16
		var ext cryptobyte.String
		if !extensions.ReadUint16(&id) || !extensions.ReadUint16LengthPrefixed(&ext) {
			return
		}
		do(id, ext)
	}
}
