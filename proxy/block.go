package proxy

import "sync"

// block is room for octets, of one of two sizes. Relays read into blocks, and what waits for inspection is in them.
type block struct {
	data []byte
	used int
}

var smallBlocks, largeBlocks = blockPool(smallBlock), blockPool(largeBlock)

func blockPool(size int) *sync.Pool {
	return &sync.Pool{New: func() any { return &block{data: make([]byte, size)} }}
}

// blockFor returns the size of the block that getBlock gives for n octets.
func blockFor(n int) int64 {
	if n <= smallBlock {
		return smallBlock
	}
	return largeBlock
}

// getBlock returns an empty block with room for n octets, at most largeBlock.
func getBlock(n int) *block {
	if n <= smallBlock {
		return smallBlocks.Get().(*block)
	}
	return largeBlocks.Get().(*block)
}

func putBlock(b *block) {
	b.used = 0
	if len(b.data) == smallBlock {
		smallBlocks.Put(b)
	} else {
		largeBlocks.Put(b)
	}
}
