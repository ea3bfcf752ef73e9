package tap

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// recorder stands in for the archive: it keeps what conversations are told, and what journals say merged by packet.
type recorder struct {
	mu       sync.Mutex
	talks    []*talk
	journals []*journal
	out      []string
	commits  int
	fail     error
	ignore   func(inspect.Conn) bool
}

func (r *recorder) Journal() inspect.Journal {
	j := &journal{}
	r.journals = append(r.journals, j)
	return j
}

func (*recorder) Crowded() bool { return false }

func (r *recorder) Commit() error {
	r.commits++
	var all []said
	for _, j := range r.journals {
		j.mu.Lock()
		all = append(all, j.cut[0]...)
		j.cut = j.cut[1:]
		j.mu.Unlock()
	}
	slices.SortStableFunc(all, func(a, b said) int { return cmp.Compare(a.packet, b.packet) })
	for _, s := range all {
		r.out = append(r.out, s.text)
	}
	return r.fail
}

func (r *recorder) create(conn inspect.Conn, sink inspect.Sink) conversation {
	k := &talk{conn: conn, journal: sink.(*journal), how: -1}
	r.mu.Lock()
	r.talks = append(r.talks, k)
	r.mu.Unlock()
	k.ignored = r.ignore != nil && r.ignore(conn)
	k.say("begin %v ordinal %d hint %d started %v", conn.Begin.UnixNano(), conn.Ordinal, conn.Hint, conn.Started)
	return k
}

type said struct {
	packet int64
	text   string
}

// journal keeps what is said, batch by batch.
type journal struct {
	inspect.Sink
	mu    sync.Mutex
	stamp int64
	now   []said
	cut   [][]said
}

func (j *journal) Stamp(packet int64) {
	if packet < j.stamp {
		panic(fmt.Sprintf("stamp %d after %d", packet, j.stamp))
	}
	j.stamp = packet
}

func (j *journal) Packet(inspect.Packet) {}

func (j *journal) Cut() {
	j.mu.Lock()
	j.cut = append(j.cut, j.now)
	j.mu.Unlock()
	j.now = nil
}

// talk is a conversation that remembers.
type talk struct {
	conn     inspect.Conn
	journal  *journal
	data     [2][]byte
	lost     [2]int64
	marked   [2][]byte       // data, with what tshark writes in the place of a hole
	inner    [2]int64        // lost, as far as octets follow
	tail     [2]int64        // lost, with no octets behind it yet
	image    [2][]byte       // data, with zeros for what was lost
	known    [2][]bool       // of image, what was given
	script   strings.Builder // C:, S:, lost N, halfclose
	half     [2]bool
	overlaps int
	last     time.Time
	how      int
	ignored  bool
	fed      int
}

func (k *talk) say(format string, args ...any) {
	text := fmt.Sprintf("%v %v ", k.conn.Client, k.conn.Server) + fmt.Sprintf(format, args...)
	k.journal.now = append(k.journal.now, said{k.journal.stamp, fmt.Sprint(k.journal.stamp, " ", text)})
}

func (k *talk) tell(t time.Time, text string) {
	if t.Before(k.last) {
		panic("time goes back")
	}
	if k.how >= 0 {
		panic("told after its end: " + text)
	}
	k.last = t
	k.script.WriteString(text + "\n")
	k.say("%d %s", t.UnixNano(), text)
}

func (k *talk) Feed(c wire.Chunk) {
	k.fed++
	if c.Lost < 0 || (c.Lost == 0 && len(c.Data) == 0) {
		panic("an empty chunk")
	}
	if k.half[c.Dir] {
		panic("octets after the end of their stream")
	}
	k.data[c.Dir] = append(k.data[c.Dir], c.Data...)
	k.lost[c.Dir] += c.Lost
	if c.Lost < 1<<24 {
		k.image[c.Dir] = append(append(k.image[c.Dir], make([]byte, c.Lost)...), c.Data...)
		k.known[c.Dir] = append(k.known[c.Dir], make([]bool, c.Lost)...)
		for range c.Data {
			k.known[c.Dir] = append(k.known[c.Dir], true)
		}
	}
	if k.tail[c.Dir] += c.Lost; len(c.Data) > 0 {
		if n := k.tail[c.Dir]; n > 0 {
			k.marked[c.Dir] = fmt.Appendf(k.marked[c.Dir], "[%d bytes missing in capture file]\x00", n)
			k.inner[c.Dir] += n
			k.tail[c.Dir] = 0
		}
		k.marked[c.Dir] = append(k.marked[c.Dir], c.Data...)
	}
	text := c.Dir.String()[:1] + ":"
	if c.Lost > 0 {
		text += fmt.Sprintf(" lost %d", c.Lost)
	}
	if len(c.Data) > 0 {
		text += fmt.Sprintf(" %q", c.Data)
	}
	k.tell(c.Time, text)
}

func (k *talk) HalfClose(dir wire.Direction, t time.Time) {
	k.half[dir] = true
	k.tell(t, dir.String()[:1]+": end")
}

func (k *talk) Anomaly(kind string, t time.Time) {
	k.overlaps++
	k.tell(t, kind)
}

func (k *talk) Ignored() bool { return k.ignored }

func (k *talk) Close(t time.Time, how inspect.End) {
	k.tell(t, fmt.Sprint("close ", [...]string{"unknown", "closed", "reset", "refused", "timeout"}[how]))
	k.how = int(how)
}

var _ = record.SMTP
