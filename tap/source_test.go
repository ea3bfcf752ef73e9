package tap

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// pcapFile writes packets as the classic format.
func pcapFile(packets []Packet, order binary.ByteOrder, magic uint32) []byte {
	var b []byte
	u32 := func(v ...uint32) {
		for _, v := range v {
			var c [4]byte
			order.PutUint32(c[:], v)
			b = append(b, c[:]...)
		}
	}
	u32(magic)
	var v [4]byte
	order.PutUint16(v[:], 2)
	order.PutUint16(v[2:], 4)
	b = append(b, v[:]...)
	u32(0, 0, 262144, uint32(LinkRaw))
	for _, p := range packets {
		frac := p.Time % 1e9
		if magic != pcapNano {
			frac /= 1000
		}
		u32(uint32(p.Time/1e9), uint32(frac), uint32(len(p.Data)), uint32(p.Wire))
		if magic == pcapModified {
			u32(0, 0)
		}
		b = append(b, p.Data...)
	}
	return b
}

// ngFile writes packets as pcapng: two sections, each with an interface of microseconds and one of nanoseconds that
// has another link type.
func ngFile(t testing.TB, packets []Packet) []byte {
	t.Helper()
	var all bytes.Buffer
	half := len(packets) / 2
	for _, part := range [][]Packet{packets[:half], packets[half:]} {
		w, err := pcapgo.NewNgWriter(&all, layers.LinkTypeRaw)
		if err != nil {
			t.Fatal(err)
		}
		second, err := w.AddInterface(pcapgo.NgInterface{Name: "eth0", LinkType: layers.LinkTypeEthernet, TimestampResolution: 9, SnapLength: 262144})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range part {
			ci := gopacket.CaptureInfo{Timestamp: time.Unix(0, p.Time), CaptureLength: len(p.Data), Length: p.Wire}
			data := p.Data
			if i%2 == 1 {
				data = etherFrame(etherIPv4, p.Data)
				ci.InterfaceIndex, ci.CaptureLength, ci.Length = second, len(data), p.Wire+14
			}
			if err := w.WritePacket(ci, data); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	return all.Bytes()
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func zstandard(data []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	defer w.Close()
	return w.EncodeAll(data, nil)
}

func readAll(t testing.TB, o Options) (*recorder, Stats, error) {
	t.Helper()
	r := new(recorder)
	o.Recorder = r
	stats, err := read(t.Context(), o, r.create)
	return r, stats, err
}

func save(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFormats(t *testing.T) {
	l := newLine().mail(5000)
	little, big := binary.LittleEndian, binary.BigEndian
	plain := pcapFile(l.packets, little, pcapMicro)
	ng := ngFile(t, l.packets)
	for _, c := range []struct {
		name string
		data []byte
	}{
		{"pcap", plain},
		{"pcap big-endian", pcapFile(l.packets, big, pcapMicro)},
		{"pcap ns", pcapFile(l.packets, little, pcapNano)},
		{"pcap ns big-endian", pcapFile(l.packets, big, pcapNano)},
		{"pcap modified", pcapFile(l.packets, little, pcapModified)},
		{"pcapng", ng},
		{"pcapng twice", ng},
		{"pcap.gz", gzipped(plain)},
		{"pcap.gz members", append(gzipped(plain[:1000]), gzipped(plain[1000:])...)},
		{"pcapng.zst", zstandard(ng)},
		{"pcap.zst frames", append(zstandard(plain[:1000]), zstandard(plain[1000:])...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := save(t, "capture with any name.txt", c.data)
			r, stats, err := readAll(t, Options{Files: []string{path}})
			if err != nil {
				t.Fatal(err)
			}
			k := r.one(t)
			k.exact(t, l)
			if !k.conn.Begin.Equal(day) {
				t.Error(k.conn.Begin)
			}
			if stats.Packets != int64(len(l.packets)) || stats.InputSize != int64(len(c.data)) || stats.Input != stats.InputSize {
				t.Errorf("%+v", stats)
			}
			// The same from standard input.
			r, stats, err = readAll(t, Options{Files: []string{"-"}, Stdin: bytes.NewReader(c.data)})
			if err != nil {
				t.Fatal(err)
			}
			r.one(t).exact(t, l)
			if stats.InputSize != 0 || stats.Input != int64(len(c.data)) {
				t.Errorf("%+v", stats)
			}
		})
	}
}

// TestAgainstPcapgo holds the reader of pcapng against gopacket's.
func TestAgainstPcapgo(t *testing.T) {
	l := newLine().mail(50_000)
	data := ngFile(t, l.packets)
	theirs, err := pcapgo.NewNgReader(bytes.NewReader(data), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	ours := openFiles([]string{"-"}, bytes.NewReader(data))
	space := make([]byte, minSpace)
	for i := 0; ; i++ {
		p, err := ours.Next(space)
		d, ci, theirErr := theirs.ReadPacketData()
		if err != nil || theirErr != nil {
			if err != io.EOF || theirErr != io.EOF || i != len(l.packets) {
				t.Error(i, err, theirErr)
			}
			return
		}
		if !bytes.Equal(p.Data, d) || p.Time != ci.Timestamp.UnixNano() || p.Wire != ci.Length || int(p.Link) != int(ci.AncillaryData[0].(layers.LinkType)) {
			t.Fatalf("packet %d: %+v for %+v", i, p, ci)
		}
	}
}

// TestRotated: a conversation goes on from one file to the next.
func TestRotated(t *testing.T) {
	l := newLine().mail(20_000)
	n := len(l.packets)
	var names []string
	for i, part := range [][]Packet{l.packets[:n/3], l.packets[n/3 : n/2], l.packets[n/2:]} {
		data := pcapFile(part, binary.LittleEndian, pcapMicro)
		if i == 1 {
			data = ngFile(t, part)
		}
		names = append(names, save(t, fmt.Sprint(i), data))
	}
	r, stats, err := readAll(t, Options{Files: names})
	if err != nil {
		t.Fatal(err)
	}
	r.one(t).exact(t, l)
	if stats.Packets != int64(n) || stats.Input != stats.InputSize || stats.Input == 0 {
		t.Errorf("%+v", stats)
	}
}

func TestPacketLimit(t *testing.T) {
	l := newLine().mail(20_000)
	path := save(t, "x", pcapFile(l.packets, binary.LittleEndian, pcapMicro))
	for _, n := range []int64{1, 5, 10} {
		_, stats, err := readAll(t, Options{Files: []string{path}, Packets: n})
		if err != nil || stats.Packets != n {
			t.Error(n, stats.Packets, err)
		}
	}
}

func TestBadFiles(t *testing.T) {
	l := newLine().mail(20_000)
	good := pcapFile(l.packets, binary.LittleEndian, pcapMicro)
	ng := ngFile(t, l.packets)
	at := 24 // of the 17th packet
	for _, p := range l.packets[:16] {
		at += 16 + len(p.Data)
	}
	lying := bytes.Clone(good)
	binary.LittleEndian.PutUint32(lying[at+8:], 0xe9000000)
	binary.LittleEndian.PutUint32(lying[at+12:], 0xe9000000)
	damaged := gzipped(good)
	damaged[len(damaged)/2] ^= 0x55
	version := bytes.Clone(good)
	version[4] = 9
	wireless := bytes.Clone(good)
	wireless[20] = 105
	nobody := bytes.Clone(good)
	nobody[20] = 147
	for _, c := range []struct {
		name    string
		data    []byte
		want    string
		packets int64
	}{
		{"empty", nil, "FILE: empty: a capture has at least a header", 0},
		{"text", []byte("From: a@example.org\r\n\r\nhello"), "FILE: not a capture file: give a pcap or pcapng file, plain or compressed with gzip or zstd", 0},
		{"one octet", []byte{0xd4}, "FILE: not a capture file: give a pcap or pcapng file, plain or compressed with gzip or zstd", 0},
		{"gzip of text", gzipped([]byte("hello")), "FILE: not a capture file: give a pcap or pcapng file, plain or compressed with gzip or zstd", 0},
		{"gzip of nothing", gzipped(nil), "FILE: empty: a capture has at least a header", 0},
		{"header only", good[:24], "", 0},
		{"half a header", good[:20], "FILE: cut short in the middle of its header: nothing was read", 0},
		{"unknown version", version, "FILE: cannot be read: its pcap version 9 is not known: convert it with editcap -F pcap", 0},
		{"a link type that is not understood", wireless, "FILE: nothing was read: its link type 105 (IEEE 802.11) is not understood: capture where there is Ethernet or IP", int64(len(l.packets))},
		{"a link type without a name", nobody, "FILE: nothing was read: its link type 147 is not understood: capture where there is Ethernet or IP", int64(len(l.packets))},
		{"cut in packet 17", good[:at+20], "FILE: cut short in the middle of packet 17: 16 packets before it were read", 16},
		{"cut in packet 17's header", good[:at+7], "FILE: cut short in the middle of packet 17: 16 packets before it were read", 16},
		{"cut after packet 16", good[:at], "", 16},
		{"3.9 GB", lying, "FILE: damaged at packet 17: it claims 3909091328 octets, more than the 16777216 that a packet can have: 16 packets before it were read", 16},
		{"gzip damaged", damaged, "FILE: ", -1},
		{"gzip cut", gzipped(good)[:200], "FILE: cut short in the middle of packet ", -1},
		{"zstd cut", zstandard(good)[:200], "FILE: ", -1},
		{"pcapng cut", ng[:len(ng)-3], fmt.Sprintf("FILE: cut short in the middle of packet %d: %d packets before it were read", len(l.packets), len(l.packets)-1), int64(len(l.packets) - 1)},
		{"pcapng header only", pcapngBlock(ngSection, -1, le32(ngByteOrder, 1, 0xffffffff, 0xffffffff)), "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := save(t, "bad", c.data)
			next := save(t, "next", good)
			_, stats, err := readAll(t, Options{Files: []string{path}})
			text := ""
			if err != nil {
				text = strings.Replace(err.Error(), path, "FILE", 1)
			}
			if text != c.want && (c.packets >= 0 || !strings.HasPrefix(text, c.want)) {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
			if c.packets >= 0 && stats.Packets != c.packets {
				t.Error(stats.Packets)
			}
			// The next file is read all the same.
			r, more, _ := readAll(t, Options{Files: []string{path, next}})
			if more.Packets != stats.Packets+int64(len(l.packets)) {
				t.Errorf("%d packets, %d of the bad file", more.Packets, stats.Packets)
			}
			if stats.Packets == 0 {
				r.one(t).exact(t, l)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	dir := t.TempDir()
	_, _, err := readAll(t, Options{Files: []string{filepath.Join(dir, "nothing"), dir, "-"}})
	want := filepath.Join(dir, "nothing") + ": no such file: check the name\n" +
		dir + ": a directory: name the capture files in it\n" +
		"-: there is no standard input to read"
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != want {
		t.Errorf("%v", err)
	}
}

// pcapngBlock makes a pcapng block with the length that it has, or claims.
func pcapngBlock(kind uint32, claim int, body ...any) []byte {
	b := join(body...)
	n := uint32(12 + len(b))
	if claim >= 0 {
		n = uint32(claim)
	}
	out := binary.LittleEndian.AppendUint32(nil, kind)
	out = binary.LittleEndian.AppendUint32(out, n)
	out = append(out, b...)
	return binary.LittleEndian.AppendUint32(out, n)
}

func le32(v ...uint32) []byte {
	var b []byte
	for _, v := range v {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// TestHostile: small files that make readers take gigabytes, or go on for ever.
func TestHostile(t *testing.T) {
	section := pcapngBlock(ngSection, -1, le32(ngByteOrder, 1, 0xffffffff, 0xffffffff))
	iface := pcapngBlock(1, -1, le32(101, 0xffffffff))
	segmentOf := newLine().mail(1).packets[0].Data
	epb := func(claim int, captured uint32) []byte {
		return pcapngBlock(6, claim, le32(0, 0, 0, captured, captured), segmentOf)
	}
	packets := bytes.Repeat(epb(-1, uint32(len(segmentOf))), 3)
	for _, c := range []struct {
		name    string
		data    []byte
		packets int64
	}{
		{"80 octets that claim 4 GiB", join(section, iface, le32(6, 0xfffffff0, 0, 0, 0, 0xffffff00, 0xffffff00)), 0},
		{"a packet longer than its block", join(section, iface, epb(-1, 4000), packets), 0},
		{"a block of 0 octets", join(section, iface, packets, pcapngBlock(6, 0)), 3},
		{"a block of 13 octets", join(section, iface, packets, pcapngBlock(6, 13)), 3},
		{"a section of 4 GiB", join(pcapngBlock(ngSection, 0x7ffffffc, le32(ngByteOrder, 1))), 0},
		{"an interface of 8 octets", join(section, pcapngBlock(1, -1, le32(101)), packets), 0},
		{"interfaces without end", join(section, bytes.Repeat(iface, maxInterfaces+1), packets), 0},
		{"an option beyond its block", join(section, pcapngBlock(1, -1, le32(101, 0), be16(0x0100), "\xff\xff"), packets), 3},
		{"resolutions", join(section, pcapngBlock(1, -1, le32(101, 0), "\x09\x00\x01\x00\xff\x00\x00\x00"), packets), 3},
		{"resolution 10^-127", join(section, pcapngBlock(1, -1, le32(101, 0), "\x09\x00\x01\x00\x7f\x00\x00\x00"), packets), 3},
		{"a packet of no interface", join(section, packets), 3},
		{"a simple packet", join(section, iface, pcapngBlock(3, -1, le32(uint32(len(segmentOf))), segmentOf)), 1},
		{"a simple packet that lies", join(section, iface, pcapngBlock(3, -1, le32(0xfffffff0), segmentOf)), 1},
		{"unknown blocks", join(section, iface, pcapngBlock(0xbad, -1, zeros(64)), packets, pcapngBlock(4, -1, zeros(1<<16))), 3},
		{"a section of another version", join(section, iface, packets, pcapngBlock(ngSection, -1, le32(ngByteOrder, 9, 0, 0)), iface, packets, section, iface, packets), 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, stats, err := readAll(t, Options{Files: []string{"-"}, Stdin: bytes.NewReader(c.data)})
			runtime.ReadMemStats(&after)
			if stats.Packets != c.packets {
				t.Error(stats.Packets, err)
			}
			if taken := after.TotalAlloc - before.TotalAlloc; taken > 32<<20 {
				t.Errorf("%d octets of memory taken", taken)
			}
		})
	}
}

// TestHugeZip: what is compressed is not believed to be small.
func TestHugeZip(t *testing.T) {
	l := newLine().mail(10)
	good := pcapFile(l.packets, binary.LittleEndian, pcapMicro)
	// A packet of 8 MiB of zeros, again and again.
	huge := bytes.Clone(good)
	huge = append(huge, le32(0, 0, 8<<20, 8<<20)...)
	huge = append(huge, zeros(8<<20)...)
	_, stats, err := readAll(t, Options{Files: []string{"-"}, Stdin: bytes.NewReader(gzipped(huge))})
	if err != nil || stats.Packets != int64(len(l.packets))+1 || stats.Undecodable != 1 {
		t.Errorf("%+v %v", stats, err)
	}
}

func TestCanceled(t *testing.T) {
	l := newLine().mail(100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := new(recorder)
	m := &memory{packets: l.packets, every: 4, hook: func(n int) {
		if n == 6 {
			cancel()
		}
	}}
	stats, err := run(ctx, Options{Recorder: r}, m, r.create)
	if !errors.Is(err, context.Canceled) || stats.Packets != 8 {
		t.Errorf("%+v %v", stats, err)
	}
	if k := r.one(t); k.how < 0 {
		t.Error("no end")
	}
}

// TestPipe: what came through a pipe does not wait for what may come.
func TestPipe(t *testing.T) {
	l := newLine().mail(100)
	data := pcapFile(l.packets, binary.LittleEndian, pcapMicro)
	in, out := io.Pipe()
	r := &recorder{}
	seen := make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := read(t.Context(), Options{Files: []string{"-"}, Stdin: in, Recorder: &watched{r, seen}}, r.create)
		done <- err
	}()
	out.Write(data[:len(data)-100])
	<-seen // the input is still open
	out.Write(data[len(data)-100:])
	out.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.one(t).exact(t, l)
}

// watched says once that something was committed.
type watched struct {
	*recorder
	seen chan struct{}
}

func (*watched) Crowded() bool { return false }

func (w *watched) Commit() error {
	err := w.recorder.Commit()
	if len(w.out) > 0 && w.seen != nil {
		close(w.seen)
		w.seen = nil
	}
	return err
}

func FuzzReadFile(f *testing.F) {
	l := newLine().mail(300)
	f.Add(pcapFile(l.packets, binary.LittleEndian, pcapMicro))
	f.Add(pcapFile(l.packets[:4], binary.BigEndian, pcapNano))
	f.Add(ngFile(f, l.packets[:6]))
	f.Add(gzipped(pcapFile(l.packets[:3], binary.LittleEndian, pcapModified)))
	f.Add(zstandard(ngFile(f, l.packets[:3])))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := new(recorder)
		stats, err := read(t.Context(), Options{Files: []string{"-"}, Stdin: bytes.NewReader(data), Recorder: r, Workers: 2}, r.create)
		if err != nil && (!strings.HasPrefix(err.Error(), "-: ") || strings.Contains(err.Error(), "\n")) {
			t.Error(err)
		}
		given := int64(0)
		for _, k := range r.talks {
			given += int64(len(k.data[0]) + len(k.data[1]))
			if k.how < 0 {
				t.Error("a session without an end")
			}
		}
		if given > stats.Octets {
			t.Errorf("%d octets given of %d read", given, stats.Octets)
		}
	})
}
