package view

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/segment"
	"github.com/mailwire/mailwire/inspect/wire"
)

// WritePackets writes a session as a capture file (pcap, with nanoseconds) of the packets that could have carried it, as
// far as the records know: each line of the dialogue with CRLF, passwords as ***, mails from the archive. A mail that is
// not there, or holes in it, are octets that the capture has missed; so is what TLS hid. What is wrong with a mail is
// told to warn.
func (d *Data) WritePackets(to io.Writer, s *record.Session, warn func(error)) error {
	client, err1 := address(s.Client)
	server, err2 := address(s.Server)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("the session %s cannot be written as packets: %w", Printable(s.ID), err)
	}
	mails, err := d.MessagesOf(s, nil)
	if err != nil {
		return err
	}
	w := &packetWriter{d: d, s: s, steps: Steps(s), to: bufio.NewWriter(to), mails: mails, warn: warn}
	w.Conversation = segment.New(client, server, w.packet)
	w.fileHeader()
	w.session()
	return errors.Join(w.err, w.to.Flush())
}

func address(e record.Endpoint) (netip.AddrPort, error) {
	ip, err := netip.ParseAddr(e.IP)
	return netip.AddrPortFrom(ip, e.Port), err
}

// packetWriter writes one session.
type packetWriter struct {
	*segment.Conversation
	d     *Data
	s     *record.Session
	steps []Step
	to    *bufio.Writer
	mails []*record.Message // those whose octets may still come
	warn  func(error)
	err   error
	sent  [2]int64 // octets of each side so far
	body  *body    // of the mail whose chunks come
}

const pcapSnap = 256 << 10

// fileHeader begins the file (draft-ietf-opsawg-pcap).
func (w *packetWriter) fileHeader() {
	head := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d)
	head = binary.LittleEndian.AppendUint16(head, 2)
	head = binary.LittleEndian.AppendUint16(head, 4)
	head = binary.LittleEndian.AppendUint64(head, 0)
	head = binary.LittleEndian.AppendUint32(head, pcapSnap)
	w.write(binary.LittleEndian.AppendUint32(head, segment.LinkType))
}

func (w *packetWriter) packet(t time.Time, head, data []byte) {
	var b [16]byte
	n := uint32(len(head) + len(data))
	binary.LittleEndian.PutUint32(b[:], uint32(t.Unix()))
	binary.LittleEndian.PutUint32(b[4:], uint32(t.Nanosecond()))
	binary.LittleEndian.PutUint32(b[8:], n)
	binary.LittleEndian.PutUint32(b[12:], n)
	w.write(b[:])
	w.write(head)
	w.write(data)
}

func (w *packetWriter) write(b []byte) {
	if w.err == nil {
		_, w.err = w.to.Write(b)
	}
}

// session writes all packets.
func (w *packetWriter) session() {
	s := w.s
	if s.Status == record.Refused && len(s.Dialogue) == 0 {
		w.Refuse(s.Begin.Time, s.End.Time)
		return
	}
	w.Open(s.Begin.Time)
	for i := range w.steps {
		w.entry(i)
	}
	w.body.close()
	w.lose(wire.FromClient, s.End.Time, s.Octets.Client+s.Lost.Client-w.sent[wire.FromClient])
	w.lose(wire.FromServer, s.End.Time, s.Octets.Server+s.Lost.Server-w.sent[wire.FromServer])
	switch s.Status {
	case record.Reset:
		w.Reset(wire.FromClient, s.End.Time)
	case record.Closed, record.Aborted, record.Refused:
		w.HalfClose(wire.FromServer, s.End.Time)
		w.HalfClose(wire.FromClient, s.End.Time)
	}
}

func (w *packetWriter) entry(i int) {
	e := &w.steps[i]
	dir, t := wire.FromClient, w.s.Begin.Add(time.Duration(e.MS*float64(time.Millisecond)))
	if e.From == "server" {
		dir = wire.FromServer
	}
	text := e.Text
	if text == nil {
		text = e.Raw
	}
	switch {
	case e.Body != nil && w.body != nil: // its chunks are there already
		w.body.close()
		w.body = nil
	case e.Body != nil:
		w.mail(dir, t, *e.Body)
	case text == nil:
	case dir == wire.FromClient:
		w.say(dir, t, *text+"\r\n")
		w.chunk(i, t, *text)
	default:
		w.say(dir, t, strings.ReplaceAll(*text, "\n", "\r\n")+"\r\n")
		if w.s.Protocol == record.POP3 && isMultiLine(e) {
			w.say(dir, t, ".\r\n")
		}
	}
}

// isMultiLine says whether a reply of POP3 ends with a dot, but for that to RETR and TOP.
func isMultiLine(e *Step) bool {
	switch strings.ToUpper(e.Command) {
	case "CAPA", "LIST", "UIDL":
		return !e.Refusal
	}
	return strings.Contains(*e.Text, "\n")
}

func (w *packetWriter) say(dir wire.Direction, t time.Time, octets string) {
	w.sent[dir] += int64(len(octets))
	w.Data(dir, t, 0, []byte(octets))
}

// lose writes that octets are missing. A forged number of them makes no endless file.
func (w *packetWriter) lose(dir wire.Direction, t time.Time, octets int64) {
	const most = 1 << 40
	if octets = min(octets, most-w.sent[dir]); octets > 0 {
		w.sent[dir] += octets
		w.Data(dir, t, octets, nil)
	}
}

// chunk writes the octets that a BDAT command announces (RFC 3030). The dialogue has a mail behind its last chunk, but
// on the wire each chunk stood behind its command.
func (w *packetWriter) chunk(i int, t time.Time, command string) {
	words := strings.Fields(command)
	if len(words) < 2 || Verb(words[0]) != "BDAT" {
		return
	}
	n, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil || n < 0 {
		return
	}
	if w.body == nil {
		for _, e := range w.steps[i+1:] {
			if e.Body != nil && e.From == "client" {
				w.body = w.open(*e.Body)
				break
			}
		}
	}
	for n > 0 {
		octets, lost := w.body.next(n)
		if lost == 0 && len(octets) == 0 {
			lost = n // they were not kept
		}
		w.lose(wire.FromClient, t, lost)
		w.say(wire.FromClient, t, string(octets))
		n -= lost + int64(len(octets))
	}
}

// mail writes a mail that ends with a dot.
func (w *packetWriter) mail(dir wire.Direction, t time.Time, octets int64) {
	b := w.open(octets)
	defer b.close()
	if b == nil {
		w.lose(dir, t, octets)
		w.say(dir, t, ".\r\n")
		return
	}
	stuff := stuffer{last: "\r\n"}
	for {
		octets, lost := b.next(math.MaxInt64)
		if lost == 0 && len(octets) == 0 {
			break
		}
		if lost != 0 {
			w.lose(dir, t, lost)
			stuff.last = ""
		}
		w.say(dir, t, stuff.add(octets))
	}
	if b.m.Outcome == record.Aborted {
		return
	}
	if stuff.last != "\r\n" {
		w.say(dir, t, "\r\n")
	}
	w.say(dir, t, ".\r\n")
}

// stuffer puts a dot before each line that begins with one (RFC 5321 section 4.5.2).
type stuffer struct{ last string } // the last two octets

func (s *stuffer) add(octets []byte) string {
	text := s.last + string(octets)
	skip := len(s.last)
	s.last = text[max(0, len(text)-2):]
	return strings.ReplaceAll(text, "\r\n.", "\r\n..")[skip:]
}

// open opens the mail of so many octets that comes next; nil where its octets were not kept.
func (w *packetWriter) open(octets int64) *body {
	for i, m := range w.mails {
		if m.Via == "" || m.Octets != octets {
			continue
		}
		w.mails = w.mails[i+1:]
		r, err := w.d.Mail(m)
		if err != nil {
			w.warn(err)
			return nil
		}
		return &body{m: m, r: r, holes: m.Holes, warn: w.warn, buf: make([]byte, mailBuffer)}
	}
	return nil
}

const mailBuffer = 32 << 10

// body is a mail with its holes. Nil has nothing.
type body struct {
	m     *record.Message
	r     io.ReadCloser
	holes []record.Hole // to come
	at    int64         // octets that were read
	warn  func(error)
	buf   []byte
}

// next returns the next octets, at most so many, or how many are missing first. At the end there are neither. Octets are
// good until the next call.
func (b *body) next(most int64) (octets []byte, lost int64) {
	if b == nil {
		return nil, 0
	}
	for len(b.holes) > 0 && b.holes[0].Offset <= b.at {
		h := &b.holes[0]
		if h.Octets <= 0 { // nobody knows how many
			b.holes = b.holes[1:]
			continue
		}
		lost = min(h.Octets, most)
		if h.Octets -= lost; h.Octets == 0 {
			b.holes = b.holes[1:]
		}
		return nil, lost
	}
	if len(b.holes) > 0 {
		most = min(most, b.holes[0].Offset-b.at)
	}
	n, err := b.r.Read(b.buf[:min(most, mailBuffer)])
	b.at += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		b.warn(err)
	}
	return b.buf[:n], 0
}

func (b *body) close() {
	if b != nil {
		_ = b.r.Close() // it was only read
	}
}
