package record

import (
	"strings"
	"testing"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"EHLO mx.example.org":     "EHLO mx.example.org",
		`say "hi"`:                `say "hi"`,
		`C:\x1b`:                  `C:\\x1b`,
		"\x1b[2J\x07":             `\x1b[2J\x07`,
		"a\r\nb\x00":              `a\x0d\x0ab\x00`,
		"\x7f\x85\xff":            `\x7f\x85\xff`,
		"grün \u2028":             `gr\xc3\xbcn \xe2\x80\xa8`,
		strings.Repeat("~", 4096): strings.Repeat("~", 4096),
	} {
		if got := string(AppendEscaped(nil, in)); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
		if got := string(AppendEscaped([]byte("> "), []byte(in))); got != "> "+want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	if got, want := string(AppendQuoted(nil, "a\"\\\n")), `"a\"\\\x0a"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestUnescapeRefuses(t *testing.T) {
	for _, s := range []string{`\`, `a\`, `\x`, `\x1`, `\x1B`, `\x61`, `\n`, "\n", "a\\\\\x1b", "\xff", `\xg0`} {
		if out, ok := Unescape(s); ok {
			t.Errorf("%q is taken for %q", s, out)
		}
	}
}

// TestPlainRun compares the eight-at-a-time look with the plain one, at every place of every octet.
func TestPlainRun(t *testing.T) {
	for c := range 256 {
		for n := range 20 {
			for at := range n {
				s := []byte(strings.Repeat("a", n))
				s[at] = byte(c)
				want := n
				if !plain(byte(c)) {
					want = at
				}
				if got := plainRun(s); got != want {
					t.Fatalf("octet %#x at %d of %d: %d", c, at, n, got)
				}
			}
		}
	}
}

// FuzzEscape: whatever comes in, printable ASCII comes out, and it can be undone.
func FuzzEscape(f *testing.F) {
	for _, s := range pieces {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		plain, quoted := string(AppendEscaped(nil, s)), string(AppendQuoted(nil, s))
		quoted = quoted[1 : len(quoted)-1]
		for _, out := range []string{plain, quoted} {
			if !plainText(out) {
				t.Fatalf("%q is written %q", s, out)
			}
			if back, ok := Unescape(out); !ok || back != s {
				t.Fatalf("%q is written %q, which is read as %q", s, out, back)
			}
		}
		if strings.Contains(strings.ReplaceAll(strings.ReplaceAll(quoted, `\\`, ""), `\"`, ""), `"`) {
			t.Fatalf("%q leaves its quotes: %s", s, quoted)
		}
	})
}

func BenchmarkEscape(b *testing.B) {
	in := []byte("250-mx.example.net Hello mx.example.org [192.0.2.7], pleased to meet you")
	dst := AppendEscaped(nil, in)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendEscaped(dst[:0], in)
	}
}
