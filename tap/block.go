package tap

import (
	"encoding/binary"
	"sync"
)

const (
	ringBlock   = 1 << 20   // octets of a block of the kernel's ring; no frame is longer, not even of BIG TCP
	blockOctets = ringBlock // of one of ours, so that any packet fits
	blockHeader = 24        // octets before each packet: its time, captured octets, octets on the wire, link, and none
	spareBlocks = 4         // that are kept though nothing waits in them
)

// block has packets of one interface that wait to be looked at. They are packed, as a burst's may be millions; who reads
// them borrows them from the block.
type block struct {
	memory      []byte
	used, read  int   // octets
	first, last int64 // times of its packets
}

// add puts a packet in, if there is room.
func (b *block) add(packet *Packet) bool {
	if b.used+blockHeader+len(packet.Data) > len(b.memory) {
		return false
	}
	if b.used == 0 {
		b.first = packet.Time
	}
	b.last = packet.Time
	header := b.memory[b.used : b.used+blockHeader]
	binary.NativeEndian.PutUint64(header, uint64(packet.Time))
	binary.NativeEndian.PutUint32(header[8:], uint32(len(packet.Data)))
	binary.NativeEndian.PutUint32(header[12:], uint32(packet.Wire))
	binary.NativeEndian.PutUint32(header[16:], uint32(packet.Link))
	b.used += blockHeader + copy(b.memory[b.used+blockHeader:], packet.Data)
	return true
}

// time is that of the packet which is read next.
func (b *block) time() int64 { return int64(binary.NativeEndian.Uint64(b.memory[b.read:])) }

// next reads a packet; ended says that it was the last.
func (b *block) next() (packet Packet, ended bool) {
	header := b.memory[b.read : b.read+blockHeader]
	data := b.read + blockHeader
	b.read = data + int(binary.NativeEndian.Uint32(header[8:]))
	return Packet{
		Time: int64(binary.NativeEndian.Uint64(header)),
		Link: LinkType(binary.NativeEndian.Uint32(header[16:])),
		Wire: int(binary.NativeEndian.Uint32(header[12:])),
		Data: b.memory[data:b.read:b.read],
	}, b.read == b.used
}

// room lends blocks, and gives the system back what a burst needed as soon as it is over. The garbage collector does not
// see their memory, so that taking packets never has to wait for it or help it.
type room struct {
	most int // blocks

	mu    sync.Mutex
	freed sync.Cond
	spare []*block
	lent  int
}

func newRoom(octets int) *room {
	r := &room{most: octets / blockOctets}
	r.freed.L = &r.mu
	return r
}

// take lends an empty block, as soon as there is one.
func (r *room) take() *block {
	b, others := r.lend()
	if b == nil {
		b = &block{memory: allocate(blockOctets, others >= spareBlocks)}
	}
	return b
}

// lend returns the spare block that was used last; nil: another may be made, beside so many others.
func (r *room) lend() (b *block, others int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.lent >= r.most {
		r.freed.Wait()
	}
	others = r.lent
	r.lent++
	if last := len(r.spare) - 1; last >= 0 {
		b, r.spare = r.spare[last], r.spare[:last]
	}
	return b, others
}

// give takes blocks back, of which nothing is used any more.
func (r *room) give(blocks []*block) {
	r.mu.Lock()
	r.lent -= len(blocks)
	kept := min(len(blocks), spareBlocks-len(r.spare))
	for _, b := range blocks[:kept] {
		b.used, b.read = 0, 0
		r.spare = append(r.spare, b)
	}
	r.freed.Broadcast()
	r.mu.Unlock()
	for _, b := range blocks[kept:] { // a while of the system's, in which a reader may want another
		release(b.memory)
	}
}

// beyond says whether more than this part of all blocks is lent.
func (r *room) beyond(part, of int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lent*of > r.most*part
}

// close gives the system back what is not lent.
func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.spare {
		release(b.memory)
	}
	r.spare = nil
}
