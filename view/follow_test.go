package view

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// following is a follower of files that the test writes.
type following struct {
	*follower
	t    *testing.T
	dir  string
	text bytes.Buffer
}

func follow(t *testing.T, o FollowOptions) *following {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := &following{t: t, dir: dir}
	f.follower = newFollower(d, o, &f.text)
	t.Cleanup(func() { f.close(); d.Close() })
	return f
}

func (f *following) file(name string) string { return filepath.Join(f.dir, "logs", name) }

// add appends lines of sessions, each as "ID TEXT" with the mark, to a file; a raw line begins with "!".
func (f *following) add(name string, lines ...string) {
	f.t.Helper()
	file, err := os.OpenFile(f.file(name), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, l := range lines {
		raw, is := strings.CutPrefix(l, "!")
		if !is {
			raw = "2026-11-22T12:00:00.000000Z " + l + "\n"
		}
		if _, err := file.WriteString(raw); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := file.Close(); err != nil {
		f.t.Fatal(err)
	}
}

// shown looks once and returns what is shown then, without the times.
func (f *following) shown() string {
	f.t.Helper()
	f.look(noon)
	if err := f.out.Flush(); err != nil {
		f.t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(f.text.String()) {
		lines = append(lines, strings.TrimRight(strings.TrimPrefix(line, "12:00:00.000 "), " \n"))
	}
	f.text.Reset()
	return strings.Join(lines, "\n")
}

func (f *following) want(lines ...string) {
	f.t.Helper()
	for i, l := range lines {
		id, text, _ := strings.Cut(l, " ")
		lines[i] = fmt.Sprintf("%-16s %s", id, text)
	}
	if got := f.shown(); got != strings.Join(lines, "\n") {
		f.t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(lines, "\n"))
	}
}

const (
	smtpToday = "smtp-sessions-2026-11-22.log"
	pop3Today = "pop3-sessions-2026-11-22.log"
	authToday = "auth-2026-11-22.log"

	connectA = "aaa === connected 192.0.2.7:1001 to 198.51.100.9:25"
	connectB = "bbb === connected 192.0.2.8:1002 to 198.51.100.9:587"
	ehloA    = "aaa  -> EHLO a"
	ehloB    = "bbb  -> EHLO b"
	noA      = "aaa <** 550 5.1.1 no such user"
	closeA   = "aaa === closed after 1.0 ms: ehlo=1 commands=1 replies=1 messages=0 octets=1+1"
	closeB   = "bbb === reset after 1.0 ms: ehlo=1 commands=1 replies=1 messages=0 octets=1+1"
)

func attempt(session, user string) string {
	return `!2026-11-22T12:00:00.000000Z mailwire[1]: AUTH-FAIL [192.0.2.7]:1001 smtp server=198.51.100.9:25 mech=PLAIN attempt=1 ` +
		`reply="535 \" session=bbb user=\"x" session=` + session + ` user="` + user + "\"\n"
}

// TestFollow: what was said before is not shown, all that comes is, from both files, as from several processes.
func TestFollow(t *testing.T) {
	f := follow(t, FollowOptions{})
	f.add(smtpToday, connectA)
	f.want()
	f.begin()
	f.want()
	f.add(smtpToday, ehloA, connectB)
	f.add(pop3Today, "ccc <-  +OK ready")
	f.want(ehloA, connectB, "ccc <-  +OK ready")
	f.add(smtpToday, `!2026-11-22T12:00:00.000000Z aaa  -> RCPT TO:<\xc3`)
	f.want()
	f.add(smtpToday, "!\\xa4@b>\n")
	f.want(`aaa  -> RCPT TO:<\xc3\xa4@b>`)
	f.add(smtpToday, closeA, closeB)
	f.want(closeA, closeB)
	if len(f.dialogues) != 1 {
		t.Errorf("%d sessions are remembered", len(f.dialogues))
	}
}

// TestFollowFiles: midnight, a file renamed, removed, truncated, a torn line repaired, a link for a file.
func TestFollowFiles(t *testing.T) {
	var warned []string
	f := follow(t, FollowOptions{Warn: func(s string) { warned = append(warned, s) }})
	f.begin()
	f.add(smtpToday, connectA)
	f.want(connectA)
	f.add("smtp-sessions-2026-11-23.log", ehloA) // 13 hours east of UTC
	f.want(ehloA)

	f.add(smtpToday, "aaa  -> one")
	if err := os.Rename(f.file(smtpToday), f.file("old")); err != nil {
		t.Fatal(err)
	}
	f.want("aaa  -> one")
	f.add("old", "aaa  -> two") // by one that has not noticed yet
	f.add(smtpToday, "aaa  -> three")
	f.want("aaa  -> two")
	for range lingering {
		f.look(noon)
	}
	f.want("aaa  -> three")

	f.add(smtpToday, "!2026-11-22T12:00:00.000000Z aaa  -> torn")
	f.want()
	info, err := os.Stat(f.file(smtpToday))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(f.file(smtpToday), info.Size()-int64(len("2026-11-22T12:00:00.000000Z aaa  -> torn"))); err != nil {
		t.Fatal(err)
	}
	f.add(smtpToday, "aaa  -> four")
	f.want("aaa  -> four")
	if err := os.Truncate(f.file(smtpToday), 0); err != nil {
		t.Fatal(err)
	}
	f.want()
	f.add(smtpToday, "aaa  -> five")
	f.want("aaa  -> five")

	if err := os.Remove(f.file(smtpToday)); err != nil {
		t.Fatal(err)
	}
	for range lingering + 1 {
		f.look(noon)
	}
	f.add(smtpToday, "aaa  -> six")
	f.want("aaa  -> six")
	if err := os.Symlink(f.file(smtpToday), f.file(pop3Today)); err != nil {
		t.Fatal(err)
	}
	f.want()
	f.want()
	if len(warned) != 1 || !strings.Contains(warned[0], "symbolic link") || f.count != (Followed{}) {
		t.Errorf("%q, %+v", warned, f.count)
	}
	f.look(noon.AddDate(0, 0, 3))
	if len(f.tails) != 6 {
		t.Errorf("%d files are open three days later", len(f.tails))
	}
}

// TestFollowForged: a line that mailwire did not write drives no terminal, and is counted.
func TestFollowForged(t *testing.T) {
	f := follow(t, FollowOptions{Style: Style{}})
	f.begin()
	f.add(smtpToday, "aaa <-  \x1b[2J", "aaa <-  \xff\xfe", "!hello\n", "aaa ==> x", `aaa <-  \x1b[2J`, "a]a === x", strings.Repeat("a", 17)+" === x",
		"!"+strings.Repeat("x", 3*tailBuffer)+"\n", ehloA)
	f.want(`aaa <-  \x1b[2J`, ehloA)
	if f.count.Broken != 6 {
		t.Errorf("%d lines are broken", f.count.Broken)
	}
}

func TestFollowFilters(t *testing.T) {
	all := []string{connectA, connectB, ehloA, ehloB, noA, closeA, closeB}
	onlyA, onlyB := []string{connectA, ehloA, noA, closeA}, []string{connectB, ehloB, closeB}
	mail := "ccc === connected [2001:db8::7]:1 to [2001:db8::9]:110"
	for name, c := range map[string]struct {
		o    FollowOptions
		want []string
	}{
		"nothing":     {FollowOptions{}, append(append([]string{}, all...), mail)},
		"smtp":        {FollowOptions{Protocol: "smtp"}, all},
		"pop3":        {FollowOptions{Protocol: "pop3"}, []string{mail}},
		"client":      {FollowOptions{Client: []netip.Prefix{netip.MustParsePrefix("192.0.2.8/32")}}, onlyB},
		"clients":     {FollowOptions{Client: []netip.Prefix{netip.MustParsePrefix("192.0.2.8/31"), netip.MustParsePrefix("192.0.2.6/31")}}, all},
		"client IPv6": {FollowOptions{Client: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}}, []string{mail}},
		"server":      {FollowOptions{Server: netip.MustParsePrefix("198.51.100.0/24")}, all},
		"port":        {FollowOptions{ServerPort: 587}, onlyB},
		"server:port": {FollowOptions{Server: netip.MustParsePrefix("198.51.100.9/32"), ServerPort: 25}, onlyA},
		"errors":      {FollowOptions{Errors: true}, onlyA},
		"user":        {FollowOptions{User: "ALICE"}, onlyA},
		"user@":       {FollowOptions{User: "alice@example.net"}, onlyA},
		"no user":     {FollowOptions{User: "alice@example.org"}, nil},
		"both":        {FollowOptions{User: "bob", Errors: true}, nil},
		"one":         {FollowOptions{OnlyOne: true}, onlyA},
		"one of":      {FollowOptions{OnlyOne: true, ServerPort: 587}, onlyB},
		"one, user":   {FollowOptions{OnlyOne: true, User: "bob"}, onlyB},
		"terse": {FollowOptions{Terse: true, Protocol: "smtp"}, []string{
			connectA, connectB, ehloA, noA, "aaa === 192.0.2.7:1001 to 198.51.100.9:25: " + closeA[8:], "bbb === 192.0.2.8:1002 to 198.51.100.9:587: " + closeB[8:],
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := follow(t, c.o)
			f.begin()
			f.add(smtpToday, all...)
			f.add(pop3Today, mail)
			f.add(authToday, attempt("aaa", "alice@example.net"), attempt("bbb", "bob"))
			f.t = t
			f.want(append([]string{}, c.want...)...)
			if f.done != c.o.OnlyOne {
				t.Errorf("done: %v", f.done)
			}
			for range awaitAttempt + 1 {
				f.look(noon)
			}
			held := len(mail) - len("ccc === ") // of the session that goes on
			if n := len(f.dialogues); !f.done && (n > 1 || f.octets > held) || len(f.ended) > 0 || f.count != (Followed{}) {
				t.Errorf("%d sessions and %d octets are remembered, %d have ended, %+v", n, f.octets, len(f.ended), f.count)
			}
		})
	}
}

// TestFollowTerse: a refusal stands behind the command that it answers, however far ahead the client is.
func TestFollowTerse(t *testing.T) {
	f := follow(t, FollowOptions{Terse: true})
	f.begin()
	f.add(smtpToday, connectA, "aaa <-  220 mx", ehloA, "aaa <-  250-mx", "aaa <-  250 PIPELINING",
		"aaa  -> MAIL FROM:<a@b>", "aaa  -> RCPT TO:<c@d>", "aaa  -> RCPT TO:<e@f>", "aaa  -> DATA",
		"aaa <-  250 ok", "aaa <** 550-5.1.1 who", "aaa <** 550 5.1.1 is that", "aaa <-  250 ok", "aaa <-  354 go",
		"aaa  -> [10 octets of message]", "aaa  -> NOOP", "aaa <** 552 too big", "aaa <** 500 what",
		"aaa  -> BDAT 5 LAST", "aaa  -> [5 octets of message]", "aaa  -> RSET", "aaa <** 503 no", "aaa <-  250 ok",
		"aaa  -> VRFY a", "aaa === 7 octets of the server are missing", "aaa  -> VRFY b", "aaa <** 550 no", "aaa <** 421 bye")
	f.add(pop3Today, "ccc  -> LIST", "ccc  -> RETR 9", "ccc  -> QUIT", "ccc <-  +OK", "ccc <-  1 9", "ccc <-  250 9", "ccc <** -ERR no such message")
	f.want(connectA, "aaa  -> RCPT TO:<c@d>", "aaa <** 550-5.1.1 who", "aaa <** 550 5.1.1 is that",
		"aaa  -> [10 octets of message]", "aaa <** 552 too big", "aaa  -> NOOP", "aaa <** 500 what",
		"aaa  -> [5 octets of message]", "aaa <** 503 no", "aaa  -> VRFY b", "aaa <** 550 no", "aaa <** 421 bye",
		"ccc  -> RETR 9", "ccc <** -ERR no such message")
	for i := range 2 * maxAsked {
		f.add(smtpToday, fmt.Sprint("aaa  -> ", i))
	}
	f.want()
	if n := len(f.dialogues["aaa"].Value.(*dialogue).talk.lines); n > maxAsked {
		t.Errorf("%d lines wait", n)
	}
}

// TestFollowUnderWay: of a session that had begun before, what is needed is known.
func TestFollowUnderWay(t *testing.T) {
	for name, c := range map[string]struct {
		o    FollowOptions
		want []string
	}{
		"nothing":  {FollowOptions{}, []string{ehloA, ehloB, noA}},
		"client":   {FollowOptions{Client: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}}, []string{ehloA, noA}},
		"errors":   {FollowOptions{Errors: true}, []string{connectA, "aaa <** 451 before", ehloA, noA}},
		"user":     {FollowOptions{User: "bob"}, []string{ehloB}},
		"only new": {FollowOptions{OnlyNew: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := follow(t, c.o)
			f.add(smtpToday, connectA, connectB, "aaa <** 451 before", "ddd === connected 192.0.2.7:5 to 198.51.100.9:25", "d"+"dd"+closeA[3:])
			f.add(authToday, attempt("bbb", "bob"))
			f.want()
			f.begin()
			f.add(smtpToday, ehloA, ehloB, noA)
			f.want(append([]string{}, c.want...)...)
			if len(f.dialogues) != 2 {
				t.Errorf("%d sessions are remembered", len(f.dialogues))
			}
		})
	}
	f := follow(t, FollowOptions{Client: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}})
	f.add(smtpToday, connectA)
	for range followPast/tailBuffer + 1 {
		f.add(smtpToday, "bbb <-  "+strings.Repeat("x", tailBuffer-100))
	}
	f.want()
	f.begin()
	f.add(smtpToday, ehloA, "aaa === connected 192.0.2.7:1001 to 198.51.100.9:25")
	f.want() // too long ago
}

// TestFollowBounds: neither many sessions, nor long ones, nor long lines use more memory than they may.
func TestFollowBounds(t *testing.T) {
	f := follow(t, FollowOptions{Errors: true})
	f.begin()
	f.add(smtpToday, connectA)
	for i := range 2 * maxHeld {
		f.add(smtpToday, fmt.Sprint("aaa  -> ", i))
	}
	f.add(smtpToday, noA)
	lines := strings.Split(f.shown(), "\n")
	if len(lines) != maxHeld+1 || !strings.Contains(lines[firstHeld], "(502 lines are left out)") || !strings.HasSuffix(lines[firstHeld-1], " -> 18") ||
		!strings.HasSuffix(lines[len(lines)-2], " -> 999") || !strings.HasSuffix(lines[len(lines)-1], noA[4:]) {
		t.Errorf("%d lines, %q", len(lines), lines)
	}
	var many []string
	for i := range maxFollowed + 100 {
		many = append(many, fmt.Sprintf("s%d === connected 192.0.2.7:1 to 198.51.100.9:25", i))
	}
	f.add(smtpToday, many...)
	f.want()
	if len(f.dialogues) != maxFollowed || f.order.Len() != maxFollowed || f.count.Forgotten != 101 {
		t.Errorf("%d sessions, %d forgotten", len(f.dialogues), f.count.Forgotten)
	}
	many = nil
	for i := range heldOctets/16000 + 100 {
		many = append(many, fmt.Sprintf("s%d <-  %s", i+1000, strings.Repeat("x", 16000)))
	}
	f.add(smtpToday, many...)
	f.want()
	if f.octets > heldOctets || f.octets < heldOctets-1e6 {
		t.Errorf("%d octets are held", f.octets)
	}
}

// TestFollowRuns: Follow shows what comes, and ends when it is told to, or after the only session.
func TestFollowRuns(t *testing.T) {
	f := follow(t, FollowOptions{})
	today := "smtp-sessions-" + time.Now().UTC().Format(time.DateOnly) + ".log"
	lines := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := f.d.Follow(ctx, FollowOptions{}, writerFunc(func(p []byte) { lines <- string(p) }))
		ended <- err
	}()
	for i := 0; ; i++ { // until it has begun
		f.add(today, fmt.Sprint("aaa  -> ", i))
		select {
		case line := <-lines:
			if !strings.Contains(line, "aaa               -> ") {
				t.Error(line)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

type writerFunc func([]byte)

func (w writerFunc) Write(p []byte) (int, error) { w(p); return len(p), nil }

// TestFollowColours: with them, the lines are the same but for what a terminal shows as colours.
func TestFollowColours(t *testing.T) {
	f := follow(t, FollowOptions{Style: Style{Colour: true}})
	f.begin()
	f.add(smtpToday, connectA, ehloA, noA)
	f.look(noon)
	if err := f.out.Flush(); err != nil {
		t.Fatal(err)
	}
	said := f.text.String()
	if !strings.Contains(said, "\x1b[31;1m<** 550 5.1.1 no such user\x1b[0m\n") || strings.Count(said, "\x1b[0m") != 9 {
		t.Errorf("%q", said)
	}
}
