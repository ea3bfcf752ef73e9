package archive

import (
	"sync"
	"sync/atomic"
)

const (
	spoolBuffer = 64 << 10 // octets of a mail in memory; a longer mail goes to a file in mail/tmp
	smallBuffer = 4 << 10  // the buffer that a mail begins with
	spoolMemory = 64 << 20 // octets that the buffers of all mails may have; beyond it mails go to files at once, or are given up
)

// buffers has the memory that octets of mails and lines wait in. Any goroutine may use it.
type buffers struct {
	lent         atomic.Int64 // octets, to mails
	small, large sync.Pool    // of *[smallBuffer]byte, and of *[spoolBuffer]byte
}

// get returns an empty buffer, for n octets if a large one will do.
func (b *buffers) get(n int) []byte {
	if n <= smallBuffer {
		if p, ok := b.small.Get().(*[smallBuffer]byte); ok {
			return p[:0]
		}
		return make([]byte, 0, smallBuffer)
	}
	if p, ok := b.large.Get().(*[spoolBuffer]byte); ok {
		return p[:0]
	}
	return make([]byte, 0, spoolBuffer)
}

// put takes a buffer back. One of another size, or none, is nothing.
func (b *buffers) put(buf []byte) {
	switch cap(buf) {
	case smallBuffer:
		b.small.Put((*[smallBuffer]byte)(buf[:smallBuffer]))
	case spoolBuffer:
		b.large.Put((*[spoolBuffer]byte)(buf[:spoolBuffer]))
	}
}

// lend is get for a mail; nil where all mails together hold too much.
func (b *buffers) lend(n int) []byte {
	size := int64(spoolBuffer)
	if n <= smallBuffer {
		size = smallBuffer
	}
	if b.lent.Add(size) > spoolMemory {
		b.lent.Add(-size)
		return nil
	}
	return b.get(n)
}

// overdraw is lend however much they hold, for one who gives it back before its call ends.
func (b *buffers) overdraw() []byte {
	b.lent.Add(spoolBuffer)
	return b.get(spoolBuffer)
}

// giveBack ends what lend and overdraw began; nil is nothing.
func (b *buffers) giveBack(buf []byte) {
	b.lent.Add(-int64(cap(buf)))
	b.put(buf)
}
