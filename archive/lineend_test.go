package archive

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mailwire/mailwire/inspect/record"
)

// maildirForm is what a file must have, told in the plain way.
func maildirForm(wire string) (text string, exact bool) {
	if strings.Count(wire, "\n") != strings.Count(wire, "\r\n") {
		return wire, true
	}
	return strings.ReplaceAll(wire, "\r\n", "\n"), false
}

// cuts cuts s at random.
func cuts(r *rand.Rand, s string) (pieces []string) {
	for s != "" {
		n := 1 + r.IntN(min(len(s), 1+r.IntN(100000)))
		pieces = append(pieces, s[:n])
		s = s[n:]
	}
	return pieces
}

func newMail(j *Journal) *mail { return &mail{j: j, spool: spool{a: j.a}} }

// store has a mail delivered; j is the only journal.
func store(j *Journal, m *record.Message, kept *mail) *record.Stored {
	kept.end()
	j.deliver(&delivery{m: m, spool: &kept.spool, exact: kept.ends.exact, to: newBatch(j.a)})
	j.Cut()
	_ = j.a.Commit()
	return m.Stored
}

// checkRoundTrip keeps a mail written in pieces, and compares file, record and WireReader with the plain way.
func checkRoundTrip(t *testing.T, dir string, j *Journal, pieces []string) {
	t.Helper()
	m := sampleMail(sample(1, at(0)), 1)
	kept := newMail(j)
	for _, p := range pieces {
		b := []byte(p)
		kept.Write(b)
		for i := range b { // what is borrowed may change after the call
			b[i] = '#'
		}
	}
	wire := strings.Join(pieces, "")
	text, exact := maildirForm(wire)
	stored := store(j, m, kept)
	if stored.Error != "" || stored.Exact != exact {
		t.Fatalf("%.200q: stored %+v", wire, stored)
	}
	if back := readStored(t, dir, stored); back != wire {
		t.Fatalf("%.200q (%d octets) is read back as %.200q (%d octets)", wire, len(wire), back, len(back))
	}
	if data := readStored(t, dir, &record.Stored{Path: stored.Path, Exact: true}); data != text {
		t.Fatalf("%.200q is stored as %.200q", wire, data)
	}
	if n := j.a.buffers.lent.Load(); n != 0 {
		t.Fatalf("%d octets of memory are still counted", n)
	}
}

// TestLineEnds: any octets, in any pieces, small and large, with enough memory and without.
func TestLineEnds(t *testing.T) {
	t.Run("file", func(t *testing.T) { testLineEnds(t, false) })
	t.Run("live", func(t *testing.T) { testLineEnds(t, true) })
}

func testLineEnds(t *testing.T, live bool) {
	dir := t.TempDir()
	a := mustOpen(t, Options{Dir: dir, Keep: All, Live: live})
	defer mustClose(t, a)
	j := a.journal()
	for _, s := range []string{
		"", "\r", "\n", "\r\n", "\n\r", "\r\r\n", "\r\n\n", "\n\r\n", "a\r\nb", "a\rb\r\n", "a\r\n\r", "\r\n\r\n\r\n", "a\r\nb\nc\r\n", "\r\n\r",
		"\r\r", "\r\n.\r\n", "a\r\n\rb\n", "\x00\r\x00\n",
	} {
		checkRoundTrip(t, dir, j, []string{s})
		checkRoundTrip(t, dir, j, strings.Split(s, ""))
	}
	r := rand.New(rand.NewPCG(1, 1))
	long := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 3000) // 234 kB
	empty := strings.Repeat("\r\n", 100000)
	for range 300 {
		var b strings.Builder
		for range r.IntN(20) {
			b.WriteString([]string{"\r\n", "\r\n", "\r\n", "abc", "\r", "\n", "xy\r\n"}[r.IntN(7)])
		}
		checkRoundTrip(t, dir, j, cuts(r, b.String()))
	}
	for _, head := range []string{long, empty, long[:spoolBuffer], long[:spoolBuffer-1], empty[:spoolBuffer/2], empty[:spoolBuffer], empty[:spoolBuffer+2], long[:smallBuffer], empty[:smallBuffer]} {
		for _, tail := range []string{"", "\n", "x\n", "\r", "\r\n", "\nmore\r\n" + long[:1000], "\n" + empty} {
			checkRoundTrip(t, dir, j, []string{head, tail})
			checkRoundTrip(t, dir, j, cuts(r, head+tail))
			if live {
				continue // with no memory there is no mail
			}
			a.buffers.lent.Store(spoolMemory) // no memory for anyone
			m := newMail(j)
			for _, p := range cuts(r, head+tail) {
				m.Write([]byte(p))
				if m.buf != nil {
					t.Fatal("a mail has a buffer that it was not given")
				}
			}
			a.buffers.lent.Store(0)
			stored := store(j, sampleMail(sample(1, at(0)), 1), m)
			if back := readStored(t, dir, stored); back != head+tail {
				t.Fatalf("%.100q… %.100q is read back as %.100q", head, tail, back)
			}
			a.buffers.lent.Store(0)
		}
	}
}

func TestWireReader(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var b strings.Builder
		for range r.IntN(200) {
			b.WriteString([]string{"\n", "abc", "\r", strings.Repeat("z", r.IntN(400))}[r.IntN(4)])
		}
		text, want := b.String(), strings.ReplaceAll(b.String(), "\n", "\r\n")
		for _, in := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text))} {
			got, err := io.ReadAll(iotest.OneByteReader(WireReader(in, false)))
			if err != nil || string(got) != want {
				t.Fatalf("%q: %q, %v", text, got, err)
			}
		}
	}
	if err := iotest.TestReader(WireReader(strings.NewReader("a\n\nb\r\n"), false), []byte("a\r\n\r\nb\r\r\n")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(WireReader(iotest.ErrReader(io.ErrUnexpectedEOF), false)); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
}

// FuzzLineEnds: chunking does not matter, and the wire's octets can always be given back.
func FuzzLineEnds(f *testing.F) {
	f.Add([]byte("a\r\nb\r\n"), uint64(1))
	f.Add([]byte("a\r\nb\n\r"), uint64(2))
	f.Add([]byte("\r\r\n\r"), uint64(3))
	f.Fuzz(func(t *testing.T, wire []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		var l lineEnds
		var out []byte
		for _, p := range cuts(r, string(wire)) {
			for len(p) > 0 {
				var n int
				var bare bool
				out = append(make([]byte, 0, len(out)+len(p)+1), out...)
				out, n, bare = l.append(out, []byte(p))
				p = p[n:]
				if bare {
					grown := expandInPlace(append(make([]byte, 0, len(out)+int(l.lfs)), out...), int(l.lfs))
					other := make([]byte, len(out)+int(l.lfs))
					if k := expand(other, out); k != len(other) || !bytes.Equal(other, grown) {
						t.Fatalf("expand gives %q, expandInPlace %q", other[:k], grown)
					}
					out, l.lfs = grown, 0
				}
			}
		}
		out = l.end(out)
		if text, exact := maildirForm(string(wire)); string(out) != text || l.exact != exact {
			t.Fatalf("%q becomes %q, exact %v", wire, out, l.exact)
		}
		back, err := io.ReadAll(WireReader(bytes.NewReader(out), l.exact))
		if err != nil || !bytes.Equal(back, wire) {
			t.Fatalf("%q is read back as %q, %v", wire, back, err)
		}
	})
}

func BenchmarkLineEnds(b *testing.B) {
	in := []byte(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 400))
	out := make([]byte, 0, len(in)+1)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		var l lineEnds
		out, _, _ = l.append(out[:0], in)
	}
}

func BenchmarkWireReader(b *testing.B) {
	in := []byte(strings.Repeat(strings.Repeat("x", 76)+"\n", 4000))
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		_, _ = io.Copy(io.Discard, struct{ io.Reader }{WireReader(bytes.NewReader(in), false)})
	}
}

// BenchmarkLargeMail writes 16 MiB at a time, as a journal does.
func BenchmarkLargeMail(b *testing.B) {
	a := mustOpen(b, Options{Dir: b.TempDir(), Keep: All})
	j := a.journal()
	piece := []byte(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 18)) // about a segment
	const pieces = 16 << 20 / (18 * 78)
	b.SetBytes(pieces * int64(len(piece)))
	b.ReportAllocs()
	for b.Loop() {
		m := sampleMail(sample(1, at(0)), 1)
		kept := newMail(j)
		for range pieces {
			kept.Write(piece)
		}
		store(j, m, kept)
	}
}
