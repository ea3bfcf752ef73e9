package archive

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

var cet = time.FixedZone("", 3600)

func at(seconds int) record.Time {
	return record.Time{Time: time.Date(2026, 11, 22, 3, 4, 5, 123456000, cet).Add(time.Duration(seconds) * time.Second)}
}

// sample is the identity of the nth session of the tests.
func sample(n int, begin record.Time) *record.Session {
	return &record.Session{
		V: record.Version, Type: "session", ID: fmt.Sprintf("k3m9abcdefgh%04d", n), Sensor: "mx1", Mode: record.ModeTap, Protocol: record.SMTP,
		Begin: begin, End: begin, Client: record.Endpoint{IP: "203.0.113.9", Port: uint16(n)}, Server: record.Endpoint{IP: "10.0.0.5", Port: 25},
		Direction: record.Unknown, Status: record.Closed,
	}
}

func sampleMail(s *record.Session, n int) *record.Message {
	from := "a@example.org"
	return &record.Message{
		V: record.Version, Type: "message", ID: record.MessageID(s.ID, n), Session: s.ID, Sensor: s.Sensor, Mode: s.Mode, Protocol: s.Protocol,
		Transaction: n, Via: "DATA", Begin: s.Begin, End: s.Begin, Client: s.Client, Server: s.Server, Direction: record.Unknown, From: &from,
		Rcpt:  []record.Rcpt{{To: "c@example.net", Code: 250, Enhanced: "2.1.5"}, {To: "d@example.net", Code: 550, Enhanced: "5.1.1", Text: "no"}},
		Reply: &record.Reply{Code: 250, Enhanced: "2.0.0", Text: "queued as 4XyZ"}, Outcome: record.Accepted,
	}
}

// keep tells j a mail with these octets.
func keep(j *Journal, m *record.Message, octets string) {
	kept := j.OpenMail(m)
	if kept != nil {
		kept.Write([]byte(octets))
	}
	m.Octets = int64(len(octets))
	j.Message(m, kept)
}

func mustOpen(t testing.TB, o Options) *Archive {
	t.Helper()
	if o.Warn == nil {
		o.Warn = func(msg string) { t.Log("warning:", msg) }
	}
	if o.PID == 0 {
		o.PID = 1234
	}
	a, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustClose(t testing.TB, a *Archive) {
	t.Helper()
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// tree returns all files below dir with what is in them, but for the lock.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == ".lock" {
			return err
		}
		data, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		files[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func readLines(t testing.TB, name string) []string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		t.Errorf("%s ends within a line", name)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// TestFiles shows all files of one session.
func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	a := mustOpen(t, Options{Dir: dir, Keep: All, Secrets: true, Fsync: true})
	j := a.journal()
	s := sample(1, at(0))
	j.Stamp(1)
	say := func(kind record.LineKind, tls bool, text string) {
		j.Line(s, record.Line{Time: at(1), Kind: kind, TLS: tls, Text: []byte(text)})
	}
	say(record.Note, false, "connected")
	say(record.FromServer, false, "220 mx.example.net ESMTP")
	say(record.FromClient, false, "EHLO mx\x1b[2J\\.example.org")
	say(record.FromServer, false, "250-mx.example.net\n250 SIZE 20480000")
	say(record.FromClient, true, "DATA")
	say(record.FromServer, true, "354 go")
	j.Line(s, record.Line{Time: at(1), Kind: record.ClientBody, Octets: 2048})
	j.Line(s, record.Line{Time: at(1), Kind: record.ServerBody, Octets: 12, TLS: true})
	say(record.Refusal, false, "550 no\n=== forged")
	j.Login(s, 3, record.Login{Time: at(2), Mechanism: "LOGIN", User: "bob\" [192.0.2.1]\n", Outcome: record.Failure, Code: 535, Enhanced: "5.7.8", Text: "Error: \"no\""})
	j.Secret(s, record.Secret{Time: at(2), Mechanism: "LOGIN", User: "bob", Secret: "hunter2"})
	m := sampleMail(s, 1)
	m.Header = &record.Header{Subject: "grün \"x\""}
	keep(j, m, "Subject: x\r\n\r\nhello\r\n")
	j.Session(s)
	mustClose(t, a)

	const id = "k3m9abcdefgh0001"
	const head = "2026-11-22T03:04:06.123456+01:00 " + id + " "
	mailFile := "mail/.2026-11-22/new/1795313045." + id + ".1.mx1,S=18"
	got := tree(t, dir)
	want := map[string]string{
		"logs/smtp-sessions-2026-11-22.log": head + "=== connected\n" +
			head + "<-  220 mx.example.net ESMTP\n" +
			head + " -> EHLO mx\\x1b[2J\\\\.example.org\n" +
			head + "<-  250-mx.example.net\n" + head + "<-  250 SIZE 20480000\n" +
			head + " ~> DATA\n" + head + "<~  354 go\n" +
			head + " -> [2048 octets of message]\n" + head + "<~  [12 octets of message]\n" +
			head + "<** 550 no\n" + head + "<** === forged\n",
		"logs/auth-2026-11-22.log": `2026-11-22T03:04:07.123456+01:00 mailwire[1234]: AUTH-FAIL [203.0.113.9]:1 smtp server=10.0.0.5:25 mech=LOGIN attempt=3 ` +
			`reply="535 5.7.8 Error: \"no\"" session=` + id + ` user="bob\" [192.0.2.1]\x0a"` + "\n",
		"logs/mail-2026-11-22.log": `2026-11-22T03:04:05.123456+01:00 mailwire[1234]: MAIL accepted [203.0.113.9]:1 smtp server=10.0.0.5:25 mail=` + id + `.1 octets=21 rcpt=1/2 ` +
			`stored=` + mailFile + ` reply="250 2.0.0 queued as 4XyZ" from="a@example.org" to="c@example.net" to="d@example.net" subject="gr\xc3\xbcn \"x\""` + "\n",
		"logs/secrets-2026-11-22.jsonl": `{"v":1,"type":"secret","time":"2026-11-22T03:04:07.123456+01:00","session":"` + id + `","protocol":"smtp",` +
			`"client":{"ip":"203.0.113.9","port":1},"server":{"ip":"10.0.0.5","port":25},"mechanism":"LOGIN","user":"bob","secret":"hunter2"}` + "\n",
		"logs/messages-2026-11-22.jsonl": string(m.AppendJSON(nil)) + "\n",
		"logs/sessions-2026-11-22.jsonl": string(s.AppendJSON(nil)) + "\n",
		"mail/.2026-11-22/maildirfolder": "",
		mailFile:                         "Subject: x\n\nhello\n",
	}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s:\n got %q\nwant %q", name, got[name], text)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("a file %s", name)
		}
	}
	if m.Stored == nil || m.Stored.Path != mailFile || m.Stored.Exact || m.Stored.Error != "" {
		t.Errorf("stored: %+v", m.Stored)
	}
	if st := a.Stats(); st != (Stats{Sessions: 1, Messages: 1, Logins: 1, Stored: 1}) {
		t.Errorf("%+v", st)
	}
}

// TestFolders shows which mail is kept where.
func TestFolders(t *testing.T) {
	for _, c := range []struct {
		protocol, outcome string
		hole              bool
		kind              Kinds
		day, flat         string
	}{
		{record.SMTP, record.Accepted, false, Accepted, "mail/.2026-11-22/new", "mail/new"},
		{record.LMTP, record.Rejected, false, Rejected, "mail/.2026-11-22.Rejected/new", "mail/.Rejected/new"},
		{record.SMTP, record.Aborted, false, Incomplete, "mail/.2026-11-22.Incomplete/new", "mail/.Incomplete/new"},
		{record.SMTP, record.Unknown, false, Incomplete, "mail/.2026-11-22.Incomplete/new", "mail/.Incomplete/new"},
		{record.SMTP, record.Accepted, true, Incomplete, "mail/.2026-11-22.Incomplete/new", "mail/.Incomplete/new"},
		{record.POP3, record.Accepted, false, POP3, "mail/.2026-11-22.POP3/new", "mail/.POP3/new"},
		{record.POP3, record.Aborted, false, Incomplete, "mail/.2026-11-22.Incomplete/new", "mail/.Incomplete/new"},
	} {
		for _, o := range []Options{{Keep: c.kind}, {Keep: c.kind, Flat: true}, {Keep: All &^ c.kind}, {Keep: None}} {
			o.Dir = t.TempDir()
			a := mustOpen(t, o)
			j := a.journal()
			s := sample(1, at(0))
			s.Protocol = c.protocol
			m := sampleMail(s, 1)
			m.Outcome = c.outcome
			if c.hole {
				m.Holes = []record.Hole{{Offset: 1, Octets: -1}}
			}
			m.Sensor = "../mx/\x1b:2,S"
			keep(j, m, "x\r\n")
			mustClose(t, a)
			want := c.day
			if o.Flat {
				want = c.flat
			}
			if o.Keep != c.kind {
				if m.Stored != nil {
					t.Errorf("%+v: kept as %+v", c, m.Stored)
				}
				continue
			}
			if m.Stored == nil || filepath.ToSlash(filepath.Dir(m.Stored.Path)) != want || filepath.Base(m.Stored.Path) != "1795313045.k3m9abcdefgh0001.1..._mx___2_S,S=2" {
				t.Errorf("%+v: stored %+v, want %s", c, m.Stored, want)
				continue
			}
			if _, err := os.Stat(filepath.Join(o.Dir, m.Stored.Path)); err != nil {
				t.Error(err)
			}
			if entries, _ := os.ReadDir(filepath.Join(o.Dir, "mail/tmp")); len(entries) > 0 {
				t.Errorf("%+v: tmp has %s", c, entries[0].Name())
			}
		}
	}
}

func TestParseKinds(t *testing.T) {
	for s, want := range map[string]Kinds{"accepted": Accepted, "accepted,rejected": Accepted | Rejected, " POP3, incomplete": POP3 | Incomplete, "all": All, "none": None} {
		got, err := ParseKinds(s)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
		if back, err := ParseKinds(got.String()); back != got || err != nil {
			t.Errorf("%q: String gives %q", s, got)
		}
	}
	for _, s := range []string{"", "acepted", "accepted,", "all,x"} {
		if got, err := ParseKinds(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
	if _, err := ParseKinds("accepted,spam"); err == nil || !strings.Contains(err.Error(), `"spam"`) || !strings.Contains(err.Error(), "rejected") {
		t.Error(err)
	}
}

// traffic is what happens in n sessions, packet by packet.
type traffic struct {
	session int
	do      func(j *Journal)
}

func makeTraffic(n int, seed uint64) []traffic {
	r := rand.New(rand.NewPCG(seed, 1))
	var each [][]traffic
	for i := range n {
		begin := at(i % 7)
		if i%3 == 0 {
			begin = record.Time{Time: begin.Add(20*time.Hour + 55*time.Minute + 54*time.Second)} // just before midnight
		}
		var m *record.Message
		// Each run has records of its own: the sink owns what it is given.
		session := func() *record.Session {
			s := sample(i, begin)
			if i%5 == 0 {
				s.Protocol = record.POP3
			}
			return s
		}
		var mu sync.Mutex
		var kept interface {
			Write([]byte)
			Discard()
		}
		steps := []traffic{}
		for k := range 8 {
			steps = append(steps, traffic{i, func(j *Journal) {
				when := record.Time{Time: begin.Add(time.Duration(k) * time.Second)}
				j.Line(session(), record.Line{Time: when, Kind: record.LineKind(k % 3), Text: fmt.Appendf(nil, "line %d of %d", k, i)})
				mu.Lock()
				defer mu.Unlock()
				switch k {
				case 2:
					j.Login(session(), 1, record.Login{Time: when, Mechanism: "PLAIN", User: "u", Outcome: record.Failure, Code: 535})
				case 4:
					m = sampleMail(session(), 1)
					if kept = j.OpenMail(m); kept != nil {
						kept.Write([]byte("Subject: x\r\n\r"))
					}
				case 6:
					if kept != nil {
						kept.Write(fmt.Appendf(nil, "\nmail %d\r\n", i))
					}
					j.Message(m, kept)
				case 7:
					j.Session(session())
				}
			}})
		}
		each = append(each, steps)
	}
	var all []traffic
	for len(each) > 0 {
		i := r.IntN(len(each))
		all = append(all, each[i][0])
		if each[i] = each[i][1:]; len(each[i]) == 0 {
			each = slices.Delete(each, i, i+1)
		}
	}
	return all
}

// play runs the traffic through so many journals, in goroutines of their own, as the tap does.
func play(t testing.TB, a *Archive, all []traffic, journals, perBatch int) {
	t.Helper()
	js := make([]*Journal, journals)
	for i := range js {
		js[i] = a.journal()
	}
	var committed sync.WaitGroup
	cuts := make(chan struct{}, 1)
	committed.Go(func() {
		for range cuts {
			if err := a.Commit(); err != nil {
				t.Error(err)
			}
		}
	})
	for begin := 0; begin < len(all); begin += perBatch {
		var work sync.WaitGroup
		for i, j := range js {
			work.Go(func() {
				for n := begin; n < min(begin+perBatch, len(all)); n++ {
					if all[n].session%journals == i {
						j.Stamp(int64(n))
						all[n].do(j)
					}
				}
				j.Cut()
			})
		}
		work.Wait()
		cuts <- struct{}{}
	}
	close(cuts)
	committed.Wait()
	mustClose(t, a)
}

func sameTree(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for name, text := range want {
		if g, ok := got[name]; !ok || g != text {
			t.Errorf("%s: %s differs:\n got %.300q\nwant %.300q", what, name, g, text)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: also a file %s", what, name)
		}
	}
}

// TestOrder: the files do not depend on the number of journals, nor on the batches, nor on who writes them; and reading
// twice writes once.
func TestOrder(t *testing.T) {
	var want map[string]string
	for _, c := range []struct{ journals, perBatch int }{{1, 1 << 20}, {1, 100}, {2, 57}, {16, 200}, {3, 1}} {
		what := fmt.Sprintf("%d journals, batches of %d", c.journals, c.perBatch)
		dir := t.TempDir()
		a := mustOpen(t, Options{Dir: dir, Keep: All})
		play(t, a, makeTraffic(120, 1), c.journals, c.perBatch)
		got := tree(t, dir)
		if want == nil {
			want = got
			for _, name := range []string{"smtp-sessions-2026-11-22.log", "smtp-sessions-2026-11-23.log", "pop3-sessions-2026-11-22.log", "sessions-2026-11-22.jsonl"} {
				if got["logs/"+name] == "" {
					t.Errorf("no %s", name)
				}
			}
		}
		sameTree(t, what, got, want)
		if st := a.Stats(); st.Sessions != 120 || st.Messages != 120 || st.Stored != 120 || st.Logins != 120 || st.Errors+st.LinesLost+st.Duplicates+st.NotStored != 0 {
			t.Errorf("%s: %+v", what, st)
		}

		live := t.TempDir()
		a = mustOpen(t, Options{Dir: live, Keep: All, Live: true, Fsync: c.journals == 2})
		play(t, a, makeTraffic(120, 1), c.journals, c.perBatch)
		sameTree(t, what+", live", tree(t, live), want)
		if st := a.Stats(); st != (Stats{Sessions: 120, Messages: 120, Stored: 120, Logins: 120}) {
			t.Errorf("%s, live: %+v", what, st)
		}

		a = mustOpen(t, Options{Dir: dir, Keep: All})
		play(t, a, makeTraffic(120, 2), 17-c.journals, 64)
		sameTree(t, what+", again", tree(t, dir), want)
		if st := a.Stats(); st != (Stats{Duplicates: 120, DuplicateMessages: 120}) {
			t.Errorf("%s, again: %+v", what, st)
		}
	}
}

// TestTwiceInOtherZones: the same capture read again where its days are others, as with UTC, is written once.
func TestTwiceInOtherZones(t *testing.T) {
	dir := t.TempDir()
	midnight := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for i, zone := range []*time.Location{time.UTC, time.FixedZone("", -11*60*60), time.FixedZone("", 12*60*60), time.UTC} {
		a := mustOpen(t, Options{Dir: dir, Keep: All})
		j := a.journal()
		for n := range 4 {
			s := sample(n, record.Time{Time: midnight.Add(time.Duration(n-2) * time.Hour).In(zone)})
			s.ID = fmt.Sprint("session", n) // an id comes from the moment, wherever that is told
			keep(j, sampleMail(s, 1), "x\r\n")
			j.Session(s)
		}
		mustClose(t, a)
		if st := a.Stats(); i == 0 && st.Sessions != 4 || i > 0 && st != (Stats{Duplicates: 4, DuplicateMessages: 4}) {
			t.Errorf("%d, in %s: %+v", i, zone, st)
		}
	}
}

// TestTwiceInOneRun: the same capture named twice is written once, though nothing was committed in between.
func TestTwiceInOneRun(t *testing.T) {
	dir := t.TempDir()
	a := mustOpen(t, Options{Dir: dir, Keep: All})
	j := a.journal()
	for _, step := range append(makeTraffic(30, 1), makeTraffic(30, 5)...) {
		step.do(j)
	}
	mustClose(t, a)
	once := t.TempDir()
	b := mustOpen(t, Options{Dir: once, Keep: All})
	j = b.journal()
	for _, step := range makeTraffic(30, 1) {
		step.do(j)
	}
	mustClose(t, b)
	sameTree(t, "twice", tree(t, dir), tree(t, once))
}

// TestMidnight: 2,000 mails within a second of midnight, each once, in the file of its time (F7).
func TestMidnight(t *testing.T) {
	dir := t.TempDir()
	a := mustOpen(t, Options{Dir: dir, Keep: All})
	j := a.journal()
	midnight := time.Date(2026, 11, 23, 0, 0, 0, 0, cet)
	for i := range 2000 {
		s := sample(i, record.Time{Time: midnight.Add(time.Duration(i-1000) * time.Millisecond)})
		j.Stamp(int64(i))
		j.Line(s, record.Line{Time: s.Begin, Kind: record.Note, Text: []byte("connected")})
		keep(j, sampleMail(s, 1), "x\r\n")
		j.Session(s)
		if i%100 == 0 {
			j.Cut()
			if err := a.Commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustClose(t, a)
	for _, d := range []string{"2026-11-22", "2026-11-23"} {
		for _, name := range []string{"smtp-sessions-%s.log", "mail-%s.log", "messages-%s.jsonl", "sessions-%s.jsonl"} {
			lines := readLines(t, filepath.Join(dir, "logs", fmt.Sprintf(name, d)))
			if len(lines) != 1000 {
				t.Errorf("%s %s: %d lines", d, name, len(lines))
			}
			for _, line := range lines {
				if !strings.Contains(line, d+"T") {
					t.Fatalf("%s %s: %s", d, name, line)
				}
			}
		}
		entries, err := os.ReadDir(filepath.Join(dir, "mail", "."+d, "new"))
		if err != nil || len(entries) != 1000 {
			t.Errorf("%s: %d mails, %v", d, len(entries), err)
		}
	}
}

// TestHostile: foreign octets in every field give as many lines as there were events, each valid (S3).
func TestHostile(t *testing.T) {
	for _, x := range []string{"\x1b]0;owned\x07", "a\nb", "\r\n=== closed", "\xff\xfe", "\"}\n{\"v\":1}", "\\\\x1b", "\u2028\u0085", "\x00\x7f\x9b31m", "\" user=\"root\"", "] [", strings.Repeat("\n", 50)} {
		dir := t.TempDir()
		a := mustOpen(t, Options{Dir: dir, Keep: All, Secrets: true})
		j := a.journal()
		s := sample(1, at(0))
		s.Sensor, s.Helo, s.Banner, s.Client.Side, s.CommunityID, s.Status, s.Direction = x, x, x, x, x, x, x
		s.ID, s.Client.IP, s.Server.IP, s.Protocol, s.Capabilities = x, x, x, x, []string{x}
		s.Auth = []record.Login{{Time: at(0), User: x, Text: x}}
		s.Dialogue = []record.Entry{{Text: &x}}
		j.Line(s, record.Line{Time: at(0), Kind: record.FromClient, Text: []byte(x)})
		j.Line(s, record.Line{Time: at(0), Kind: record.Note, Text: []byte(x)})
		j.Login(s, 1, record.Login{Time: at(0), Mechanism: x, User: x, Outcome: x, Enhanced: x, Text: x})
		j.Secret(s, record.Secret{Time: at(0), Mechanism: x, User: x, Secret: x})
		m := sampleMail(s, 1)
		m.From, m.Helo, m.User, m.UIDL, m.QueueID, m.Outcome, m.Rcpt[0].To, m.Rcpt[0].Params = &x, x, x, x, x, x, x, map[string]string{x: x}
		m.Reply = &record.Reply{Text: x, Enhanced: x}
		m.Header = &record.Header{Subject: x, From: []string{x}}
		m.Parts = []record.Part{{Type: x, Name: x}}
		keep(j, m, x)
		j.Session(s)
		mustClose(t, a)
		for name, n := range map[string]int{"smtp-sessions-%s.log": 2, "auth-%s.log": 1, "mail-%s.log": 1, "secrets-%s.jsonl": 1, "messages-%s.jsonl": 1, "sessions-%s.jsonl": 1} {
			lines := readLines(t, filepath.Join(dir, "logs", fmt.Sprintf(name, "2026-11-22")))
			if len(lines) != n {
				t.Errorf("%q: %s has %d lines:\n%s", x, name, len(lines), lines)
			}
			for _, line := range lines {
				if strings.HasSuffix(name, ".jsonl") {
					if !json.Valid([]byte(line)) {
						t.Errorf("%q: %s has %s", x, name, line)
					}
					continue
				}
				if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) || !strings.HasPrefix(line, "2026-11-22T03:04:05.123456+01:00 ") {
					t.Errorf("%q: %s has %q", x, name, line)
				}
			}
		}
		if data, err := os.ReadFile(filepath.Join(dir, m.Stored.Path)); err != nil || !bytes.Equal(data, []byte(x)) && m.Stored.Exact {
			t.Errorf("%q: %q, %v", x, data, err)
		}
	}
}

func readStored(t testing.TB, dir string, s *record.Stored) string {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, s.Path))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(WireReader(f, s.Exact))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
