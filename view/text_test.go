package view

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "a b": "a b", "Grüße, 日本 📧": "Grüße, 日本 📧", "\x1b[2J": `\x1b[2J`, "a\r\nb\t": `a\x0d\x0ab\x09`, "\x7f\xff": `\x7f\xff`,
		"\u009b31m": `\u009b31m`, "\u202etxt": `\u202etxt`, "\u200b": `\u200b`, "\ufeff": `\ufeff`, "\U000e0041": `\udb40\udc41`, "\ufffd": "\ufffd",
		`C:\x1b`: `C:\x1b`, "\u00a0": `\u00a0`,
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	if got := PrintableLines("a\n\tb\r\x1b"); got != "a\n\tb\\x0d\\x1b" {
		t.Errorf("%q", got)
	}
}

func TestPrintableJSON(t *testing.T) {
	want := map[string]string{"s": "\x7f \\x7f \u009b \u202e\n\"", "t": "\U000e0041"}
	text, err := json.MarshalIndent(want, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	said := PrintableJSON(text)
	if PrintableLines(said) != said {
		t.Errorf("%q drives a terminal", said)
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(said), &got); err != nil || !maps.Equal(got, want) {
		t.Errorf("%q: %q, %v", said, got, err)
	}
}

func TestStyle(t *testing.T) {
	if got := (Style{}).refusal("no"); got != "no" {
		t.Errorf("%q", got)
	}
	if got := (Style{Colour: true}).refusal("no"); got != "\x1b[31mno\x1b[0m" {
		t.Errorf("%q", got)
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "512": 512, "500kB": 500e3, "1.5MiB": 3 << 19, "2G": 2e9, "10GB": 1e10, "1Ki": 1024, "7B": 7} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("%s: %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "k", "-1", "1 MB", "1mB", "1MBB", "NaN", "Inf", "9e99", "10000000T", "0x10p9999"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("%s is %d", in, got)
		}
	}
}

func TestWithoutMarkup(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "plain": "plain\n", "<p>one <b>two</b> three</p><p>four</p>": "one two three\n\nfour\n", "a<br>b": "a\nb\n",
		"<style>p{}</style><script>x<b></script>seen<!-- no -->": "seen\n", "&lt;b&gt; &amp;": "<b> &\n", "<title>t</title><unclosed": "",
		"<script>never closed": "", "<b>H</b>ello (<a href=x>there</a>),\n you": "Hello (there), you\n", "<tr><td>a</td><td>b</td>": "a b\n",
	} {
		if got := withoutMarkup(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestDecode(t *testing.T) {
	for _, c := range []struct{ octets, charset, want string }{
		{"Sch\xf6n", "iso-8859-1", "Schön"}, {"a\r\nb", "", "a\nb"}, {"\xff", "", "\ufffd"}, {"\xff", "x-nobody-knows", "\ufffd"}, {"Schön", "utf-8", "Schön"},
	} {
		if got := decode([]byte(c.octets), c.charset); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestStuffer: wherever the octets are cut, the same dots are put in.
func TestStuffer(t *testing.T) {
	const mail, want = ".a\r\n.\r\n..b\r\nc.\n.d\r\r\n.", "..a\r\n..\r\n...b\r\nc.\n.d\r\r\n.."
	for i := range len(mail) {
		for j := i; j <= len(mail); j++ {
			s := stuffer{last: "\r\n"}
			if got := s.add([]byte(mail[:i])) + s.add([]byte(mail[i:j])) + s.add([]byte(mail[j:])); got != want {
				t.Fatalf("cut at %d and %d: %q", i, j, got)
			}
		}
	}
}

// TestPairing: who answers what is said only as far as it is known.
func TestPairing(t *testing.T) {
	text := func(s string) *string { return &s }
	octets := int64(10)
	s := record.Session{Protocol: record.SMTP, Status: record.Closed, Dialogue: []record.Entry{
		{MS: 1, From: "server", Text: text("220 mx")},
		{MS: 2, From: "client", Text: text("MAIL FROM:<>")},
		{MS: 3, From: "client", Text: text("DATA")},
		{MS: 5, From: "server", Text: text("250 ok")},
		{MS: 6, From: "server", Text: text("354 go on")},
		{MS: 7, From: "client", Body: &octets},
		{MS: 9, From: "server", Text: text("550 5.7.1 no")},
		{MS: 20, From: "server", Text: text("421 bye")},
	}}
	type answer struct {
		command string
		wait    float64
	}
	want := []answer{{"CONNECT", 1}, {"", -1}, {"", -1}, {"MAIL FROM:<>", 3}, {"DATA", 3}, {"", -1}, {"DATA-END", 2}, {"", -1}}
	for i, step := range Steps(&s) {
		if got := (answer{step.Command, step.Wait}); got != want[i] || step.Refusal != (i >= 6) {
			t.Errorf("%d: %+v", i, step)
		}
	}
	s.Lost.Server = 1
	for _, step := range Steps(&s) {
		if step.Wait >= 0 || step.Command != "" {
			t.Errorf("octets were lost: %+v", step)
		}
	}
}
