package tap

import (
	"encoding/binary"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// A test's packets are raw IP unless it says otherwise.

func address16(a netip.Addr) []byte {
	if a.Is4() {
		b := a.As4()
		return b[:]
	}
	b := a.As16()
	return b[:]
}

// tcpSegment makes a TCP header with its payload; the checksum is left at 0, as hosts with offloads do.
func tcpSegment(from, to uint16, seq, ack uint32, flags uint8, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], ack)
	b[12], b[13] = 5<<4, flags
	return append(b, payload...)
}

// ipPacket puts a header before a payload.
func ipPacket(from, to netip.Addr, protocol byte, payload []byte) []byte {
	if from.Is4() {
		b := make([]byte, 20, 20+len(payload))
		b[0], b[8], b[9] = 0x45, 64, protocol
		binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
		copy(b[12:], address16(from))
		copy(b[16:], address16(to))
		return append(b, payload...)
	}
	b := make([]byte, 40, 40+len(payload))
	b[0], b[6], b[7] = 0x60, protocol, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], address16(from))
	copy(b[24:], address16(to))
	return append(b, payload...)
}

var (
	alice = netip.MustParseAddrPort("192.0.2.7:51514")
	mx    = netip.MustParseAddrPort("198.51.100.9:25")
	day   = time.Date(2026, 11, 22, 3, 4, 5, 0, time.UTC)
)

// line is a TCP connection being written as packets, one a millisecond.
type line struct {
	client, server netip.AddrPort
	seq            [2]uint32 // next of the client, of the server
	clock          time.Time
	packets        []Packet
	sent           [2][]byte
}

func newLine() *line {
	return &line{client: alice, server: mx, seq: [2]uint32{1000, 5000}, clock: day}
}

// raw appends a segment of a side with any numbers.
func (l *line) raw(side int, seq, ackNumber uint32, flags uint8, payload string) {
	from, to := l.client, l.server
	if side == 1 {
		from, to = to, from
	}
	data := ipPacket(from.Addr(), to.Addr(), protoTCP, tcpSegment(from.Port(), to.Port(), seq, ackNumber, flags, []byte(payload)))
	l.packets = append(l.packets, Packet{Time: l.clock.UnixNano(), Link: LinkRaw, Wire: len(data), Data: data})
	l.clock = l.clock.Add(time.Millisecond)
}

// send appends an orderly segment: it acknowledges all that the other side sent so far.
func (l *line) send(side int, flags uint8, payload string) {
	number := l.seq[1-side]
	if flags&ack == 0 {
		number = 0
	}
	l.raw(side, l.seq[side], number, flags, payload)
	l.seq[side] += uint32(len(payload))
	if flags&(syn|fin) != 0 {
		l.seq[side]++
	}
	l.sent[side] = append(l.sent[side], payload...)
}

func (l *line) open() *line {
	l.send(0, syn, "")
	l.send(1, syn|ack, "")
	l.send(0, ack, "")
	return l
}

func (l *line) c(text string) { l.send(0, ack|psh, text) }
func (l *line) s(text string) { l.send(1, ack|psh, text) }

func (l *line) close() *line {
	l.send(0, fin|ack, "")
	l.send(1, fin|ack, "")
	l.send(0, ack, "")
	return l
}

// mail says a whole SMTP session with a body of n octets, acknowledged every other segment.
func (l *line) mail(n int) *line {
	l.open()
	l.s("220 mx\r\n")
	l.c("EHLO c\r\n")
	l.s("250 mx\r\n")
	l.c("DATA\r\n")
	l.s("354 go\r\n")
	body := strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz\r\n", n/38+1)[:n]
	for i := 0; len(body) > 0; i++ {
		k := min(1460, len(body))
		l.c(body[:k])
		body = body[k:]
		if i%2 == 1 {
			l.send(1, ack, "")
		}
	}
	l.c(".\r\n")
	l.s("250 ok\r\n")
	l.c("QUIT\r\n")
	l.s("221 bye\r\n")
	return l.close()
}

// memory is a Source of packets that a test made.
type memory struct {
	packets []Packet
	every   int // Waiting after so many
	hook    func(n int)
	n       int
}

func (m *memory) Next(space []byte) (Packet, error) {
	if m.n == len(m.packets) {
		return Packet{}, io.EOF
	}
	p := m.packets[m.n]
	m.n++
	if m.hook != nil {
		m.hook(m.n)
	}
	p.Data = space[:copy(space, p.Data)]
	return p, nil
}
func (m *memory) Waiting() bool         { return m.every > 0 && m.n%m.every == 0 }
func (m *memory) Input() (int64, int64) { return 0, 0 }
func (m *memory) Close() error          { return nil }

// play runs packets through the whole pipeline.
func play(t testing.TB, packets []Packet, change ...func(*Options)) (*recorder, Stats) {
	t.Helper()
	r := new(recorder)
	o := Options{Recorder: r, AnyPort: true, Workers: 1}
	for _, f := range change {
		f(&o)
	}
	stats, err := run(t.Context(), o, &memory{packets: packets}, r.create)
	if err != nil {
		t.Fatal(err)
	}
	return r, stats
}

// one returns the only conversation.
func (r *recorder) one(t testing.TB) *talk {
	t.Helper()
	if len(r.talks) != 1 {
		t.Fatalf("%d sessions, not 1", len(r.talks))
	}
	return r.talks[0]
}

func (k *talk) expect(t testing.TB, script string) {
	t.Helper()
	want := strings.TrimSpace(strings.ReplaceAll(script, "\t", ""))
	if got := strings.TrimSpace(k.script.String()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// exact checks that all octets of the line came, none was lost, and the end.
func (k *talk) exact(t testing.TB, l *line) {
	t.Helper()
	for d := range 2 {
		if string(k.data[d]) != string(l.sent[d]) || k.lost[d] != 0 {
			t.Errorf("direction %d: %d octets and %d lost of %d sent; equal up to %d", d, len(k.data[d]), k.lost[d], len(l.sent[d]), common(k.data[d], l.sent[d]))
		}
	}
}

func common(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func without(packets []Packet, i ...int) []Packet {
	var out []Packet
	for j, p := range packets {
		if !slices.Contains(i, j) {
			out = append(out, p)
		}
	}
	return out
}
