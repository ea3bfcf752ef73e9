package archive

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/mailwire/mailwire/inspect"
)

// The blocks of pcapng (draft-ietf-opsawg-pcapng) that a trace has. Each begins with its type and its length, ends with
// its length again, and is as long as a multiple of four.
const (
	sectionBlock   = 0x0a0d0d0a
	interfaceBlock = 1
	packetBlock    = 6 // an Enhanced Packet Block

	blockOctets  = 12 // the least: the type, and twice the length
	packetOctets = 32 // what a packet's block has besides the packet

	sectionMagic = 0x1a2b3c4d // behind the length, in the byte order of the section

	maxPacket = 256 << 10 // octets that are kept of a packet; readers take a longer one for a broken file
)

// traceLinks are the link types that a trace may have: those that the tap understands. The place of one is the number
// of its interface in every section, so that two processes may add to one file. New ones come last.
var traceLinks = [...]int{1, 101, 113, 276, 0, 9, 12, 14, 50, 51, 104, 108, 228, 229}

// appendSection appends the blocks that a section begins with.
func appendSection(dst []byte) []byte {
	at := len(dst)
	dst = appendWords(dst, sectionBlock, 0, sectionMagic, 1) // version 1.0
	dst = binary.LittleEndian.AppendUint64(dst, 1<<64-1)     // nobody knows how long it will be
	dst = append(dst, "\x04\x00\x08\x00mailwire"...)         // shb_userappl
	dst = endBlock(appendWords(dst, 0), at)
	for _, link := range traceLinks {
		at = len(dst)
		dst = appendWords(dst, interfaceBlock, 0, uint32(link), 0)
		dst = append(dst, "\x09\x00\x01\x00\x09\x00\x00\x00"...) // if_tsresol: nanoseconds
		dst = endBlock(appendWords(dst, 0), at)
	}
	return dst
}

// appendPacket appends a packet of an interface.
func appendPacket(dst []byte, number int, p *inspect.Packet) []byte {
	at := len(dst)
	stamp := uint64(max(0, p.Time.UnixNano()))
	head := p.Head[:min(len(p.Head), maxPacket)]
	data := p.Data[:min(len(p.Data), maxPacket-len(head))]
	wire := max(p.Wire, len(p.Head)+len(p.Data))
	dst = appendWords(dst, packetBlock, 0, uint32(number), uint32(stamp>>32), uint32(stamp), uint32(len(head)+len(data)), uint32(wire))
	dst = append(append(dst, head...), data...)
	return endBlock(append(dst, "\x00\x00\x00"[:-(len(head)+len(data))&3]...), at)
}

func appendWords(dst []byte, words ...uint32) []byte {
	for _, w := range words {
		dst = binary.LittleEndian.AppendUint32(dst, w)
	}
	return dst
}

// endBlock ends the block that begins at an offset, and says there how long it is.
func endBlock(dst []byte, at int) []byte {
	n := uint32(len(dst) - at + 4)
	binary.LittleEndian.PutUint32(dst[at+4:], n)
	return appendWords(dst, n)
}

// wholeBlocks returns the octets of the whole blocks that data, which is ours, begins with, and their number.
func wholeBlocks(data []byte) (octets, n int) {
	for len(data)-octets >= blockOctets {
		next := octets + int(binary.LittleEndian.Uint32(data[octets+4:]))
		if next > len(data) {
			break
		}
		octets, n = next, n+1
	}
	return octets, n
}

// traceFile is a file of a trace, to be read from both ends.
type traceFile struct {
	io.ReaderAt
	size int64
}

var errNoTrace = errors.New("it is no trace of mailwire; move it away")

// lastPacket returns where the last packet ends that is whole. Behind it may be a part of one that was not written to
// its end, or a section without a packet; neither is of use.
func lastPacket(file file, size int64) (int64, error) {
	f := traceFile{file, size}
	if err := f.check(); err != nil {
		return 0, err
	}
	if end, ok, err := f.lookBack(); ok || err != nil {
		return end, err
	}
	return f.walk()
}

// check looks whether the file begins as a trace does, if it has not been torn even there.
func (f traceFile) check() error {
	var b [blockOctets]byte
	n := min(f.size, blockOctets)
	if err := f.read(b[:n], 0); err != nil {
		return err
	}
	ours := appendSection(nil)[:n]
	if n < blockOctets && !slices.Equal(b[:n], ours) || n == blockOctets && !(slices.Equal(b[:4], ours[:4]) && slices.Equal(b[8:], ours[8:])) {
		return errNoTrace
	}
	return nil
}

// lookBack goes from block to block, from the end of the file backwards. What foreigners put into a packet may look
// like blocks of ours, but not like more of them than the longest packet has room for. It is not ok if one does not fit.
func (f traceFile) lookBack() (end int64, ok bool, err error) {
	at := f.size
	for at > 0 && f.size-at <= maxPacket {
		begin, kind, err := f.blockBefore(at)
		if begin < 0 || err != nil {
			return 0, false, err
		}
		if kind == packetBlock && end == 0 {
			end = at
		}
		at = begin
	}
	return end, end > 0 || at == 0, nil
}

// blockBefore returns where a block of ours begins that ends at an offset, or -1.
func (f traceFile) blockBefore(end int64) (begin int64, kind uint32, err error) {
	if end < blockOctets {
		return -1, 0, nil
	}
	length, err := f.word(end - 4)
	begin = end - int64(length)
	if err != nil || length < blockOctets || begin < 0 {
		return -1, 0, err
	}
	kind, next, err := f.block(begin)
	if next != end || kind != packetBlock && kind != interfaceBlock && kind != sectionBlock {
		return -1, 0, err
	}
	return begin, kind, nil
}

// walk goes from block to block, from the beginning of the file, however long that takes.
func (f traceFile) walk() (end int64, err error) {
	for at := int64(0); ; {
		kind, next, err := f.block(at)
		if next < 0 || err != nil {
			return end, err
		}
		if at = next; kind != interfaceBlock && kind != sectionBlock {
			end = at
		}
	}
}

// block returns the kind of the block at an offset and where the next one begins; -1 where it is not whole.
func (f traceFile) block(at int64) (kind uint32, next int64, err error) {
	if f.size-at < blockOctets {
		return 0, -1, nil
	}
	var b [8]byte
	if err := f.read(b[:], at); err != nil {
		return 0, -1, err
	}
	length := binary.LittleEndian.Uint32(b[4:])
	next = at + int64(length)
	if length < blockOctets || length%4 != 0 || next > f.size {
		return 0, -1, nil
	}
	again, err := f.word(next - 4)
	if err != nil || again != length {
		return 0, -1, err
	}
	return binary.LittleEndian.Uint32(b[:]), next, nil
}

func (f traceFile) word(at int64) (uint32, error) {
	var b [4]byte
	err := f.read(b[:], at)
	return binary.LittleEndian.Uint32(b[:]), err
}

// read fills b; a file that has become shorter is an error.
func (f traceFile) read(b []byte, at int64) error {
	if n, err := f.ReadAt(b, at); n < len(b) {
		return err
	}
	return nil
}
