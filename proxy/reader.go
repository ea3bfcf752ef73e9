package proxy

import (
	"net"
	"syscall"
)

// reader reads one direction of a call. While it waits on a socket it holds no buffer.
type reader struct {
	block *block
	large bool // the last read filled a small block
}

// read returns the next octets, borrowed until the next call.
func (r *reader) read(e end) ([]byte, error) {
	r.release()
	n, err := r.once(e)
	if r.block == nil {
		return nil, err
	}
	r.large = n == len(r.block.data)
	return r.block.data[:n], err
}

func (r *reader) once(e end) (int, error) {
	switch e := e.(type) {
	case *net.TCPConn:
		return r.socket(e)
	case *net.UnixConn:
		return r.socket(e)
	}
	size := smallBlock // TLS keeps the rest of a record
	if r.large {
		size = largeBlock
	}
	r.block = getBlock(size)
	return e.Read(r.block.data)
}

func (r *reader) socket(e interface {
	syscall.Conn
	end
},
) (int, error) {
	if !waitsWithoutBuffer {
		r.block = getBlock(smallBlock)
		return e.Read(r.block.data)
	}
	raw, err := e.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		r.block = getBlock(largeBlock)
		var again bool
		if n, again, failed = readNow(fd, r.block.data); again {
			r.release()
		}
		return !again
	})
	if err == nil {
		err = failed
	}
	return n, err
}

func (r *reader) release() {
	if r.block != nil {
		putBlock(r.block)
		r.block = nil
	}
}
