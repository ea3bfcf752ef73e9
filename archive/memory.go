package archive

import (
	"sync/atomic"

	"github.com/mailwire/mailwire/inspect/record"
)

const (
	lineMemory = 64 << 20           // octets of each memory
	yieldAt    = lineMemory / 4 * 3 // octets of recordMemory from which on mails are given up, as they keep their records waiting
	lineOctets = 24                 // what a line takes besides its text, and
	opOctets   = 512                // what an operation takes besides a buffer or a record
)

// memory is where what waits for the disk in live mode is counted, in all batches. Each is bounded for itself, so that
// however many packets there are, or lines that a client makes a server say, they cost no record.
type memory int

const (
	packetMemory memory = iota // the trace's
	talkMemory                 // of the lines of dialogue
	recordMemory               // of all that is said of sessions, mails and logins, but for the mails' octets
	memories
)

// memory says what lines of a kind are counted as.
func (k logKind) memory() memory {
	switch k {
	case traceLog:
		return packetMemory
	case smtpLog, pop3Log:
		return talkMemory
	}
	return recordMemory
}

// reserve counts octets of the batch as waiting for the disk, or says false where too many wait already.
func (j *Journal) reserve(of memory, octets int) bool {
	if !j.a.options.Live {
		return true
	}
	n := int64(octets)
	if j.a.waiting[of].Add(n) > lineMemory {
		j.a.waiting[of].Add(-n)
		return false
	}
	j.now.octets[of] += n
	return true
}

// reserveMessage reserves what a message takes until its lines are written. Its memory, as a record and then as a line
// in each of two logs, is about twice that of its line.
func (j *Journal) reserveMessage(m *record.Message) bool {
	if !j.a.options.Live {
		return true
	}
	j.text = m.AppendJSON(j.text[:0])
	if !j.reserve(recordMemory, 2*len(j.text)+opOctets) {
		j.lose(messagesLog, 2)
		return false
	}
	return true
}

// lose counts lines, or packets, that there was no memory for.
func (j *Journal) lose(kind logKind, n int) {
	lost, what := &j.a.counts.linesLost, "records are lost"
	switch kind.memory() {
	case packetMemory:
		lost, what = &j.a.counts.packetsLost, "the trace loses packets"
	case talkMemory:
		what = "lines of dialogue are lost"
	}
	lost.Add(int64(n))
	j.a.warner.warn(what, what+": they come faster than they can be written, and the memory for what waits is full")
}

// giveBack ends what reserve began, for the batches that were written.
func (a *Archive) giveBack(of memory, batches []taken) {
	for _, t := range batches {
		a.waiting[of].Add(-t.octets[of])
		t.octets[of] = 0
	}
}

// yields says whether mails are to be given up.
func (a *Archive) yields() bool { return a.waiting[recordMemory].Load() > yieldAt }

// crowded says whether half of the memory is used of mails, of records or of lines.
func (a *Archive) crowded() bool {
	return a.buffers.lent.Load() > spoolMemory/2 || a.waiting[recordMemory].Load() > lineMemory/2 || a.waiting[talkMemory].Load() > lineMemory/2
}

// lineMemories is what all memories hold.
type lineMemories [memories]atomic.Int64

func (m *lineMemories) sum() (octets int64) {
	for i := range m {
		octets += m[i].Load()
	}
	return octets
}
