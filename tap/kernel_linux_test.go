package tap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mailwire/mailwire/inspect"
)

var kernelSeed = flag.Uint64("kernel-seed", rand.Uint64(), "of TestOverlapInKernel")

const (
	kernelRounds = 300

	cableName   = "cable"
	cableWindow = 0xffff
	cableRing   = 8 << 20 // octets of the kernel's memory, far more than a round needs
	serverEther = "02:00:00:00:00:25"
	clientEther = "02:00:00:00:00:07"
)

// kernel is this host's, listening at mx in a network of its own. The test is all others there: it puts frames on the
// cable and takes off it what the kernel answers.
type kernel struct {
	t        *testing.T
	cable    int // the test's end of it
	copies   int // gets each frame
	listener int
	rounds   uint16 // so far
}

func newKernel(t *testing.T) *kernel {
	t.Helper()
	ownNetwork(t)
	k := &kernel{t: t}
	var err error
	if k.cable, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
		t.Skip("there can be no tap device: ", err)
	}
	t.Cleanup(func() { unix.Close(k.cable) })
	request, err := unix.NewIfreq(cableName)
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(k.cable, unix.TUNSETIFF, request); err != nil {
		t.Skip("there can be no tap device: ", err)
	}
	for _, args := range [][]string{
		{"link", "set", cableName, "address", serverEther, "up"},
		{"address", "add", mx.Addr().String(), "dev", cableName},
		{"route", "add", alice.Addr().String(), "dev", cableName},
		{"neighbour", "add", alice.Addr().String(), "lladdr", clientEther, "dev", cableName},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	k.copies = packetSocket(t, cableName, nil)
	k.must(unix.SetsockoptInt(k.copies, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, cableRing))
	if k.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(k.listener) })
	k.must(errors.Join(
		unix.SetsockoptInt(k.listener, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, cableRing),
		unix.SetsockoptTimeval(k.listener, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}),
		unix.Bind(k.listener, &unix.SockaddrInet4{Addr: mx.Addr().As4(), Port: int(mx.Port())}),
		unix.Listen(k.listener, 1),
	))
	return k
}

func (k *kernel) must(err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatal(err)
	}
}

// send lets the line's client send a segment. When it returns, the kernel has taken it, and the line has the answers.
func (k *kernel) send(l *line, seq, ackNumber uint32, flags uint8, payload []byte) {
	l.raw(0, seq, ackNumber, flags, string(payload))
	packet := l.packets[len(l.packets)-1].Data
	binary.BigEndian.PutUint16(packet[34:], cableWindow)
	binary.BigEndian.PutUint16(packet[10:], checksum(0, packet[:20]))
	binary.BigEndian.PutUint16(packet[36:], checksum(uint32(protoTCP+len(packet)-20), packet[12:]))
	frame := slices.Concat(etherAddress(serverEther), etherAddress(clientEther), be16(etherIPv4), packet)
	_, err := unix.Write(k.cable, frame)
	k.must(err)
	k.hear(l)
}

func etherAddress(text string) net.HardwareAddr {
	address, _ := net.ParseMAC(text)
	return address
}

// checksum is IP's and TCP's, with sum added (RFC 1071).
func checksum(sum uint32, data []byte) uint16 {
	for i, b := range data {
		sum += uint32(b) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// hear takes what the kernel has sent to the line's client.
func (k *kernel) hear(l *line) {
	b := make([]byte, 1<<16)
	for {
		n, err := unix.Read(k.cable, b)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		k.must(err)
		packet := bytes.Clone(b[14:n])
		if binary.BigEndian.Uint16(packet[22:]) == l.client.Port() { // not the end of an earlier round
			l.packets = append(l.packets, Packet{Time: l.clock.UnixNano(), Link: LinkRaw, Wire: len(packet), Data: packet})
		}
	}
}

// await waits for a segment of the kernel with a flag, and returns the number of what follows it.
func (k *kernel) await(l *line, flag uint8) uint32 {
	for {
		for _, p := range l.packets {
			if h := p.Data[20:]; binary.BigEndian.Uint16(h) == mx.Port() && h[13]&flag != 0 {
				return binary.BigEndian.Uint32(h[4:]) + 1
			}
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(k.cable), Events: unix.POLLIN}}, 20_000)
		if err != nil && !errors.Is(err, unix.EINTR) || n == 0 {
			k.t.Fatal("the kernel does not answer: ", err)
		}
		k.hear(l)
	}
}

// round lets a client send what is planned, and returns what the application read, and the packets in both directions.
//
// While the copies of a round's frames are kept, the kernel cannot merge neighbours that wait in its queue. Otherwise
// it depends on the network card's driver whether it does, and then they are one segment from there on.
func (k *kernel) round(r *rand.Rand, p plan) (read []byte, packets []Packet) {
	b := make([]byte, 1<<16)
	for err := error(nil); err == nil; {
		_, _, err = unix.Recvfrom(k.copies, b, unix.MSG_DONTWAIT)
	}
	k.rounds++
	l := newLine()
	l.client = netip.AddrPortFrom(alice.Addr(), 20000+k.rounds)
	isn := r.Uint32()
	if r.IntN(3) == 0 {
		isn = -uint32(r.IntN(p.octets + 1)) // wraps around
	}
	k.send(l, isn-1, 0, syn, nil)
	server := k.await(l, syn)
	k.send(l, isn, server, ack, nil)
	conn, _, err := unix.Accept4(k.listener, unix.SOCK_CLOEXEC)
	k.must(err)
	defer unix.Close(conn)
	for _, s := range p.slices {
		k.send(l, isn+uint32(s.from), server, ack|s.flags, s.text)
		if r.IntN(4) == 0 {
			if n, _, err := unix.Recvfrom(conn, b, unix.MSG_DONTWAIT); err == nil {
				read = append(read, b[:n]...)
			}
		}
	}
	for {
		n, err := unix.Read(conn, b)
		k.must(err)
		if n == 0 {
			break
		}
		read = append(read, b[:n]...)
	}
	k.must(unix.Shutdown(conn, unix.SHUT_WR))
	k.send(l, isn+uint32(p.octets)+1, k.await(l, fin), ack, nil)
	return read, l.packets
}

// plan is what a client sends, and in which order.
type plan struct {
	octets   int
	slices   []slice
	disputed bool // octets that wait for others come again, and are not the same
}

type slice struct {
	from  int
	text  []byte
	flags uint8
}

func (s *slice) end() int { return s.from + len(s.text) }

// newPlan makes slices at random that cover everything, often several times, each with octets of its own; or all with
// the same.
func newPlan(r *rand.Rand) plan {
	p := plan{octets: 1 + r.IntN(4000)}
	if r.IntN(4) == 0 {
		p.octets = 1 + r.IntN(30) // so short that everything touches everything
	}
	letters := []int{1, 1, 2, 26}[r.IntN(4)]
	covered := make([]bool, p.octets)
	put := func(from, to int) {
		s := slice{from: from, text: make([]byte, to-from)}
		for i := range s.text {
			s.text[i] = byte('a' + r.IntN(letters))
			covered[from+i] = true
		}
		if to == p.octets && r.IntN(4) == 0 {
			s.flags = fin
		}
		p.slices = append(p.slices, s)
	}
	for n := range 1 + r.IntN(30) {
		from := r.IntN(p.octets)
		if n > 0 && r.IntN(3) == 0 { // where another one begins or ends
			other := p.slices[r.IntN(n)]
			from = min([]int{other.from, other.end()}[r.IntN(2)], p.octets-1)
		}
		put(from, min(p.octets, from+1+r.IntN(1+min(1400, p.octets/2))))
	}
	for from := slices.Index(covered, false); from >= 0; from = slices.Index(covered, false) {
		to := from
		for to < p.octets && !covered[to] {
			to++
		}
		put(max(0, from-r.IntN(20)), min(p.octets, to+r.IntN(20)))
	}
	r.Shuffle(len(p.slices), func(i, j int) { p.slices[i], p.slices[j] = p.slices[j], p.slices[i] })
	end := len(p.slices)
	if r.IntN(4) == 0 {
		end = r.IntN(end + 1)
	}
	p.slices = slices.Insert(p.slices, end, slice{from: p.octets, flags: fin})
	p.disputed = p.dispute()
	return p
}

// dispute says whether octets come again, and are not the same, while they wait.
func (p *plan) dispute() bool {
	waiting, next := make([]byte, p.octets+1), 0
	for _, s := range p.slices {
		for i, b := range s.text {
			at := s.from + i
			if at >= next && waiting[at] != 0 && waiting[at] != b {
				return true
			}
			waiting[at] = b
		}
		for waiting[next] != 0 {
			next++
		}
	}
	return false
}

// TestOverlapInKernel: what is reassembled from segments that overlap and contradict each other is what the kernel gives
// to the application.
func TestOverlapInKernel(t *testing.T) {
	k := newKernel(t)
	t.Logf("-kernel-seed %d", *kernelSeed)
	disputed := 0
	for round := range uint64(kernelRounds) {
		r := rand.New(rand.NewPCG(*kernelSeed, round))
		p := newPlan(r)
		read, packets := k.round(r, p)
		rec, _ := play(t, packets)
		got := rec.one(t)
		at := common(got.data[0], read)
		if len(read) != p.octets || !bytes.Equal(got.data[0], read) || got.lost != [2]int64{} {
			t.Errorf("round %d: %d octets and %d lost of %d, the kernel gave %d; equal up to %d\n%s",
				round, len(got.data[0]), got.lost, p.octets, len(read), at, p.around(at))
		}
		if got.overlaps > 0 != p.disputed {
			t.Errorf("round %d: %d overlaps, disputed %v", round, got.overlaps, p.disputed)
		}
		if got.how != int(inspect.EndClosed) {
			t.Errorf("round %d: end %d", round, got.how)
		}
		if p.disputed {
			disputed++
		}
	}
	if disputed < kernelRounds/4 || disputed > kernelRounds*9/10 {
		t.Errorf("%d of %d rounds are disputed", disputed, kernelRounds)
	}
}

// around are the slices with an octet, for who looks for the rule.
func (p *plan) around(at int) string {
	var b strings.Builder
	for _, s := range p.slices {
		if s.from <= at && at < s.end() {
			fmt.Fprintf(&b, "[%d,%d) %c flags %x\n", s.from, s.end(), s.text[at-s.from], s.flags)
		}
	}
	return b.String()
}
