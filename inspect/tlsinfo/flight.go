package tlsinfo

import "golang.org/x/crypto/cryptobyte"

// maxMessage bounds the octets kept of one handshake message. Hellos are far below it; of a longer chain of certificates
// the first one still fits.
const maxMessage = 16 << 10

const (
	handshakeType = 22 // RFC 8446 section 5.1
	recordHeader  = 5
	messageHeader = 4
)

// flight cuts the octets of one side into handshake messages, which may span records and share them.
type flight struct {
	header [recordHeader]byte
	nhead  int
	left   int    // octets of the record still to come
	buf    []byte // of a message that is not whole
	done   bool
}

// feed takes octets and hands each message to take, borrowed, until take wants no more or the plain part ends: with a
// ChangeCipherSpec, an alert, encrypted data, or anything that is no TLS.
func (f *flight) feed(data []byte, take func(kind uint8, body cryptobyte.String) (more bool)) {
	for len(data) > 0 && !f.done {
		if f.left == 0 {
			data = f.begin(data)
			continue
		}
		n := min(len(data), f.left, maxMessage-len(f.buf))
		f.buf = append(f.buf, data[:n]...)
		f.left -= n
		data = data[n:]
		f.messages(take)
	}
	if f.done {
		f.buf = nil
	}
}

// begin takes the header of a record, or the part of it that data has.
func (f *flight) begin(data []byte) (rest []byte) {
	n := copy(f.header[f.nhead:], data)
	if f.nhead += n; f.nhead == recordHeader {
		f.nhead = 0
		f.left = int(f.header[3])<<8 | int(f.header[4])
		f.done = f.header[0] != handshakeType || f.header[1] != 3
	}
	return data[n:]
}

// messages hands over what is whole. A message beyond maxMessage is handed over cut, and is the last one.
func (f *flight) messages(take func(kind uint8, body cryptobyte.String) (more bool)) {
	for !f.done && len(f.buf) >= messageHeader {
		n := messageHeader + int(f.buf[1])<<16 + int(f.buf[2])<<8 + int(f.buf[3])
		whole := min(n, maxMessage)
		if len(f.buf) < whole {
			return
		}
		f.done = !take(f.buf[0], cryptobyte.String(f.buf[messageHeader:whole])) || whole < n
		f.buf = f.buf[whole:]
	}
}
