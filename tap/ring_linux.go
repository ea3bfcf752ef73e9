package tap

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/gopacket/gopacket/afpacket"
	"golang.org/x/sys/unix"
)

const (
	ringFrame  = 2048                  // octets; with TPACKET_V3 the kernel only checks that they divide a block
	ringRetire = 50 * time.Millisecond // after which the kernel gives a block that is not full
	ringPoll   = 2 * ringRetire        // for a packet
	anyDevice  = "any"
)

// ring is the memory that the kernel puts the packets of one interface into (packet(7), TPACKET_V3). One goroutine uses it.
type ring struct {
	name   string // of the interface, or anyDevice
	index  int    // 0: any
	octets int
	filter filter

	socket *afpacket.TPacket // nil: not open
	since  time.Time         // packets before that are none
	links  map[int]LinkType  // by the interface's number
	dying  bool              // the interface went down; what it showed before still comes
	before losses            // of earlier sockets
}

// open begins to capture. What the interface shows to everybody is captured, not only what is for this host.
func (r *ring) open() error {
	if r.name != anyDevice {
		device, err := net.InterfaceByName(r.name)
		if err != nil {
			return fmt.Errorf("%w: %s", ErrNoInterface, r.name)
		}
		if r.index = device.Index; device.Flags&net.FlagUp == 0 {
			return fmt.Errorf("%s %w", r.name, errDown)
		}
	}
	program, err := r.filter.program()
	if err != nil {
		return err
	}
	device := r.name
	if device == anyDevice {
		device = ""
	}
	socket, err := afpacket.NewTPacket(
		afpacket.TPacketVersion3, afpacket.SocketRaw, afpacket.OptInterface(device), afpacket.OptAddVLANHeader(true),
		afpacket.OptBlockSize(ringBlock), afpacket.OptFrameSize(ringFrame), afpacket.OptNumBlocks(max(2, r.octets/ringBlock)),
		afpacket.OptBlockTimeout(ringRetire), afpacket.OptPollTimeout(ringPoll),
	)
	if err != nil {
		return fmt.Errorf("packets of %s cannot be captured: %w", r.name, err)
	}
	if err := socket.SetBPF(program); err != nil {
		socket.Close()
		return fmt.Errorf("%w: %w", ErrFilter, err)
	}
	if r.index != 0 {
		if err := socket.SetPromiscuous(true); err != nil {
			socket.Close()
			return fmt.Errorf("%s cannot be made to show all packets: %w", r.name, err)
		}
	}
	r.since = time.Now() // until now the filter was not in force
	r.socket, r.links, r.dying = socket, map[int]LinkType{}, false
	return nil
}

// next returns the next packet, whose octets are the ring's until the next call; errQuiet where none came for a while,
// errDown when the interface is down or gone.
func (r *ring) next() (Packet, error) {
	data, info, err := r.socket.ZeroCopyReadPacketData()
	for err == nil && info.Timestamp.Before(r.since) {
		data, info, err = r.socket.ZeroCopyReadPacketData()
	}
	switch {
	case err == nil:
		return Packet{Time: info.Timestamp.UnixNano(), Link: r.link(info.InterfaceIndex), Wire: info.Length, Data: data}, nil
	case errors.Is(err, afpacket.ErrTimeout):
		return Packet{}, errQuiet
	case errors.Is(err, afpacket.ErrPoll) && !r.dying:
		r.dying = true
		time.Sleep(ringPoll) // within which the kernel gives the block that it was filling
		return r.next()
	case errors.Is(err, afpacket.ErrPoll):
		return Packet{}, fmt.Errorf("%s %w", r.name, errDown)
	}
	return Packet{}, fmt.Errorf("packets of %s cannot be captured: %w", r.name, err)
}

// link says what the frames of an interface begin with.
func (r *ring) link(index int) LinkType {
	link, ok := r.links[index]
	if !ok {
		link = linkOf(index)
		r.links[index] = link
	}
	return link
}

// linkOf asks the kernel. What is neither Ethernet nor loopback, which has an Ethernet header too, begins with IP: tunnels
// and PPP.
func linkOf(index int) LinkType {
	device, err := net.InterfaceByIndex(index)
	if err != nil {
		return LinkEthernet // it is gone; nearly all are
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return LinkEthernet
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(device.Name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, request)
	}
	if err != nil {
		return LinkEthernet
	}
	switch request.Uint16() {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return LinkEthernet
	}
	return LinkRaw
}

// losses returns what the kernel could not give, all told.
func (r *ring) losses() losses {
	sum := r.before
	if r.socket != nil {
		if _, stats, err := r.socket.SocketStats(); err == nil {
			sum.dropped += int64(stats.Drops())
			sum.frozen += int64(stats.QueueFreezes())
		}
	}
	return sum
}

// polls counts how often it had to wait for packets.
func (r *ring) polls() int64 {
	stats, _ := r.socket.Stats() // never fails
	return stats.Polls
}

func (r *ring) close() {
	if r.socket != nil {
		r.before = r.losses()
		r.socket.Close()
		r.socket = nil
	}
}
