package message

import (
	"testing"
	"unicode/utf8"
)

// TestAliases: each of them is the name of a charset that is known.
func TestAliases(t *testing.T) {
	for alias, name := range aliases {
		got, ok := appendCharset(nil, alias, []byte("abc\xff"))
		if !ok || len(got) < 3 || string(got[:3]) != "abc" || name != "utf-8" && !utf8.Valid(got) {
			t.Errorf("%s, %s: %q", alias, name, got)
		}
		if _, twice := aliases[name]; twice {
			t.Errorf("%s is an alias of an alias", alias)
		}
	}
}
