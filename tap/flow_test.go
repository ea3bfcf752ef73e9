package tap

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect"
)

func TestSession(t *testing.T) {
	l := newLine()
	l.open()
	l.s("220 mx\r\n")
	l.c("QUIT\r\n")
	l.s("221 bye\r\n")
	l.send(1, fin|ack, "")
	l.send(0, fin|ack, "")
	l.send(1, ack, "")
	r, stats := play(t, l.packets)
	k := r.one(t)
	k.expect(t, `
		s: "220 mx\r\n"
		c: "QUIT\r\n"
		s: "221 bye\r\n"
		s: end
		c: end
		close closed`)
	if k.conn.Client != alice || k.conn.Server != mx || !k.conn.Started || k.conn.Hint != inspect.SMTP || !k.conn.Begin.Equal(day) || k.conn.Mode != "tap" {
		t.Errorf("%+v", k.conn)
	}
	if stats.Sessions != 1 || stats.Segments != 9 || stats.Packets != 9 || stats.Lost != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestEnds(t *testing.T) {
	greeted := func() *line {
		l := newLine().open()
		l.s("220 mx\r\n")
		return l
	}
	for _, c := range []struct {
		name, want string
		make       func() *line
	}{
		{"reset", "s: \"220 mx\\r\\n\"\nclose reset", func() *line { l := greeted(); l.send(0, rst, ""); return l }},
		{"reset with acknowledgement", "s: \"220 mx\\r\\n\"\nclose reset", func() *line { l := greeted(); l.send(1, rst|ack, "late"); return l }},
		{"blind reset", "s: \"220 mx\\r\\n\"\nclose unknown", func() *line { l := greeted(); l.raw(0, l.seq[0]+5e6, 0, rst, ""); return l }},
		{"no end", "s: \"220 mx\\r\\n\"\nclose unknown", greeted},
		{"half close", "s: \"220 mx\\r\\n\"\nc: end\ns: \"more\"\nclose unknown", func() *line {
			l := greeted()
			l.send(0, fin|ack, "")
			l.send(0, fin|ack, "") // sent again, with another number: beyond the end
			l.raw(0, l.seq[0]-2, l.seq[1], fin|ack, "")
			l.s("more")
			return l
		}},
		{"FIN with octets", "s: \"220 mx\\r\\n\"\nc: \"QUIT\\r\\n\"\nc: end\ns: \"221\"\ns: end\nclose closed", func() *line {
			l := greeted()
			l.send(0, fin|ack, "QUIT\r\n")
			l.send(1, fin|ack, "221")
			return l
		}},
		{"silence", "s: \"220 mx\\r\\n\"\nclose timeout", func() *line {
			l := greeted()
			l.clock = l.clock.Add(31 * time.Minute)
			other := newLine()
			other.server = netip.MustParseAddrPort("198.51.100.9:80")
			other.clock = l.clock
			other.send(0, syn, "")
			l.packets = append(l.packets, other.packets...)
			return l
		}},
		{"refused", "close refused", func() *line {
			l := newLine()
			l.send(0, syn, "")
			l.raw(1, 0, l.seq[0], rst|ack, "")
			return l
		}},
		{"established and silent", "c: end\ns: end\nclose closed", func() *line { return newLine().open().close() }},
		{"established and reset", "close reset", func() *line { l := newLine().open(); l.send(0, rst|ack, ""); return l }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _ := play(t, c.make().packets)
			r.one(t).expect(t, c.want)
		})
	}
}

// A connection ends when it is reset, however long nothing was said before that.
func TestResetTime(t *testing.T) {
	const pause = 5 * time.Minute
	greeted := func() *line {
		l := newLine().open()
		l.s("220 mx\r\n")
		return l
	}
	for _, c := range []struct {
		name string
		make func() (*line, time.Time)
	}{
		{"refused", func() (*line, time.Time) {
			l := newLine()
			l.send(0, syn, "")
			l.clock = l.clock.Add(pause / 5)
			at := l.clock
			l.raw(1, 0, l.seq[0], rst|ack, "")
			return l, at
		}},
		{"nothing said", func() (*line, time.Time) {
			l := newLine().open()
			l.clock = l.clock.Add(pause)
			at := l.clock
			l.send(1, rst|ack, "")
			return l, at
		}},
		{"in order", func() (*line, time.Time) {
			l := greeted()
			l.clock = l.clock.Add(pause)
			at := l.clock
			l.send(1, rst|ack, "")
			return l, at
		}},
		{"with octets behind it", func() (*line, time.Time) {
			l := greeted()
			l.clock = l.clock.Add(pause)
			at := l.clock
			l.raw(1, l.seq[1]+4, l.seq[0], rst|ack, "")
			l.s("421 ")
			return l, at.Add(time.Millisecond)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, at := c.make()
			r, _ := play(t, l.packets)
			if got := r.one(t).last; !got.Equal(at) {
				t.Errorf("it ends %v after the reset", got.Sub(at))
			}
		})
	}
}

func TestNoSession(t *testing.T) {
	web := netip.MustParseAddrPort("198.51.100.9:80")
	for _, c := range []struct {
		name string
		make func(l *line)
	}{
		{"lone SYN", func(l *line) { l.send(0, syn, "") }},
		{"SYN and answer", func(l *line) { l.send(0, syn, ""); l.send(1, syn|ack, "") }},
		{"lone RST", func(l *line) { l.send(0, rst, "") }},
		{"lone FIN", func(l *line) { l.send(0, fin|ack, "") }},
		{"acknowledgements only", func(l *line) { l.send(0, ack, ""); l.send(1, ack, "") }},
		{"refused on another port", func(l *line) { l.server = web; l.send(0, syn, ""); l.raw(1, 0, l.seq[0], rst|ack, "") }},
		{"established and silent on another port", func(l *line) { l.server = web; l.open().close() }},
		{"SYN and wrong RST", func(l *line) { l.send(0, syn, ""); l.raw(1, 0, l.seq[0]+77, rst|ack, "") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLine()
			c.make(l)
			if r, _ := play(t, l.packets); len(r.talks) != 0 {
				t.Errorf("%s", r.talks[0].script.String())
			}
		})
	}
}

func TestPorts(t *testing.T) {
	l := newLine()
	l.server = netip.MustParseAddrPort("198.51.100.9:80")
	l.open()
	l.c("GET / HTTP/1.0\r\n\r\n")
	r, stats := play(t, l.packets, func(o *Options) { o.AnyPort, o.SMTPPorts = false, []uint16{25} })
	if len(r.talks) != 0 || stats.OtherPort != 4 {
		t.Errorf("%d sessions, %+v", len(r.talks), stats)
	}
	r, _ = play(t, l.packets, func(o *Options) { o.AnyPort, o.POP3Ports = false, []uint16{80} })
	if k := r.one(t); k.conn.Hint != inspect.POP3 {
		t.Error(k.conn.Hint)
	}
	r, _ = play(t, l.packets, func(o *Options) { o.AnyPort = false })
	if k := r.one(t); k.conn.Hint != inspect.AnyProtocol {
		t.Error(k.conn.Hint)
	}
}

func TestWrap(t *testing.T) {
	for _, back := range []uint32{0, 1, 2, 700, 1459, 1460, 1461, 100000} {
		l := newLine()
		l.seq = [2]uint32{-back, -back / 2}
		l.mail(200_000)
		r, _ := play(t, l.packets)
		k := r.one(t)
		k.exact(t, l)
		if k.how != int(inspect.EndClosed) {
			t.Error(k.how)
		}
		// Again with every segment twice, and in disorder.
		r, _ = play(t, disorder(append(slices.Clone(l.packets), l.packets[4:]...), 0, 3))
		for d := range 2 {
			if got := r.talks[0].data[d]; string(got) != string(l.sent[d]) {
				t.Errorf("%d back: direction %d: %d octets of %d", back, d, len(got), len(l.sent[d]))
			}
		}
	}
}

// disorder moves each packet, from the nth on, by up to most places. Times stay in order.
func disorder(packets []Packet, n, most int) []Packet {
	r := rand.New(rand.NewPCG(1, uint64(most)))
	type place struct {
		at int
		p  Packet
	}
	var places []place
	for i, p := range packets {
		at := i
		if i >= n {
			at += r.IntN(most + 1)
		}
		places = append(places, place{at, p})
	}
	slices.SortStableFunc(places, func(a, b place) int { return a.at - b.at })
	out := slices.Clone(packets)
	for i := range out {
		out[i].Data, out[i].Wire = places[i].p.Data, places[i].p.Wire
	}
	return out
}

func TestDisorder(t *testing.T) {
	for _, most := range []int{1, 2, 10, 100, 512} {
		for _, from := range []int{0, 3} { // the handshake too, or not
			t.Run(fmt.Sprint(most, from), func(t *testing.T) {
				l := newLine().mail(3_000_000)
				var twice []Packet
				for i, p := range disorder(l.packets, from, most) {
					twice = append(twice, p)
					if i%7 == 3 && i > 10 {
						twice = append(twice, p)
					}
				}
				r, stats := play(t, twice)
				k := r.one(t)
				k.exact(t, l)
				if k.how != int(inspect.EndClosed) || !k.conn.Started || k.conn.Client != alice {
					t.Error(k.how, k.conn)
				}
				if stats.Lost != 0 || k.overlaps != 0 {
					t.Errorf("%+v", stats)
				}
				// A reply never comes before what it answers.
				script := k.script.String()
				last := 0
				for _, word := range []string{"220 mx", "EHLO", "250 mx", "DATA", "354 go", "0123", "\\r\\n.\\r\\n", "250 ok", "QUIT", "221 bye"} {
					i := strings.Index(script[last:], strings.TrimPrefix(word, "\\r\\n"))
					if i < 0 {
						t.Fatalf("%q comes too early", word)
					}
					last += i
				}
			})
		}
	}
}

func TestLateReply(t *testing.T) {
	// The capture gives the reply before the command that it acknowledges.
	l := newLine().open()
	l.s("220 mx\r\n")
	l.c("NOOP\r\n")
	l.s("250 ok\r\n")
	n := len(l.packets)
	l.packets[n-1].Data, l.packets[n-2].Data = l.packets[n-2].Data, l.packets[n-1].Data
	r, _ := play(t, l.packets)
	r.one(t).expect(t, `
		s: "220 mx\r\n"
		c: "NOOP\r\n"
		s: "250 ok\r\n"
		close unknown`)
	// The command was missed: the reply waits until that is certain.
	l.clock = l.clock.Add(3 * time.Second)
	l.c("QUIT\r\n")
	r, stats := play(t, without(l.packets, n-1))
	r.one(t).expect(t, `
		s: "220 mx\r\n"
		c: lost 6
		s: "250 ok\r\n"
		c: "QUIT\r\n"
		close unknown`)
	if stats.Lost != 6 {
		t.Errorf("%+v", stats)
	}
}

func TestHoles(t *testing.T) {
	talk := func() *line {
		l := newLine().open()
		l.s("220 mx\r\n")
		l.c("aaaa") // 4
		l.c("bbbb")
		l.c("cccc")
		return l
	}
	t.Run("acknowledged, by time", func(t *testing.T) {
		l := talk()
		l.send(1, ack, "")
		l.clock = l.clock.Add(1900 * time.Millisecond)
		l.send(1, ack, "")
		l.clock = l.clock.Add(200 * time.Millisecond)
		l.send(1, ack, "")
		l.s("250")
		r, _ := play(t, without(l.packets, 5))
		k := r.one(t)
		k.expect(t, `
			s: "220 mx\r\n"
			c: "aaaa"
			c: lost 4 "cccc"
			s: "250"
			close unknown`)
	})
	t.Run("acknowledged, by segments", func(t *testing.T) {
		l := talk()
		for range reorderSegments + 2*sampleSegments {
			l.clock = l.clock.Add(-990 * time.Microsecond)
			l.send(1, ack, "")
		}
		l.c("dddd")
		r, _ := play(t, without(l.packets, 5))
		r.one(t).expect(t, `
			s: "220 mx\r\n"
			c: "aaaa"
			c: lost 4 "cccc"
			c: "dddd"
			close unknown`)
	})
	t.Run("not acknowledged", func(t *testing.T) {
		l := talk()
		l.clock = l.clock.Add(4 * time.Minute) // a patient sender
		l.raw(0, l.seq[0]-8, l.seq[1], ack, "bbbb")
		l.c("dddd")
		r, _ := play(t, without(l.packets, 5))
		r.one(t).expect(t, `
			s: "220 mx\r\n"
			c: "aaaa"
			c: "bbbb"
			c: "cccc"
			c: "dddd"
			close unknown`)
		l = talk()
		l.clock = l.clock.Add(6 * time.Minute)
		l.c("dddd")
		r, _ = play(t, without(l.packets, 5))
		r.one(t).expect(t, `
			s: "220 mx\r\n"
			c: "aaaa"
			c: lost 4 "cccc"
			c: "dddd"
			close unknown`)
	})
	t.Run("acknowledged late, then silence", func(t *testing.T) {
		l := talk()
		l.raw(1, l.seq[1], l.seq[0]-8, ack, "")
		l.send(1, ack, "")
		other := newLine()
		other.server = netip.MustParseAddrPort("198.51.100.9:80")
		for i := range 5 {
			other.clock = l.clock.Add(time.Duration(i+1) * time.Second)
			other.send(0, syn, "")
		}
		packets := append(without(l.packets, 5), other.packets...)
		r, _ := play(t, packets)
		var stamp int
		fmt.Sscan(r.out[3], &stamp)
		if !strings.Contains(r.out[3], "lost 4") || stamp > len(packets) {
			t.Errorf("not before the end:\n%s", strings.Join(r.out, "\n"))
		}
	})
	t.Run("one side only", func(t *testing.T) {
		l := newLine()
		l.open()
		l.c("aaaa")
		l.c("bbbb")
		l.c("cccc")
		l.clock = l.clock.Add(4 * time.Second)
		l.c("dddd")
		l.clock = l.clock.Add(2 * time.Second)
		l.c("eeee")
		l.send(0, fin|ack, "")
		r, _ := play(t, without(l.packets, 1, 4))
		r.one(t).expect(t, `
			c: "aaaa"
			c: lost 4 "cccc"
			c: "dddd"
			c: "eeee"
			c: end
			close unknown`)
	})
	t.Run("one side only: the other side's octets are counted", func(t *testing.T) {
		l := newLine().mail(100)
		var mine []Packet
		for i, p := range l.packets {
			if p.Data[12+3] == alice.Addr().As4()[3] {
				mine = append(mine, l.packets[i])
			}
		}
		r, _ := play(t, mine)
		k := r.one(t)
		if string(k.data[0]) != string(l.sent[0]) || k.lost != [2]int64{0, int64(len(l.sent[1]))} || !k.conn.Started || k.conn.Client != alice {
			t.Error(k.lost, k.conn, k.script.String())
		}
	})
	t.Run("tail", func(t *testing.T) {
		l := talk()
		l.send(1, ack, "")
		r, _ := play(t, without(l.packets, 5, 6))
		r.one(t).expect(t, `
			s: "220 mx\r\n"
			c: "aaaa"
			c: lost 8
			close unknown`)
	})
	t.Run("FIN missed", func(t *testing.T) {
		l := talk()
		l.s("250")
		l.close()
		n := len(l.packets)
		r, _ := play(t, without(l.packets, n-2)) // the server's
		k := r.one(t)
		if k.how != int(inspect.EndClosed) || k.lost != [2]int64{} {
			t.Error(k.script.String())
		}
		r, _ = play(t, without(l.packets, n-2, n-4)) // with the reply before
		k = r.one(t)
		if k.how != int(inspect.EndClosed) || k.lost != [2]int64{0, 3} {
			t.Error(k.script.String())
		}
	})
	t.Run("snapped", func(t *testing.T) {
		l := talk()
		p := &l.packets[5]
		p.Data = p.Data[:len(p.Data)-3]
		r, _ := play(t, l.packets)
		r.one(t).expect(t, `
			s: "220 mx\r\n"
			c: "aaaa"
			c: "b"
			c: lost 3 "cccc"
			close unknown`)
	})
	t.Run("wild acknowledgement", func(t *testing.T) {
		l := talk()
		l.raw(1, l.seq[1], l.seq[0]+20e6, ack, "")
		l.raw(1, l.seq[1], l.seq[0]-1e9, ack, "")
		l.s("250")
		r, _ := play(t, l.packets)
		if k := r.one(t); k.lost != [2]int64{} || string(k.data[1]) != "220 mx\r\n250" {
			t.Error(k.script.String())
		}
	})
	t.Run("wild segment", func(t *testing.T) {
		l := talk()
		l.raw(0, l.seq[0]+500e6, l.seq[1], ack, "far ahead")
		l.raw(0, l.seq[0]-500e6, l.seq[1], ack, "far behind")
		for range 400 {
			l.clock = l.clock.Add(time.Second)
			l.c("x")
		}
		r, _ := play(t, l.packets)
		if k := r.one(t); k.lost != [2]int64{} || string(k.data[0]) != "aaaabbbbcccc"+strings.Repeat("x", 400) {
			t.Error(k.lost, string(k.data[0]))
		}
	})
}

func TestRetransmissions(t *testing.T) {
	l := newLine().open()
	l.s("220 mx\r\n")
	l.c("abcd")
	l.raw(0, l.seq[0]-4, l.seq[1], ack, "abcd")   // again
	l.raw(0, l.seq[0]-1, l.seq[1], ack, "")       // keep-alive
	l.raw(0, l.seq[0]-1, l.seq[1], ack, "d")      // keep-alive with an octet
	l.raw(0, l.seq[0]-4, l.seq[1], ack, "abcdef") // more of it
	l.seq[0] += 2
	l.raw(1, l.seq[1]-8, l.seq[0], ack, "220 mx\r\n250") // the server's, too
	l.seq[1] += 3
	l.raw(0, 1000, 0, syn, "") // the SYN again
	l.raw(1, 5000, 1001, syn|ack, "")
	l.c("gh")
	l.close()
	l.raw(1, l.seq[1]-12, l.seq[0], ack, "220 mx\r\n250") // after the end
	l.raw(0, l.seq[0]-1, l.seq[1], fin|ack, "")
	r, _ := play(t, l.packets)
	r.one(t).expect(t, `
		s: "220 mx\r\n"
		c: "abcd"
		c: "ef"
		s: "250"
		c: "gh"
		c: end
		s: end
		close closed`)
}

func TestFastOpen(t *testing.T) {
	l := newLine()
	l.send(0, syn, "EHLO x\r\n")
	l.send(1, syn|ack, "220 mx\r\n")
	l.s("250")
	r, _ := play(t, l.packets)
	r.one(t).expect(t, `
		c: "EHLO x\r\n"
		s: "220 mx\r\n"
		s: "250"
		close unknown`)
}

// TestOverlap: among segments held back, the one that starts leftmost gives its octets; where both start at the same place
// the longer one, and of two that are equally long the first to arrive; what was given does not change.
func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		name, want string
		overlaps   int
		segments   []string // "offset text", with $ for a FIN; the octet at 0 last
	}{
		{"the first of equals", "0BBBB", 1, []string{"1 BBBB", "1 CCCC"}},
		{"the longer of equals", "0CCCCCC", 1, []string{"1 BBBB", "1 CCCCCC"}},
		{"the longer of equals came first", "0CCCCCC", 1, []string{"1 CCCCCC", "1 BBBB"}},
		{"the longer of equals by its FIN", "0CCCC", 1, []string{"1 BBBB", "1 CCCC$"}},
		{"the longer of equals behind another", "0AACCCC", 2, []string{"2 BBBB", "1 AA", "2 CCCCC"}},
		{"leftmost first", "0AAAAB", 1, []string{"1 AAAA", "3 BBB"}},
		{"leftmost last", "0AAAAB", 1, []string{"3 BBB", "1 AAAA"}},
		{"around", "0AAAAAA", 1, []string{"3 BB", "1 AAAAAA"}},
		{"within", "0AAAAAA", 1, []string{"1 AAAAAA", "3 BB"}},
		{"over two", "0AAAAAAAC", 1, []string{"3 BB", "6 CCC", "1 AAAAAAA"}},
		{"under two", "0AABBBC", 1, []string{"1 AA", "5 CC", "2 BBBB"}},
		{"the same octets", "0ABCDE", 0, []string{"1 ABC", "2 BCD", "1 ABCD", "3 CDE"}},
		{"between", "0AABBCC", 0, []string{"1 AA", "5 CC", "3 BB"}},
		{"delivered octets stay", "0AAx", 0, []string{"1 AA", "-2 yyyyyx"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLine().open()
			base := l.seq[0]
			put := func(s string) {
				var at int
				var text string
				fmt.Sscanf(s, "%d %s", &at, &text)
				flags := uint8(ack)
				text, end := strings.CutSuffix(text, "$")
				if end {
					flags |= fin
				}
				l.raw(0, base+uint32(at), l.seq[1], flags, text)
			}
			for _, s := range c.segments {
				if strings.HasPrefix(s, "-") {
					put("0 0")
				}
				put(s)
			}
			if !strings.HasPrefix(c.segments[len(c.segments)-1], "-") {
				put("0 0")
			}
			r, _ := play(t, l.packets)
			if k := r.one(t); string(k.data[0]) != c.want || k.overlaps != c.overlaps || k.lost[0] != 0 {
				t.Errorf("%q, %d overlaps, %d lost", k.data[0], k.overlaps, k.lost[0])
			}
		})
	}
}

func TestMidStream(t *testing.T) {
	l := newLine()
	l.c("first\r\n")
	l.s("250\r\n")
	l.packets[0], l.packets[1] = l.packets[1], l.packets[0]
	r, _ := play(t, l.packets)
	k := r.one(t)
	k.expect(t, `
		c: "first\r\n"
		s: "250\r\n"
		close unknown`)
	if k.conn.Started || k.conn.Client != alice {
		t.Error(k.conn)
	}
	// By the lower port, then.
	l = newLine()
	l.client, l.server = netip.MustParseAddrPort("192.0.2.7:40000"), netip.MustParseAddrPort("192.0.2.8:39999")
	l.s("hello")
	r, _ = play(t, l.packets)
	if k := r.one(t); k.conn.Client != l.client {
		t.Error(k.conn)
	}
	// An answer to a SYN that was missed says who is who, whatever the ports.
	l = newLine()
	l.client, l.server = netip.MustParseAddrPort("192.0.2.7:25"), netip.MustParseAddrPort("192.0.2.8:39999")
	l.open()
	l.c("hello")
	r, _ = play(t, l.packets[1:])
	if k := r.one(t); k.conn.Client != l.client || !k.conn.Started {
		t.Error(k.conn)
	}
}

// TestKeepAlive: a keep-alive may carry an octet that is none of the stream's, also where it is all that was seen of it
// before.
func TestKeepAlive(t *testing.T) {
	for _, c := range []struct {
		name, want string
		make       func(l *line)
	}{
		{"acknowledged", `c: "QUIT\r\n"`, func(l *line) {
			l.raw(0, l.seq[0]-1, l.seq[1], ack, "\x00")
			l.send(1, ack, "")
			l.c("QUIT\r\n")
		}},
		{"sent again", `c: "QUIT\r\n"`, func(l *line) {
			l.raw(0, l.seq[0]-1, l.seq[1], ack, "\x00")
			l.raw(0, l.seq[0]-1, l.seq[1], ack, "\x00")
			l.c("QUIT\r\n")
		}},
		{"server's", "s: \"421 bye\\r\\n\"\nc: \"QUIT\\r\\n\"", func(l *line) {
			l.raw(1, l.seq[1]-1, l.seq[0], ack, "\x00")
			l.send(0, ack, "")
			l.s("421 bye\r\n")
			l.c("QUIT\r\n")
		}},
		{"acknowledged before", `c: "QUIT\r\n"`, func(l *line) {
			l.send(1, ack, "")
			l.raw(0, l.seq[0]-1, l.seq[1], ack, "d")
			l.c("QUIT\r\n")
		}},
		{"alone", `c: "\x00"`, func(l *line) { l.raw(0, l.seq[0]-1, l.seq[1], ack, "\x00") }},
		{"one octet of a stream", `c: "Q"` + "\n" + `c: "UIT\r\n"`, func(l *line) {
			l.c("Q")
			l.send(1, ack, "")
			l.c("UIT\r\n")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLine()
			c.make(l)
			r, _ := play(t, l.packets)
			r.one(t).expect(t, c.want+"\nclose unknown")
		})
	}
}

func TestReuse(t *testing.T) {
	const rounds = 1000
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, variant := range []string{"closed", "reset", "open", "SYN missed"} {
		t.Run(variant, func(t *testing.T) {
			var packets []Packet
			var lines []*line
			clock := day
			for i := range rounds {
				l := newLine()
				l.clock = clock
				l.seq = [2]uint32{rnd.Uint32(), rnd.Uint32()}
				l.open()
				l.s(fmt.Sprint("220 ", i))
				l.c(fmt.Sprint("EHLO ", i))
				switch variant {
				case "closed", "SYN missed":
					l.close()
				case "reset":
					l.send(0, rst|ack, "")
				}
				clock = l.clock
				lines = append(lines, l)
				if variant == "SYN missed" && i > 0 {
					l.packets = l.packets[2:]
				}
				packets = append(packets, l.packets...)
			}
			r, _ := play(t, packets)
			if len(r.talks) != rounds {
				t.Fatal(len(r.talks))
			}
			for i, k := range r.talks {
				if variant == "SYN missed" && i > 0 && k.conn.Started {
					t.Error("started")
				}
				k.exact(t, lines[i])
				if k.how < 0 {
					t.Error("no end")
				}
			}
		})
	}
}

func TestOrdinal(t *testing.T) {
	var packets []Packet
	for i := range 5 {
		l := newLine()
		l.seq[0] += uint32(i) * 1e8
		l.open()
		l.c("x")
		l.close()
		for j := range l.packets {
			l.packets[j].Time = 0 // a capture without a clock
		}
		packets = append(packets, l.packets...)
	}
	r, _ := play(t, packets)
	for i, k := range r.talks {
		if k.conn.Ordinal != i {
			t.Error(i, k.conn.Ordinal)
		}
	}
	var o ordinals
	seen := make(map[int]bool)
	for i := range 3 * maxOrdinals {
		n := o.next(flowKey{ports: uint64(i)}, 5000)
		if i >= maxOrdinals && (n == 0 || seen[n]) {
			t.Fatal(i, n)
		}
		seen[n] = true
	}
	if len(o.count) > maxOrdinals {
		t.Error(len(o.count))
	}
	if n := o.next(flowKey{}, 9000); n != 0 || len(o.count) != 1 {
		t.Error(n, len(o.count))
	}
}

func TestSYNReplaced(t *testing.T) {
	l := newLine()
	l.raw(0, 77, 0, syn, "")
	l.mail(100)
	r, _ := play(t, l.packets)
	k := r.one(t)
	k.exact(t, l)
	if !k.conn.Begin.Equal(day.Add(time.Millisecond)) {
		t.Error(k.conn.Begin)
	}
}

func TestIgnored(t *testing.T) {
	l := newLine().mail(10_000)
	again := newLine()
	again.seq = [2]uint32{5e8, 6e8}
	again.clock = l.clock
	again.mail(100)
	r := new(recorder)
	r.ignore = func(c inspect.Conn) bool { return c.Begin.Equal(day) }
	_, err := run(t.Context(), Options{Recorder: r, Workers: 1}, &memory{packets: append(l.packets, again.packets...)}, r.create)
	if err != nil || len(r.talks) != 2 {
		t.Fatal(err, len(r.talks))
	}
	if k := r.talks[0]; k.fed != 1 || k.how != -1 {
		t.Error(k.fed, k.how)
	}
	r.talks[1].exact(t, again)
}

// What is missing counts if there is a record to say it.
func TestLostOfIgnored(t *testing.T) {
	for _, c := range []struct {
		name    string
		port    uint16
		ignored bool
		want    int64
	}{{"mail's port", 25, false, 5}, {"mail on another port", 8025, false, 5}, {"no mail", 8080, true, 0}} {
		t.Run(c.name, func(t *testing.T) {
			l := newLine()
			l.server = netip.AddrPortFrom(mx.Addr(), c.port)
			l.open()
			l.s("220 a\r\n")
			l.s("lost\n")
			l.c("more\r\n")
			l.s("220 b\r\n")
			l.close()
			r := &recorder{ignore: func(inspect.Conn) bool { return c.ignored }}
			o := Options{Recorder: r, AnyPort: true, Workers: 1}
			stats, err := run(t.Context(), o, &memory{packets: without(l.packets, 4)}, r.create)
			if err != nil || stats.Lost != c.want {
				t.Errorf("%d octets are missing, not %d, %v", stats.Lost, c.want, err)
			}
		})
	}
}

func TestClockGoesBack(t *testing.T) {
	l := newLine()
	l.open()
	l.s("220")
	l.clock = l.clock.Add(-time.Hour)
	l.c("EHLO")
	l.clock = l.clock.Add(-time.Hour)
	l.s("250")
	r, _ := play(t, l.packets) // the recorder panics if time goes back
	r.one(t).exact(t, l)
}
