package archive

const (
	maxFreeBatch  = 8       // batches that a journal keeps for what comes next, unless
	maxBatchBytes = 4 << 20 // what one has besides its blocks became larger than this
)

// batch is what a journal was told between two cuts, ready to be written.
type batch struct {
	buffers *buffers
	mails   []delivery // to be stored first: they make lines
	streams [logKinds]stream
	octets  [memories]int64
}

func newBatch(a *Archive) *batch { return &batch{buffers: &a.buffers} }

// stream is what of a batch goes to one kind of file. A line, or a packet, is in one block.
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
	b.mails = b.mails[:0]
	for kind := range logKinds {
		b.release(kind)
		size += cap(b.streams[kind].entries) * lineOctets
	}
	return size <= maxBatchBytes
}

// release makes one stream of a batch empty.
func (b *batch) release(kind logKind) {
	st := &b.streams[kind]
	for _, block := range st.full {
		b.buffers.put(block)
	}
	b.buffers.put(st.data)
	clear(st.full)
	st.full, st.data, st.entries = st.full[:0], nil, st.entries[:0]
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
		if !j.reserve(kind.memory(), octets) {
			_, n := kind.whole(lines)
			j.lose(kind, n)
			return false
		}
	}
	j.now.add(kind, j.stamp, of, lines)
	return true
}
