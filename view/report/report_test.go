package report

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// trouble adds one of everything that a report should find.
func (w *world) trouble() {
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	failed := func(when time.Time, client, user string) *record.Session {
		return w.session(when, client, mx, func(s *record.Session) {
			login(s, user, record.Failure)
			refuse(s, "AUTH PLAIN", 535, "5.7.8", "Error: authentication failed: "+user+"@example.net")
		})
	}
	// A dictionary attack that gets in; somebody who mistypes; a network; an account that many want; spraying.
	for i := range 60 {
		failed(at(i), "203.0.113.9", fmt.Sprintf("victim%d", i%8))
	}
	w.session(at(61), "203.0.113.9", mx, func(s *record.Session) { login(s, "victim3", record.Success) })
	failed(at(1), "10.0.9.1", "carla")
	w.session(at(2), "10.0.9.1", mx, func(s *record.Session) { login(s, "carla", record.Success) })
	for i := range 15 {
		failed(at(-180+i), fmt.Sprintf("198.51.%d.7", i), fmt.Sprintf("name%d", i))
		failed(at(10+20*i), fmt.Sprintf("100.64.%d.1", i), "boss")
		failed(at(10+20*i), fmt.Sprintf("100.80.0.%d", i), fmt.Sprintf("guess%d", i))
	}
	failed(at(30), "192.0.2.200", hostile)

	// Put off: accepted ten minutes later; never again; accepted once, then put off again; a scanner that got as far as MAIL.
	put := func(when time.Time, client, from, to string, code int) {
		s := w.session(when, client, mx, func(s *record.Session) {
			s.Messages = 1
			if code >= 400 {
				refuse(s, "RCPT TO:<"+to+">", code, "4.7.1", "<"+to+">: Recipient address rejected: Greylisted")
			}
		})
		s.Messages = 0
		w.mail(s, from, []string{to}, func(m *record.Message) {
			if code >= 400 {
				m.Rcpt[0].Code, m.Rcpt[0].Enhanced, m.Rcpt[0].Text = code, "4.7.1", "Greylisted"
				m.Outcome, m.Via, m.Reply = record.Rejected, "", nil
			}
		})
	}
	put(at(0), "192.0.2.1", "later@example.org", "a@example.net", 450)
	put(at(10), "192.0.2.1", "later@example.org", "a@example.net", 250)
	put(at(0), "192.0.2.2", "never@example.org", "a@example.net", 450)
	put(at(5), "192.0.2.2", "never@example.org", "b@example.net", 250)
	put(at(0), "192.0.2.3", "again@example.org", "a@example.net", 450)
	put(at(10), "192.0.2.3", "again@example.org", "a@example.net", 250)
	put(at(20), "192.0.2.3", "again@example.org", "a@example.net", 450)
	for range 3 {
		w.session(at(3), "10.0.0.77", mx, func(s *record.Session) {
			refuse(s, "RCPT TO:<other@example.net>", 450, "4.2.0", "another day")
			refuse(s, "MAIL FROM:<scanner@example.net>", 451, "4.7.0", "Temporary server error. Please try again later. PRX5")
		})
	}
	w.session(at(3), "192.0.2.1", mx, func(s *record.Session) { refuse(s, "", 421, "4.3.2", "Service not active") })

	// Relay attempts, an account that relays, harvesting, too big, servers that are down.
	w.session(at(4), "198.51.100.66", mx, func(s *record.Session) {
		for i := range 7 {
			refuse(s, fmt.Sprintf("RCPT TO:<u%d@elsewhere.example>", i), 554, "5.7.1", fmt.Sprintf("<u%d@elsewhere.example>: Relay access denied", i))
		}
	})
	for i := range 40 {
		s := w.session(at(i), fmt.Sprintf("198.51.100.%d", 80+i%2), mx, func(s *record.Session) { s.Messages = 1 })
		s.Messages = 0
		w.mail(s, "carol@example.net", []string{fmt.Sprintf("spam%d@elsewhere.example", i)},
			func(m *record.Message) { m.User, m.Direction = "carol", record.External })
	}
	w.session(at(6), "198.51.100.77", mx, func(s *record.Session) {
		for i := range 25 {
			refuse(s, fmt.Sprintf("RCPT TO:<guess%d@example.net> NOTIFY=NEVER", i), 550, "5.1.1", fmt.Sprintf("<guess%d@example.net>: User unknown", i))
		}
	})
	w.session(at(7), "10.0.0.99", mx, func(s *record.Session) {
		refuse(s, "MAIL FROM:<Bulky@example.net> SIZE=99999999", 552, "5.3.4", "Message size exceeds fixed limit")
	})
	for range 4 {
		w.session(at(8), "192.0.2.9", "10.0.0.26", func(s *record.Session) { s.Status = record.Refused })
	}

	// POP3: one who polls, and finds the maildrop in use. A server that talks out of turn. A very slow one.
	for i := range 45 {
		w.session(at(i), "10.0.0.88", pop, func(s *record.Session) {
			login(s, "poller", record.Success)
			if i < 2 { // the first time before TLS began, the second time inside
				s.TLS = &record.TLS{How: "stls", Ended: true, Handshake: record.Handshake{Version: "TLS 1.2"}}
				s.Auth[0].TLS = i == 1
			}
			if i%9 == 0 {
				refuse(s, "PASS ***", 0, "", "[IN-USE] maildrop already locked")
			}
		})
	}
	w.session(at(9), "192.0.2.10", mx, func(s *record.Session) {
		s.Anomalies = []record.Anomaly{{Kind: "unsolicited", Count: 3}, {Kind: "smuggling", Count: 1}}
		dialogue(s, 30_000, 95_000)
	})
	s := w.session(at(9), "192.0.2.11", mx, func(s *record.Session) { s.Messages = 1; s.Status = record.Aborted })
	s.Messages = 0
	w.mail(s, "big@example.org", []string{"a@example.net"}, func(m *record.Message) { m.Octets = 25_000_000 })
}

// troubled makes a report about everyday and trouble.
func troubled(t *testing.T, o Options) *Report {
	t.Helper()
	return reportOn(t, troubledIndex(t), o)
}

func troubledIndex(t *testing.T) *sql.DB {
	w := newWorld(t)
	w.everyday(500, 10*time.Hour)
	w.trouble()
	return w.open()
}

func reportOn(t *testing.T, db *sql.DB, o Options) *Report {
	t.Helper()
	o.Location = time.UTC
	r, err := Make(t.Context(), db, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// section finds a section by its name.
func (r *Report) section(t *testing.T, name string) *Section {
	t.Helper()
	for _, s := range r.Sections {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("the report has no section %s", name)
	return nil
}

// row finds the row whose cells are the named ones, as Text shows them, and returns it whole.
func (r *Report) row(t *testing.T, section string, cells ...string) {
	t.Helper()
	s := r.section(t, section)
	for _, row := range s.Rows {
		if !slices.ContainsFunc(cells, func(want string) bool {
			name, value, _ := strings.Cut(want, "=")
			i := slices.IndexFunc(s.Columns, func(c Column) bool { return c.Name == name })
			if i < 0 {
				t.Fatalf("the section %s has no column %s", section, name)
			}
			return !strings.HasPrefix(r.show(s.Columns[i].Kind, row[i]), value)
		}) {
			return
		}
	}
	t.Errorf("no row of %s has %q; it has %v", section, cells, s.Rows)
}

func TestReport(t *testing.T) {
	r := troubled(t, Options{Top: 100})
	for section, rows := range map[string][][]string{
		"login-failures-by-address": {
			{"client=203.0.113.9", "failures=60", "users=8", "first=12:00:00", "last=12:59:00", "success=13:01:00", "session=s", "judgement=looks like a dictionary attack, and one login succeeded afterwards: check the account victim3 now"},
			{"client=10.0.9.1", "failures=1", "users=1", "judgement=logged in afterwards"},
			{"client=100.64.3.1", "failures=1", "judgement="},
		},
		"login-failures-by-network": {
			{"network=100.80.0.0/24", "addresses=15", "failures=15", "users=15", "judgement=looks like a dictionary attack"},
		},
		"login-failures-by-user": {
			{"user=boss", "failures=15", "addresses=15", "judgement=tried from many addresses"},
			{"user=victim3", "success=13:01:00"},
			{"user=" + hostile, "failures=1"},
		},
		"spraying": {{"hour=09:00", "server=" + mx, "failures=15", "users=15", "addresses=15"}},
		"replies": {
			{"count=107", "reply=535 5.7.8", "meaning=wrong user or password"},
			{"count=25", "clients=1", "reply=550 5.1.1 …: User unknown", "meaning=there is no such user"},
			{"count=3", "reply=451 4.7.0 Temporary server error.", "meaning=temporary server error", "session=s"},
			{"count=5", "reply=-ERR", "meaning=the maildrop is open"},
		},
		"never-accepted": {
			{"from=never@example.org", "to=a@example.net", "tries=1", "last=12:00:00", "client=192.0.2.2", "reply=450 4.7.1 Greylisted"},
			{"from=again@example.org", "tries=2", "last=12:20:00"},
		},
		"accepted-later": {{"from=later@example.org", "tries=1", "delay=10:00 min", "first=12:00:00"}},
		"turned-away":    {{"client=10.0.0.77", "replies=3", "server=" + mx, "reply=451 4.7.0 Temporary server error. Please try again later. PRX5"}},
		"relay-attempts": {{"client=198.51.100.66", "refusals=7", "recipients=7", "example=u0@elsewhere.example"}},
		"relayed": {
			{"client=198.51.100.80", "user=carol", "mails=20", "senders=1"}, {"client=198.51.100.81", "mails=20"},
		},
		"senders":            {{"user=carol", "mails=40", "addresses=2"}},
		"unavailable":        {{"server=10.0.0.26", "refused=4", "replies=0", "clients=1"}, {"server=" + mx, "refused=0", "replies=4", "clients=2"}},
		"harvesting":         {{"client=198.51.100.77", "unknown=25", "mails=0", "judgement=looks like harvesting"}},
		"unknown-recipients": {{"recipient=guess7@example.net", "refusals=1"}},
		"too-big":            {{"client=10.0.0.99", "from=bulky@example.net", "refusals=1"}},
		"waits":              {{"server=" + mx, "command=DATA-END", "replies=501", "longest=1:35 min"}, {"command=CONNECT", "median=7", "longest=30.0 s"}},
		"slowest":            {{"wait=1:35 min", "command=DATA-END", "client=192.0.2.10", "server=" + mx}},
		"statuses":           {{"status=aborted", "sessions=1"}, {"status=refused", "sessions=4"}},
		"unmatched":          {{"kind=unsolicited", "count=3", "sessions=1", "meaning=a reply to no command"}},
		"anomalies":          {{"kind=smuggling", "count=1", "clients=1"}},
		"load-by-hour":       {{"hour=12:00", "sessions=", "mails="}},
		"load-by-client":     {{"client=203.0.113.9", "sessions=61", "time=1:01 min"}},
		"load-by-server":     {{"server=" + pop, "port=110", "protocol=pop3", "sessions=45"}},
		"load-by-user":       {{"user=poller", "sessions=45", "clients=1"}},
		"routes":             {{"from=203.0.113.0/24", "server=" + mx, "port=25", "direction=inbound", "sessions=61"}},
		"sizes":              {{"protocol=smtp", "direction=inbound", "largest=25 MB"}},
		"pop3-pollers":       {{"client=10.0.0.88", "most in an hour=45", "that hour=12:00", "users=1", "judgement=polls too often"}},
		"logins-in-clear":    {{"client=10.0.0.88", "protocol=pop3", "mechanism=PLAIN", "logins=44", "users=1", "with TLS=1"}},
		"tls":                {{"protocol=smtp", "tls=TLS 1.3", "how=starttls"}, {"protocol=pop3", "tls=none", "sessions=43"}},
	} {
		for _, cells := range rows {
			r.row(t, section, cells...)
		}
	}
	if n := len(r.Sections); n != len(makers) {
		t.Errorf("%d of %d sections have something to say", n, len(makers))
	}
	for _, s := range r.section(t, "never-accepted").Rows {
		if s[1] == "later@example.org" {
			t.Error("who was accepted later is asked to send again")
		}
	}
	for _, s := range r.section(t, "turned-away").Rows {
		if s[0] == "192.0.2.1" {
			t.Error("a client is turned away whose mail was accepted since")
		}
	}
	if r.Totals.Failed != 107 || r.Totals.Messages != 548 || r.Totals.Octets == 0 {
		t.Errorf("the totals are wrong: %+v", r.Totals)
	}
}

func TestFilters(t *testing.T) {
	db := troubledIndex(t)
	for name, c := range map[string]struct {
		o        Options
		sessions int64
	}{
		"since":  {Options{Since: noon.Add(61 * time.Minute), Until: noon.Add(62 * time.Minute), Clients: netip.MustParsePrefix("203.0.113.0/24")}, 1},
		"until":  {Options{Until: noon, Clients: netip.MustParsePrefix("198.51.0.0/16")}, 15},
		"client": {Options{Clients: netip.MustParsePrefix("10.0.0.88/32")}, 45},
		"server": {Options{Server: netip.MustParseAddr("10.0.0.26")}, 4},
		"none":   {Options{Server: netip.MustParseAddr("10.0.0.1")}, 0},
	} {
		r := reportOn(t, db, c.o)
		if r.Totals.Sessions != c.sessions {
			t.Errorf("%s: %d sessions, want %d", name, r.Totals.Sessions, c.sessions)
		}
		for _, s := range r.Sections {
			for _, row := range s.Rows {
				for i, column := range s.Columns {
					ip, err := netip.ParseAddr(fmt.Sprint(row[i]))
					switch {
					case err != nil:
					case column.Name == "client" && c.o.Clients.IsValid() && !c.o.Clients.Contains(ip):
						t.Errorf("%s: %s speaks of the client %s", name, s.Name, ip)
					case column.Name == "server" && c.o.Server.IsValid() && c.o.Server != ip:
						t.Errorf("%s: %s speaks of the server %s", name, s.Name, ip)
					}
				}
			}
		}
		var out strings.Builder
		if err := r.Text(&out); err != nil || c.sessions == 0 && !strings.Contains(out.String(), "no sessions") {
			t.Errorf("%s: %v: %s", name, err, out.String())
		}
	}
}

func TestTop(t *testing.T) {
	r := troubled(t, Options{Top: 3})
	for _, s := range r.Sections {
		if len(s.Rows) > 3 {
			t.Errorf("%s has %d rows", s.Name, len(s.Rows))
		}
	}
	if s := r.section(t, "load-by-client"); !s.More {
		t.Error("nobody says that there are more clients")
	}
	if s := troubled(t, Options{Top: math.MaxInt}).section(t, "load-by-client"); s.More || len(s.Rows) < 4 {
		t.Errorf("of all clients there are %d, and more: %v", len(s.Rows), s.More)
	}
	if s := r.section(t, "too-big"); s.More {
		t.Error("there are said to be more than one that was too big")
	}
}

func TestTextIsPlain(t *testing.T) {
	var out bytes.Buffer
	if err := troubled(t, Options{Top: 100}).Text(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `\x1b[31m"=\xe2\x80\xae`) {
		t.Error("the hostile user is not shown as it is")
	}
	for _, c := range strings.ReplaceAll(out.String(), "…", "") {
		if c != '\n' && (c < ' ' || c > '~') {
			t.Fatalf("the text has %q", c)
		}
	}
	for line := range strings.Lines(out.String()) {
		if strings.HasSuffix(line, " \n") {
			t.Errorf("%q ends with a space", line)
		}
	}
}

func TestJSON(t *testing.T) {
	r := troubled(t, Options{Top: 100})
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		V        int
		Type     string
		Since    time.Time
		Totals   map[string]int64
		Sections []struct {
			Name string
			Rows []map[string]any
		}
	}
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if back.V != 1 || back.Type != "report" || back.Totals["sessions"] != r.Totals.Sessions || !back.Since.Equal(r.Since) {
		t.Errorf("the JSON begins with %+v", back)
	}
	if len(back.Sections) != len(r.Sections) {
		t.Fatalf("%d sections of %d", len(back.Sections), len(r.Sections))
	}
	for _, s := range back.Sections {
		if s.Name == "login-failures-by-address" && (s.Rows[0]["client"] != "203.0.113.9" || s.Rows[0]["failures"] != 60.0 || s.Rows[0]["first"] != "2026-11-22T12:00:00Z") {
			t.Errorf("the first row of %s is %v", s.Name, s.Rows[0])
		}
	}
}

func TestHTML(t *testing.T) {
	var out bytes.Buffer
	if err := troubled(t, Options{Top: 100}).HTML(&out); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, bad := range []string{"<script", "\x1b", "\u202e", "ZgotmplZ", "<no value>", "%!", "http://", "https://", "javascript:", " style="} {
		if i := strings.Index(page, bad); i >= 0 {
			t.Errorf("the page has %q: %q", bad, page[max(0, i-40):min(len(page), i+60)])
		}
	}
	for _, want := range []string{"default-src 'none'", "&lt;script&gt;alert(", "Sessions by hour", "Mails by size", "prefers-color-scheme: dark", `<td class="nowrap">192.0.2.2</td>`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if n := strings.Count(page, "<svg"); n != 3 {
		t.Errorf("the page has %d charts", n)
	}
	wellFormed(t, page)
}

// wellFormed holds the page to be a tree of harmless elements and attributes.
func wellFormed(t *testing.T, page string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, []string{"meta"}, xml.HTMLEntity
	allowed := strings.Fields("html head meta title style body h1 p nav a section h2 figure svg rect text figcaption span div table thead tr th tbody td")
	var open []string
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			if !slices.Contains(allowed, e.Name.Local) {
				t.Errorf("the page has the element %s", e.Name.Local)
			}
			for _, a := range e.Attr {
				if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "style" || a.Name.Local == "src" || a.Name.Local == "href" && !strings.HasPrefix(a.Value, "#") {
					t.Errorf("%s has %s=%q", e.Name.Local, a.Name.Local, a.Value)
				}
			}
			open = append(open, e.Name.Local)
		case xml.EndElement:
			if open[len(open)-1] != e.Name.Local {
				t.Fatalf("%s ends where %s should", e.Name.Local, open[len(open)-1])
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Errorf("%v are not ended", open)
	}
}

// TestForged: numbers beyond all sense take nothing from the report, and addresses with a zone are in their network.
func TestForged(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.session(noon, "fe80::1%eth0", mx, func(s *record.Session) {
			s.Messages, s.Commands, s.Replies, s.Unanswered = math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt
			s.Octets, s.Lost = record.Octets{Client: math.MaxInt64, Server: math.MaxInt64}, record.Octets{Client: math.MaxInt64}
			s.End = record.Time{Time: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}
			s.Anomalies = []record.Anomaly{{Kind: "bare-lf", Count: math.MaxInt}}
			login(s, "alice", record.Failure)
			if i == 0 {
				s.Messages, s.Octets.Client = -1, math.MinInt64
				s.End = record.Time{Time: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)}
			}
		})
	}
	s := w.session(noon, "192.0.2.1", mx, nil)
	s.Messages = 0
	w.mail(s, "a@example.org", []string{"b@example.net"}, func(m *record.Message) { m.Octets = math.MaxInt64 })
	db := w.open()
	for _, o := range []Options{{}, {Since: noon.Add(-time.Minute), Until: noon.Add(time.Minute)}, {Clients: netip.MustParsePrefix("fe80::/10")}} {
		o.Location = time.UTC
		r, err := Make(t.Context(), db, o)
		if err != nil {
			t.Fatal(err)
		}
		want := int64(6)
		if o.Clients.IsValid() {
			want = 5
		}
		if r.Totals.Sessions != want || r.Totals.Octets < 1<<42 {
			t.Errorf("%+v: %+v", o, r.Totals)
		}
	}
}
