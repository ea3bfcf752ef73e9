package message

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mailwire/mailwire/inspect/record"
)

// bombs are mails made to cost much. Each takes a size in octets.
var bombs = map[string]func(size int) string{
	"nested multiparts": func(size int) string {
		return times(size, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%[1]d\r\n")
	},
	"nested messages": func(size int) string { return times(size, "Content-Type: message/rfc822\r\n\r\n") },
	"messages in messages": func(size int) string {
		return times(size, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	},
	"parts": func(size int) string {
		return "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + times(size, "--b\r\nContent-Type: image/png; name=%d\r\n\r\n")
	},
	"boundaries alike": func(size int) string {
		var b strings.Builder
		for i := range MaxDepth {
			boundary := strings.Repeat("x", 60) + fmt.Sprint(i+100)
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%s\r\n\r\n--%[1]s\r\n", boundary)
		}
		return b.String() + "\r\n" + times(size, "--"+strings.Repeat("x", 60)+"9999\r\n")
	},
	"dashes":             func(size int) string { return nest() + times(size, "--\r\n") },
	"long boundaries":    func(size int) string { return "Content-Type: multipart/mixed; boundary=" + times(size, "b") },
	"fields":             func(size int) string { return times(size, "From: %d\r\n") },
	"unknown fields":     func(size int) string { return times(size, "X-%d: y\r\n") },
	"a long field":       func(size int) string { return "Subject: " + times(size, "=?utf-8?q?a%d?= ") },
	"a folded field":     func(size int) string { return "To: " + times(size, "\r\n a%d@b,") },
	"charsets":           func(size int) string { return "Subject: " + times(size, "=?gbk?b?sqXK?= =?koi8-r?q?=F0?= ") },
	"half words":         func(size int) string { return "Subject: " + times(size, "=?a?q?") + "\r\nTo: " + times(size, "=?a?q?") },
	"quotes":             func(size int) string { return "To: " + times(size, "\"") },
	"comments":           func(size int) string { return "To: " + times(size, "(") },
	"stray lines":        func(size int) string { return "Subject: x\r\nstray\r\n" + times(size, " folded\r\n") },
	"parameters":         func(size int) string { return "Content-Type: a/b" + times(size, "; name*%d=x") },
	"equal sections":     func(size int) string { return "Content-Type: a/b" + times(size, "; name*0=x") },
	"blanks":             func(size int) string { return encoded("quoted-printable", times(size, " ")) },
	"equal signs":        func(size int) string { return encoded("quoted-printable", times(size, "=")) },
	"blanks and returns": func(size int) string { return encoded("quoted-printable", times(size, "= \r")) },
	"base64 of nothing":  func(size int) string { return encoded("base64", times(size, "*")) },
	"padding":            func(size int) string { return encoded("base64", times(size, "QQ==")) },
	"uu":                 func(size int) string { return encoded("x-uuencode", "begin 644 f\r\n"+times(size, "#QQQQ\r\n")) },
	"long names": func(size int) string {
		return "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + times(size, "--b\r\nContent-Type: "+strings.Repeat("t", 300)+"/x; charset="+strings.Repeat("c", 300)+"; name="+strings.Repeat("n", 5000)+"\r\n\r\n")
	},
}

func nest() string {
	var b strings.Builder
	for i := range MaxDepth {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%[1]d\r\n", i)
	}
	return b.String() + "\r\n"
}

func times(size int, format string) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		if strings.Contains(format, "%d") {
			fmt.Fprintf(&b, format, i)
		} else {
			b.WriteString(format)
		}
	}
	return b.String()
}

// held is the memory that a parser keeps between two writes.
func (p *Parser) held() int {
	n := p.scan.held()
	for _, part := range p.found.parts {
		n += 128 + len(part.Type) + len(part.Charset) + len(part.Name) + len(part.Disposition)
	}
	return n
}

func (s *scanner) held() int {
	n := cap(s.line) + cap(s.header.text) + cap(s.header.stray) + cap(s.leaf.qp.held) + 4096
	for _, f := range s.frames[:cap(s.frames)] {
		n += 128 + cap(f.boundary)
	}
	if s.leaf.inner != nil {
		n += s.leaf.inner.held()
	}
	return n
}

func TestBombs(t *testing.T) {
	const limit = 24 << 20
	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			mail := []byte(bomb(1 << 20))
			var p Parser
			for i := 0; i < len(mail); i += 1000 {
				p.Write(mail[i:min(i+1000, len(mail))])
				if i%1e6 == 0 && p.held() > limit {
					t.Fatalf("%d octets held after %d", p.held(), i)
				}
			}
			header, parts, _ := p.Close()
			if p.held() > limit || len(parts) > MaxParts {
				t.Errorf("%d octets held, %d parts", p.held(), len(parts))
			}
			checkBounded(t, header, parts)
		})
	}
}

func checkBounded(t *testing.T, h *record.Header, parts []record.Part) {
	t.Helper()
	check := func(limit int, texts ...string) {
		for _, s := range texts {
			if len(s) > limit || !utf8.ValidString(s) {
				t.Fatalf("%d octets of %q", len(s), s[:min(len(s), 80)])
			}
		}
	}
	names := 0
	for _, p := range parts {
		check(2*MaxToken+1, p.Type, p.Charset, p.Disposition)
		check(record.MaxText, p.Name)
		names += max(len(p.Name)-MaxToken, 0)
	}
	if names > MaxNames {
		t.Fatalf("%d octets of names", names)
	}
	if h != nil {
		check(record.MaxText, h.Date, h.Subject, h.MessageID, h.InReplyTo, h.UserAgent)
		for _, list := range [][]string{h.From, h.To, h.Cc, h.ReplyTo} {
			if len(list) > MaxAddresses {
				t.Fatalf("%d addresses", len(list))
			}
			check(record.MaxText, list...)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Run("parts", func(t *testing.T) {
		mail := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", MaxParts+5) + "--b--\r\n"
		if got := feed(new(Parser), mail, func() int { return 1 << 20 }); len(got.Parts) != MaxParts || got.Omitted != 5 {
			t.Errorf("%d parts, %d omitted", len(got.Parts), got.Omitted)
		}
	})
	t.Run("depth", func(t *testing.T) {
		for _, c := range []struct {
			depth int
			want  string
		}{{MaxDepth, "text/plain"}, {MaxDepth + 1, "multipart/mixed"}} {
			var mail strings.Builder
			for i := range c.depth {
				fmt.Fprintf(&mail, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%[1]d\r\n", i)
			}
			got := parse(t, mail.String()+"\r\nx\r\n").Parts
			if len(got) != 1 || got[0].Type != c.want {
				t.Errorf("depth %d: %+v", c.depth, got)
			}
		}
	})
	t.Run("boundary", func(t *testing.T) {
		for _, c := range []struct {
			length int
			want   string
		}{{MaxBoundary, "text/plain"}, {MaxBoundary + 1, "multipart/mixed"}} {
			boundary := strings.Repeat("b", c.length)
			got := parse(t, "Content-Type: multipart/mixed; boundary="+boundary+"\r\n\r\n--"+boundary+" \r\n\r\nx\r\n--"+boundary+"-- \r\n").Parts
			if len(got) != 1 || got[0].Type != c.want {
				t.Errorf("%d octets: %+v", c.length, got)
			}
		}
	})
	t.Run("padding", func(t *testing.T) {
		for _, n := range []int{0, 1, maxPadding, maxPadding + 4, 3000} {
			parse(t, "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b"+strings.Repeat(" ", n)+"\r\n\r\nx\r\n--b--"+strings.Repeat(" ", n)+"\r\ny")
		}
	})
	t.Run("field", func(t *testing.T) {
		got := parse(t, "Subject: "+strings.Repeat("x", 3*MaxField)+"\r\n y\r\nFrom: a@b\r\n\r\nx")
		if len(got.Header.Subject) != record.MaxText || len(got.Header.From) != 1 || got.Parts[0].Octets != 1 {
			t.Errorf("got %.300v", got)
		}
	})
	t.Run("fields", func(t *testing.T) {
		got := parse(t, strings.Repeat("X: y\r\n", MaxFields-1)+"To: a@b\r\nFrom: a@b\r\n\r\nx")
		if len(got.Header.To) != 1 || got.Header.From != nil || got.Parts[0].Octets != 1 {
			t.Errorf("got %v", got)
		}
	})
	t.Run("header section", func(t *testing.T) {
		got := parse(t, strings.Repeat("X: "+strings.Repeat("y", 60000)+"\r\n", 18)+"From: a@b\r\n\r\nx")
		if got.Header != nil || got.Parts[0].Octets != 1 {
			t.Errorf("got %v", got)
		}
	})
	t.Run("digests", func(t *testing.T) {
		got := parse(t, strings.Repeat("Content-Type: message/rfc822\r\n\r\n", MaxDigests+2)+"\r\nx").Parts
		for i, p := range got[:len(got)-1] {
			if (p.SHA256 != "") != (i < MaxDigests) || p.Octets == 0 {
				t.Errorf("%d: %+v", i, p)
			}
		}
	})
	t.Run("encapsulation", func(t *testing.T) {
		unit := "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
		if got := parse(t, strings.Repeat(unit, MaxEncapsuled+3)).Parts; len(got) != MaxEncapsuled+1 {
			t.Errorf("got %d: %v", len(got), got)
		}
	})
}
