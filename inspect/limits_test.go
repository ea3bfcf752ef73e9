package inspect

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// dialogue makes a script of flights: "C" or "S", then what that side sends.
func dialogue(hint Hint, said ...string) *script {
	s := newScript()
	s.conn.Hint = hint
	for _, f := range said {
		dir := wire.FromClient
		if f[0] == 'S' {
			dir = wire.FromServer
		}
		s.add(flight{dir: dir, data: []byte(f[1:])})
	}
	return s
}

// records plays a script in pieces of n and returns its records.
func (s *script) records(t *testing.T, n int) (session record.Session, messages []record.Message) {
	t.Helper()
	for line := range strings.Lines(s.play(n)) {
		switch {
		case strings.HasPrefix(line, `{"v":1,"type":"session"`):
			if err := json.Unmarshal([]byte(line), &session); err != nil {
				t.Fatal(err)
			}
		case strings.HasPrefix(line, `{"v":1,"type":"message"`):
			var m record.Message
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			messages = append(messages, m)
		}
	}
	return session, messages
}

func anomalies(list []record.Anomaly, kind string) int {
	for _, a := range list {
		if a.Kind == kind {
			return a.Count
		}
	}
	return 0
}

const (
	greeting = "S220 mx ESMTP\r\n"
	envelope = "CEHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
	accepts  = "S250 mx\r\n250 Ok\r\n250 Ok\r\n354 go on\r\n"
	body     = "CSubject: x\r\n\r\ntext\r\n.\r\n"
	queued   = "S250 Ok: queued as 4XyZ\r\n"
)

// TestPendingLimit: commands that nobody answers are forgotten beyond a limit, and counted all the same.
func TestPendingLimit(t *testing.T) {
	const n = 3 * wire.MaxPending
	s, _ := dialogue(SMTP, greeting, "C"+strings.Repeat("NOOP\r\n", n)).records(t, 7)
	if s.Commands != n || anomalies(s.Anomalies, wire.TooManyPending) != n-wire.MaxPending {
		t.Errorf("%d commands, %v", s.Commands, s.Anomalies)
	}
}

// TestDialogueLimit: the dialogue ends with the number of entries that it has no room for.
func TestDialogueLimit(t *testing.T) {
	sink := new(keepSink)
	session := New(&Config{}, newScript().conn, sink)
	for range 2 * record.MaxDialogue {
		session.Feed(wire.Chunk{Data: []byte("NOOP\r\n")})
	}
	session.Close(newScript().conn.Begin, EndClosed)
	d := sink.session.Dialogue
	if len(d) != record.MaxDialogue+1 || d[record.MaxDialogue].Omitted != record.MaxDialogue {
		t.Errorf("%d entries, the last %+v", len(d), d[len(d)-1])
	}
}

// keepSink keeps the session's record as it is.
type keepSink struct {
	textSink
	session *record.Session
}

func (k *keepSink) Session(s *record.Session) { k.session = s }

// TestHoldLimit: octets behind a DATA that nobody answers become a mail when no more can be held.
func TestHoldLimit(t *testing.T) {
	text := strings.Repeat("a line of the mail\r\n", 1000)
	_, messages := dialogue(SMTP, greeting, envelope+text+".\r\nQUIT\r\n").records(t, 100)
	if len(messages) != 1 || messages[0].Octets != int64(len(text)) || messages[0].Outcome != record.Unknown {
		t.Errorf("%+v", messages)
	}
}

// TestDoubtLimit: behind an ambiguous end of data no more than a bound is held; without a reply it is text.
func TestDoubtLimit(t *testing.T) {
	text := "text\n.\n" + strings.Repeat("a line of the mail\r\n", 10_000)
	for _, n := range []int{0, 1000, 1460} {
		s, messages := dialogue(SMTP, greeting, envelope, accepts, "C"+text+".\r\n", queued, "CQUIT\r\n", "S221 bye\r\n").records(t, n)
		if len(messages) != 1 || messages[0].Octets != int64(len(text)) || messages[0].Outcome != record.Accepted {
			t.Errorf("pieces of %d: %+v", n, messages)
		}
		if anomalies(s.Anomalies, wire.AmbiguousEOD) != 1 || anomalies(s.Anomalies, wire.Smuggling) != 0 {
			t.Errorf("pieces of %d: %v", n, s.Anomalies)
		}
	}
}

// TestRecipientLimit: all recipients are counted, a bounded number is kept.
func TestRecipientLimit(t *testing.T) {
	const n = record.MaxRecipients + 500
	said := []string{greeting, "CEHLO x\r\nMAIL FROM:<a@example.org>\r\n", "S250 mx\r\n250 Ok\r\n"}
	for i := range n {
		said = append(said, fmt.Sprintf("CRCPT TO:<%d@example.net>\r\n", i), "S250 Ok\r\n")
	}
	said = append(said, "CDATA\r\n", "S354 go on\r\n", body, queued)
	_, messages := dialogue(SMTP, said...).records(t, 0)
	if m := messages[0]; len(m.Rcpt) != record.MaxRecipients || m.Recipients.Accepted != n || m.Outcome != record.Accepted {
		t.Errorf("%d kept, %+v, %s", len(m.Rcpt), m.Recipients, m.Outcome)
	}
}

// TestLoginLimit: all attempts are told, a bounded number is in the record.
func TestLoginLimit(t *testing.T) {
	const n = record.MaxLogins + 100
	said := []string{"S+OK ready\r\n"}
	for range n {
		said = append(said, "CUSER alice\r\n", "S+OK\r\n", "CPASS guess\r\n", "S-ERR [AUTH] no\r\n")
	}
	script := dialogue(POP3, said...)
	s, _ := script.records(t, 0)
	if len(s.Auth) != record.MaxLogins || len(s.Errors) != record.MaxErrors || s.Commands != 2*n {
		t.Errorf("%d logins, %d errors, %d commands", len(s.Auth), len(s.Errors), s.Commands)
	}
	if told := strings.Count(script.play(0), "login "); told != n {
		t.Errorf("%d attempts told, want %d", told, n)
	}
}

// TestLongLines: a line of any length costs a bounded memory, and the dialogue goes on behind it.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	s, messages := dialogue(
		SMTP, "S220 "+long+"\r\n", "CEHLO "+long+"\r\n", "S250 mx\r\n", "CMAIL FROM:<"+long+"@example.org>\r\n", "S250 Ok\r\n",
		"CRCPT TO:<b@example.net>\r\nDATA\r\n", "S550 "+long+"\r\n554 no\r\n", "CQUIT\r\n", "S221 bye\r\n",
	).records(t, 1000)
	if s.Commands != 5 || s.Replies != 6 || len(s.Banner) > record.MaxText || len(s.Helo) > record.MaxText {
		t.Errorf("%d commands, %d replies, banner of %d, helo of %d", s.Commands, s.Replies, len(s.Banner), len(s.Helo))
	}
	if len(messages) != 1 || messages[0].Outcome != record.Rejected || anomalies(s.Anomalies, wire.LongLine) != 4 {
		t.Errorf("%+v %v", messages, s.Anomalies)
	}
}

// TestUIDLimit: the unique ids of a huge maildrop are kept up to a limit, and the last ones do no harm.
func TestUIDLimit(t *testing.T) {
	var list strings.Builder
	for i := 1; i <= 12_000; i++ {
		fmt.Fprintf(&list, "%d uid-%d\r\n", i, i)
	}
	_, messages := dialogue(
		POP3, "S+OK ready\r\n", "CUIDL\r\n", "S+OK\r\n"+list.String()+".\r\n", "CRETR 10000\r\nRETR 12000\r\n",
		"S+OK\r\nSubject: x\r\n\r\n.\r\n+OK\r\nSubject: y\r\n\r\n.\r\n",
	).records(t, 0)
	if len(messages) != 2 || messages[0].UIDL != "uid-10000" || messages[1].UIDL != "" {
		t.Errorf("%+v", messages)
	}
}

// TestTransactionLimit: mails that wait for their reply are finished as unknown beyond a limit.
func TestTransactionLimit(t *testing.T) {
	const n = maxTransactions + 50
	one := strings.TrimPrefix(envelope, "CEHLO x\r\n") + body[1:]
	said := []string{greeting, "CEHLO x\r\n", "S250 mx\r\n"}
	for range n {
		said = append(said, "C"+strings.TrimSuffix(one, body[1:]), "S250 Ok\r\n250 Ok\r\n354 go on\r\n", body)
	}
	s, messages := dialogue(SMTP, said...).records(t, 0)
	if s.Messages != n || len(messages) != n {
		t.Errorf("%d messages of %d", len(messages), n)
	}
}

// TestLinear: twice the input takes no more than a little over twice the work, counted in events, for inputs that invite
// to look at everything again.
func TestLinear(t *testing.T) {
	for name, make := range map[string]func(n int) *script{
		"ambiguous ends": func(n int) *script {
			return dialogue(SMTP, greeting, envelope, accepts, "C"+strings.Repeat("\n.\n", n)+"\r\n.\r\n")
		},
		"empty lines": func(n int) *script { return dialogue(SMTP, greeting, "C"+strings.Repeat("\r\n", n)) },
		"auth lines":  func(n int) *script { return dialogue(SMTP, greeting, "C"+strings.Repeat("AUTH LOGIN\r\n", n)) },
		"data lines":  func(n int) *script { return dialogue(SMTP, greeting, "C"+strings.Repeat("DATA\r\n", n)) },
	} {
		work := func(n int) float64 {
			return testing.AllocsPerRun(1, func() { make(n).play(0) })
		}
		if a, b := work(20_000), work(40_000); b > 2.6*a+1000 {
			t.Errorf("%s: %.0f allocations for n, %.0f for 2n", name, a, b)
		}
	}
}

// BenchmarkSession runs whole sessions of one mail and reports allocations for each line of the dialogue.
func BenchmarkSession(b *testing.B) {
	for _, octets := range []int{2_000, 2_000_000} {
		b.Run(fmt.Sprint(octets), func(b *testing.B) {
			text := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", octets/78) + ".\r\n"
			s := dialogue(
				SMTP, greeting, "CEHLO x\r\n", "S250 mx\r\n", "CMAIL FROM:<a@example.org>\r\n", "S250 Ok\r\n", "CRCPT TO:<b@example.net>\r\n",
				"S250 Ok\r\n", "CDATA\r\n", "S354 go on\r\n", "C"+text, queued, "CQUIT\r\n", "S221 bye\r\n",
			)
			const lines = 13
			cfg := new(Config)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				session := New(cfg, s.conn, nullSink{})
				for _, f := range s.flights {
					session.Feed(wire.Chunk{Dir: f.dir, Time: s.conn.Begin, Data: f.data})
				}
				session.Close(s.conn.Begin, EndClosed)
			}
			allocs := testing.AllocsPerRun(10, func() {
				session := New(cfg, s.conn, nullSink{})
				for _, f := range s.flights {
					session.Feed(wire.Chunk{Dir: f.dir, Time: s.conn.Begin, Data: f.data})
				}
				session.Close(s.conn.Begin, EndClosed)
			})
			b.ReportMetric(allocs/lines, "allocs/line")
		})
	}
}

type nullSink struct{}

func (nullSink) Line(*record.Session, record.Line)        {}
func (nullSink) Login(*record.Session, int, record.Login) {}
func (nullSink) Secret(*record.Session, record.Secret)    {}
func (nullSink) OpenMail(*record.Message) Mail            { return nil }
func (nullSink) Message(*record.Message, Mail)            {}
func (nullSink) Session(*record.Session)                  {}
