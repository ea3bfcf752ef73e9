package archive

import (
	"bytes"

	"github.com/mailwire/mailwire/inspect/record"
)

const (
	lineMemory = 64 << 20 // octets that wait for the disk in all batches of live mode, but for the mails' own
	lineOctets = 24       // what a line takes besides its text, and
	opOctets   = 512      // what an operation takes besides a buffer or a record

	maxFreeBatch  = 8       // batches that a journal keeps for what comes next, unless
	maxBatchBytes = 4 << 20 // what one has besides its blocks became larger than this
)

// batch is what a journal was told between two cuts, ready to be written.
type batch struct {
	buffers *buffers
	mails   []delivery // to be stored first: they make lines
	streams [logKinds]stream
	octets  int64 // of lineMemory
}

func newBatch(a *Archive) *batch { return &batch{buffers: &a.buffers} }

// stream is what of a batch goes to one kind of file. A line is in one block.
type stream struct {
	full    [][]byte // blocks of whole lines, and
	data    []byte   // the one that is being filled
	entries []entry
}

// entry is a run of lines with one stamp, for one file, in one block. It begins where the one before it ends.
type entry struct {
	stamp  int64
	day    day
	octets int
}

// tail returns the free end of the block, for lines to be appended to. It becomes theirs by add.
func (st *stream) tail() []byte { return st.data[len(st.data):] }

// fits says whether lines, appended to tail, had room there.
func (st *stream) fits(lines []byte) bool {
	n := len(st.data)
	return n < cap(st.data) && &st.data[:n+1][n] == &lines[0]
}

// room returns the size of a new block for so many octets.
func (st *stream) room(octets int) int {
	if octets <= smallBuffer && st.data == nil {
		return smallBuffer
	}
	return max(spoolBuffer, octets)
}

// add takes new lines, which were appended to the stream's tail.
func (b *batch) add(kind logKind, stamp int64, of day, lines []byte) {
	st := &b.streams[kind]
	n := len(st.entries)
	switch {
	case !st.fits(lines):
		b.newBlock(st, lines)
	case st.entries[n-1].stamp == stamp && st.entries[n-1].day == of:
		st.data = st.data[:len(st.data)+len(lines)]
		st.entries[n-1].octets += len(lines)
		return
	default:
		st.data = st.data[:len(st.data)+len(lines)]
	}
	st.entries = append(st.entries, entry{stamp: stamp, day: of, octets: len(lines)})
}

// newBlock begins a block with lines.
func (b *batch) newBlock(st *stream, lines []byte) {
	room := st.room(len(lines))
	if st.data != nil {
		st.full = append(st.full, st.data)
	}
	if room > spoolBuffer { // they have a block of their own already
		st.data = lines
		return
	}
	st.data = append(b.buffers.get(room), lines...)
}

// reset makes a batch empty; it is false if it is too large to be kept.
func (b *batch) reset() bool {
	size := cap(b.mails) * opOctets
	b.mails, b.octets = b.mails[:0], 0
	for i := range b.streams {
		st := &b.streams[i]
		for _, block := range st.full {
			b.buffers.put(block)
		}
		b.buffers.put(st.data)
		clear(st.full)
		st.full, st.data, st.entries = st.full[:0], nil, st.entries[:0]
		size += cap(st.entries) * lineOctets
	}
	return size <= maxBatchBytes
}

// begin returns what the next lines of a kind are appended to, for end.
func (j *Journal) begin(kind logKind) []byte { return j.now.streams[kind].tail() }

// end puts the lines into the batch; it is false where too much waits for the disk already, and they are lost.
func (j *Journal) end(kind logKind, of day, lines []byte) bool {
	if j.a.options.Live {
		octets := lineOctets
		if st := &j.now.streams[kind]; !st.fits(lines) {
			octets += st.room(len(lines))
		}
		if !j.reserve(octets) {
			j.lose(kind, bytes.Count(lines, []byte{'\n'}))
			return false
		}
	}
	j.now.add(kind, j.stamp, of, lines)
	return true
}

// reserve counts octets of the batch as waiting for the disk, or says false where too many wait already.
func (j *Journal) reserve(octets int) bool {
	if !j.a.options.Live {
		return true
	}
	n := int64(octets)
	if j.a.lines.Add(n) > lineMemory {
		j.a.lines.Add(-n)
		return false
	}
	j.now.octets += n
	return true
}

// reserveMessage reserves what a message takes until its lines are written. Its memory, as a record and then as a line
// in each of two logs, is about twice that of its line.
func (j *Journal) reserveMessage(m *record.Message) bool {
	if !j.a.options.Live {
		return true
	}
	j.text = m.AppendJSON(j.text[:0])
	if !j.reserve(2*len(j.text) + opOctets) {
		j.lose(messagesLog, 2)
		return false
	}
	return true
}

// lose counts lines that there was no memory for.
func (j *Journal) lose(kind logKind, n int) {
	j.a.counts.linesLost.Add(int64(n))
	if kind == messagesLog || kind == sessionsLog {
		j.a.warner.warn("lines slow", "records are lost: the disk is too slow, and the memory for lines that wait for it is full")
	}
}
