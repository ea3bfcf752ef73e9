package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"github.com/mailwire/mailwire/inspect"
)

// traceName is the file of the tests' day.
const traceName = "trace/trace-2026-11-22.pcapng"

// packetOf is the nth packet of the tests: of another length, in two pieces, of each link type in turn.
func packetOf(n int) inspect.Packet {
	octets := fmt.Appendf(nil, "packet %d %s", n, strings.Repeat("x", n*n%97))
	return inspect.Packet{
		Time: at(0).Add(time.Duration(n) * 1001), Link: traceLinks[n%len(traceLinks)], Wire: len(octets) + n%3,
		Head: octets[:n%7], Data: octets[n%7:],
	}
}

// readTrace reads a trace by pcapgo, and returns its packets and the number of its sections.
func readTrace(t testing.TB, data []byte) (packets []inspect.Packet, sections int) {
	t.Helper()
	o := pcapgo.NgReaderOptions{WantMixedLinkType: true}
	o.SectionEndCallback = func([]pcapgo.NgInterface, pcapgo.NgSectionInfo) { sections++ }
	r, err := pcapgo.NewNgReader(bytes.NewReader(data), o)
	if err != nil {
		t.Fatal(err)
	}
	for {
		octets, about, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("behind %d packets: %v", len(packets), err)
		}
		section, its := r.SectionInfo(), about.InterfaceIndex
		i, err := r.Interface(its)
		if err != nil || i.TimestampResolution != 9 || section.Application != "mailwire" || i.SnapLength != 0 {
			t.Fatalf("%+v, %+v, %v", section, i, err)
		}
		packets = append(packets, inspect.Packet{Time: about.Timestamp, Link: int(i.LinkType), Wire: about.Length, Data: octets})
	}
	return packets, sections + 1
}

// checkTrace holds the trace in a data directory to be these packets, and returns the number of its sections.
func checkTrace(t testing.TB, what, name string, want ...inspect.Packet) int {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	got, sections := readTrace(t, data)
	if len(got) != len(want) {
		t.Errorf("%s: %d packets, not %d", what, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		g, w := got[i], want[i]
		if !g.Time.Equal(w.Time) || g.Link != w.Link || g.Wire != w.Wire || !bytes.Equal(g.Data, slices.Concat(w.Head, w.Data)) {
			t.Fatalf("%s: packet %d is %v %d %d %.60q, not %v %d %d %.60q", what, i, g.Time, g.Link, g.Wire, g.Data, w.Time, w.Link, w.Wire, slices.Concat(w.Head, w.Data))
		}
	}
	return sections
}

// traceRun opens an archive with o, keeps the packets and closes it.
func traceRun(t testing.TB, o Options, packets ...inspect.Packet) {
	t.Helper()
	o.Trace = true
	a := mustOpen(t, o)
	j := a.journal()
	for _, p := range packets {
		j.Packet(p)
	}
	mustClose(t, a)
}

func packetsOf(from, to int) (list []inspect.Packet) {
	for n := from; n < to; n++ {
		list = append(list, packetOf(n))
	}
	return list
}

// TestTrace: what is kept can be read, by others too; each run adds a section of its own.
func TestTrace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	name := filepath.Join(dir, traceName)
	long := inspect.Packet{Time: at(1).Time, Link: 101, Wire: 60040, Head: []byte("head"), Data: bytes.Repeat([]byte("long"), 15009)}
	longer := inspect.Packet{Time: at(1).Time, Link: 1, Wire: 100000, Data: bytes.Repeat([]byte("longer"), 100000/6)}
	first := append(packetsOf(0, 2000), long, longer, long)
	traceRun(t, Options{Dir: dir}, first...)
	if n := checkTrace(t, "one run", name, first...); n != 1 {
		t.Errorf("%d sections", n)
	}
	second := packetsOf(2000, 2100)
	traceRun(t, Options{Dir: dir, Live: true}, second...)
	traceRun(t, Options{Dir: dir}) // has nothing to add
	if n := checkTrace(t, "two runs", name, append(first, second...)...); n != 2 {
		t.Errorf("%d sections", n)
	}
	for path, mode := range map[string]os.FileMode{name: fileMode, filepath.Dir(name): dirMode} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	for _, c := range [][]string{{"capinfos", "-c", "-r", "-T", name}, {"tshark", "-r", name, "-T", "fields", "-e", "frame.number"}} {
		if _, err := exec.LookPath(c[0]); err != nil {
			t.Log("not read by", c[0], "which is not installed")
			continue
		}
		out, err := exec.Command(c[0], c[1:]...).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte(fmt.Sprint(len(first)+len(second)))) || bytes.Contains(out, []byte("rror")) {
			t.Errorf("%s: %v, %s", c[0], err, out[max(0, len(out)-500):])
		}
	}
}

// TestTraceOff: without being asked for, there is none; and what no tap understands is not kept.
func TestTraceOff(t *testing.T) {
	dir := t.TempDir()
	a := mustOpen(t, Options{Dir: dir})
	a.journal().Packet(packetOf(1))
	mustClose(t, a)
	if _, err := os.Stat(filepath.Join(dir, "trace")); err == nil {
		t.Error("there is a trace")
	}
	strange := packetOf(1)
	strange.Link = 147
	traceRun(t, Options{Dir: dir}, strange)
	if files, _ := os.ReadDir(filepath.Join(dir, "trace")); len(files) > 0 {
		t.Errorf("there is a trace %s", files[0].Name())
	}
}

// TestTraceOrder: packets are in the order of their stamps, and of their journals, in the file of their day.
func TestTraceOrder(t *testing.T) {
	for _, live := range []bool{false, true} {
		dir := t.TempDir()
		a := mustOpen(t, Options{Dir: dir, Trace: true, Live: live})
		js := []*Journal{a.journal(), a.journal(), a.journal()}
		midnight := time.Date(2026, 11, 23, 0, 0, 0, 0, cet)
		const packets = 3000
		var want [2][]inspect.Packet
		for i := range packets {
			p := packetOf(i)
			p.Time = midnight.Add(time.Duration(i-packets/2) * time.Millisecond)
			day := 0
			if i >= packets/2 {
				day = 1
			}
			want[day] = append(want[day], p)
			js[i*i%3].Stamp(int64(i))
			js[i*i%3].Packet(p)
			if i%700 == 0 {
				for _, j := range js {
					j.Cut()
				}
				if err := a.Commit(); err != nil {
					t.Error(err)
				}
			}
		}
		mustClose(t, a)
		checkTrace(t, "before midnight", filepath.Join(dir, traceName), want[0]...)
		checkTrace(t, "after midnight", filepath.Join(dir, "trace/trace-2026-11-23.pcapng"), want[1]...)
		if st := a.Stats(); st != (Stats{}) {
			t.Errorf("%+v", st)
		}
	}
}

// TestMovedTrace: a trace that is renamed, or replaced by a link, is left alone.
func TestMovedTrace(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, traceName)
	a := mustOpen(t, Options{Dir: dir, Trace: true, Live: true, Warn: func(string) {}})
	j := a.journal()
	keep := func(n int) error {
		j.Packet(packetOf(n))
		j.Cut()
		return a.Commit()
	}
	if err := errors.Join(keep(1), keep(2), os.Rename(name, name+".1"), keep(3), keep(4)); err != nil {
		t.Error(err)
	}
	checkTrace(t, "renamed", name+".1", packetOf(1), packetOf(2))
	checkTrace(t, "new", name, packetOf(3), packetOf(4))
	if err := errors.Join(os.Remove(name), os.Symlink(name+".1", name)); err != nil {
		t.Fatal(err)
	}
	if err := keep(5); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a symbolic link gives %v", err)
	}
	checkTrace(t, "behind a link", name+".1", packetOf(1), packetOf(2))
	if err := errors.Join(os.RemoveAll(filepath.Dir(name)), keep(6)); err != nil {
		t.Error(err)
	}
	checkTrace(t, "directory made again", name, packetOf(6))
	mustClose(t, a)
	if st := a.Stats(); st.PacketsLost != 1 || st.LinesLost != 0 {
		t.Errorf("%+v", st)
	}
}

// TestTraceFrozenDisk: packets that wait for a disk cost packets, and no records.
func TestTraceFrozenDisk(t *testing.T) {
	d, freeze := frozenDisk()
	dir := t.TempDir()
	heard := make(chan string, 10)
	a := mustOpen(t, Options{Dir: dir, Trace: true, Live: true, disk: d, Warn: func(msg string) { heard <- msg }})
	j := a.journal()
	j.Packet(packetOf(0))
	j.Cut()
	stopped, thaw := freeze()
	committed := make(chan error)
	go func() { committed <- a.Commit() }()
	<-stopped
	large := bytes.Repeat([]byte("x"), 1460)
	given := 1
	for a.Stats().PacketsLost < 1000 {
		j.Packet(inspect.Packet{Time: at(0).Time, Link: 101, Head: large[:40], Data: large})
		given++
	}
	if msg := <-heard; !strings.Contains(msg, "the trace loses packets") {
		t.Error(msg)
	}
	if st := a.Stats(); st.LinesWaiting > lineMemory || st.LinesWaiting < lineMemory-spoolBuffer-2*lineOctets {
		t.Errorf("%d octets wait", st.LinesWaiting)
	}
	const sessions = 1000
	for i := range sessions {
		j.Session(sample(i, at(0)))
	}
	close(thaw)
	if err := <-committed; err != nil {
		t.Error(err)
	}
	mustClose(t, a)
	data, err := os.ReadFile(filepath.Join(dir, traceName))
	if err != nil {
		t.Fatal(err)
	}
	got, _ := readTrace(t, data)
	st := a.Stats()
	if int64(len(got))+st.PacketsLost != int64(given) {
		t.Errorf("%d packets, %d lost, of %d", len(got), st.PacketsLost, given)
	}
	if st.LinesLost != 0 || st.Sessions != sessions || st.LinesWaiting != 0 {
		t.Errorf("%+v", st)
	}
	if lines := readLines(t, filepath.Join(dir, "logs/sessions-2026-11-22.jsonl")); len(lines) != sessions {
		t.Errorf("%d sessions", len(lines))
	}
}

const faultPackets = 30

// traceFaults keeps packets and as many lines, in batches, on a disk that may fail.
func traceFaults(a *Archive) {
	j := a.journal()
	for i := range faultPackets {
		p := packetOf(i)
		if i == 15 {
			p.Data = bytes.Repeat([]byte("long"), 10000)
			p.Wire = 40100
		}
		j.Packet(p)
		j.Session(sample(i, at(0)))
		if i%10 == 9 {
			j.Cut()
			_ = a.Commit()
		}
	}
	_ = a.Close()
}

// TestTraceOperationFails breaks each file operation of a run with a trace, once, and some of them and all that follow for
// a while. Then the trace can be read, in its order, and what it does not have is counted.
func TestTraceOperationFails(t *testing.T) {
	for _, live := range []bool{false, true} {
		before := t.TempDir() // so that there is an end to look at
		traceRun(t, Options{Dir: before}, packetsOf(100, 103)...)
		old, err := os.ReadFile(filepath.Join(before, traceName))
		if err != nil {
			t.Fatal(err)
		}
		whole := &faultyDisk{}
		checkTraceFault(t, whole, live, old)
		t.Logf("%d operations", whole.done)
		for _, length := range []int{1, 3, 10} {
			for n := 1; n <= whole.done; n++ {
				checkTraceFault(t, &faultyDisk{fail: n, until: n + length}, live, old)
			}
		}
	}
}

func checkTraceFault(t *testing.T, d *faultyDisk, live bool, old []byte) {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, traceName)
	if err := errors.Join(os.Mkdir(filepath.Dir(name), 0o700), os.WriteFile(name, append(slices.Clone(old), "torn"...), 0o600)); err != nil {
		t.Fatal(err)
	}
	a, err := Open(Options{Dir: dir, Trace: true, Live: live, disk: d, Warn: func(string) {}})
	if err != nil {
		if len(d.failed) == 0 || !strings.Contains(err.Error(), "cannot be written") {
			t.Errorf("%s: %v", d.failed, err)
		}
		return
	}
	traceFaults(a)
	if d.done < d.until { // it never got better; then what is torn is left for the next start
		traceRun(t, Options{Dir: dir}, packetOf(200))
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := readTrace(t, bytes.TrimSuffix(data, []byte("torn")))
	last, n := -1, 0
	for _, p := range got {
		at := int(p.Time.Sub(at(0).Time) / 1001)
		if at <= last && last < 100 {
			t.Fatalf("%s: packet %d behind %d", d.failed, at, last)
		}
		if last = at; at < faultPackets {
			n++
		}
	}
	st := a.Stats()
	if n+int(st.PacketsLost) != faultPackets || len(got) < 3+n {
		t.Errorf("%s: %d packets and %d lost, of %d", d.failed, n, st.PacketsLost, faultPackets)
	}
	if len(d.failed) <= 1 && st.PacketsLost+st.LinesLost > 0 {
		t.Errorf("%s: one failure loses %d packets and %d lines", d.failed, st.PacketsLost, st.LinesLost)
	}
	lines := 0
	if text, err := os.ReadFile(filepath.Join(dir, "logs/sessions-2026-11-22.jsonl")); err == nil {
		lines = bytes.Count(text, []byte{'\n'})
	}
	if lines+int(st.LinesLost) != faultPackets {
		t.Errorf("%s: %d lines, and %+v", d.failed, lines, st)
	}
}
