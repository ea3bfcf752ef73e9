package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
)

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"1": 1, "512": 512, "10b": 10, "1k": 1000, "10KB": 10000, "1.5M": 1500000, "20GB": 20e9, "20 gb": 20e9, "1TB": 1e12,
		"1KiB": 1024, "512MiB": 512 << 20, "1.5gib": 3 << 29, "2TiB": 2 << 40,
	} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("%q is %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "GB", "0", "0.4", "-1GB", "+1GB", "1e3", "0x10", "1iB", "1i", "1 potato", "1KM", "1BB", "1.2.3", "NaN", "Inf", "5EiB", "9999999999TB", "1GB2"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("%q is %d", s, got)
		}
	}
}

// dayAgo is a moment n days before that of at(0).
func dayAgo(n int) record.Time { return at(-n * 24 * 60 * 60) }

var allKinds = []func(*record.Message){
	func(*record.Message) {},
	func(m *record.Message) { m.Outcome = record.Rejected },
	func(m *record.Message) { m.Outcome = record.Aborted },
	func(m *record.Message) { m.Protocol = record.POP3 },
}

// fill keeps on each of these days a mail of each kind, with all that is of it.
func fill(t *testing.T, o Options, daysAgo ...int) {
	t.Helper()
	o.Keep, o.Secrets, o.Trace = All, true, true
	a := mustOpen(t, o)
	j := a.journal()
	for _, n := range daysAgo {
		for i, change := range allKinds {
			s := sample(10*n+i, dayAgo(n))
			m := sampleMail(s, 1)
			change(m)
			s.Protocol = m.Protocol
			j.Packet(inspect.Packet{Time: s.Begin.Time, Link: traceLinks[0], Data: []byte("packet"), Wire: 6})
			j.Line(s, record.Line{Time: s.Begin, Kind: record.Note, Text: []byte("connected")})
			j.Login(s, 1, record.Login{Time: s.Begin, Mechanism: "PLAIN", User: "bob", Outcome: record.Failure})
			j.Secret(s, record.Secret{Time: s.Begin, Mechanism: "PLAIN", User: "bob", Secret: "hunter2"})
			keep(j, m, "Subject: x\r\n\r\nhello\r\n")
			j.Session(s)
		}
	}
	mustClose(t, a)
}

// keeperOf returns a keeper of a live archive in dir, with what it says.
func keeperOf(t *testing.T, dir string, limits Retention, d disk) (k *keeper, said *[]string) {
	t.Helper()
	said = new([]string)
	note := func(msg string) { *said = append(*said, msg) }
	if d == nil {
		d = osDisk{}
	}
	a := mustOpen(t, Options{Dir: dir, Keep: All, Fsync: true, Live: true, Say: note})
	t.Cleanup(func() { mustClose(t, a) })
	a.disk, a.mails.disk, a.warner.say = d, d, note
	limits.Location = cet
	return newKeeper(a, limits), said
}

// daysIn returns how many files of each day there are; what is of no day is of "".
func daysIn(t *testing.T, dir string) map[string]int {
	t.Helper()
	n := map[string]int{}
	for name := range tree(t, dir) {
		of := ""
		for i := range 30 {
			if d := dayAgo(i).Day(); strings.Contains(name, d) || strings.Contains(name, fmt.Sprint(dayAgo(i).Unix())) {
				of = d
			}
		}
		n[of]++
	}
	return n
}

// checkNamed is an error if a record names a file that is missing.
func checkNamed(t *testing.T, dir string) (records int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "logs", "messages-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		for _, line := range readLines(t, name) {
			var m record.Message
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			records++
			if _, err := os.Lstat(filepath.Join(dir, m.Stored.Path)); err != nil {
				t.Errorf("a record in %s names a file that is missing: %v", filepath.Base(name), err)
			}
		}
	}
	return records
}

// TestKeepDays: what is older goes, with all that is of it, in both layouts, and nothing else does.
func TestKeepDays(t *testing.T) {
	for _, flat := range []bool{false, true} {
		dir := t.TempDir()
		fill(t, Options{Dir: dir, Flat: flat}, 0, 1, 2, 3, 9)
		moved := filepath.Join(dir, "mail", "new")
		if !flat {
			moved = filepath.Join(dir, "mail", "."+dayAgo(9).Day(), "new")
		}
		for name := range tree(t, moved) { // by a mail program
			if strings.HasPrefix(name, fmt.Sprint(dayAgo(9).Unix())) {
				if err := os.Rename(filepath.Join(moved, name), filepath.Join(moved, "..", "cur", name+":2,S")); err != nil {
					t.Fatal(err)
				}
			}
		}
		before := daysIn(t, dir)
		old := dayAgo(9).Day()
		strangers := []string{
			"precious", "logs/notes-" + old + ".txt", "logs/sessions-" + old + ".jsonl.bak", "logs/old-messages-" + old + ".jsonl",
			"mail/new/letter", "mail/new/1.x.y", "mail/." + old + ".Mine/new/1795313045.k3m9abcdefgh0001.1.mx1,S=18",
			"mail/." + dayAgo(3).Day() + "/new/letter", "trace/trace-" + old + ".pcap", "mail/tmp/mailwire.x", "index/mailwire.db",
		}
		for _, name := range strangers {
			name = filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte("x"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		k, said := keeperOf(t, dir, Retention{Days: 2}, nil)
		_ = os.WriteFile(filepath.Join(dir, "mail", "tmp", "mailwire.x"), []byte("x"), 0o600) // which Open has swept
		k.look(at(0).Time)
		left := tree(t, dir)
		for _, name := range strangers {
			if left[name] == "" {
				t.Errorf("flat %v: %s is gone", flat, name)
			}
			delete(left, name)
		}
		after := map[string]int{}
		for name := range left {
			for n := range 10 {
				if d := dayAgo(n); strings.Contains(name, d.Day()) || strings.Contains(name, fmt.Sprint(d.Unix())) {
					after[d.Day()]++
				}
			}
		}
		for n, want := range map[int]bool{0: true, 1: true, 2: true, 9: false} {
			d := dayAgo(n).Day()
			if got := after[d]; got == 0 == want || want && got != before[d] {
				t.Errorf("flat %v: %d files of %s are left of %d", flat, got, d, before[d])
			}
		}
		if n := after[dayAgo(3).Day()]; !flat && n != 1 || flat && n != 0 { // the maildirfolder beside the stranger's letter
			t.Errorf("flat %v: %d files are left of the folder with a letter that is not ours", flat, n)
		}
		if st := k.a.Stats(); st.RemovedDays != 2 || st.Errors != 0 || len(*said) != 2 || !strings.Contains((*said)[0], "removed "+old+", as it is more than 2 days old: 4 mails and 8 other files") {
			t.Errorf("%+v, %q", st, *said)
		}
		checkNamed(t, dir)
		if k.look(at(0).Time); len(*said) != 2 {
			t.Errorf("a second look says %q", (*said)[2:])
		}
		if _, err := os.Lstat(filepath.Join(dir, "mail", "."+old)); err == nil {
			t.Error("an empty folder is left")
		}
	}
}

// TestKeepSize: the oldest go first, no more than have to, and never today, be it today here or in UTC.
func TestKeepSize(t *testing.T) {
	dir := t.TempDir()
	fill(t, Options{Dir: dir}, 0, 1, 2, 3)
	k, said := keeperOf(t, dir, Retention{}, nil)
	held, err := k.holdings(at(0).Time)
	var all int64
	for _, text := range tree(t, dir) {
		all += int64(len(text))
	}
	if err != nil || len(held.days) != 3 || held.octets != all {
		t.Fatalf("%+v, %v, want %d octets", held, err, all)
	}
	for _, c := range []struct{ limit, left int64 }{{all, 4}, {all - 1, 3}, {all - held.days[0].octets - 1, 2}, {1, 1}} {
		k.limits.Size = c.limit
		k.look(at(0).Time)
		if n := len(daysIn(t, dir)); int64(n) != c.left {
			t.Errorf("%d days are left of %d octets", n, c.limit)
		}
		checkNamed(t, dir)
	}
	if !strings.Contains((*said)[len(*said)-1], "today alone has") {
		t.Errorf("%q", *said)
	}
	k.look(at(0).Add(-4 * time.Hour)) // 23:04 of the day before, 22:04 in UTC
	k.look(at(0).Add(21 * time.Hour)) // the next day here, but not yet in UTC
	if checkNamed(t, dir) != len(allKinds) {
		t.Error("today is removed")
	}
	k.look(at(0).Add(24 * time.Hour))
	if checkNamed(t, dir) != 0 {
		t.Error("the next day today stays")
	}
}

// TestFreeSpaceLater: what is removed need not be free at once, and no more goes than would bring the room.
func TestFreeSpaceLater(t *testing.T) {
	dir := t.TempDir()
	fill(t, Options{Dir: dir}, 0, 1, 2, 3)
	k, _ := keeperOf(t, dir, Retention{Free: 101}, &snapshots{})
	k.look(at(0).Time)
	if n := daysIn(t, dir); len(n) != 3 {
		t.Errorf("%v are left", n)
	}
}

// snapshots is a disk that keeps what is removed.
type snapshots struct{ osDisk }

func (snapshots) Free(string) (int64, error) { return 100, nil }

// fullDisk has so many octets free, and more for each file that is removed.
type fullDisk struct {
	osDisk
	free int64
}

func (d *fullDisk) Free(string) (int64, error) { return d.free, nil }

func (d *fullDisk) Remove(name string) error {
	d.free++
	return d.osDisk.Remove(name)
}

func TestFreeSpace(t *testing.T) {
	dir := t.TempDir()
	fill(t, Options{Dir: dir}, 0, 1, 2, 3)
	d := &fullDisk{free: 100}
	k, said := keeperOf(t, dir, Retention{Free: 101}, d)
	k.look(at(0).Time)
	if n := daysIn(t, dir); len(n) != 3 || n[dayAgo(3).Day()] != 0 {
		t.Errorf("%v are left", n)
	}
	d.free = 0
	k.look(at(60).Time)
	if n := daysIn(t, dir); len(n) != 3 || !strings.Contains((*said)[len(*said)-1], "brought no room") {
		t.Errorf("a disk that others fill: %v are left, %q", n, *said)
	}
	k.limits.Free = math.MaxInt64
	k.look(at(0).Add(2 * spaceRest))
	if n := daysIn(t, dir); len(n) != 1 || n[dayAgo(0).Day()] == 0 || !strings.Contains((*said)[len(*said)-1], "there is no older day") {
		t.Errorf("%v are left, %q", n, *said)
	}
	if free, err := (osDisk{}).Free(dir); err != nil || free <= 0 {
		t.Errorf("%d octets are free here, %v", free, err)
	}
}

func (d *faultyDisk) Entries(name string, do func(fs.DirEntry) error) error {
	if err := d.op("entries " + name); err != nil {
		return err
	}
	return d.osDisk.Entries(name, do)
}

// TestRemovalFaults: wherever a removal stops, by an error or for ever, no record names a file that is missing; and what
// comes after it ends it.
func TestRemovalFaults(t *testing.T) {
	for _, flat := range []bool{false, true} {
		failing := 1
		if flat {
			failing = math.MaxInt32 // all from one on
		}
		for op, done := 1, false; !done; op++ {
			dir := t.TempDir()
			fill(t, Options{Dir: dir, Flat: flat}, 0, 5)
			d := &faultyDisk{fail: op, until: op + failing}
			k, said := keeperOf(t, dir, Retention{Days: 2}, d)
			k.look(at(0).Time)
			done = len(d.failed) == 0
			if n := checkNamed(t, dir); n < len(allKinds) {
				t.Errorf("operation %d: %d records are left", op, n)
			}
			if !done && k.a.Stats().RemovedDays == 0 && len(*said) == 0 {
				t.Errorf("operation %d, %q: nobody is told", op, d.failed)
			}
			d.until = 0
			k.limits.Days = 100 // what was begun is ended nevertheless
			k.look(at(0).Time)
			begun := slices.ContainsFunc(slices.Collect(mapKeys(tree(t, dir))), func(name string) bool { return strings.Contains(name, buriedPrefix) })
			k.limits.Days = 2
			k.look(at(0).Time)
			if n := daysIn(t, dir); begun || n[dayAgo(5).Day()] != 0 || checkNamed(t, dir) != len(allKinds) {
				t.Errorf("flat %v, operation %d, %q: %v are left", flat, op, d.failed, n)
			}
		}
	}
}

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for name := range m {
			if !yield(name) {
				return
			}
		}
	}
}

// TestRemovalAmongWriters: two live archives write mails of the day that a third one removes again and again.
func TestRemovalAmongWriters(t *testing.T) {
	for _, flat := range []bool{false, true} {
		dir := t.TempDir()
		k, _ := keeperOf(t, dir, Retention{Days: 2}, nil)
		const writers, sessions, days = 2, 5000, 3
		done := make(chan struct{}, writers)
		for w := range writers {
			go func() {
				a, err := Open(Options{Dir: dir, Keep: All, Live: true, Flat: flat, PID: w})
				if err != nil {
					t.Error(err)
				} else {
					j := a.journal()
					n := 0
					for ; k.a.Stats().RemovedDays < days; n++ {
						s := sample(w*sessions+n%sessions, dayAgo(5))
						keep(j, sampleMail(s, 1), liveMail(s.ID+".1"))
						j.Session(s)
						j.Cut()
						if err := a.Commit(); err != nil {
							t.Error(err)
						}
					}
					if st := a.Stats(); st.Stored != int64(n) || st.LinesLost+st.Errors != 0 {
						t.Errorf("%+v", st)
					}
					if err := a.Close(); err != nil {
						t.Error(err)
					}
				}
				done <- struct{}{}
			}()
		}
		for ended := 0; ended < writers; {
			k.look(at(0).Time)
			if err := k.alone(func() error { checkNamed(t, dir); return nil }); err != nil && err != errLater {
				t.Error(err)
			}
			select {
			case <-done:
				ended++
			default:
			}
		}
		if k.look(at(0).Time); len(daysIn(t, dir)) != 0 {
			t.Errorf("%v are left", daysIn(t, dir))
		}
	}
}

// TestRemovalWaits: nothing is removed while a process reads captures, whose records come long after the mails.
func TestRemovalWaits(t *testing.T) {
	dir := t.TempDir()
	fill(t, Options{Dir: dir}, 5)
	a := mustOpen(t, Options{Dir: dir, Keep: All})
	j := a.journal()
	keep(j, sampleMail(sample(77, dayAgo(5)), 1), "x\r\n") // in its place, without a record
	k, _ := keeperOf(t, dir, Retention{Days: 2}, nil)
	if err := k.alone(func() error { return nil }); err != errLater {
		t.Fatal("the gate is open", err)
	}
	mustClose(t, a)
	if n := checkNamed(t, dir); n != len(allKinds)+1 {
		t.Errorf("%d records", n)
	}
	if k.look(at(0).Time); len(daysIn(t, dir)) != 0 {
		t.Errorf("%v are left", daysIn(t, dir))
	}
}

// TestKeeper: a live archive looks when it is opened, and a keeper whose disk stands still is in nobody's way.
func TestKeeper(t *testing.T) {
	dir := t.TempDir()
	fill(t, Options{Dir: dir}, 1000)
	said := make(chan string, 10)
	a := mustOpen(t, Options{Dir: dir, Keep: All, Live: true, Retention: Retention{Days: 30}, Say: func(msg string) { said <- msg }})
	if msg := <-said; !strings.Contains(msg, "removed "+dayAgo(1000).Day()) || a.Stats().RemovedDays != 1 {
		t.Error(msg)
	}
	mustClose(t, a)

	frozen, thaw := make(chan struct{}), make(chan struct{})
	d := &iceDisk{frozen: frozen, thaw: thaw}
	a = mustOpen(t, Options{Dir: dir, Keep: All, Live: true, Retention: Retention{Days: 30}, disk: d})
	<-frozen
	j := a.journal()
	for i := range 20 {
		tellSession(j, i)
		j.Cut()
		if err := a.Commit(); err != nil || a.Stats().Stored != int64(i+1) {
			t.Fatal(err, a.Stats())
		}
	}
	close(thaw)
	mustClose(t, a)
}

// iceDisk lists no directory before it thaws.
type iceDisk struct {
	osDisk
	frozen chan<- struct{}
	thaw   <-chan struct{}
}

func (d *iceDisk) Entries(name string, do func(fs.DirEntry) error) error {
	select {
	case d.frozen <- struct{}{}:
	case <-d.thaw:
	}
	<-d.thaw
	return d.osDisk.Entries(name, do)
}
