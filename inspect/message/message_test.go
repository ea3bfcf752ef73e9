package message

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

type result struct {
	Header  *record.Header
	Parts   []record.Part
	Omitted int
}

// feed writes mail in pieces whose length next gives, and overwrites each after the call.
func feed(p *Parser, mail string, next func() int) result {
	p.Reset()
	buf := make([]byte, 0, 64<<10)
	for len(mail) > 0 {
		n := min(next(), len(mail), cap(buf))
		buf = append(buf[:0], mail[:n]...)
		p.Write(buf)
		for i := range buf {
			buf[i] = "-\nX="[i%4]
		}
		mail = mail[n:]
	}
	h, parts, omitted := p.Close()
	return result{h, parts, omitted}
}

// parse reads mail whole, octet by octet and cut at random, with a fresh parser and a used one.
func parse(t *testing.T, mail string) result {
	t.Helper()
	var used Parser
	want := feed(new(Parser), mail, func() int { return 1 << 30 })
	rnd := rand.New(rand.NewPCG(uint64(len(mail)), 1))
	for name, next := range map[string]func() int{
		"octet by octet": func() int { return 1 },
		"at random":      func() int { return 1 + rnd.IntN(12) },
		"in the large":   func() int { return 1 + rnd.IntN(3000) },
	} {
		for range 2 {
			if got := feed(&used, mail, next); !reflect.DeepEqual(got, want) {
				t.Errorf("cut %s:\n got %s\nwant %s", name, got, want)
			}
		}
	}
	checkContent(t, mail)
	return want
}

func (r result) String() string {
	var b strings.Builder
	if r.Header != nil {
		fmt.Fprintf(&b, "%+v\n", *r.Header)
	}
	for _, p := range r.Parts {
		b.WriteString(partText(p) + "\n")
	}
	return b.String()
}

// partText is a part in one line, as the tests have it.
func partText(p record.Part) string {
	s := p.Type
	if p.Charset != "" {
		s += " charset=" + p.Charset
	}
	if p.Disposition != "" {
		s += " " + p.Disposition
	}
	if p.Name != "" {
		s += fmt.Sprintf(" %q", p.Name)
	}
	s += fmt.Sprintf(" %d", p.Octets)
	if p.SHA256 != "" {
		s += " " + p.SHA256[:8]
	}
	if p.Damaged {
		s += " damaged"
	}
	return s
}

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])[:8]
}

// file is how a named part with that content is listed.
func file(kind, content string) string {
	return fmt.Sprintf(`%s "f" %d %s`, kind, len(content), digestOf(content))
}

func checkParts(t *testing.T, mail string, want ...string) {
	t.Helper()
	var got []string
	for _, p := range parse(t, mail).Parts {
		got = append(got, partText(p))
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q\n got %q\nwant %q", mail[:min(len(mail), 600)], got, want)
	}
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func TestStructure(t *testing.T) {
	mixed := "Content-Type: multipart/mixed; boundary=b\n\n"
	for _, c := range []struct {
		name, mail string
		want       []string
	}{
		{"no octet", "", nil},
		{"plain", "Subject: x\n\nhello\n", []string{"text/plain 6"}},
		{"header only", "Subject: x\n", []string{"text/plain 0"}},
		{"empty header", "\nhello", []string{"text/plain 5"}},
		{"multipart", mixed + "preamble\n--b\n\none\n--b\nContent-Type: text/html\n\ntwo\n\n--b--\nepilogue\n--b\nmore", []string{"text/plain 3", "text/html 4"}},
		{"white space after a boundary", mixed + "--b \t\n\none\n--b-- \t\nx", []string{"text/plain 3"}},
		{"no line end at the end", mixed + "--b\n\none\n--b--", []string{"text/plain 3"}},
		{"text that looks like a boundary", mixed + "--b\n\n--bx\n--\n-\n--a\n --b\n--b-\n--b--", []string{"text/plain 23"}},
		{"no last boundary", mixed + "--b\n\none\n", []string{"text/plain 3 damaged"}},
		{"boundaries in a row", mixed + "--b\n--b\n\none\n--b\n--b--\n", []string{"text/plain 3"}},
		{"empty parts", mixed + "--b\n\n--b\n\n\n--b\nContent-Type: text/html\n--b--\n", []string{"text/plain 0", "text/plain 0", "text/html 0"}},
		{"no boundary parameter", "Content-Type: multipart/mixed\n\nabc", []string{"text/plain 3"}},
		{"empty boundary", "Content-Type: multipart/mixed; boundary=\"\"\n\nabc", []string{"text/plain 3"}},
		{"no semicolon", "Content-Type: multipart/mixed boundary=b\n\n--b\n\none\n--b--\n", []string{"text/plain 3"}},
		{"no semicolon, quotes", "Content-Type: multipart/mixed\n\tboundary = \"b;c\"; x=y\n\n--b;c\n\none\n--b;c--\n", []string{"text/plain 3"}},
		{"boundary never found", mixed + "abc", []string{"multipart/mixed 3 " + digestOf("abc") + " damaged"}},
		{"only the last boundary", mixed + "abc\n--b--\n", []string{"multipart/mixed 3 " + digestOf("abc")}},
		{"duplicate boundary", "Content-Type: multipart/mixed; boundary=b; boundary=c\n\n--b\n\none\n--b--\n", []string{"text/plain 3"}},
		{"duplicate Content-Type", "Content-Type: text/html\nContent-Type: text/css\n\nx", []string{"text/html 1"}},
		{
			"nested, prefixes of each other", mixed + "--b\nContent-Type: multipart/alternative; boundary=bb\n\n--bb\n\none\n--bb\n\n--b b\n--bb--\n\n--b\nContent-Type: text/html\n\ntwo\n--b--\n",
			[]string{"text/plain 3", "text/plain 5", "text/html 3"},
		},
		{
			"the outer boundary closes the inner", mixed + "--b\nContent-Type: multipart/alternative; boundary=i\n\n--i\n\none\n--b\n\ntwo\n--i\n--b--\n",
			[]string{"text/plain 3", "text/plain 7"},
		},
		{"a boundary ends a header", mixed + "--b\nContent-Type: text/html\n--b\n\ntwo\n--b--", []string{"text/html 0", "text/plain 3"}},
		{
			"an attached message", mixed + "--b\nContent-Type: message/rfc822\n\nSubject: in\nContent-Type: text/html\n\nx\n--b\n\ny\n--b--",
			[]string{"message/rfc822 38 " + digestOf("Subject: in\nContent-Type: text/html\n\nx"), "text/html 1", "text/plain 1"},
		},
		{
			"an attached multipart", mixed + "--b\nContent-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\nx\n--i--\n--b--",
			[]string{"message/rfc822 55 " + digestOf("Content-Type: multipart/mixed; boundary=i\n\n--i\n\nx\n--i--"), "text/plain 1"},
		},
		{
			"a message in base64", mixed + "--b\nContent-Type: message/rfc822; name=f\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogaW4KCmhlbGxv\n--b--",
			[]string{file("message/rfc822", "Subject: in\n\nhello"), "text/plain 5"},
		},
		{"digest", "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\nx\n--b--", []string{"message/rfc822 14 " + digestOf("Subject: in\n\nx"), "text/plain 1"}},
		{
			"other message types are leaves", "Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nAction: failed\n--b--",
			[]string{"message/delivery-status 37 " + digestOf("Reporting-MTA: dns; x\n\nAction: failed")},
		},
	} {
		t.Run(c.name, func(t *testing.T) { checkParts(t, c.mail, c.want...) })
		t.Run(c.name+", CRLF", func(t *testing.T) {
			if got := parse(t, crlf(c.mail)).Parts; len(got) != len(c.want) {
				t.Errorf("got %v, want %q", got, c.want)
			}
		})
	}
}

func TestLineEndsAreKept(t *testing.T) {
	checkParts(t, "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; name=f\r\n\r\na\r\nb\nc\rd\r\r\n\r\n--b--\r\n",
		file("text/plain", "a\r\nb\nc\rd\r\r\n"))
}

func TestStrayLines(t *testing.T) {
	for _, c := range []struct {
		name, mail, subject, part string
	}{
		{"one is skipped", "To: a@b\nstray line\nSubject: x\n\nbody", "x", "text/plain 4"},
		{"one before the empty line is skipped", "Subject: x\nstray\n\nbody", "x", "text/plain 4"},
		{"two begin the body", "Subject: x\nDear Bob,\nit is late.\nSubject: y\n\nbye", "x", "text/plain 37"},
		{"one at the end is the body", "Subject: x\nbody\n", "x", "text/plain 5"},
		{"no header", "Dear Bob,\nNote: it is late.\n\nbye\n", "", "text/plain 33"},
		{"no header, one line", "Dear Bob\n\nbye\n", "", "text/plain 14"},
		{"no header, no line end", "Dear Bob", "", "text/plain 8"},
		{"one before the header", "garbage\nSubject: x\n\nbody", "x", "text/plain 4"},
		{"mailbox line", "From a@b Mon Nov 23\nSubject: x\n\nbody", "x", "text/plain 4"},
		{"no name", ": y\nSubject: x\n\nbody", "x", "text/plain 4"},
		{"space before the colon", "Subject : x\n\nbody", "x", "text/plain 4"},
		{"folded", "Subject: x\n  y\n\tz\n\nbody", "x  y z", "text/plain 4"},
		{"a fold of white space only", "Subject: x\n \n y\n\nbody", "x  y", "text/plain 4"},
		{"CR CR LF", "Subject: x\r\r\n\r\r\nbody", "x", "text/plain 4"},
		{"the first of two", "Subject: x\nSUBJECT: y\n\nbody", "x", "text/plain 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := parse(t, c.mail)
			subject := ""
			if got.Header != nil {
				subject = got.Header.Subject
			}
			if subject != c.subject || len(got.Parts) != 1 || partText(got.Parts[0]) != c.part {
				t.Errorf("got %q, %v", subject, got)
			}
		})
	}
}

func TestHeader(t *testing.T) {
	got := parse(t, crlf("Received: a\nReceived: b;\n Mon\nDate:  Mon, 23 Nov 2026\n 03:04:05 +0100\nFrom: A <a@example.org>\n"+
		"To: c@example.net, \"Doe, \\\"D\\\" John\" <d@example.net>,\n =?utf-8?q?J=C3=BCrgen?= <j@example.net>\nCc: undisclosed-recipients:;\n"+
		"Reply-To: friends: x@y, z@y;\nSubject: =?iso-8859-1?q?gr=FC?= =?ISO-8859-1?B?3GU=?= x\nMessage-Id: <1@x>\nIn-Reply-To: <0@x>\nX-Mailer: M 1\n\n")).Header
	want := &record.Header{
		Date: "Mon, 23 Nov 2026 03:04:05 +0100", From: []string{"A <a@example.org>"},
		To: []string{"c@example.net", `"Doe, \"D\" John" <d@example.net>`, "Jürgen <j@example.net>"},
		Cc: []string{"undisclosed-recipients:;"}, ReplyTo: []string{"x@y", "z@y"},
		Subject: "grüÜe x", MessageID: "<1@x>", InReplyTo: "<0@x>", UserAgent: "M 1", Received: 2,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got := parse(t, "X-Other: x\n\nbody").Header; got != nil {
		t.Errorf("a header that says nothing: %+v", got)
	}
}
