package tap

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/bpf"
)

const (
	maxProgram    = 4096 // instructions that the kernel takes
	maxPortRanges = 256  // that are told apart: with more, a program outgrows the 20 KiB that older kernels give a socket
	maxTags       = 2    // in a frame that are stepped over; the kernel takes the outermost out of what comes
)

// filter is what the kernel lets through to a raw packet socket: everything that the decoder would make a wanted segment
// of, and little else.
type filter struct {
	Ports   []uint16 // of TCP, at either end; none, or more ranges than are told apart: any
	Tunnels bool     // let through encapsulations too, whatever is in them; VLANs are always looked into
	Snap    uint32   // octets of a packet that are passed; 0: all
	Program Filter   // decides instead of these, if it is not empty
}

// program is the filter as the kernel takes it.
func (f filter) program() ([]bpf.RawInstruction, error) {
	if len(f.Program) == 0 {
		return bpf.Assemble(slices.Concat(withoutEchoes(), locate(), f.decide()))
	}
	echoes, err := bpf.Assemble(withoutEchoes())
	if n := len(echoes) + len(f.Program); n > maxProgram {
		return nil, fmt.Errorf("the filter has %d instructions, and the kernel takes %d", n, maxProgram)
	}
	return append(echoes, f.Program...), err
}

// code is a part of a program, which ends it or goes on with the next part. Jumps only go past a part of few instructions,
// so that none is too far.
type code []bpf.Instruction

// among runs then if A is one of the values.
func among(then code, values ...uint32) code {
	var c code
	for i, v := range values {
		c = append(c, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(len(values) - 1 - i)})
	}
	c[len(c)-1] = bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: values[len(values)-1], SkipTrue: uint8(len(then))}
	return append(c, then...)
}

// unless runs then if A is none of the values.
func unless(then code, values ...uint32) code {
	var c code
	for i, v := range values {
		c = append(c, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(len(values) - 1 - i + len(then))})
	}
	return append(c, then...)
}

// between runs then if A is from low to high.
func between(then code, low, high uint32) code {
	if low == high {
		return among(then, low)
	}
	return append(code{
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: low, SkipTrue: uint8(1 + len(then))},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: high, SkipTrue: uint8(len(then))},
	}, then...)
}

// octet and half load what is at so many octets behind X.
func octet(at uint32) bpf.Instruction { return bpf.LoadIndirect{Off: at, Size: 1} }
func half(at uint32) bpf.Instruction  { return bpf.LoadIndirect{Off: at, Size: 2} }

func mask(bits uint32) bpf.Instruction { return bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: bits} }

func drop() code { return code{bpf.RetConstant{Val: 0}} }

// pass ends by letting the packet through.
func (f filter) pass() code { return code{bpf.RetConstant{Val: cmp.Or(f.Snap, math.MaxUint32)}} }

// What Linux says of a packet besides its octets.
const (
	deviceEthernet = 1          // ARPHRD_ETHER
	deviceLoopback = 772        // ARPHRD_LOOPBACK, with an Ethernet header too
	packetOutgoing = 4          // PACKET_OUTGOING
	networkHeader  = 0xfff00000 // SKF_NET_OFF: offsets from here on count from the network header
)

// withoutEchoes drops what leaves over loopback: each packet comes in again. The next part begins as if it were the first.
func withoutEchoes() code {
	outgoing := append(code{bpf.LoadExtension{Num: bpf.ExtType}}, among(drop(), packetOutgoing)...)
	c := append(code{bpf.LoadExtension{Num: bpf.ExtLinkLayerType}}, among(outgoing, deviceLoopback)...)
	return append(c, bpf.LoadConstant{Dst: bpf.RegA, Val: 0})
}

// locate leaves the EtherType in A, and in X the place two octets before the network header: where Ethernet has the
// EtherType. In an Ethernet frame that is counted from its beginning, as the decoder does: what the kernel takes for the
// network header is behind the tags in what leaves and before them in what comes, and older kernels load nothing from there
// that is outside the packet's linear part, which with some cards ends before IP.
func locate() code {
	return code{
		bpf.LoadExtension{Num: bpf.ExtLinkLayerType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: deviceEthernet, SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: deviceLoopback, SkipTrue: 3},
		bpf.LoadConstant{Dst: bpf.RegX, Val: networkHeader - 2},
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.Jump{Skip: 2},
		bpf.LoadConstant{Dst: bpf.RegX, Val: 12},
		half(0),
	}
}

// decide is the filter behind locate. What is too short for one of its loads is dropped; for the decoder it is too short,
// too.
func (f filter) decide() code {
	return slices.Concat(f.link(), internet(), f.transport())
}

// link goes on with IP only, and X two octets before it.
func (f filter) link() code {
	tags := []uint32{etherVLAN, etherQinQ, etherQinQ9100, etherQinQ9200}
	step := among(code{bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 4}, bpf.TAX{}, half(0)}, tags...)
	c := slices.Concat(slices.Repeat(step, maxTags), among(f.pass(), tags...))
	if f.Tunnels {
		c = append(c, among(f.pass(), etherMPLS, etherMPLSMulti, etherPPPoE, etherBridged)...)
	}
	// IEEE 802.3: a length, or what the kernel has in its place; then LLC, and with SNAP's two access points, SNAP.
	llc := slices.Concat(code{half(2)}, among(f.pass(), 0xaaaa), drop())
	c = append(c, between(llc, 0, 0x05ff)...)
	return append(c, unless(drop(), etherIPv4, etherIPv6)...)
}

// What internet finds out, in the program's memory.
const (
	protocolAt = iota // the protocol behind the IP header
	fragmentAt        // not 0: this is a fragment, by IPv4's header
)

// internet goes on with X two octets before what follows the IP header, of either version, whichever its first octet says.
func internet() code {
	store := func(at int) bpf.Instruction { return bpf.StoreScratch{Src: bpf.RegA, N: at} }
	constant := func(v uint32) bpf.Instruction { return bpf.LoadConstant{Dst: bpf.RegA, Val: v} }
	four := code{
		octet(2 + 9), store(protocolAt),
		half(2 + 6), mask(0x3fff), store(fragmentAt),
		octet(2), mask(0x0f),
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2},
	}
	six := code{
		octet(2 + 6), store(protocolAt),
		constant(0), store(fragmentAt),
		constant(40),
		bpf.Jump{Skip: uint32(len(four))},
	}
	return slices.Concat(
		code{octet(2), mask(0xf0)}, unless(drop(), 0x40, 0x60),
		among(six, 0x60), four,
		code{bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{}},
	)
}

// transport decides by what follows the IP header. Whatever has IPv6's extension headers passes, and fragments of what may
// carry mail do.
func (f filter) transport() code {
	protocol := code{bpf.LoadScratch{Dst: bpf.RegA, N: protocolAt}}
	fragments := append(code{bpf.LoadScratch{Dst: bpf.RegA, N: fragmentAt}}, unless(f.pass(), 0)...)
	source, destination := code{half(2)}, code{half(4)}
	c := slices.Concat(protocol, among(f.pass(), protoHopByHop, protoRouting, protoFragment, protoAH,
		protoDest, protoMobility, protoHIP, protoShim6))
	if f.Tunnels {
		c = append(c, among(f.pass(), protoIPIP, protoIPv6, protoGRE)...)
		c = append(c, among(slices.Concat(fragments,
			destination, among(f.pass(), portVXLAN, portVXLANLinux, portGeneve, portL2TP),
			source, among(f.pass(), portL2TP), drop()), protoUDP)...)
	}
	c = slices.Concat(c, unless(drop(), protoTCP))
	ports := f.ports()
	if ports == nil {
		return append(c, f.pass()...)
	}
	return slices.Concat(c, fragments, source, ports, destination, ports, drop())
}

// ports passes the ports; nil is any port.
func (f filter) ports() code {
	ports := slices.Clone(f.Ports)
	slices.Sort(ports)
	var c code
	ranges := 0
	for len(ports) > 0 {
		n := 1
		for n < len(ports) && ports[n]-ports[n-1] <= 1 {
			n++
		}
		c = append(c, between(f.pass(), uint32(ports[0]), uint32(ports[n-1]))...)
		ports = ports[n:]
		ranges++
	}
	if ranges > maxPortRanges {
		return nil
	}
	return c
}

const (
	maxFilterLine = 64        // octets
	maxFilterText = 256 << 10 // octets, more than maxProgram lines can have
)

// ReadFilter reads a program in the form of tcpdump -ddd: a line with the number of its instructions, then each in a line
// of four numbers. An error is one sentence that says what is wrong.
func ReadFilter(r io.Reader) (Filter, error) {
	const origin = "give what tcpdump -ddd wrote"
	lines := bufio.NewScanner(io.LimitReader(r, maxFilterText))
	lines.Buffer(make([]byte, maxFilterLine), maxFilterLine)
	announced := -1
	var program Filter
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if announced < 0 {
			count, err := strconv.Atoi(strings.Join(fields, " "))
			if err != nil || count < 1 || count > maxProgram {
				return nil, fmt.Errorf("line 1 is %q, not a number of instructions from 1 to %d: %s", lines.Text(), maxProgram, origin)
			}
			announced = count
			continue
		}
		i, ok := readInstruction(fields)
		if !ok {
			return nil, fmt.Errorf("line %d is %q, not the four numbers of an instruction: %s", n, lines.Text(), origin)
		}
		if program = append(program, i); len(program) > announced {
			return nil, fmt.Errorf("more instructions follow than the %d announced in line 1: %s", announced, origin)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("a line is longer than %d octets: %s", maxFilterLine, origin)
	case err != nil:
		return nil, fmt.Errorf("it cannot be read: %w", err)
	case announced < 0:
		return nil, fmt.Errorf("it is empty: %s", origin)
	case len(program) < announced:
		return nil, fmt.Errorf("only %d of the %d instructions announced in line 1 follow: %s", len(program), announced, origin)
	}
	if err := program.check(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, origin)
	}
	return program, nil
}

// readInstruction reads an operation, how far to jump if true and if false, and its constant.
func readInstruction(fields []string) (i bpf.RawInstruction, ok bool) {
	if len(fields) != 4 {
		return i, false
	}
	op, err1 := strconv.ParseUint(fields[0], 10, 16)
	jt, err2 := strconv.ParseUint(fields[1], 10, 8)
	jf, err3 := strconv.ParseUint(fields[2], 10, 8)
	k, err4 := strconv.ParseUint(fields[3], 10, 32)
	i = bpf.RawInstruction{Op: uint16(op), Jt: uint8(jt), Jf: uint8(jf), K: uint32(k)}
	return i, errors.Join(err1, err2, err3, err4) == nil
}

// check says where the program would leave itself. Whether the kernel knows the instructions, it says itself.
func (f Filter) check() error {
	const class, jump, ret, operation, always = 0x07, 0x05, 0x06, 0xf0, 0x00
	for n, i := range f {
		far := max(uint64(i.Jt), uint64(i.Jf))
		if i.Op&operation == always {
			far = uint64(i.K)
		}
		if i.Op&class == jump && uint64(n)+1+far >= uint64(len(f)) {
			return fmt.Errorf("instruction %d jumps beyond the last one", n+1)
		}
	}
	if f[len(f)-1].Op&class != ret {
		return errors.New("its last instruction does not return")
	}
	return nil
}
