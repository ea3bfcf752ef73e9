package message

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mailwire/mailwire/inspect/record"
)

func TestText(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain", "plain"},
		{"=?utf-8?B?w6k=?=", "é"},
		{"=?UTF-8?q?a_b=20c?=", "a b c"},
		{"a =?utf-8?q?b?= c", "a b c"},
		{"=?utf-8?q?a?= =?utf-8?q?b?=", "ab"},
		{"=?utf-8?q?a?==?utf-8?b?Yg==?=", "ab"},
		{"=?utf-8?q?a?=   =?iso-8859-1?q?=E9?=", "aé"},
		{"=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é"},         // a character in two words
		{"=?utf-8?b?w6k?=", "é"},                         // no padding
		{"=?utf-8*en?q?a?=", "a"},                        // RFC 2231 section 5
		{"=?ISO-8859-1?B??=x", "x"},                      // nothing
		{"=?utf-8?q?a b?c?=", "a b?c"},                   // what it may not hold
		{"=?gb2312?B?dGVzdCCy4srU?=", "test 测试"},         // multi-octet
		{"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"},     // stateful
		{"=?koi8-r?q?=F0=D2=C9?=", "При"},                //
		{"=?windows-1252?q?=80?=", "€"},                  //
		{"=?cp932?B?k/qWe4dA?=", "日本①"},                  // names of Windows
		{"=?CP949?b?x9GxuQ==?=", "한국"},                   //
		{"=?cp936?q?=B2=E2?=", "测"},                      //
		{"=?cp950?q?=A4=A4?=", "中"},                      //
		{"=?x-nobody?q?abc?=", "abc"},                    // unknown, but plain
		{"=?x-nobody?q?=FF?= b", "=?x-nobody?q?=FF?= b"}, // unknown
		{"=?utf-8?x?a?=", "=?utf-8?x?a?="},               // no such encoding
		{"=?utf-8?q?a", "=?utf-8?q?a"},                   // no end
		{"=?=?utf-8?q?a?=", "=?a"},                       //
		{"=?utf-8?q?=FF=C3?=", "\ufffd\ufffd"},           // broken within
		{"caf\xe9 \xff\xfe", "caf\ufffd \ufffd\ufffd"},   // raw octets
		{"caf\xc3\xa9", "café"},                          // RFC 6532
		{" a\tb\r\n c ", "a b   c"},                      //
	} {
		if got := decodeText([]byte(c.in)); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}

func TestTextIsBounded(t *testing.T) {
	for _, unit := range []string{"x", "é", "=?utf-8?q?=C3=A9?= ", "=?iso-8859-1?q?=E9?= =?utf-8?q?a?= ", "=?", "=?a?q?", "=?x?q??=", "\xff", "=?gbk?b?sqXK1A==?="} {
		in := strings.Repeat(unit, MaxField/len(unit))
		got := decodeText([]byte(in))
		if len(got) > record.MaxText || !utf8.ValidString(got) {
			t.Errorf("%q: %d octets", unit, len(got))
		}
		for _, a := range addresses([]byte(strings.Repeat(unit+",<", MaxField/(len(unit)+2)))) {
			if len(a) > record.MaxText || !utf8.ValidString(a) {
				t.Errorf("address of %q: %d octets", unit, len(a))
			}
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"a@b", []string{"a@b"}},
		{"<a@b>", []string{"a@b"}},
		{"A B <a@b>, c@d", []string{"A B <a@b>", "c@d"}},
		{"\"B, A\" <a@b>; c@d;", []string{"B, A <a@b>", "c@d"}},
		{"a@b (Alice), (x) <c@d>", []string{"Alice <a@b>", "(x) <c@d>"}},
		{"=?utf-8?q?=C3=A9,?= <a@b>", []string{"é, <a@b>"}},
		{"\"=?utf-8?b?w6k=?=\" <a@b>", []string{"é <a@b>"}},
		{"G: a@b, c@d;, e@f", []string{"a@b", "c@d", "e@f"}},
		{"evil@x <real@y>", []string{"evil@x <real@y>"}},
		{"\"evil <a@x>\" <real@y>", []string{`"evil <a@x>" <real@y>`}},
		{"not an address", []string{"not an address"}},
		{"A <a@b", []string{"A <a@b"}},
		{"\"A <a@b>, c@d", []string{"\"A <a@b>, c@d"}},
		{"x@[IPv6:2001:db8::1], y@z", []string{"x@[IPv6:2001:db8::1]", "y@z"}},
		{"<>", []string{"<>"}},
		{", ,", []string{", ,"}},
		{"", nil},
	} {
		if got := addresses([]byte(c.in)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
	if got := addresses([]byte(strings.Repeat("a@b,", 1000))); len(got) != MaxAddresses {
		t.Errorf("%d addresses", len(got))
	}
}

func TestContentType(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"TEXT/HTML; Charset=\"UTF-8\"", "text/html charset=utf-8 1"},
		{"text/html;;; charset = utf-8 ;", "text/html charset=utf-8 1"},
		{"text/html (comment); charset=us-ascii (Plain)", "text/html charset=us-ascii 1"},
		{"text / html", "text/html 1"},
		{"text/html charset=utf-8", "text/html charset=utf-8 1"},
		{"text/html charset = utf-8; x=y", "text/html charset=utf-8 1"},
		{"charset=utf-8", "text/plain charset=utf-8 1"},
		{"text", "text/plain 1"},
		{"text/", "text/plain 1"},
		{"/", "text/plain 1"},
		{"a/b/c", "text/plain 1"},
		{"", "text/plain 1"},
		{";charset=x", "text/plain charset=x 1"},
		{"text/html; charset=a; charset=b", "text/html charset=a 1"},
		{"text/html; charset=\"a", "text/html charset=a 1"},
		{"text/html; charset*=us-ascii'en'utf-8", "text/html charset=utf-8 1"},
		{"image/png", "image/png 1 " + digestOf("x")},
	} {
		checkParts(t, "Content-Type: "+c.in+"\n\nx", c.want)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`filename=a.pdf`, "a.pdf"},
		{`filename="a b.pdf"`, "a b.pdf"},
		{`filename=a b (1).pdf; x=y`, "a b (1).pdf"},
		{`filename="a;b\"c\\d.pdf"`, `a;b"c\d.pdf`},
		{`filename="C:\temp\a.pdf"`, `C:\temp\a.pdf`},
		{`filename="a.pdf`, "a.pdf"},
		{`filename="a.pdf" junk; size=3`, "a.pdf"},
		{`filename="=?utf-8?b?w6kucGRm?="`, "é.pdf"},
		{`filename*=utf-8''%C3%A9.pdf`, "é.pdf"},
		{`filename*=iso-8859-1'de'%E9.pdf`, "é.pdf"},
		{`filename="e.pdf"; filename*=utf-8''%C3%A9.pdf`, "é.pdf"},
		{`filename*=broken%20name.pdf`, "broken name.pdf"},
		{`filename*=nobody''%ff.pdf`, "\ufffd.pdf"},
		{`filename*0="a"; filename*1="b.pdf"`, "ab.pdf"},
		{`filename*1="b.pdf"; filename*0="a"`, "ab.pdf"},
		{`filename*0*=utf-8''%C3; filename*1*=%A9; filename*2=".%.pdf"`, "é.%.pdf"},
		{`filename*0=a; filename*0=x; filename*9=b`, "ab"},
		{`filename*-1=a; filename*x=b; filename=c`, "c"},
		{`filename=../../etc/passwd`, "../../etc/passwd"},
		{`filename="caf` + "\xe9" + `.pdf"`, "caf\ufffd.pdf"},
		{`filename=`, ""},
	} {
		got := parse(t, "Content-Disposition: attachment; "+c.in+"\nContent-Type: application/pdf\n\nx").Parts
		if len(got) != 1 || got[0].Name != c.want || got[0].Disposition != "attachment" {
			t.Errorf("%s: got %+v, want %q", c.in, got, c.want)
		}
	}
	checkParts(t, "Content-Disposition: inline\nContent-Type: text/plain; name=f\n\nx", `text/plain inline "f" 1 `+digestOf("x"))
	checkParts(t, "Content-Disposition: attachment\n\nx", "text/plain attachment 1 "+digestOf("x"))
}

func TestFoldedName(t *testing.T) {
	for i := range 5 {
		fold := strings.Repeat(" ", i+1)
		checkParts(t, fmt.Sprintf("Content-Type: application/x;\r\n%sname=\"f\"\r\n\r\nx", fold), file("application/x", "x"))
	}
}
