package message

import (
	"strings"
	"testing"
)

func encoded(how, content string) string {
	return "Content-Type: application/x; name=f\r\nContent-Transfer-Encoding: " + how + "\r\n\r\n" + content
}

func TestBase64(t *testing.T) {
	for _, c := range []struct {
		in, want string
		damaged  bool
	}{
		{"", "", false},
		{"aGVsbG8=", "hello", false},
		{"aGVs\r\nbG8=\r\n", "hello", false},
		{"aG Vs\r\n bG8=\r\n", "hello", false}, // white space
		{"aGVsbG8", "hello", false},            // no padding
		{"aGVsbA==\r\nbG8=", "helllo", false},  // another group after the padding
		{"aGVsbA==bG8=", "helllo", false},      //
		{"aGV*sbG8=", "hello", true},           // not of the alphabet
		{"aGVsbG8=\r\n\r\n-- \r\nfooter", "hello", true},
		{"NA=\r\n=Mg\r\n==\r\n", "4", true}, // padding in two pieces
		{"aGVsb", "hel", true},              // a character too many
		{"a\r\n", "a", true},                // nothing but that
		{"====", "", true},
	} {
		want := file("application/x", c.want)
		if c.damaged {
			want += " damaged"
		}
		checkParts(t, encoded(" BASE64 (x)", c.in), want)
	}
}

func TestQuotedPrintable(t *testing.T) {
	long := strings.Repeat("x", 10000)
	for _, c := range []struct{ in, want string }{
		{"a=3Db=3d\r\nc=\r\nd=\ne", "a=b=\r\ncde"},
		{"a \t\r\nb=20 \r\nc \n", "a\r\nb \r\nc\n"},
		{"a= \t\r\nb", "ab"},
		{"a=zz=4=", "a=zz=4"},
		{"a=4", "a=4"},
		{"==41", "=A"},
		{"a=\rb", "a=\rb"},
		{"a  \rb", "a  \rb"},
		{"a  ", "a"},
		{long + "=\r\n" + long, long + long},
		{"a" + strings.Repeat(" ", maxBlanks) + "\r\n", "a\r\n"},
		{"a" + strings.Repeat(" ", maxBlanks+1) + "\r\nb", "a" + strings.Repeat(" ", maxBlanks+1) + "\r\nb"},
		{"a=" + strings.Repeat(" ", 9*maxBlanks) + "\nb", "a=" + strings.Repeat(" ", 9*maxBlanks) + "\nb"},
	} {
		checkParts(t, encoded("Quoted-Printable", c.in), file("application/x", c.want))
	}
}

func TestUuencode(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"hi\r\nbegin 644 f.txt\r\n%:&5L;&\\\r\n`\r\nend\r\nmore\r\n", file("application/x", "hello")},
		{"no such line\r\n", file("application/x", "no such line\r\n")},
		{"begin x\r\n", file("application/x", "begin x\r\n")},
		{"begin 644 f\r\n%:&5L;&\\\r\n", file("application/x", "hello") + " damaged"},
	} {
		checkParts(t, encoded("x-uuencode", c.in), c.want)
	}
	unnamed := "Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 "
	hello := "\r\n%:&5L;&\\\r\n`\r\nend\r\n"
	checkParts(t, unnamed+"a b.txt "+hello, `text/plain "a b.txt" 5 `+digestOf("hello"))
	checkParts(t, unnamed+"caf\xe9"+hello, "text/plain \"caf\ufffd\" 5 "+digestOf("hello"))
	checkParts(t, unnamed+strings.Repeat("x", 300)+hello, `text/plain "`+strings.Repeat("x", MaxToken)+`" 5 `+digestOf("hello"))
}

func TestIdentity(t *testing.T) {
	for _, how := range []string{"7bit", "8bit", "binary", "x-unknown", ""} {
		checkParts(t, encoded(how, "a=3D\r\n\x00\xff"), file("application/x", "a=3D\r\n\x00\xff"))
	}
}

func TestHole(t *testing.T) {
	mixed := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/x; name=f\r\n"
	for _, c := range []struct {
		name, before, after string
		want                []string
	}{
		{"in a part", mixed + "\r\nab", "cd\r\n--b\r\n\r\nx\r\n--b--", []string{`application/x "f" 4 damaged`, "text/plain 1"}},
		{"just before a boundary", mixed + "\r\nab", "--b\r\n\r\nx\r\n--b--", []string{`application/x "f" 2 damaged`, "text/plain 1"}},
		{"in base64", mixed + "Content-Transfer-Encoding: base64\r\n\r\nYWJjZG", "Vm\r\nYWJj\r\n--b--", []string{`application/x "f" 7 damaged`}},
		{"in a part's header", mixed + "Content-Dispo", "filename=x\r\n\r\nab\r\n--b--", []string{`application/x "f" 2 damaged`}},
		{"in the Content-Type", "Subject: x\r\nContent-Type: multipart/mi", "y=b\r\n\r\n--b\r\n", []string{"text/plain 5 damaged"}},
		{"at the end", mixed + "\r\nab\r\n", "", []string{`application/x "f" 4 damaged`}},
		{"in an attached message", "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\na", "b", []string{"message/rfc822 16 damaged", "text/plain 2 damaged"}},
		{"after the last part", mixed + "\r\nab\r\n--b--\r\n", "x", []string{file("application/x", "ab")}},
		{"at a boundary's beginning", mixed + "\r\nab\r\n--", "b--", []string{`application/x "f" 9 damaged`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Parser
			for range 2 {
				p.Reset()
				p.Write([]byte(c.before))
				p.Hole(-1)
				p.Write([]byte(c.after))
				_, parts, _ := p.Close()
				var got []string
				for _, part := range parts {
					got = append(got, partText(part))
				}
				if strings.Join(got, "|") != strings.Join(c.want, "|") {
					t.Errorf("got %q, want %q", got, c.want)
				}
			}
		})
	}
}

func TestHoleDropsTheField(t *testing.T) {
	var p Parser
	p.Write([]byte("From: a@b\r\nSubject: one two"))
	p.Hole(3)
	p.Write([]byte(" three\r\n folded\r\nTo: c@d\r\n\r\nbody"))
	h, parts, _ := p.Close()
	if h.Subject != "" || len(h.From) != 1 || len(h.To) != 1 || len(parts) != 1 || parts[0].Octets != 4 {
		t.Errorf("got %+v %+v", h, parts)
	}
}
