package tap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Source gives packets one after the other.
type Source interface {
	// Next reads the next packet into space, which has room for at least minSpace octets; a longer packet gets memory of
	// its own. At the end of the input the error is io.EOF. After any other error Next may be called again if and only if
	// there may be more.
	Next(space []byte) (Packet, error)
	// Waiting says that the next call of Next may have to wait, so that what was read should not wait with it.
	Waiting() bool
	// Input returns the octets consumed and, where known (otherwise 0), those that there are.
	Input() (consumed, size int64)
	Close() error
}

// Packet is one packet as captured.
type Packet struct {
	Time  int64    // nanoseconds since 1970
	Link  LinkType // of Data's first octet
	Wire  int      // octets that it had on the wire, at least len(Data)
	Data  []byte
	First bool // of its file
}

const (
	readBuffer    = 1 << 20   // octets of one read from a file
	minSpace      = 256 << 10 // octets of room that Next always gets: libpcap's largest snap length
	maxPacket     = 16 << 20  // octets of the longest packet believed
	maxZstdWindow = 128 << 20 // octets: what zstd --long=27 writes, its own default limit
)

// failure is an error that is one sentence, with the error that caused it.
type failure struct {
	text  string
	cause error
}

func (e *failure) Error() string { return e.text }
func (e *failure) Unwrap() error { return e.cause }

func failf(cause error, format string, args ...any) error {
	return &failure{fmt.Sprintf(format, args...), cause}
}

// files is the Source of capture files, read one after the other.
type files struct {
	names []string
	stdin io.Reader

	name     string // of the open file
	current  *capture
	consumed int64 // octets of the files before it
	size     int64
}

func openFiles(names []string, stdin io.Reader) *files {
	f := &files{names: names, stdin: stdin}
	for _, name := range names {
		info, err := os.Stat(name)
		if name == "-" || (err == nil && !info.Mode().IsRegular()) {
			f.size = 0
			break
		}
		if err == nil {
			f.size += info.Size()
		}
	}
	return f
}

func (f *files) Next(space []byte) (Packet, error) {
	for {
		if f.current == nil {
			if len(f.names) == 0 {
				return Packet{}, io.EOF
			}
			f.name, f.names = f.names[0], f.names[1:]
			c, err := openCapture(f.name, f.stdin)
			if err != nil {
				return Packet{}, err
			}
			f.current = c
		}
		p, err := f.current.next(space)
		if err == nil {
			p.First = f.current.packets == 1
			return p, nil
		}
		f.consumed += f.current.raw.n
		err = f.current.explain(f.name, err)
		f.current.close()
		f.current = nil
		if err != nil {
			return Packet{}, err
		}
	}
}

func (f *files) Waiting() bool {
	return f.current != nil && f.current.live && f.current.waiting()
}

func (f *files) Input() (consumed, size int64) {
	if f.current != nil {
		return f.consumed + f.current.raw.n, f.size
	}
	return f.consumed, f.size
}

func (f *files) Close() error {
	if f.current != nil {
		f.current.close()
		f.current = nil
	}
	f.names = nil
	return nil
}

// packetReader reads one format of capture file.
type packetReader interface {
	// next reads a packet. io.EOF is the file's orderly end, io.ErrUnexpectedEOF one in the middle of a packet.
	next(space []byte) (Packet, error)
	// whole says whether b begins with a whole packet, or something else that can be read.
	whole(b []byte) bool
}

// capture is one open capture file.
type capture struct {
	raw      *counted
	buffered *bufio.Reader // of the file as it is stored
	plain    *bufio.Reader // of the capture; the same where nothing is compressed
	live     bool          // a read may wait: a pipe, a terminal, a socket
	packets  int64
	unknown  int64    // packets of a link type that is not understood,
	link     LinkType // such as this one
	reader   packetReader
	closers  []func()
}

// counted counts the octets read.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func openCapture(name string, stdin io.Reader) (*capture, error) {
	c := &capture{raw: &counted{r: stdin}}
	if name != "-" {
		file, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, failf(err, "%s: no such file: check the name", name)
		}
		if errors.Is(err, fs.ErrPermission) {
			return nil, failf(err, "%s: no permission to read it: run as a user who may", name)
		}
		if err != nil {
			return nil, failf(err, "%s: cannot be opened: %v", name, err)
		}
		c.raw.r = file
		c.closers = append(c.closers, func() { file.Close() })
	} else if stdin == nil {
		return nil, failf(nil, "-: there is no standard input to read")
	}
	c.live = true
	if file, ok := c.raw.r.(*os.File); ok {
		info, err := file.Stat()
		if err == nil && info.IsDir() {
			c.close()
			return nil, failf(syscall.EISDIR, "%s: a directory: name the capture files in it", name)
		}
		c.live = err != nil || !info.Mode().IsRegular()
	}
	c.buffered = bufio.NewReaderSize(c.raw, readBuffer)
	if err := c.detect(); err != nil {
		err = c.explain(name, err)
		c.close()
		return nil, err
	}
	return c, nil
}

// errFormat are the reasons why something is no capture file.
var (
	errEmpty  = errors.New("empty: a capture has at least a header")
	errFormat = errors.New("not a capture file: give a pcap or pcapng file, plain or compressed with gzip or zstd")
)

// detect finds out by the first octets, never by the name, what the file is.
func (c *capture) detect() error {
	plain := c.buffered
	magic, err := plain.Peek(4)
	if len(magic) == 0 && err == io.EOF {
		return errEmpty
	}
	if len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(plain)
		if err != nil {
			return fmt.Errorf("its gzip compression cannot be read: %w", err)
		}
		plain = bufio.NewReaderSize(z, readBuffer)
		magic, err = plain.Peek(4)
		if len(magic) < 4 && err != io.EOF {
			return err
		}
	} else if len(magic) == 4 && isZstd(magic) {
		// One decoder at a time starts no goroutines.
		z, err := zstd.NewReader(plain, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return fmt.Errorf("its zstd compression cannot be read: %w", err)
		}
		c.closers = append(c.closers, z.Close)
		plain = bufio.NewReaderSize(z, readBuffer)
		magic, err = plain.Peek(4)
		if len(magic) < 4 && err != io.EOF {
			return err
		}
	} else if err != nil && err != io.EOF {
		return err
	}
	if len(magic) == 0 {
		return errEmpty
	}
	c.plain = plain
	c.reader, err = newPacketReader(plain)
	return err
}

func isZstd(magic []byte) bool {
	frame := magic[0] == 0x28 && magic[1] == 0xb5 && magic[2] == 0x2f && magic[3] == 0xfd
	skippable := magic[0]&0xf0 == 0x50 && magic[1] == 0x2a && magic[2] == 0x4d && magic[3] == 0x18
	return frame || skippable
}

func (c *capture) next(space []byte) (Packet, error) {
	p, err := c.reader.next(space)
	if err == nil {
		c.packets++
		if !p.Link.understood() && p.Link != linkUnknown {
			c.unknown++
			c.link = p.Link
		}
	}
	return p, err
}

// waiting says whether the next packet is not there yet.
func (c *capture) waiting() bool {
	b, _ := c.plain.Peek(c.plain.Buffered())
	return !c.reader.whole(b) && (c.plain == c.buffered || c.buffered.Buffered() == 0)
}

// explain turns what ended the reading into a sentence about the file; nil if it ended in order.
func (c *capture) explain(name string, err error) error {
	read := fmt.Sprintf("%d packets before it were read", c.packets)
	switch c.packets {
	case 0:
		read = "nothing was read"
	case 1:
		read = "1 packet before it was read"
	}
	switch {
	case err == io.EOF && c.unknown > 0 && c.unknown == c.packets:
		return failf(nil, "%s: nothing was read: its link type %s is not understood: capture where there is Ethernet or IP", name, c.link)
	case err == io.EOF:
		return nil
	case errors.Is(err, errEmpty), errors.Is(err, errFormat):
		return failf(err, "%s: %v", name, err)
	case errors.Is(err, io.ErrUnexpectedEOF) && c.reader == nil:
		return failf(err, "%s: cut short in the middle of its header: %s", name, read)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return failf(err, "%s: cut short in the middle of packet %d: %s", name, c.packets+1, read)
	case c.reader == nil:
		return failf(err, "%s: cannot be read: %v", name, err)
	}
	return failf(err, "%s: damaged at packet %d: %v: %s", name, c.packets+1, err, read)
}

func (c *capture) close() {
	for i := len(c.closers) - 1; i >= 0; i-- {
		c.closers[i]()
	}
	c.closers = nil
}
