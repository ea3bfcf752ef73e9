// Package tlsinfo reads what a TLS handshake shows to everybody: the server's name that the client asks for, the version
// and the cipher suite (RFC 8446 section 4.1, RFC 6066 section 3). It decrypts nothing and is sans-io.
package tlsinfo

import (
	"crypto/tls"

	"golang.org/x/crypto/cryptobyte"
)

// maxHello bounds the octets kept of each side's first handshake message.
const maxHello = 16 << 10

// Sniffer collects the hellos of one connection. Its zero value is ready.
type Sniffer struct {
	SNI     string // that the client asked for
	Version string // as "TLS 1.3", once the server has chosen
	Cipher  string // as "TLS_AES_128_GCM_SHA256", once the server has chosen

	hello [2]hello
}

type hello struct {
	records []byte // TLS records as sent
	need    int    // octets of records before it is worth to look again
	done    bool
}

// Client takes the client's next octets.
func (s *Sniffer) Client(data []byte) { s.hello[0].feed(data, s.clientHello) }

// Server takes the server's next octets.
func (s *Sniffer) Server(data []byte) { s.hello[1].feed(data, s.serverHello) }

const (
	handshakeType = 22 // RFC 8446 section 5.1
	recordHeader  = 5
)

// feed collects octets until the first handshake message is whole, and hands it to read.
func (h *hello) feed(data []byte, read func(kind uint8, body cryptobyte.String)) {
	if h.done {
		return
	}
	h.records = append(h.records, data[:min(len(data), maxHello-len(h.records))]...)
	if len(h.records) < h.need && len(h.records) < maxHello {
		return
	}
	var message cryptobyte.String
	for rest := h.records; ; {
		if h.need = len(h.records) - len(rest) + recordHeader; len(rest) < recordHeader {
			break
		}
		n := int(rest[3])<<8 | int(rest[4])
		if h.need += n; rest[0] != handshakeType || len(rest) < recordHeader+n {
			break
		}
		message = append(message, rest[recordHeader:recordHeader+n]...)
		rest = rest[recordHeader+n:]
	}
	var kind uint8
	var body cryptobyte.String
	whole := message.ReadUint8(&kind) && message.ReadUint24LengthPrefixed(&body)
	if whole || len(h.records) == maxHello || len(h.records) > 0 && h.records[0] != handshakeType {
		h.done, h.records = true, nil
	}
	if whole {
		read(kind, body)
	}
}

const (
	clientHello = 1
	serverHello = 2

	extServerName        = 0
	extSupportedVersions = 43
)

func (s *Sniffer) clientHello(kind uint8, b cryptobyte.String) {
	var session, ciphers, compression cryptobyte.String
	if kind != clientHello || !b.Skip(2+32) || !b.ReadUint8LengthPrefixed(&session) ||
		!b.ReadUint16LengthPrefixed(&ciphers) || !b.ReadUint8LengthPrefixed(&compression) {
		return
	}
	eachExtension(b, func(id uint16, ext cryptobyte.String) {
		var names, name cryptobyte.String
		var nameType uint8
		if id == extServerName && ext.ReadUint16LengthPrefixed(&names) && names.ReadUint8(&nameType) &&
			nameType == 0 && names.ReadUint16LengthPrefixed(&name) {
			s.SNI = string(name)
		}
	})
}

func (s *Sniffer) serverHello(kind uint8, b cryptobyte.String) {
	var version, cipher uint16
	var session cryptobyte.String
	if kind != serverHello || !b.ReadUint16(&version) || !b.Skip(32) || !b.ReadUint8LengthPrefixed(&session) ||
		!b.ReadUint16(&cipher) || !b.Skip(1) {
		return
	}
	eachExtension(b, func(id uint16, ext cryptobyte.String) {
		if id == extSupportedVersions {
			ext.ReadUint16(&version)
		}
	})
	s.Version, s.Cipher = tls.VersionName(version), tls.CipherSuiteName(cipher)
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
