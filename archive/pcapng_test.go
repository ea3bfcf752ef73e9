package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect"
)

// TestTraceLimits: a packet beyond all bounds is cut, and says so; a time before there was one is no time.
func TestTraceLimits(t *testing.T) {
	dir := t.TempDir()
	huge := inspect.Packet{Time: at(0).Time, Link: 1, Wire: 10, Head: []byte("0123"), Data: bytes.Repeat([]byte("x"), 2*maxPacket)}
	early := inspect.Packet{Time: time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC), Link: 1, Wire: 1, Data: []byte("x")}
	traceRun(t, Options{Dir: dir}, huge, packetOf(1), early)
	kept := huge
	kept.Wire, kept.Data = len(huge.Head)+len(huge.Data), huge.Data[:maxPacket-4]
	checkTrace(t, "huge", filepath.Join(dir, traceName), kept, packetOf(1))
	early.Time = time.Unix(0, 0)
	checkTrace(t, "early", filepath.Join(dir, "trace/trace-1960-01-01.pcapng"), early)
}

// TestTornTrace: whatever a crash leaves of the last packet is cut off, and nothing before it.
func TestTornTrace(t *testing.T) {
	forged := packetOf(3)
	forged.Head, forged.Wire = nil, 4000
	for n := range 20 {
		p := packetOf(n)
		forged.Data = appendPacket(forged.Data[:len(forged.Data)&^3], 0, &p)
	}
	long := inspect.Packet{Time: at(0).Time, Link: 1, Wire: maxPacket, Data: bytes.Repeat([]byte("long"), maxPacket/4)}
	for _, c := range []struct {
		name   string
		before []inspect.Packet
		last   inspect.Packet
		step   int
	}{
		{"first", nil, packetOf(5), 1},
		{"small", packetsOf(0, 5), packetOf(5), 1},
		{"forged", packetsOf(0, 5), forged, 1},
		{"forged behind a long one", []inspect.Packet{long, long}, forged, 4},
		{"long", append(packetsOf(0, 5), long), long, maxPacket / 8},
	} {
		dir := t.TempDir()
		name := filepath.Join(dir, traceName)
		traceRun(t, Options{Dir: dir}, append(slices.Clone(c.before), c.last)...)
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		from := 0
		if len(c.before) > 0 {
			traceRun(t, Options{Dir: t.TempDir()}, c.before...)
			from = len(whole) - len(appendPacket(nil, 0, &c.last))
		}
		a := mustOpen(t, Options{Dir: dir, Trace: true})
		key := logKey{traceLog, dayOf(at(0))}
		for end := from; end < len(whole); end += c.step {
			if err := os.WriteFile(name, whole[:end], 0o600); err != nil {
				t.Fatal(err)
			}
			p := packetOf(7)
			if err := a.logs.write(key, appendPacket(nil, slices.Index(traceLinks[:], p.Link), &p)); err != nil {
				t.Fatal(c.name, end, err)
			}
			a.logs.closeLog(key)
			n := checkTrace(t, fmt.Sprint(c.name, " torn at ", end, " of ", len(whole)), name, append(slices.Clone(c.before), p)...)
			if len(c.before) == 0 && n != 1 {
				t.Fatalf("%s torn at %d: %d sections", c.name, end, n)
			}
		}
		mustClose(t, a)
	}
}

// TestStrangeTrace: a file that is none of ours is left alone, and one that someone else has gone on with is kept.
func TestStrangeTrace(t *testing.T) {
	other := append([]byte("\x0a\x0d\x0d\x0a\x00\x00\x00\x1c\x1a\x2b\x3c\x4d"), make([]byte, 16)...) // of the other byte order
	for _, strange := range [][]byte{[]byte("text\n"), []byte("a longer text\n"), other} {
		dir := t.TempDir()
		name := filepath.Join(dir, traceName)
		if err := errors.Join(os.Mkdir(filepath.Dir(name), 0o700), os.WriteFile(name, strange, 0o600)); err != nil {
			t.Fatal(err)
		}
		var said string
		a := mustOpen(t, Options{Dir: dir, Trace: true, Warn: func(msg string) { said = msg }})
		j := a.journal()
		j.Packet(packetOf(1))
		j.Session(sample(1, at(0)))
		if err := a.Close(); err == nil || !strings.Contains(said, "move it away") {
			t.Errorf("%v, %q", err, said)
		}
		if st := a.Stats(); st.PacketsLost != 1 || st.LinesLost != 0 || st.Sessions != 1 || len(readLines(t, filepath.Join(dir, "logs/sessions-2026-11-22.jsonl"))) != 1 {
			t.Errorf("%+v", st)
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, strange) {
			t.Errorf("%q, %v", got, err)
		}
	}

	for _, torn := range []int{0, 7} {
		dir := t.TempDir()
		name := filepath.Join(dir, traceName)
		traceRun(t, Options{Dir: dir}, packetOf(1))
		custom := endBlock(appendWords(nil, 0xbad, 0, 32473, 0), 0)
		f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = f.Write(append(slices.Clone(custom), custom[:torn]...)); errors.Join(err, f.Close()) != nil {
			t.Fatal(err)
		}
		traceRun(t, Options{Dir: dir}, packetOf(2))
		checkTrace(t, "someone else's block", name, packetOf(1), packetOf(2))
		if data, _ := os.ReadFile(name); !bytes.Contains(data, slices.Concat(custom, appendSection(nil))) {
			t.Error("someone else's block is gone")
		}
	}
}

// TestLookBack: the end of a long trace is found without reading all of it.
func TestLookBack(t *testing.T) {
	data := appendSection(nil)
	for len(data) < 8*maxPacket {
		p := packetOf(len(data) % 1000)
		data = appendPacket(data, 0, &p)
	}
	end := len(data)
	data = appendSection(data)
	f := &countedReader{Reader: bytes.NewReader(data)}
	got, ok, err := traceFile{f, int64(len(data))}.lookBack()
	if got != int64(end) || !ok || err != nil || f.lowest < int64(end-2*maxPacket) {
		t.Errorf("%d, %v, %v; it read from %d", got, ok, err, f.lowest)
	}
	for len(data) < end+2*maxPacket { // no packets far and wide
		data = appendSection(data)
	}
	if got, ok, err = (traceFile{bytes.NewReader(data), int64(len(data))}).lookBack(); ok || err != nil {
		t.Errorf("%d, %v, %v", got, ok, err)
	}
	if got, err = (traceFile{bytes.NewReader(data), int64(len(data))}).walk(); got != int64(end) || err != nil {
		t.Errorf("%d, %v", got, err)
	}
}

type countedReader struct {
	*bytes.Reader
	lowest int64
}

func (r *countedReader) ReadAt(p []byte, at int64) (int, error) {
	if r.lowest == 0 || at < r.lowest {
		r.lowest = at
	}
	return r.Reader.ReadAt(p, at)
}

// FuzzTraceEnd: whatever a file has behind its first section, the end is within it, and what is before it are whole blocks.
func FuzzTraceEnd(f *testing.F) {
	p := packetOf(3)
	whole := appendPacket(nil, 0, &p)
	f.Add(whole)
	f.Add(whole[:20])
	f.Add(append(slices.Clone(whole), appendSection(nil)...))
	f.Add(append(slices.Clone(whole), 12, 0, 0, 0))
	f.Add(append(whole[:len(whole)-1:len(whole)-1], "behind"...))
	f.Fuzz(func(t *testing.T, behind []byte) {
		head := appendSection(nil)
		data := append(slices.Clone(head), behind...)
		file := traceFile{bytes.NewReader(data), int64(len(data))}
		end, err := file.walk()
		if err != nil || end > int64(len(data)) {
			t.Fatal(end, err)
		}
		if back, ok, err := file.lookBack(); err != nil || ok && back > int64(len(data)) {
			t.Fatal(back, err)
		}
		for at := 0; at < int(end); at += int(binary.LittleEndian.Uint32(data[at+4:])) {
			n := binary.LittleEndian.Uint32(data[at+4:])
			if n < blockOctets || binary.LittleEndian.Uint32(data[at+int(n)-4:]) != n {
				t.Fatal(at, n)
			}
		}
	})
}
