package tap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ownNetwork puts the rest of the test into a network of its own, with the two ends of a cable, left and right.
func ownNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skip("there can be no network namespace: ", err)
	}
	// The kernel shall say nothing by itself.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil {
		t.Log(err)
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "left", "type", "veth", "peer", "name", "right"},
		{"link", "set", "left", "up"},
		{"link", "set", "right", "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Skipf("ip %v: %v: %s", args, err, out)
		}
	}
	for _, device := range []string{"left", "right"} {
		waitLink(t, device)
	}
}

// waitLink waits until a device sends. It is up before that: until the kernel has noticed the other end of the cable, in
// its own time, it drops what is sent without a word.
func waitLink(t *testing.T, device string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		out, err := exec.Command("ip", "link", "show", "dev", device).CombinedOutput()
		if err == nil && bytes.Contains(out, []byte(" state UP ")) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not come up: %v: %s", device, err, out)
		}
	}
}

// packetSocket opens a socket that sees what the kernel lets through of an interface.
func packetSocket(t *testing.T, device string, program []bpf.RawInstruction) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skip("there can be no packet socket: ", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if program != nil {
		var code []unix.SockFilter
		for _, i := range program {
			code = append(code, unix.SockFilter{Code: i.Op, Jt: i.Jt, Jf: i.Jf, K: i.K})
		}
		fprog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog); err != nil {
			t.Fatalf("the kernel does not take %d instructions: %v", len(program), err)
		}
	}
	link, err := net.InterfaceByName(device)
	if err != nil {
		t.Fatal(err)
	}
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Index}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}),
	)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func compiled(t *testing.T, f filter) []bpf.RawInstruction {
	t.Helper()
	program, err := f.program()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// numbered gives a frame a source address that says which one it is.
func numbered(n int, data []byte) []byte {
	data = bytes.Clone(data)
	copy(data[6:], []byte{2, 'f', 'i', 'l', byte(n >> 8), byte(n)})
	return data
}

const lastFrame = 0xffff

// transmit sends frames, and behind them one more that every filter lets through.
func transmit(t *testing.T, device string, frames [][]byte) {
	t.Helper()
	// Frames of one processor stay in order.
	var one unix.CPUSet
	one.Set(0)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Log("frames may overtake each other: ", err)
	}
	fd := packetSocket(t, device, []bpf.RawInstruction{{Op: 6}})
	for n, data := range frames {
		if _, err := unix.Write(fd, numbered(n, data)); err != nil {
			t.Fatalf("frame %d cannot be sent: %v", n, err)
		}
	}
	if _, err := unix.Write(fd, numbered(lastFrame, filterCases()[0].data)); err != nil {
		t.Fatal(err)
	}
}

// received says how often each frame was seen to leave and to come, until the last was seen so many times.
func received(t *testing.T, fd, lasts int) (leaves, comes map[int]int) {
	t.Helper()
	leaves, comes = map[int]int{}, map[int]int{}
	b := make([]byte, 1<<16)
	for leaves[lastFrame]+comes[lastFrame] < lasts {
		n, from, err := unix.Recvfrom(fd, b, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal("the last frame was not seen: ", err)
		}
		if n < 14 || !bytes.HasPrefix(b[6:], []byte{2, 'f', 'i', 'l'}) {
			continue // the kernel's own
		}
		i := int(binary.BigEndian.Uint16(b[10:]))
		if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype == unix.PACKET_OUTGOING {
			leaves[i]++
		} else {
			comes[i]++
		}
	}
	return leaves, comes
}

// TestFilterInKernel sends frames through a cable and looks at what passes at both ends, as it leaves and as it comes.
func TestFilterInKernel(t *testing.T) {
	ownNetwork(t)
	cases := filterCases()
	var frames [][]byte
	for _, c := range cases {
		frames = append(frames, c.data)
	}
	for _, tunnels := range []bool{false, true} {
		program := compiled(t, filter{Ports: []uint16{25, 110}, Tunnels: tunnels})
		left, right := packetSocket(t, "left", program), packetSocket(t, "right", program)
		transmit(t, "left", frames)
		leaves, _ := received(t, left, 1)
		_, comes := received(t, right, 1)
		for n, c := range cases {
			want := 0
			if c.alone || tunnels && c.tunnels {
				want = 1
			}
			if leaves[n] != want || comes[n] != want {
				t.Errorf("%s, tunnels %v: %d pass as they leave, %d as they come; not %d", c.name, tunnels, leaves[n], comes[n], want)
			}
		}
	}
}

// TestFilterLoopback: over loopback every packet is seen to leave and to come, and passes as it comes.
func TestFilterLoopback(t *testing.T) {
	ownNetwork(t)
	smtp := filterCases()[0].data
	everything := packetSocket(t, "lo", nil)
	ours := packetSocket(t, "lo", compiled(t, filter{Ports: []uint16{25}}))
	user := packetSocket(t, "lo", compiled(t, filter{Program: Filter{{Op: 6, K: 262144}}}))
	transmit(t, "lo", [][]byte{smtp, smtp})
	if leaves, comes := received(t, everything, 2); leaves[0] != 1 || comes[0] != 1 {
		t.Error("without a filter: ", leaves, comes)
	}
	for _, fd := range []int{ours, user} {
		if leaves, comes := received(t, fd, 1); len(leaves) != 0 || comes[0] != 1 || comes[1] != 1 {
			t.Error("with one: ", leaves, comes)
		}
	}
}

// TestFilterWithoutLinkHeader sends packets through a device that has no link header.
func TestFilterWithoutLinkHeader(t *testing.T) {
	ownNetwork(t)
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("there can be no tun device: ", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("raw")
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		t.Skip("there can be no tun device: ", err)
	}
	if out, err := exec.Command("ip", "link", "set", "raw", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, tunnels := range []bool{false, true} {
		socket := packetSocket(t, "raw", compiled(t, filter{Ports: []uint16{25, 110}, Tunnels: tunnels}))
		var want [][]byte
		for _, c := range filterCases() {
			if kind := binary.BigEndian.Uint16(c.data[12:]); kind != etherIPv4 && kind != etherIPv6 {
				continue
			}
			if _, err := unix.Write(fd, c.data[14:]); err != nil {
				t.Fatal(c.name, err)
			}
			if c.alone || tunnels && c.tunnels {
				want = append(want, c.data[14:])
			}
		}
		b := make([]byte, 1<<16)
		for i, data := range append(want, want[0]) {
			if i == len(want) { // one more, to see that there was none before it
				if _, err := unix.Write(fd, data); err != nil {
					t.Fatal(err)
				}
			}
			if n, err := unix.Read(socket, b); err != nil || !bytes.Equal(b[:n], data) {
				t.Fatalf("tunnels %v: packet %d is %x, not %x: %v", tunnels, i, b[:max(n, 0)], data, err)
			}
		}
	}
}

// TestFilterFits: even the longest program is taken where a socket has no more than older kernels give it.
func TestFilterFits(t *testing.T) {
	ownNetwork(t)
	if err := os.WriteFile("/proc/sys/net/core/optmem_max", []byte("20480"), 0); err != nil {
		t.Log("a socket has what it has: ", err)
	}
	packetSocket(t, "left", compiled(t, filter{Ports: manyPorts(maxPortRanges), Tunnels: true}))
}
