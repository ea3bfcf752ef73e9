package smtp

import (
	"fmt"
	"testing"
)

func TestPath(t *testing.T) {
	for _, c := range []struct{ arg, want string }{
		{"FROM:<a@example.org> SIZE=48000 body=8BITMIME", "a@example.org [{SIZE 48000} {BODY 8BITMIME}]"},
		{"FROM: <a@example.org> ", "a@example.org []"},
		{"FROM:<>", " []"},
		{"FROM:a@example.org SIZE=1", "a@example.org [{SIZE 1}]"},
		{`TO:<"a> b"@example.org> NOTIFY=NEVER`, `"a> b"@example.org [{NOTIFY NEVER}]`},
		{`TO:<"a\"> b"@example.org>`, `"a\"> b"@example.org []`},
		{"TO:<@one.example,@two.example:b@example.net>", "b@example.net []"},
		{"TO:<b@example.net", "b@example.net []"},
		{"TO:<user@[IPv6:2001:db8::1]>", "user@[IPv6:2001:db8::1] []"},
		{"TO:<c@d@example.net>", "c@d@example.net []"},
		{`FROM:<o"brien@example.org> SIZE=100`, `o"brien@example.org [{SIZE 100}]`},
		{`FROM:o"brien@example.org SIZE=100`, `o"brien@example.org [{SIZE 100}]`},
		{`FROM:"a b"@example.org`, `"a b"@example.org []`},
		{`FROM:"a b"@example.org SIZE=100`, `"a b"@example.org [{SIZE 100}]`},
		{`TO:<c\>d@example.net> NOTIFY=NEVER`, `c\>d@example.net [{NOTIFY NEVER}]`},
		{`TO:<c@example.net\> NOTIFY=NEVER`, `c@example.net\ [{NOTIFY NEVER}]`},
		{"TO <c@example.net> NOTIFY=NEVER", "c@example.net [{NOTIFY NEVER}]"},
		{"to c@example.net", "c@example.net []"},
		{"FROM <@one.example:b@example.net>", "b@example.net []"},
		{"FROM : <a@example.org>", "a@example.org []"},
		{"<a@example.org>", "a@example.org []"},
		{"tom@example.org", "tom@example.org []"},
		{"TO", "TO []"},
		{"", " []"},
		{"TO:<\xff@example.net>", "\uFFFD@example.net []"},
	} {
		address, params := Path([]byte(c.arg))
		if got := fmt.Sprintf("%s %v", address, params); got != c.want {
			t.Errorf("%q: %s, want %s", c.arg, got, c.want)
		}
	}
}
