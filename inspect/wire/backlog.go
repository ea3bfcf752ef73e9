package wire

import "bytes"

// Backlog keeps chunks until it is known what they mean. Who adds bounds it, by Octets and the number of Chunks. The zero
// value is empty.
type Backlog struct {
	Chunks []Chunk // in the order in which they came; their Data is owned
	Octets int
}

// Add copies c. Chunks of one side that came at the same time become one, so that the cuts between them do not matter.
func (b *Backlog) Add(c Chunk) {
	b.Octets += len(c.Data)
	if n := len(b.Chunks); n > 0 && c.Lost == 0 {
		if last := &b.Chunks[n-1]; last.Dir == c.Dir && last.Time.Equal(c.Time) {
			last.Data = append(last.Data, c.Data...)
			return
		}
	}
	c.Data = bytes.Clone(c.Data)
	b.Chunks = append(b.Chunks, c)
}
