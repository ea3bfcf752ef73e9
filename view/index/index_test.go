package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/tap"
	"github.com/mailwire/mailwire/view"
)

// captured returns a data directory with all captures of the project.
func captured(t testing.TB) string {
	t.Helper()
	files, err := filepath.Glob("../../testdata/pcap/*.pcap")
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	dir := t.TempDir()
	kept, err := archive.Open(archive.Options{Dir: dir, Keep: archive.None, Warn: func(s string) { t.Error(s) }})
	if err != nil {
		t.Fatal(err)
	}
	_, err = tap.Read(t.Context(), tap.Options{Files: files, Recorder: kept, Location: time.UTC, Inspect: &inspect.Config{Sensor: "mx1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// dataDir makes a data directory of the lines of day files.
func dataDir(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		write(t, dir, name, text)
	}
	return dir
}

func write(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "logs", name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// open opens the index of a data directory. What it says is in warned.
func open(t testing.TB, dir string) (x *Index, warned *[]string) {
	t.Helper()
	d, err := view.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	warned = new([]string)
	x, err = Open(t.Context(), d, Options{Warn: func(s string) { *warned = append(*warned, s) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
		d.Close()
	})
	return x, warned
}

func catchUp(t testing.TB, x *Index) int {
	t.Helper()
	n, err := x.CatchUp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// dump returns all rows of all tables, and all words of each row.
func dump(t testing.TB, x *Index) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, table := range []string{"files", "sessions", "messages", "recipients", "errors", "logins", "anomalies", "waits", "slowest"} {
		all[table] = query(t, x, "SELECT * FROM "+table)
	}
	conn, err := x.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, words, instance)"); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.QueryContext(t.Context(), "SELECT DISTINCT doc || ' ' || term FROM temp.terms ORDER BY doc, term")
	if all["words"], err = texts(rows, err); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "DROP TABLE temp.terms"); err != nil {
		t.Fatal(err)
	}
	return all
}

// query returns the rows of a statement as text.
func query(t testing.TB, x *Index, statement string) (list []string) {
	t.Helper()
	rows, err := x.DB().QueryContext(t.Context(), statement)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values := make([]any, len(names))
		into := make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprint(values...))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

func equal(t *testing.T, what string, got, want map[string][]string) {
	t.Helper()
	for table := range want {
		if !slices.Equal(got[table], want[table]) {
			t.Errorf("%s: %s: %d rows\n%s\nnot %d rows\n%s", what, table, len(got[table]), differing(got[table], want[table]),
				len(want[table]), differing(want[table], got[table]))
		}
	}
}

// differing returns the first rows of one list that the other has not.
func differing(a, b []string) string {
	has := map[string]bool{}
	for _, r := range b {
		has[r] = true
	}
	a = slices.DeleteFunc(slices.Clone(a), func(r string) bool { return has[r] })
	return strings.Join(a[:min(len(a), 5)], "\n")
}

// TestRebuiltEqualsLive: however an index came to be, its rows are the same.
func TestRebuiltEqualsLive(t *testing.T) {
	dir := captured(t)
	whole, _ := open(t, dir)
	if n := catchUp(t, whole); n < 100 {
		t.Fatalf("only %d records", n)
	}
	want := dump(t, whole)
	for _, table := range []string{"sessions", "messages", "recipients", "errors", "logins", "anomalies", "waits", "slowest", "words"} {
		if len(want[table]) < 10 {
			t.Errorf("%s: only %d rows", table, len(want[table]))
		}
	}
	if n := catchUp(t, whole); n != 0 {
		t.Errorf("caught up again, it took in %d records", n)
	}
	equal(t, "caught up again", dump(t, whole), want)

	for _, size := range []int{1, 7} {
		x, _ := open(t, copyOf(t, dir))
		if _, err := x.catchUp(t.Context(), size, nil); err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprint("in batches of ", size), dump(t, x), want)
	}

	// Line by line, as the archive writes: messages first, but some only after their session.
	live := dataDir(t, nil)
	x, _ := open(t, live)
	days, err := whole.data.Days()
	if err != nil {
		t.Fatal(err)
	}
	for _, day := range days {
		sessions, messages := lines(t, dir, "sessions-"+day+".jsonl"), lines(t, dir, "messages-"+day+".jsonl")
		for i := 0; i < max(len(sessions), len(messages)); i++ {
			for name, list := range map[string][]string{"messages-": messages, "sessions-": sessions} {
				if i < len(list) {
					write(t, live, name+day+".jsonl", strings.Join(list[:i+1], ""))
				}
			}
			if i%5 == 0 {
				catchUp(t, x)
			}
		}
	}
	catchUp(t, x)
	equal(t, "line by line", dump(t, x), want)
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(filepath.Join(to, "logs"), os.DirFS(filepath.Join(dir, "logs"))); err != nil {
		t.Fatal(err)
	}
	return to
}

func lines(t testing.TB, dir, name string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "logs", name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return slices.Collect(strings.Lines(string(data)))
}

// TestVanished: the rows of a day go with its files, and what is left is what a new index would have.
func TestVanished(t *testing.T) {
	day := func(d int) string { return fmt.Sprintf("2026-11-%02d", d) }
	begin := time.Date(2026, 11, 21, 23, 59, 59, 0, time.UTC)
	files := map[string]string{}
	for d := 21; d <= 23; d++ {
		s, ms := sample(d, begin.AddDate(0, 0, d-21))
		files["sessions-"+day(d)+".jsonl"] = string(s.AppendJSON(nil)) + "\n"
		files["messages-"+day(d)+".jsonl"] += string(ms[0].AppendJSON(nil)) + "\n"
		files["messages-"+day(d+1)+".jsonl"] += string(ms[1].AppendJSON(nil)) + "\n" // it began after midnight
	}
	for _, gone := range [][]string{
		{"sessions-" + day(21), "messages-" + day(21)},
		{"sessions-" + day(22)},
		{"messages-" + day(22)},
		{"messages-" + day(24), "sessions-" + day(22)},
	} {
		dir := dataDir(t, files)
		x, _ := open(t, dir)
		catchUp(t, x)
		for _, name := range gone {
			if err := os.Remove(filepath.Join(dir, "logs", name+".jsonl")); err != nil {
				t.Fatal(err)
			}
		}
		catchUp(t, x)
		fresh, _ := open(t, copyOf(t, dir))
		catchUp(t, fresh)
		got, want := dump(t, x), dump(t, fresh)
		if len(want["sessions"]) == 0 || len(want["words"]) == 0 {
			t.Fatal("nothing is left")
		}
		equal(t, fmt.Sprint("without ", gone), got, want)
	}
}

// sample is a session with two messages.
func sample(n int, begin time.Time) (*record.Session, []*record.Message) {
	end := begin.Add(2 * time.Second)
	client, server := record.Endpoint{IP: fmt.Sprintf("192.0.2.%d", n), Port: 1}, record.Endpoint{IP: "198.51.100.9", Port: 25}
	s := &record.Session{
		V: 1, Type: "session", ID: fmt.Sprintf("session%d", n), Mode: record.ModeTap, Protocol: record.SMTP, Begin: record.Time{Time: begin},
		End: record.Time{Time: end}, Client: client, Server: server, Direction: record.Inbound, Status: record.Closed, Messages: 2,
		Errors: []record.Error{{Time: record.Time{Time: begin}, Command: "RCPT TO:<x@example.net>", Code: 550, Enhanced: "5.1.1", Text: "unknown"}},
	}
	var ms []*record.Message
	for i := 1; i <= 2; i++ {
		from := fmt.Sprintf("sender%d@example.org", i)
		ms = append(ms, &record.Message{
			V: 1, Type: "message", ID: record.MessageID(s.ID, i), Session: s.ID, Mode: s.Mode, Protocol: s.Protocol, Transaction: i, Via: "DATA",
			Begin: record.Time{Time: begin.Add(time.Duration(i-1) * time.Second)}, End: s.End, Client: client, Server: server,
			Direction: record.Inbound, From: &from, Rcpt: []record.Rcpt{{To: "rcpt@example.net", Code: 250}}, Outcome: record.Accepted,
			Octets: int64(1000 * i), QueueID: fmt.Sprintf("Q%d.%d", n, i),
			Header: &record.Header{Subject: fmt.Sprintf("Subject %d of %d", i, n), MessageID: fmt.Sprintf("<%d.%d@example.org>", n, i)},
		})
	}
	return s, ms
}

// TestCrowded: any number of sessions may begin in one microsecond, and a record that is there twice counts once.
func TestCrowded(t *testing.T) {
	begin := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	var sessions, messages bytes.Buffer
	const n = 2*slots + 10
	for i := range n {
		s, ms := sample(i, begin)
		sessions.Write(append(s.AppendJSON(nil), '\n'))
		for _, m := range ms {
			messages.Write(append(m.AppendJSON(nil), '\n'))
		}
		if i%1000 == 0 {
			sessions.Write(append(s.AppendJSON(nil), '\n'))
		}
	}
	files := map[string]string{"sessions-2026-11-22.jsonl": sessions.String(), "messages-2026-11-22.jsonl": messages.String()}
	x, _ := open(t, dataDir(t, files))
	catchUp(t, x)
	want := dump(t, x)
	if len(want["sessions"]) != n || len(want["messages"]) != 2*n {
		t.Errorf("%d sessions and %d messages", len(want["sessions"]), len(want["messages"]))
	}
	if lost := query(t, x, "SELECT count(*) FROM messages m LEFT JOIN sessions s ON s.row = m.session_row WHERE s.id IS NOT m.session"); lost[0] != "0" {
		t.Errorf("%s messages have not their session", lost)
	}
	y, _ := open(t, dataDir(t, files))
	if _, err := y.catchUp(t.Context(), 300, nil); err != nil {
		t.Fatal(err)
	}
	equal(t, "in batches", dump(t, y), want)
}

// TestRebuild: a rebuilt index is whole, and takes the old one's place, also for who has that open.
func TestRebuild(t *testing.T) {
	dir := captured(t)
	x, _ := open(t, dir)
	catchUp(t, x)
	want := dump(t, x)
	if _, err := x.DB().ExecContext(t.Context(), "DELETE FROM sessions"); err != nil {
		t.Fatal(err)
	}
	if _, err := Rebuild(t.Context(), x.data, Options{}); err != nil {
		t.Fatal(err)
	}
	y, _ := open(t, dir)
	equal(t, "rebuilt", dump(t, y), want)
	if n := catchUp(t, x); n != 0 {
		t.Errorf("whoever has the old one open takes in %d records again", n)
	}
	equal(t, "opened before", dump(t, x), want)
	if left, err := os.ReadDir(filepath.Join(dir, folder)); err != nil || len(left) > 3 {
		t.Error(left, err)
	}
}

// TestDeleted: whoever has it open makes a deleted index anew.
func TestDeleted(t *testing.T) {
	dir := captured(t)
	x, _ := open(t, dir)
	catchUp(t, x)
	want := dump(t, x)
	if err := os.RemoveAll(filepath.Join(dir, folder)); err != nil {
		t.Fatal(err)
	}
	catchUp(t, x)
	equal(t, "made anew", dump(t, x), want)
}

// TestDamaged: a damaged index is set aside, be it found when it is opened or when it is used, and made anew.
func TestDamaged(t *testing.T) {
	dir := captured(t)
	first, _ := open(t, dir)
	catchUp(t, first)
	want := dump(t, first)
	for what, damage := range map[string]func(data []byte){
		"header": func(data []byte) { copy(data, "no database at all") },
		"schema": func(data []byte) { clear(data[100:4096]) },
		"rows":   func(data []byte) { clear(data[4096:]) },
	} {
		x, _ := open(t, copyOf(t, dir))
		catchUp(t, x)
		name := x.Name()
		if _, err := x.DB().ExecContext(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		other := copyOf(t, x.data.Dir())
		damage(data)
		if err := os.Mkdir(filepath.Join(other, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(other, folder, fileName), data, 0o600); err != nil {
			t.Fatal(err)
		}
		y, warned := open(t, other)
		catchUp(t, y)
		equal(t, what, dump(t, y), want)
		if len(*warned) != 1 || !strings.Contains((*warned)[0], "the index was damaged") {
			t.Errorf("%s: said %q", what, *warned)
		}
		if aside, err := filepath.Glob(filepath.Join(other, folder, fileName+".broken-*")); err != nil || len(aside) != 1 {
			t.Errorf("%s: %q, %v", what, aside, err)
		}
	}
}

// TestBadLines: what is no record is left out, counted once and said, and everything else is there.
func TestBadLines(t *testing.T) {
	s, ms := sample(1, time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC))
	const day = "2026-11-22.jsonl"
	good := string(s.AppendJSON(nil)) + "\n"
	newer := strings.Replace(good, `"v":1`, `"v":99`, 1)
	dir := dataDir(t, map[string]string{
		"messages-" + day: string(ms[0].AppendJSON(nil)) + "\n{}\n" + string(ms[1].AppendJSON(nil)) + "\n",
		"sessions-" + day: "{\"v\":1,\"type\":\"sess\n" + newer + good + `{"v":1,"type":"ses`,
	})
	x, _ := open(t, dir)
	for range 2 {
		catchUp(t, x)
		if n := len(query(t, x, "SELECT 1 FROM messages WHERE session_row <> 0")); n != 2 {
			t.Errorf("%d messages", n)
		}
		said, err := x.Problems(t.Context())
		if err != nil || !strings.Contains(said, "3 lines are left out") || !strings.Contains(said, "logs/sessions-2026-11-22.jsonl:0") ||
			!strings.Contains(said, "newer") {
			t.Errorf("%q, %v", said, err)
		}
	}
	// The line that had no end gets one, shorter than what was there.
	other, _ := sample(2, s.Begin.Time)
	rest := "{\"v\":1,\"type\":\"sess\n" + newer + good
	write(t, dir, "sessions-"+day, rest)
	write(t, dir, "sessions-"+day, rest+string(other.AppendJSON(nil))+"\n")
	if n := catchUp(t, x); n != 1 {
		t.Errorf("%d records more", n)
	}
}

// TestDamagedWhileRead: what reading finds damaged, CatchUp makes anew.
func TestDamagedWhileRead(t *testing.T) {
	dir := captured(t)
	first, _ := open(t, dir)
	catchUp(t, first)
	want := ids(t, first, Query{})
	if _, err := first.DB().ExecContext(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	root := query(t, first, "SELECT rootpage FROM sqlite_schema WHERE name = 'sessions'")
	var page int
	if _, err := fmt.Sscan(root[0], &page); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(first.Name())
	if err != nil {
		t.Fatal(err)
	}
	clear(data[(page-1)*4096 : page*4096])
	other := copyOf(t, dir)
	if err := os.Mkdir(filepath.Join(other, folder), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, folder, fileName), data, 0o600); err != nil {
		t.Fatal(err)
	}
	x, _ := open(t, other)
	catchUp(t, x)
	for _, err = range x.Sessions(t.Context(), Query{}) {
	}
	if !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	catchUp(t, x)
	if got := ids(t, x, Query{}); !slices.Equal(got, want) {
		t.Errorf("%d sessions, not %d", len(got), len(want))
	}
}

// TestFollow: what is recorded meanwhile is taken in, and the end is no error.
func TestFollow(t *testing.T) {
	dir := captured(t)
	whole, _ := open(t, dir)
	catchUp(t, whole)
	want := dump(t, whole)
	x, warned := open(t, copyOf(t, dir))
	ctx, stop := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() { x.Follow(ctx, time.Millisecond) })
	for n := 0; n != len(want["sessions"]); time.Sleep(time.Millisecond) {
		if err := x.DB().QueryRowContext(t.Context(), "SELECT count(*) FROM sessions").Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	following.Wait()
	if len(*warned) > 0 {
		t.Error(*warned)
	}
	catchUp(t, x)
	equal(t, "followed", dump(t, x), want)
}

// TestTogether: several may fill one index at once.
func TestTogether(t *testing.T) {
	dir := captured(t)
	whole, _ := open(t, dir)
	catchUp(t, whole)
	want := dump(t, whole)
	shared := copyOf(t, dir)
	var all sync.WaitGroup
	for range 3 {
		x, _ := open(t, shared)
		all.Go(func() {
			if _, err := x.catchUp(t.Context(), 20, func(int) error { return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	x, _ := open(t, shared)
	equal(t, "filled by three", dump(t, x), want)
}
