//go:build !linux

package tap

import (
	"errors"
	"math"
)

// ring is not to be had here.
type ring struct {
	name   string
	octets int
	filter filter
}

func (*ring) open() error {
	return errors.New("capturing from an interface needs Linux; here, capture with tcpdump -w FILE and read that with tap -r FILE")
}
func (*ring) next() (Packet, error) { return Packet{}, errDown }
func (*ring) losses() losses        { return losses{} }
func (*ring) polls() int64          { return 0 }
func (*ring) close()                {}

func giveWay(int) {}

func hostMemory() int                    { return math.MaxInt }
func allocate(octets int, _ bool) []byte { return make([]byte, octets) }
func release([]byte)                     {}
