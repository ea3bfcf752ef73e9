package record

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"strconv"
)

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// SessionID derives a session's id, 16 characters of Crockford's base32, from the begin time (to the microsecond) and
// the two addresses, so that reading the same capture twice gives the same ids. Sessions that share all three, as in
// captures without a clock, are told apart by ordinal: 0 for the first of them, 1 for the next.
func SessionID(begin Time, client, server netip.AddrPort, ordinal int) string {
	var buf [128]byte
	b := binary.BigEndian.AppendUint64(buf[:0], uint64(begin.UnixMicro()))
	for _, a := range [2]netip.AddrPort{client, server} {
		ip := a.Addr().Unmap().As16()
		b = append(b, ip[:]...)
		b = binary.BigEndian.AppendUint16(b, a.Port())
	}
	if ordinal > 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(ordinal))
	}
	sum := sha256.Sum256(b)
	return idEncoding.EncodeToString(sum[:10])
}

// MessageID is the id of a session's nth message, from 1.
func MessageID(session string, n int) string { return session + "." + strconv.Itoa(n) }

// CommunityID returns the Community ID v1 of a TCP connection (seed 0): SHA-1 over the ordered tuple, base64, "1:" in
// front, so that a record can be found again in Zeek, Suricata and Arkime.
func CommunityID(client, server netip.AddrPort) string {
	a, b := client.Addr().Unmap(), server.Addr().Unmap()
	pa, pb := client.Port(), server.Port()
	if c := a.Compare(b); c > 0 || (c == 0 && pa > pb) {
		a, b, pa, pb = b, a, pb, pa
	}
	var buf [64]byte
	data := append(buf[:0], 0, 0) // the seed
	data = append(data, a.AsSlice()...)
	data = append(data, b.AsSlice()...)
	data = append(data, 6, 0) // the protocol TCP, padding
	data = binary.BigEndian.AppendUint16(data, pa)
	data = binary.BigEndian.AppendUint16(data, pb)
	sum := sha1.Sum(data)
	return "1:" + base64.StdEncoding.EncodeToString(sum[:])
}
