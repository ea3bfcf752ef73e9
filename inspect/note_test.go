package inspect

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// TestNoteLimit: what is said before the session has begun is bounded, and nothing is said of what is no mail.
func TestNoteLimit(t *testing.T) {
	for hint, want := range map[Hint]int{SMTP: 1 + maxNotes, AnyProtocol: 0} {
		s := newScript()
		s.conn.Hint = hint
		sink := new(textSink)
		session := New(new(Config), s.conn, sink)
		for i := range 3 * maxNotes {
			session.Note(s.conn.Begin, "note %d: %s", i, strings.Repeat("x", 2*record.MaxText))
		}
		session.Feed(wire.Chunk{Dir: wire.FromServer, Time: s.conn.Begin, Data: []byte("SSH-2.0-x\r\n")})
		said := sink.out.String()
		if got := strings.Count(said, "=== note ") + strings.Count(said, "=== connected "); got != want {
			t.Errorf("hint %d: %d lines of %d are said", hint, got, want)
		}
		if limit := 2 * maxNotes * record.MaxText; len(said) > limit {
			t.Errorf("%d octets are said", len(said))
		}
		session.Close(s.conn.Begin, EndClosed)
		session.Note(s.conn.Begin, "too late")
		session.Anomaly(wire.Overload, s.conn.Begin)
		if strings.Contains(sink.out.String(), "too late") {
			t.Error("a note behind the end is said")
		}
	}
}

// labelSink writes what replies are counted under.
type labelSink struct {
	nullSink
	labels []string
}

func (k *labelSink) Line(_ *record.Session, l record.Line) {
	label := fmt.Sprintf("%s %d %v", l.Command, l.Code, l.Wait)
	if l.Kind == record.FromServer || l.Kind == record.Refusal {
		k.labels = append(k.labels, label)
	} else if label != " 0 0s" {
		k.labels = append(k.labels, "no reply, but "+label)
	}
}

// TestLabels: a line that is a reply says what it answers, in words whose number does not grow with what clients say.
func TestLabels(t *testing.T) {
	smtp := dialogue(
		SMTP, greeting, "CEHLO x\r\n", "S250-mx\r\n250 AUTH LOGIN\r\n", "CXYZZY\r\n", "S500 what\r\n", "C\r\n", "S500 what\r\n", "CCONNECT x\r\n", "S502 no\r\n",
		"Cauth login\r\n", "S334 VXNlcm5hbWU6\r\n", "CYWxpY2U=\r\n", "S535 no\r\n", "CMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n",
		"S250 Ok\r\n550 no\r\n354 go on\r\n", body, "S554 no\r\n", "S421 bye\r\n",
	)
	pop3 := dialogue(POP3, "S+OK ready\r\n", "CUSER alice\r\n", "S+OK\r\n", "CFOO\r\n", "S-ERR what\r\n", "CUIDL\r\n", "S+OK\r\n1 a\r\n", "S.\r\n", "CRETR 1\r\n", "S-ERR none\r\n")
	for _, c := range []struct {
		script *script
		want   string
	}{
		{smtp, "CONNECT 220 1ms, EHLO 250 1ms, OTHER 500 1ms, OTHER 500 1ms, OTHER 502 1ms, AUTH 334 1ms, AUTH 535 1ms, " +
			"MAIL 250 1ms, RCPT 550 1ms, DATA 354 1ms, DATA-END 554 1ms,  421 -1ns"},
		{pop3, "CONNECT 0 1ms, USER 0 1ms, OTHER 0 1ms, UIDL 0 1ms, RETR 0 1ms"},
	} {
		sink := new(labelSink)
		session := New(new(Config), c.script.conn, sink)
		now := c.script.conn.Begin
		for _, f := range c.script.flights {
			now = now.Add(time.Millisecond)
			session.Feed(wire.Chunk{Dir: f.dir, Time: now, Data: f.data})
		}
		session.Close(now, EndClosed)
		if got := strings.Join(sink.labels, ", "); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
