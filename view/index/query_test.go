package index

import (
	"database/sql"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// recorded returns all sessions of a data directory with their messages, the newest first.
func recorded(t *testing.T, dir string) (all []template) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "logs", "sessions-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	of := map[string][]record.Message{}
	for _, f := range files {
		for _, l := range lines(t, dir, strings.Replace(filepath.Base(f), "sessions", "messages", 1)) {
			var m record.Message
			if err := json.Unmarshal([]byte(l), &m); err != nil {
				t.Fatal(err)
			}
			of[m.Session] = append(of[m.Session], m)
		}
	}
	for _, f := range files {
		for _, l := range lines(t, dir, filepath.Base(f)) {
			var s record.Session
			if err := json.Unmarshal([]byte(l), &s); err != nil {
				t.Fatal(err)
			}
			all = append(all, template{s, of[s.ID]})
		}
	}
	slices.SortStableFunc(all, func(a, b template) int { return b.s.Begin.Compare(a.s.Begin.Time) })
	return all
}

func anyMessage(t template, holds func(m *record.Message) bool) bool {
	return slices.ContainsFunc(t.ms, func(m record.Message) bool { return holds(&m) })
}

func anyError(t template, holds func(code int, enhanced string) bool) bool {
	return slices.ContainsFunc(t.s.Errors, func(e record.Error) bool { return holds(e.Code, e.Enhanced) }) ||
		anyMessage(t, func(m *record.Message) bool {
			return m.Reply != nil && m.Reply.Code >= 400 && holds(m.Reply.Code, m.Reply.Enhanced) ||
				slices.ContainsFunc(m.Rcpt, func(r record.Rcpt) bool { return r.Code >= 400 && holds(r.Code, r.Enhanced) })
		})
}

func matches(address, wanted string) bool {
	address, wanted = strings.ToLower(address), strings.ToLower(wanted)
	local, domain, _ := cutAddress(address)
	return address == wanted || local == strings.TrimSuffix(wanted, "@") && local != "" ||
		domain == strings.TrimPrefix(wanted, "@") || strings.HasSuffix(domain, "."+strings.TrimPrefix(wanted, "@"))
}

func senders(m *record.Message) []string {
	if m.Protocol == record.POP3 {
		return bareAll(m.Header.From)
	}
	if m.From == nil {
		return nil
	}
	return []string{*m.From}
}

func rcpts(m *record.Message) []string {
	if m.Protocol == record.POP3 {
		return append(bareAll(m.Header.To), bareAll(m.Header.Cc)...)
	}
	var list []string
	for _, r := range m.Rcpt {
		list = append(list, r.To)
	}
	return list
}

func bareAll(list []string) (all []string) {
	for _, a := range list {
		all = append(all, bare(a))
	}
	return all
}

func in(net string, ip string) bool {
	return netip.MustParsePrefix(net).Contains(netip.MustParseAddr(ip))
}

// TestFilters holds each filter against the records themselves.
func TestFilters(t *testing.T) {
	dir := t.TempDir()
	makeDays(t, dir, 3000, 1000)
	if err := addDay(t, dir, captured(t)); err != nil {
		t.Fatal(err)
	}
	x, _ := open(t, dir)
	catchUp(t, x)
	all := recorded(t, dir)
	mid := all[len(all)/2].s.Begin.Time
	net := netip.MustParsePrefix
	for name, c := range map[string]struct {
		q     Query
		holds func(template) bool
	}{
		"all":       {Query{}, func(template) bool { return true }},
		"protocol":  {Query{Protocol: record.POP3}, func(t template) bool { return t.s.Protocol == record.POP3 }},
		"direction": {Query{Direction: record.Unknown}, func(t template) bool { return t.s.Direction == record.Unknown }},
		"status":    {Query{Status: record.Reset}, func(t template) bool { return t.s.Status == record.Reset }},
		"client":    {Query{Client: net("192.0.2.7/32")}, func(t template) bool { return t.s.Client.IP == "192.0.2.7" }},
		"client/8":  {Query{Client: net("10.0.0.0/8")}, func(t template) bool { return in("10.0.0.0/8", t.s.Client.IP) }},
		"client/5":  {Query{Client: net("8.0.0.0/5")}, func(t template) bool { return in("8.0.0.0/5", t.s.Client.IP) }},
		"client/14": {Query{Client: net("1.4.0.0/14")}, func(t template) bool { return in("1.4.0.0/14", t.s.Client.IP) }},
		"client/27": {Query{Client: net("192.0.2.0/27")}, func(t template) bool { return in("192.0.2.0/27", t.s.Client.IP) }},
		"client/v6": {Query{Client: net("2001:d00::/24")}, func(t template) bool { return in("2001:d00::/24", t.s.Client.IP) }},
		"client/77": {Query{Client: net("2001:db8::/77")}, func(t template) bool { return in("2001:db8::/77", t.s.Client.IP) }},
		"server":    {Query{Server: net("2001:db8::25/128")}, func(t template) bool { return t.s.Server.IP == "2001:db8::25" }},
		"server/v6": {Query{Server: net("2001:db8::/32")}, func(t template) bool { return in("2001:db8::/32", t.s.Server.IP) }},
		"user": {Query{User: "Alice"}, func(t template) bool {
			return slices.ContainsFunc(t.s.Auth, func(l record.Login) bool { return strings.EqualFold(l.User, "alice") }) ||
				anyMessage(t, func(m *record.Message) bool { return strings.EqualFold(m.User, "alice") })
		}},
		"from": {Query{From: "host7.example"}, func(t template) bool {
			return anyMessage(t, func(m *record.Message) bool {
				return slices.ContainsFunc(senders(m), func(a string) bool { return matches(a, "host7.example") })
			})
		}},
		"from-address": {Query{From: "A@example.org"}, func(t template) bool {
			return anyMessage(t, func(m *record.Message) bool {
				return slices.ContainsFunc(senders(m), func(a string) bool { return strings.EqualFold(a, "a@example.org") })
			})
		}},
		"from-null": {Query{From: "<>"}, func(t template) bool {
			return anyMessage(t, func(m *record.Message) bool { return m.From != nil && *m.From == "" })
		}},
		"to": {Query{To: "word1"}, func(t template) bool {
			return anyMessage(t, func(m *record.Message) bool {
				return slices.ContainsFunc(rcpts(m), func(a string) bool { return matches(a, "word1") })
			})
		}},
		"subject": {Query{Subject: "Word1"}, func(t template) bool {
			return anyMessage(t, func(m *record.Message) bool {
				return m.Header != nil && slices.Contains(strings.Fields(m.Header.Subject), "word1")
			})
		}},
		"code":     {Query{Code: "554"}, func(t template) bool { return anyError(t, func(c int, _ string) bool { return c == 554 }) }},
		"class":    {Query{Code: "4xx"}, func(t template) bool { return anyError(t, func(c int, _ string) bool { return c/100 == 4 }) }},
		"enhanced": {Query{Code: "5.7.1"}, func(t template) bool { return anyError(t, func(_ int, e string) bool { return e == "5.7.1" }) }},
		"err":      {Query{Code: "err"}, func(t template) bool { return anyError(t, func(c int, _ string) bool { return c == 0 }) }},
		"errors":   {Query{Errors: true}, func(t template) bool { return len(t.s.Errors) > 0 }},
		"auth-failed": {Query{AuthFailed: true}, func(t template) bool {
			return slices.ContainsFunc(t.s.Auth, func(l record.Login) bool { return l.Outcome == record.Failure })
		}},
		"min-size": {Query{MinSize: 5000}, func(t template) bool {
			return anyMessage(t, func(m *record.Message) bool { return m.Octets >= 5000 })
		}},
		"since": {Query{Since: mid}, func(t template) bool { return !t.s.Begin.Before(mid) }},
		"until": {Query{Until: mid}, func(t template) bool { return t.s.Begin.Before(mid) }},
		"three": {
			Query{Errors: true, Protocol: record.SMTP, Until: mid},
			func(t template) bool {
				return len(t.s.Errors) > 0 && t.s.Protocol == record.SMTP && t.s.Begin.Before(mid)
			},
		},
	} {
		var want []string
		for _, r := range all {
			if c.holds(r) {
				want = append(want, r.s.ID)
			}
		}
		if len(want) == 0 {
			t.Errorf("%s: no session at all", name)
		}
		got := ids(t, x, c.q)
		if !sameSet(got, want) {
			t.Errorf("%s: %d sessions, not %d", name, len(got), len(want))
		}
		c.q.Limit = 3
		if page := ids(t, x, c.q); !slices.Equal(page, got[:min(3, len(got))]) {
			t.Errorf("%s: the first page is %q, not %q", name, page, got[:min(3, len(got))])
		}
	}
}

// addDay adds the records of another data directory.
func addDay(t *testing.T, dir, from string) error {
	files, err := filepath.Glob(filepath.Join(from, "logs", "*s-*.jsonl"))
	for _, f := range files {
		write(t, dir, filepath.Base(f), strings.Join(lines(t, from, filepath.Base(f)), ""))
	}
	return err
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// ids returns the sessions' ids, and holds their order against their times.
func ids(t *testing.T, x *Index, q Query) (list []string) {
	t.Helper()
	last := time.Unix(1<<40, 0)
	for r, err := range x.Sessions(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Begin.After(last) {
			t.Errorf("%s began later than the one before it", r.ID)
		}
		last = r.Begin
		list = append(list, r.ID)
	}
	return list
}

// TestText: words are found wherever they were said, in any script, and marks of foreign text are no filters.
func TestText(t *testing.T) {
	s, ms := sample(1, time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC))
	ms[0].Header.Subject = "Über Größe — हिन्दी 日本 \ue000dinbound "
	ms[0].Header.From = []string{"Zoë <zoe@elsewhere.example>"}
	ms[0].Parts = []record.Part{{Type: "application/pdf", Name: "rechnung_2026.pdf"}}
	s.Errors[0].Text = "Mailbox is not for you"
	s.Direction, ms[0].Direction = record.Outbound, record.External
	const day = "2026-11-22.jsonl"
	x, _ := open(t, dataDir(t, map[string]string{
		"sessions-" + day: string(s.AppendJSON(nil)) + "\n", "messages-" + day: string(ms[0].AppendJSON(nil)) + "\n",
	}))
	catchUp(t, x)
	for text, want := range map[string]int{
		"über": 1, "uber grosse": 0, "größe": 1, "हिन्दी": 1, "日本": 1, "zoë": 1, "elsewhere.example": 1, "zoe@elsewhere.example": 1,
		"rechnung": 1, "rech*": 1, "pdf 2026": 1, "mailbox you": 1, "mailbox nobody": 0, "sender1": 1, "\ue000dinbound": 1,
		"q1.1": 1, "\" OR \"x": 0, "or": 0, "NEAR(mailbox you)": 0,
	} {
		if n := len(ids(t, x, Query{Text: text})); n != want {
			t.Errorf("%q: %d sessions, not %d", text, n, want)
		}
	}
	for direction, want := range map[string]int{record.Outbound: 1, record.External: 1, record.Inbound: 0} { // the subject forges the last one
		if n := len(ids(t, x, Query{Direction: direction})); n != want {
			t.Errorf("%s: %d sessions, not %d", direction, n, want)
		}
	}
	if err := (&Query{Text: "--"}).Check(); err == nil {
		t.Error("-- is no word")
	}
}

// TestNews: what is taken in behind the cursor comes once, in the order in which it was recorded, if it is wanted.
func TestNews(t *testing.T) {
	begin := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	const day = "2026-11-22.jsonl"
	dir := dataDir(t, nil)
	x, _ := open(t, dir)
	text := ""
	add := func(n int, begin time.Time) {
		s, _ := sample(n, begin)
		if n%2 == 0 {
			s.Errors = nil
		}
		text += string(s.AppendJSON(nil)) + "\n"
		write(t, dir, "sessions-"+day, text)
		catchUp(t, x)
	}
	news := func(c Cursor, q Query) (list []string) {
		for r, err := range x.News(t.Context(), q, c) {
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, r.ID)
		}
		return list
	}
	add(1, begin)
	c, err := x.Cursor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := news(c, Query{}); got != nil {
		t.Error(got)
	}
	add(3, begin.Add(time.Hour))
	add(2, begin.Add(time.Minute))
	other := Cursor{day[:10]: c[day[:10]]}
	if got := news(c, Query{}); !slices.Equal(got, []string{"session3", "session2"}) {
		t.Error(got)
	}
	if got := news(c, Query{}); got != nil {
		t.Error(got)
	}
	for r, err := range x.Sessions(t.Context(), Query{}) {
		if err != nil || other.Has(r) != (r.ID == "session1") || !c.Has(r) {
			t.Errorf("%s is behind the first cursor: %v, and behind the last one: %v; %v", r.ID, !other.Has(r), !c.Has(r), err)
		}
	}
	if got := news(other, Query{Errors: true}); !slices.Equal(got, []string{"session3"}) {
		t.Error(got)
	}
}

// TestPlans: no query sorts, or looks at sessions that its words do not name.
func TestPlans(t *testing.T) {
	x, _ := open(t, dataDir(t, nil))
	now := time.Now()
	for _, q := range []Query{
		{},
		{Since: now},
		{Until: now, Before: 1},
		{Errors: true},
		{Client: netip.MustParsePrefix("10.0.0.0/9"), Since: now},
		{From: "a@example.org", To: "example.net", Code: "5xx"},
		{MinSize: 1000},
		{Text: "word*"},
	} {
		text, args, err := q.statement()
		if err != nil {
			t.Fatal(err)
		}
		rows, err := x.DB().QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, args...)
		plan, err := collect(rows, err, func(r *sql.Rows, s *string) error {
			var id, parent, unused int
			return r.Scan(&id, &parent, &unused, s)
		})
		if err != nil || len(plan) == 0 {
			t.Fatal(plan, err)
		}
		for i, step := range plan {
			if strings.Contains(step, "TEMP B-TREE") || strings.HasPrefix(step, "SCAN") && (i > 0 || strings.Contains(step, "SCAN s") && q != Query{}) {
				t.Errorf("%+v: %q", q, plan)
			}
		}
	}
}
