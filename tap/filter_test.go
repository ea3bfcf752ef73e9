package tap

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// ethernetFilter makes a machine of a filter. It knows nothing of a packet but its octets, so what only Linux knows is
// replaced: that this is Ethernet, and where its EtherType is.
func ethernetFilter(t testing.TB, f filter) *bpf.VM {
	t.Helper()
	start := code{bpf.LoadConstant{Dst: bpf.RegX, Val: 12}, half(0)}
	vm, err := bpf.NewVM(append(start, f.decide()...))
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func passes(t testing.TB, vm *bpf.VM, data []byte) bool {
	t.Helper()
	n, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// asEthernet gives a packet an Ethernet header, unless it has one; nil if it is of another link type.
func asEthernet(link LinkType, data []byte) []byte {
	switch {
	case link == LinkEthernet:
		return data
	case link != LinkRaw || len(data) == 0:
		return nil
	case data[0]>>4 == 6:
		return etherFrame(etherIPv6, data)
	}
	return etherFrame(etherIPv4, data)
}

// filterCheck holds a filter against the decoder.
type filterCheck struct {
	filter
	vm      *bpf.VM
	ports   *ports
	decoder decoder
	wanted  int // frames
}

func filterChecks(t testing.TB) (all []*filterCheck) {
	for _, p := range [][]uint16{nil, {25, 110, 587, 465, 995, 2525}, {1, 2, 3, 24, 51514, 65534, 65535}} {
		for _, tunnels := range []bool{true, false} {
			f := filter{Ports: p, Tunnels: tunnels}
			all = append(all, &filterCheck{
				filter: f, vm: ethernetFilter(t, f), ports: newPorts(&Options{SMTPPorts: p}), decoder: decoder{noTunnels: !tunnels},
			})
		}
	}
	return all
}

// try fails the test if the filter drops what the decoder makes a wanted segment of.
func (c *filterCheck) try(t testing.TB, name string, data []byte) {
	t.Helper()
	var s segment
	if c.decoder.decode(&Packet{Link: LinkEthernet, Wire: len(data), Data: data}, &s) != isSegment || !c.ports.wanted(&s.key) {
		return
	}
	if c.wanted++; !passes(t, c.vm, data) {
		t.Errorf("%+v drops %s: %x", c.filter, name, data)
	}
}

// TestFilterLosesNothing holds the filters against the decoder with everything that it understands.
func TestFilterLosesNothing(t *testing.T) {
	for _, o := range filterChecks(t) {
		for _, c := range wrapped() {
			if data := asEthernet(c.link, c.data); data != nil {
				o.try(t, c.name, data)
			}
		}
		if o.wanted < 10 || o.Tunnels && o.wanted < 40 {
			t.Errorf("%+v: only %d frames were wanted", o.filter, o.wanted)
		}
	}
}

func TestFilterLosesNothingOfCaptures(t *testing.T) {
	names, err := filepath.Glob("../testdata/pcap/*.pcap*")
	if err != nil || len(names) == 0 {
		t.Fatal("no captures", err)
	}
	all := filterChecks(t)
	source := openFiles(names, nil)
	defer source.Close()
	space := make([]byte, minSpace)
	for {
		p, err := source.Next(space)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data := asEthernet(p.Link, p.Data)
		if data == nil {
			t.Fatalf("link type %d", p.Link)
		}
		for _, o := range all {
			o.try(t, "a packet", data)
		}
	}
	for _, o := range all {
		if o.wanted < 1000 && !slices.Contains(o.Ports, 1) {
			t.Errorf("%+v: only %d packets were wanted", o.filter, o.wanted)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, c := range wrapped() {
		if data := asEthernet(c.link, c.data); data != nil {
			f.Add(data)
		}
	}
	all := filterChecks(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, o := range all {
			o.decoder = decoder{noTunnels: o.decoder.noTunnels}
			o.try(t, "a frame", data)
		}
	})
}

// filtered is a frame, and whether a filter of the ports 25 and 110 lets it through.
type filtered struct {
	name           string
	data           []byte
	alone, tunnels bool // without and with Tunnels
}

func filterCases() []filtered {
	const yes, no = true, false
	tcp := func(from, to uint16) []byte { return tcpSegment(from, to, 1, 2, ack, []byte("octets")) }
	packet := func(ends [2]netip.Addr, protocol byte, payload []byte) []byte {
		return asEthernet(LinkRaw, ipPacket(ends[0], ends[1], protocol, payload))
	}
	part := func(protocol byte, offset uint16) []byte {
		b := packet(four, protocol, zeros(64))
		binary.BigEndian.PutUint16(b[14+6:], offset)
		return b
	}
	smtp, web := packet(four, protoTCP, tcp(40000, 25)), packet(four, protoTCP, tcp(40000, 80))
	options := slices.Insert(slices.Clone(smtp), 34, zeros(12)...)
	options[14] = 0x48
	unoptions := slices.Insert(slices.Clone(web), 34, be16(25, 25, 25, 25, 25, 25)...)
	unoptions[14] = 0x48
	return []filtered{
		{"SMTP", smtp, yes, yes},
		{"SMTP's answer", packet(four, protoTCP, tcp(25, 40000)), yes, yes},
		{"POP3", packet(four, protoTCP, tcp(40000, 110)), yes, yes},
		{"HTTP", web, no, no},
		{"port 26", packet(four, protoTCP, tcp(40000, 26)), no, no},
		{"port 24", packet(four, protoTCP, tcp(24, 40000)), no, no},
		{"SMTP, IPv4 options", options, yes, yes},
		{"HTTP, IPv4 options that look like ports", unoptions, no, no},
		{"SMTP, IPv6", packet(six, protoTCP, tcp(40000, 25)), yes, yes},
		{"SMTP's answer, IPv6", packet(six, protoTCP, tcp(25, 40000)), yes, yes},
		{"HTTP, IPv6", packet(six, protoTCP, tcp(40000, 80)), no, no},
		{"IPv6 extension", packet(six, protoHopByHop, join(protoTCP, 0, zeros(6), tcp(40000, 25))), yes, yes},
		{"IPv6 fragment", packet(six, protoFragment, join(protoTCP, 0, be16(1, 0, 5), zeros(8))), yes, yes},
		{"first fragment", part(protoTCP, 0x2000), yes, yes},
		{"last fragment", part(protoTCP, 0x0007), yes, yes},
		{"not to be fragmented", part(protoTCP, 0x4000), no, no},
		{"UDP fragment", part(protoUDP, 0x0007), no, yes},
		{"ICMP fragment", part(1, 0x2000), no, no},
		{"authenticated", packet(four, protoAH, join(protoTCP, 4, zeros(22), tcp(40000, 25))), yes, yes},
		{"ARP", etherFrame(0x0806, zeros(28)), no, no},
		{"ICMP", packet(four, 1, zeros(8)), no, no},
		{"ICMP, IPv6", packet(six, 58, zeros(8)), no, no},
		{"DNS", packet(four, protoUDP, udpPacket(53, zeros(12))), no, no},
		{"DNS, IPv6", packet(six, protoUDP, udpPacket(53, zeros(12))), no, no},
		{"UDP to 25", packet(four, protoUDP, udpPacket(25, zeros(12))), no, no},
		{"VLAN", etherFrame(etherVLAN, join(be16(5), smtp[12:])), yes, yes},
		{"VLAN, HTTP", etherFrame(etherVLAN, join(be16(5), web[12:])), no, no},
		{"VLAN, ARP", etherFrame(etherVLAN, join(be16(5, 0x0806), zeros(28))), no, no},
		{"QinQ", etherFrame(etherQinQ, join(be16(5, etherVLAN, 6), smtp[12:])), yes, yes},
		{"QinQ, HTTP", etherFrame(etherQinQ, join(be16(5, etherVLAN, 6), web[12:])), no, no},
		{"four tags, HTTP", etherFrame(etherQinQ, join(be16(5, etherQinQ, 6, etherQinQ9100, 7, etherVLAN, 8), web[12:])), yes, yes},
		{"SNAP", join(zeros(12), be16(50), 0xaa, 0xaa, 3, 0, 0, 0, smtp[12:]), yes, yes},
		{"spanning tree", join(zeros(12), be16(38), 0x42, 0x42, 3, zeros(35)), no, no},
		{"GRE", packet(four, protoGRE, join(be16(0, etherIPv4), smtp[14:])), no, yes},
		{"IP-in-IP", packet(four, protoIPIP, smtp[14:]), no, yes},
		{"6in4", packet(four, protoIPv6, zeros(60)), no, yes},
		{"GRE, IPv6", packet(six, protoGRE, join(be16(0, etherIPv4), smtp[14:])), no, yes},
		{"VXLAN", packet(four, protoUDP, udpPacket(portVXLAN, join(8, zeros(7), smtp))), no, yes},
		{"VXLAN 8472", packet(four, protoUDP, udpPacket(portVXLANLinux, join(8, zeros(7), smtp))), no, yes},
		{"VXLAN, IPv6", packet(six, protoUDP, udpPacket(portVXLAN, join(8, zeros(7), smtp))), no, yes},
		{"VXLAN's port as source", packet(four, protoUDP, be16(portVXLAN, 53, 8, 0)), no, no},
		{"Geneve", packet(four, protoUDP, udpPacket(portGeneve, join(0, 0, be16(etherBridged), zeros(4), smtp))), no, yes},
		{"L2TP", packet(four, protoUDP, udpPacket(portL2TP, zeros(20))), no, yes},
		{"L2TP's answer", packet(four, protoUDP, be16(portL2TP, 40000, 8, 0)), no, yes},
		{"MPLS", etherFrame(etherMPLS, join(be16(1, 0x0140), smtp[14:])), no, yes},
		{"PPPoE", etherFrame(etherPPPoE, join(0x11, 0, be16(1, uint16(len(smtp)-12), 0x0021), smtp[14:])), no, yes},
		{"PPPoE discovery", etherFrame(0x8863, join(0x11, 9, zeros(4))), no, no},
		{"VLAN, GRE", etherFrame(etherVLAN, join(be16(5, etherIPv4), packet(four, protoGRE, join(be16(0, etherIPv4), smtp[14:]))[14:])), no, yes},
	}
}

func TestFilterCases(t *testing.T) {
	alone := ethernetFilter(t, filter{Ports: []uint16{25, 110}})
	tunnels := ethernetFilter(t, filter{Ports: []uint16{25, 110}, Tunnels: true})
	for _, c := range filterCases() {
		if got := passes(t, alone, c.data); got != c.alone {
			t.Errorf("%s passes: %v", c.name, got)
		}
		if got := passes(t, tunnels, c.data); got != c.tunnels {
			t.Errorf("%s passes with tunnels: %v", c.name, got)
		}
	}
}

// TestFilterFragments holds a filter against everything that becomes a wanted segment when it is whole.
func TestFilterFragments(t *testing.T) {
	vm := ethernetFilter(t, filter{Ports: []uint16{25}})
	payload := tcpSegment(51514, 25, 7, 9, ack, zeros(3000))
	for _, version := range []int{4, 6} {
		for i, part := range fragmentsOf(version, 5, payload, 1200) {
			if !passes(t, vm, asEthernet(LinkRaw, part)) {
				t.Errorf("IPv%d: fragment %d dropped", version, i)
			}
		}
	}
}

func TestFilterPorts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1, 2, 5, 30, 100, 256} {
		var ports []uint16
		for range n {
			port := uint16(r.Uint32())
			ports = append(ports, port, port) // twice, and some with neighbours
			if n < 100 && r.IntN(2) == 0 {
				ports = append(ports, port+1, port+2)
			}
		}
		if n == 5 {
			ports = append(ports, 0, 65535)
		}
		vm := ethernetFilter(t, filter{Ports: ports})
		for _, p := range ports {
			for _, near := range []uint16{p - 2, p - 1, p, p + 1, p + 2, p + 3} {
				want := slices.Contains(ports, near)
				other := near
				for slices.Contains(ports, other) || other == near {
					other = uint16(r.Uint32())
				}
				for _, ends := range [][2]uint16{{near, other}, {other, near}} {
					segment := tcpSegment(ends[0], ends[1], 1, 2, ack, nil)
					if got := passes(t, vm, etherFrame(etherIPv4, ipPacket(four[0], four[1], protoTCP, segment))); got != want {
						t.Errorf("%d ports: %d to %d passes: %v", n, ends[0], ends[1], got)
					}
				}
			}
		}
	}
}

// manyPorts have so many ranges.
func manyPorts(ranges int) (ports []uint16) {
	for i := range ranges {
		ports = append(ports, uint16(10+3*i), uint16(11+3*i))
	}
	return ports
}

func TestFilterManyPorts(t *testing.T) {
	other := etherFrame(etherIPv4, ipPacket(four[0], four[1], protoTCP, tcpSegment(9, 9, 1, 2, ack, nil)))
	if passes(t, ethernetFilter(t, filter{Ports: manyPorts(maxPortRanges)}), other) {
		t.Error("another port passes")
	}
	if !passes(t, ethernetFilter(t, filter{Ports: manyPorts(maxPortRanges + 1)}), other) {
		t.Error("too many ports are any port")
	}
	whole, err := filter{Ports: manyPorts(maxPortRanges), Tunnels: true}.program()
	if err != nil || len(whole) > maxProgram {
		t.Error(len(whole), err)
	}
}

func TestFilterSnap(t *testing.T) {
	smtp := filterCases()[0].data
	for snap, want := range map[uint32]int{0: len(smtp), 96: len(smtp), 54: 54} {
		vm := ethernetFilter(t, filter{Snap: snap})
		if n, err := vm.Run(smtp); err != nil || min(uint32(n), uint32(len(smtp))) != uint32(want) {
			t.Errorf("%d: %d octets pass, %v", snap, n, err)
		}
	}
}

func TestFilterOfUser(t *testing.T) {
	user, err := ReadFilter(strings.NewReader("2\n40 0 0 12\n6 0 0 96\n"))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := filter{Ports: []uint16{25}, Program: user}.program()
	if err != nil || !slices.Equal(whole[len(whole)-2:], []bpf.RawInstruction(user)) {
		t.Error(whole, err)
	}
	long := slices.Repeat(Filter{{Op: 6}}, maxProgram)
	if whole, err := (filter{Program: long}).program(); err == nil {
		t.Errorf("%d instructions", len(whole))
	}
}

func TestReadFilter(t *testing.T) {
	long := "4096\n" + strings.Repeat("6 0 0 0\n", 4096)
	for _, c := range []struct{ name, text, want string }{
		{"a program", "3\n48 0 0 4294963200\r\n21 0 0 1\n6 0 0 262144", ""},
		{"the longest", long, ""},
		{"nothing", "", "it is empty: give what tcpdump -ddd wrote"},
		{"an expression", "tcp port 25\n", `line 1 is "tcp port 25", not a number of instructions from 1 to 4096: give what tcpdump -ddd wrote`},
		{"tcpdump -d", "(000) ldh [12]\n", `line 1 is "(000) ldh [12]", not a number of instructions from 1 to 4096: give what tcpdump -ddd wrote`},
		{"tcpdump -dd", "{ 0x28, 0, 0, 0x0000000c },\n", `line 1 is "{ 0x28, 0, 0, 0x0000000c },", not a number of instructions from 1 to 4096: give what tcpdump -ddd wrote`},
		{"none", "0\n", `line 1 is "0", not a number of instructions from 1 to 4096: give what tcpdump -ddd wrote`},
		{"too many", "4097\n", `line 1 is "4097", not a number of instructions from 1 to 4096: give what tcpdump -ddd wrote`},
		{"three numbers", "1\n6 0 0\n", `line 2 is "6 0 0", not the four numbers of an instruction: give what tcpdump -ddd wrote`},
		{"an empty line", "1\n\n6 0 0 0\n", `line 2 is "", not the four numbers of an instruction: give what tcpdump -ddd wrote`},
		{"an operation out of range", "1\n65536 0 0 0\n", `line 2 is "65536 0 0 0", not the four numbers of an instruction: give what tcpdump -ddd wrote`},
		{"a jump out of range", "1\n21 256 0 0\n", `line 2 is "21 256 0 0", not the four numbers of an instruction: give what tcpdump -ddd wrote`},
		{"the other jump out of range", "1\n21 0 -1 0\n", `line 2 is "21 0 -1 0", not the four numbers of an instruction: give what tcpdump -ddd wrote`},
		{"a constant out of range", "1\n6 0 0 4294967296\n", `line 2 is "6 0 0 4294967296", not the four numbers of an instruction: give what tcpdump -ddd wrote`},
		{"too few lines", "3\n6 0 0 0\n6 0 0 0\n", "only 2 of the 3 instructions announced in line 1 follow: give what tcpdump -ddd wrote"},
		{"too many lines", "1\n6 0 0 0\n6 0 0 0\n", "more instructions follow than the 1 announced in line 1: give what tcpdump -ddd wrote"},
		{"a long line", "1\n" + strings.Repeat("6", 100), "a line is longer than 64 octets: give what tcpdump -ddd wrote"},
		{"a jump too far", "2\n21 0 1 0\n6 0 0 0\n", "instruction 1 jumps beyond the last one: give what tcpdump -ddd wrote"},
		{"the other jump too far", "2\n21 1 0 0\n6 0 0 0\n", "instruction 1 jumps beyond the last one: give what tcpdump -ddd wrote"},
		{"a jump around", "2\n5 0 0 4294967295\n6 0 0 0\n", "instruction 1 jumps beyond the last one: give what tcpdump -ddd wrote"},
		{"no end", "1\n40 0 0 12\n", "its last instruction does not return: give what tcpdump -ddd wrote"},
	} {
		t.Run(c.name, func(t *testing.T) {
			program, err := ReadFilter(strings.NewReader(c.text))
			switch {
			case c.want == "" && (err != nil || len(program) != strings.Count(strings.TrimSpace(c.text), "\n")):
				t.Error(len(program), err)
			case c.want != "" && (err == nil || err.Error() != c.want):
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// TestReadFilterOfTcpdump runs what tcpdump makes of an expression.
func TestReadFilterOfTcpdump(t *testing.T) {
	name, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("tcpdump is not installed")
	}
	out, err := exec.Command(name, "-ddd", "-y", "EN10MB", "port 25").Output()
	if err != nil {
		t.Skip("tcpdump does not compile here: ", err)
	}
	program, err := ReadFilter(strings.NewReader(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	instructions, ok := bpf.Disassemble(program)
	if !ok {
		t.Fatal("an instruction is not known")
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range filterCases() {
		switch c.name {
		case "SMTP", "SMTP's answer", "SMTP, IPv6", "UDP to 25":
			if !passes(t, vm, c.data) {
				t.Errorf("%s dropped", c.name)
			}
		case "HTTP", "HTTP, IPv6", "ARP":
			if passes(t, vm, c.data) {
				t.Errorf("%s passes", c.name)
			}
		}
	}
}
