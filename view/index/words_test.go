package index

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// TestLargeSessions: filters find what a session has, however much else it has.
func TestLargeSessions(t *testing.T) {
	begin := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	var sessions, messages strings.Builder
	add := func(s *record.Session, ms ...*record.Message) {
		s.Messages = len(ms)
		sessions.Write(append(s.AppendJSON(nil), '\n'))
		for _, m := range ms {
			messages.Write(append(m.AppendJSON(nil), '\n'))
		}
	}
	mailing, ms := sample(1, begin)
	for i := range record.MaxRecipients {
		ms[0].Rcpt = append(ms[0].Rcpt, record.Rcpt{To: fmt.Sprintf("a.very.long.name.of.user%04d@host%d.customers.example.net", i, i%7), Code: 250})
	}
	last := &ms[0].Rcpt[len(ms[0].Rcpt)-1]
	last.Delivered = &record.Reply{Code: 452, Enhanced: "4.2.2", Text: "over quota"}
	add(mailing, ms...)

	fetching, _ := sample(2, begin)
	fetching.Protocol = record.POP3
	var fetched []*record.Message
	for i := range 1000 {
		_, ms := sample(2, begin)
		m := ms[0]
		m.ID, m.Transaction, m.Protocol, m.From, m.Rcpt = record.MessageID(m.Session, i+1), i+1, record.POP3, nil, nil
		m.Header.From = []string{fmt.Sprintf("Writer %d <writer%d@example.org>", i, i)}
		m.Header.Subject = fmt.Sprintf("topic%d %s", i, strings.Repeat("and so on ", 30))
		m.Header.MessageID = fmt.Sprintf("<%d@example.org>", i)
		fetched = append(fetched, m)
	}
	add(fetching, fetched...)

	guessing, _ := sample(3, begin)
	guessing.Auth = []record.Login{{Mechanism: "PLAIN", User: "late", Outcome: record.Failure}, {User: "early@example.net", Outcome: record.Success}}
	for i := range record.MaxErrors {
		guessing.Errors = append(guessing.Errors, record.Error{Code: 550, Text: fmt.Sprintf("guess%d: %s", i, strings.Repeat("no such user ", 20))})
	}
	guessing.Errors[len(guessing.Errors)-1].Code = 421
	add(guessing)

	const day = "2026-11-22.jsonl"
	x, _ := open(t, dataDir(t, map[string]string{"sessions-" + day: sessions.String(), "messages-" + day: messages.String()}))
	catchUp(t, x)
	for _, c := range []struct {
		q    Query
		want string
	}{
		{Query{To: "a.very.long.name.of.user0999@"}, mailing.ID},
		{Query{To: "a.very.long.name.of.user0998@host4.customers.example.net"}, mailing.ID},
		{Query{To: "host6.customers.example.net", Protocol: record.SMTP}, mailing.ID},
		{Query{Code: "4.2.2", MinSize: 2000}, mailing.ID},
		{Query{From: "writer999@example.org"}, fetching.ID},
		{Query{Subject: "topic999"}, fetching.ID},
		{Query{Code: "421"}, guessing.ID},
		{Query{User: "late", AuthFailed: true}, guessing.ID},
		{Query{User: "Early"}, guessing.ID},
		{Query{User: "early@EXAMPLE.net"}, guessing.ID},
	} {
		if got := ids(t, x, c.q); len(got) != 1 || got[0] != c.want {
			t.Errorf("%+v: %q, not %q", c.q, got, c.want)
		}
	}
	if got := ids(t, x, Query{User: "early@example.org"}); len(got) != 0 {
		t.Errorf("%q is another user", got)
	}
	if found, err := x.Find(t.Context(), "999@example.org"); err != nil || len(found) != 1 || found[0].Session != fetching.ID {
		t.Errorf("%v, %v", found, err)
	}
	if said, err := x.Problems(t.Context()); said != "" || err != nil {
		t.Errorf("%q, %v", said, err)
	}
}

// TestBoundedWords: what a session may have has an end, which is said.
func TestBoundedWords(t *testing.T) {
	s, ms := sample(1, time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC))
	var messages strings.Builder
	var d doc
	for i := 0; i*record.MaxRecipients*maxDomains < maxTags; i++ {
		m := *ms[0]
		m.ID, m.Transaction, m.Rcpt = record.MessageID(s.ID, i+1), i+1, nil
		for j := range record.MaxRecipients {
			m.Rcpt = append(m.Rcpt, record.Rcpt{To: fmt.Sprintf("x@a.b.c.d.e.f.g%d-%d.example.net", i, j)})
		}
		messages.Write(append(m.AppendJSON(nil), '\n'))
		d.message(&m)
		s.Messages = i + 1
	}
	const day = "2026-11-22.jsonl"
	x, _ := open(t, dataDir(t, map[string]string{
		"sessions-" + day: string(s.AppendJSON(nil)) + "\nnothing\n", "messages-" + day: messages.String(),
	}))
	catchUp(t, x)
	said, err := x.Problems(t.Context())
	if err != nil || !strings.HasPrefix(said, "1 line is no record") || !strings.Contains(said, "; filters may miss 1 of the sessions") {
		t.Errorf("%q, %v", said, err)
	}
	if len(d.tags) != maxTags+1 || len(d.text) > maxSaid+maxWords+len(d.tags)*30 {
		t.Errorf("%d filter words, %d octets", len(d.tags), len(d.text))
	}
	if got := ids(t, x, Query{To: "x@a.b.c.d.e.f.g1-1.example.net"}); len(got) != 1 {
		t.Errorf("%q", got)
	}
}
