package archive

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

// frozenDisk returns a disk that stops at its next operation after freeze: stopped gets a word then, and it goes on when
// thaw is closed.
func frozenDisk() (d *faultyDisk, freeze func() (stopped <-chan struct{}, thaw chan<- struct{})) {
	type ice struct{ stopped, thaw chan struct{} }
	var now atomic.Pointer[ice]
	d = &faultyDisk{wait: func() {
		if i := now.Load(); i != nil {
			select {
			case i.stopped <- struct{}{}:
			default:
			}
			<-i.thaw
		}
	}}
	return d, func() (<-chan struct{}, chan<- struct{}) {
		i := &ice{make(chan struct{}, 1), make(chan struct{})}
		now.Store(i)
		return i.stopped, i.thaw
	}
}

// liveMail are the octets of the tests' mails: some small, some large, some with a bare LF at their end.
func liveMail(id string) string {
	var i int
	_, _ = fmt.Sscanf(id, "k3m9abcdefgh%d.1", &i)
	text := fmt.Sprintf("Subject: %d\r\n\r\n", i) + strings.Repeat("x", i%100) + "\r\n"
	if i%5 == 0 {
		text += strings.Repeat("a line of a long mail\r\n", 20000)
	}
	if i%3 == 0 {
		text += "bare\n"
	}
	return text
}

// tellSession tells j a session of two lines and a mail: five lines in four files.
func tellSession(j *Journal, i int) {
	s := sample(i, at(0))
	j.Stamp(int64(i))
	j.Line(s, record.Line{Time: s.Begin, Kind: record.Note, Text: []byte("connected")})
	m := sampleMail(s, 1)
	kept := j.OpenMail(m)
	octets := []byte(liveMail(m.ID))
	for len(octets) > 0 {
		n := min(len(octets), 1400)
		kept.Write(octets[:n])
		octets = octets[n:]
	}
	j.Message(m, kept)
	j.Line(s, record.Line{Time: s.Begin, Kind: record.Note, Text: []byte("closed")})
	j.Session(s)
}

// TestFrozenDisk: a disk that stands still stops nobody but Commit. What waits is bounded, what is lost is counted, and
// what was kept is written when the disk goes on.
func TestFrozenDisk(t *testing.T) {
	d, freeze := frozenDisk()
	dir := t.TempDir()
	heard := make(chan string, 100)
	a := mustOpen(t, Options{Dir: dir, Keep: All, Fsync: true, Live: true, disk: d, Warn: func(msg string) { heard <- msg }})
	js := []*Journal{a.journal(), a.journal()}
	cut := func() {
		for _, j := range js {
			j.Cut()
		}
	}
	sessions, extra := 0, 0
	tell := func(n int) {
		for range n {
			tellSession(js[sessions%2], sessions)
			sessions++
		}
	}
	tell(20)
	cut()
	if err := a.Commit(); err != nil || a.Stats().Stored != 20 {
		t.Fatalf("%v, %+v", err, a.Stats())
	}

	stopped, thaw := freeze()
	tell(20)
	cut()
	committed := make(chan error)
	go func() { committed <- a.Commit() }()
	<-stopped
	tell(1000) // 84 MB of mail
	if st := a.Stats(); st.MailsWaiting > spoolMemory || st.MailsWaiting < spoolMemory-spoolBuffer {
		t.Errorf("%d octets of mails wait", st.MailsWaiting)
	}
	if msg := <-heard; !strings.Contains(msg, "mails are not stored") {
		t.Error(msg)
	}
	for a.Stats().LinesLost == 0 {
		js[0].Stamp(int64(1000 + extra))
		js[0].Line(sample(0, at(0)), record.Line{Time: at(0), Kind: record.FromClient, Text: []byte("NOOP")})
		extra++
	}
	if msg := <-heard; !strings.Contains(msg, "lines of dialogue are lost") {
		t.Error(msg)
	}
	if n := cap(js[0].now.streams[smtpLog].entries); n*lineOctets < maxBatchBytes {
		t.Fatalf("only %d lines", n)
	}
	room := func(of memory) int64 { return lineMemory - a.waiting[of].Load() }
	if n := room(talkMemory); n < 0 || n > 8<<10 {
		t.Errorf("there is room for %d octets of dialogue", n)
	}
	for said := false; !said; { // records have a memory of their own
		tell(1000)
		select {
		case msg := <-heard:
			if said = true; !strings.Contains(msg, "records are lost") {
				t.Error(msg)
			}
		default:
		}
	}
	if n := room(recordMemory); n < 0 || n > 8<<10 {
		t.Errorf("there is room for %d octets of records", n)
	}
	var st Stats
	close(thaw)
	if err := <-committed; err != nil {
		t.Error(err)
	}
	cut()
	if err := a.Commit(); err != nil {
		t.Error(err)
	}
	for _, j := range js {
		for _, b := range append(j.free, j.now) {
			for _, st := range b.streams {
				if st.data != nil || cap(st.entries)*lineOctets > maxBatchBytes {
					t.Errorf("a batch keeps room for %d lines, and %d octets", cap(st.entries), cap(st.data))
				}
			}
		}
	}

	lost := a.Stats().LinesLost
	tell(20)
	mustClose(t, a)
	lines, messages, notStored := checkTruth(t, "thawed", dir, liveMail)
	st = a.Stats()
	if st.LinesLost != lost || lines+int(lost) != 5*sessions+extra {
		t.Errorf("%d lines, of %d; %+v", lines, 5*sessions+extra, st)
	}
	noRecord := sessions - messages // nor has its mail
	if st.Stored+st.NotStored != int64(sessions) || int(st.NotStored) != notStored+noRecord || int(st.Messages) != messages || notStored == 0 || noRecord == 0 {
		t.Errorf("%d messages, %d without their mail, of %d; %+v", messages, notStored, sessions, st)
	}
	if st.MailsWaiting+st.LinesWaiting != 0 || st.Errors != 0 || len(heard) != 0 {
		t.Errorf("%+v, and %d warnings", st, len(heard))
	}
	if data, _ := os.ReadFile(filepath.Join(dir, "logs/messages-2026-11-22.jsonl")); !strings.Contains(string(data), `"error":"the mail could not be stored: mails come faster than they can be written, `) {
		t.Error("no record says why its mail was not stored")
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "mail/tmp")); len(left) > 0 {
		t.Errorf("tmp has %d files", len(left))
	}
}

// TestGivenUp: a mail that is given up, or that the disk refused, gives all its memory back at once, and takes none
// again.
func TestGivenUp(t *testing.T) {
	d := &faultyDisk{}
	dir := t.TempDir()
	a := mustOpen(t, Options{Dir: dir, Keep: All, Live: true, disk: d, Warn: func(string) {}})
	j := a.journal()
	spooled := func() {
		all := make(chan struct{})
		a.spooler.do(func() { close(all) })
		<-all
	}
	commit := func() {
		spooled()
		j.Cut()
		_ = a.Commit()
	}
	piece := []byte(strings.Repeat("some text of a line\r\n", 1000))
	fill := func(n int) (*record.Message, *mail) {
		m := sampleMail(sample(n, at(0)), 1)
		kept := j.OpenMail(m).(*mail)
		for range 100 {
			kept.Write(piece)
		}
		return m, kept
	}
	waiting := func() int64 {
		spooled()
		return a.Stats().MailsWaiting
	}

	slow, kept := fill(1)
	commit() // there is a file
	kept.Write(piece)
	frozen := make(chan struct{})
	a.spooler.do(func() { <-frozen }) // else a fast disk takes all there is
	for !kept.spool.over.Load() {     // until there is no memory
		kept.Write(piece)
	}
	close(frozen)
	if n := waiting(); n != 0 {
		t.Errorf("given up, %d octets wait", n)
	}
	commit()
	if left, _ := os.ReadDir(filepath.Join(dir, "mail/tmp")); len(left) > 0 {
		t.Error("its file is still there")
	}
	kept.Write(piece)
	j.Message(slow, kept)

	d.fail, d.until = 0, 1<<30
	full, kept := fill(2)
	commit()
	if n := waiting(); n > spoolBuffer { // what was not handed over yet
		t.Errorf("refused, %d octets wait", n)
	}
	d.until = 0
	kept.Write(piece)
	if n := waiting(); n != 0 {
		t.Errorf("refused, %d octets wait", n)
	}
	j.Message(full, kept)

	_, kept = fill(3)
	kept.Discard()
	if n := waiting(); n != 0 {
		t.Errorf("discarded, %d octets wait", n)
	}
	mustClose(t, a)
	for m, want := range map[*record.Message]string{slow: "come faster", full: "no space left"} {
		if m.Stored == nil || !strings.Contains(m.Stored.Error, want) {
			t.Errorf("%s: stored %+v", want, m.Stored)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "mail/tmp")); len(left) > 0 {
		t.Errorf("tmp has %d files", len(left))
	}
}

// TestManyOperations: not even what has to be done for mails that need no memory any more waits without bounds.
func TestManyOperations(t *testing.T) {
	a := mustOpen(t, Options{Dir: t.TempDir(), Keep: All, Live: true, Warn: func(string) {}})
	j := a.journal()
	a.buffers.lent.Store(spoolMemory - 2*smallBuffer) // so that a mail is handed over early
	piece := make([]byte, smallBuffer+1)
	s := sample(1, at(0))
	for range 2 * lineMemory / opOctets {
		kept := j.OpenMail(sampleMail(s, 1))
		kept.Write(piece)
		kept.Discard()
	}
	if n := len(j.now.mails); n > 2*lineMemory/opOctets {
		t.Errorf("%d operations wait", n)
	}
	if st := a.Stats(); st.MailsWaiting != spoolMemory-2*smallBuffer || st.LinesWaiting < lineMemory-opOctets {
		t.Errorf("%+v", st)
	}
	mustClose(t, a)
}

// TestIdle: a batch of which nothing was made asks nothing of the disk.
func TestIdle(t *testing.T) {
	d := &faultyDisk{}
	a := mustOpen(t, Options{Dir: t.TempDir(), Keep: All, Live: true, Fsync: true, disk: d})
	j := a.journal()
	tellSession(j, 0)
	j.Cut()
	_ = a.Commit()
	done := d.done
	for range 3 {
		j.Cut()
		_ = a.Commit()
	}
	if d.done != done {
		t.Errorf("%d operations for nothing", d.done-done)
	}
	mustClose(t, a)
}

// syncDisk counts how files come to the disk.
type syncDisk struct {
	osDisk
	err       error // of SyncAll
	all, each int
}

func (d *syncDisk) SyncAll(*os.File) error {
	d.all++
	return d.err
}

func (d *syncDisk) OpenUnnamed(dir string) (unnamed, error) {
	f, err := d.osDisk.OpenUnnamed(dir)
	return &syncedFile{f, d}, err
}

type syncedFile struct {
	unnamed
	d *syncDisk
}

func (f *syncedFile) Sync() error {
	f.d.each++
	return f.unnamed.Sync()
}

// TestSyncAll: many mails come to the disk together, few alone, and where they cannot together, each does.
func TestSyncAll(t *testing.T) {
	for _, c := range []struct {
		mails, all, each int
		err              error
	}{
		{manyMails - 1, 0, manyMails - 1, nil},
		{manyMails, 1, 0, nil},
		{2 * maxGroup, 2, 0, nil},
		{manyMails, 1, manyMails, errors.ErrUnsupported},
		{manyMails, 1, manyMails, syscall.EIO},
	} {
		disk := &syncDisk{err: c.err}
		if f, err := disk.OpenUnnamed(t.TempDir()); err != nil {
			t.Skip("the file system has no files without a name")
		} else {
			f.Close()
		}
		a := mustOpen(t, Options{Dir: t.TempDir(), Keep: All, Live: true, Fsync: true, disk: disk})
		j := a.journal()
		for i := range c.mails {
			s := sample(i, at(0))
			m := sampleMail(s, 1)
			kept := j.OpenMail(m)
			kept.Write([]byte("Subject: small\r\n\r\n"))
			j.Message(m, kept)
			j.Session(s)
		}
		mustClose(t, a)
		if st := a.Stats(); disk.all != c.all || disk.each != c.each || st.Stored != int64(c.mails) {
			t.Errorf("%d mails: %d times all, %d files, %d stored", c.mails, disk.all, disk.each, st.Stored)
		}
	}
}
