package wire

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// readDots runs data through a DotReader in pieces of at most n octets (0: whole, negative: random), declining every
// ambiguous end, and returns the body, the number of ambiguous ends and what follows the end (or "more").
func readDots(data string, n int) string {
	var r DotReader
	var out bytes.Buffer
	body := func(b []byte) { out.Write(b) }
	ambiguous := 0
	for len(data) > 0 {
		k := len(data)
		if n > 0 {
			k = min(k, n)
		} else if n < 0 {
			k = 1 + rand.IntN(k)
		}
		piece := []byte(data[:k])
		data = data[k:]
		rest, end := r.Next(piece, body)
		for end == DotAmbiguous {
			ambiguous++
			r.Decline(body)
			rest, end = r.Next(rest, body)
		}
		if end == DotDone {
			return fmt.Sprintf("%q %d lf=%d cr=%d rest %q", out.String(), ambiguous, r.BareLF, r.BareCR, string(rest)+data)
		}
		for i := range piece {
			piece[i] = 'X'
		}
	}
	return fmt.Sprintf("%q %d lf=%d cr=%d more", out.String(), ambiguous, r.BareLF, r.BareCR)
}

func TestDotReader(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{".\r\n", `"" 0 lf=0 cr=0 rest ""`},
		{"\r\n.\r\nQUIT\r\n", `"\r\n" 0 lf=0 cr=0 rest "QUIT\r\n"`},
		{"a\r\n..\r\n...b\r\n.c\r\n.\r\n", `"a\r\n.\r\n..b\r\nc\r\n" 0 lf=0 cr=0 rest ""`},
		{"a.\r\nb.c\r\n.\r\n", `"a.\r\nb.c\r\n" 0 lf=0 cr=0 rest ""`},
		{"a\n.\nb\r\n.\r\n", `"a\n.\nb\r\n" 1 lf=2 cr=0 rest ""`},
		{"a\n.\r\nb\r\n.\r\n", `"a\n.\r\nb\r\n" 1 lf=1 cr=0 rest ""`},
		{"a\r.\rb\r\n.\r\n", `"a\r.\rb\r\n" 1 lf=0 cr=2 rest ""`},
		{"a\r.\r\nb\r\n.\r\n", `"a\r.\r\nb\r\n" 1 lf=0 cr=1 rest ""`},
		{"a\r\n.\nb\r\n.\r\n", `"a\r\n\nb\r\n" 1 lf=1 cr=0 rest ""`},
		{"a\r\n.\rb\r\n.\r\n", `"a\r\n\rb\r\n" 1 lf=0 cr=1 rest ""`},
		{"a\r\n\x00.\r\nb\r\n.\r\n", `"a\r\n\x00.\r\nb\r\n" 1 lf=0 cr=0 rest ""`},
		{"a\r\n.\x00\r\nb\r\n.\r\n", `"a\r\n\x00\r\nb\r\n" 1 lf=0 cr=0 rest ""`},
		{"a\r\n.\r\r\n.\r\n", `"a\r\n\r\r\n" 1 lf=0 cr=1 rest ""`},
		{"a\r\n.\r\r\rb\r\n.\r\n", `"a\r\n\r\r\rb\r\n" 1 lf=0 cr=3 rest ""`},
		{"a\n..\nb\r\n.\r\n", `"a\n..\nb\r\n" 0 lf=2 cr=0 rest ""`},
		{"a\r\r\n.\r\n", `"a\r\r\n" 0 lf=0 cr=1 rest ""`},
		{"a\n\n.b\r\n.\r\n", `"a\n\n.b\r\n" 0 lf=2 cr=0 rest ""`},
		{"a\r\n.", `"a\r\n" 0 lf=0 cr=0 more`},
		{strings.Repeat("x", 100) + "\r\n.\r\n.", `"` + strings.Repeat("x", 100) + `\r\n" 0 lf=0 cr=0 rest "."`},
	} {
		for _, n := range []int{0, 1, 2, 3, -1, -1, -1} {
			if got := readDots(c.in, n); got != c.want {
				t.Errorf("%q in pieces of %d:\n got %s\nwant %s", c.in, n, got, c.want)
			}
		}
	}
}

// FuzzDotReader: cuts change nothing, and no more comes out than went in.
func FuzzDotReader(f *testing.F) {
	f.Add([]byte("a\r\n..\r\n.\r\n"))
	f.Add([]byte("\r\n.\n\r.\r\x00.\x00\r\n..."))
	f.Fuzz(func(t *testing.T, data []byte) {
		whole := readDots(string(data), 0)
		for _, n := range []int{1, 2, 7, -1} {
			if got := readDots(string(data), n); got != whole {
				t.Fatalf("pieces of %d:\n got %s\nwhole %s", n, got, whole)
			}
		}
	})
}

func TestLineReader(t *testing.T) {
	long := strings.Repeat("y", MaxLine+10)
	in := "EHLO a\r\n\r\nbare\n" + long + "\r\nlong again " + long + "\nmixed\r\r\nopen"
	want := `["EHLO a" 0 false] ["" 0 false] ["bare" 0 true] ["` + long[:MaxLine] + `" 10 false] ["` +
		("long again " + long)[:MaxLine] + `" 21 true] ["mixed\r" 0 false] open "open"`
	for n := range 40 {
		var r LineReader
		var got []string
		for data := in; len(data) > 0; {
			k := len(data)
			if n > 0 {
				k = min(k, n)
			}
			piece := []byte(data[:k])
			data = data[k:]
			for rest := piece; ; {
				line, after, ok := r.Next(rest)
				if !ok {
					break
				}
				got = append(got, fmt.Sprintf("[%q %d %v]", line.Data, line.Cut, line.Bare))
				rest = after
			}
			clear(piece)
		}
		got = append(got, fmt.Sprintf("open %q", r.Pending().Data))
		if s := strings.Join(got, " "); s != want {
			t.Fatalf("pieces of %d:\n got %s\nwant %s", n, s, want)
		}
	}
}

func BenchmarkDotReader(b *testing.B) {
	data := bytes.Repeat([]byte(strings.Repeat("x", 76)+"\r\n"), 1000)
	var r DotReader
	n := 0
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		r.Next(data, func(p []byte) { n += len(p) })
	}
}

func BenchmarkLineReader(b *testing.B) {
	data := bytes.Repeat([]byte("RCPT TO:<someone@example.net>\r\n"), 100)
	var r LineReader
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		for rest := data; ; {
			_, after, ok := r.Next(rest)
			if !ok {
				break
			}
			rest = after
		}
	}
}

// TestDotReaderLose: behind missing octets, an LF that comes at once ends a line; what its CR was among is not said to be
// bare, and the end behind it is one.
func TestDotReaderLose(t *testing.T) {
	for in, want := range map[string]string{
		"\n.\r\nQUIT\r\n": `"a\n" lf=0 cr=0 end 1 "QUIT\r\n"`,
		".\r\n.\r\n":      `"a.\r\n" lf=0 cr=0 end 1 ""`,
		"\r\n\n.\r\n":     `"a\r\n\n" lf=1 cr=0 end 2 ""`,
		"b\n":             `"ab\n" lf=1 cr=0 end 0 ""`,
	} {
		var r DotReader
		out := ""
		body := func(b []byte) { out += string(b) }
		r.Next([]byte("a"), body)
		r.Lose(body)
		rest, end := r.Next([]byte(in), body)
		if got := fmt.Sprintf("%q lf=%d cr=%d end %d %q", out, r.BareLF, r.BareCR, end, rest); got != want {
			t.Errorf("%q:\n got %s\nwant %s", in, got, want)
		}
	}
}
