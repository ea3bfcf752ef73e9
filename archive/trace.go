package archive

import (
	"slices"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
)

// Packet implements inspect.Journal. A packet of a link type that the tap does not understand is not kept.
func (j *Journal) Packet(p inspect.Packet) {
	if !j.a.options.Trace {
		return
	}
	number := slices.Index(traceLinks[:], p.Link)
	if number < 0 {
		return
	}
	blocks := j.begin(traceLog)
	most := packetOctets + len(p.Head) + len(p.Data) + 3
	if most <= cap(blocks) || most > spoolBuffer {
		blocks = appendPacket(blocks, number, &p)
	} else { // it begins a new block of memory, which copies it
		j.text = appendPacket(j.text[:0], number, &p)
		blocks = j.text
	}
	j.end(traceLog, dayOf(record.Time{Time: p.Time}), blocks)
}
