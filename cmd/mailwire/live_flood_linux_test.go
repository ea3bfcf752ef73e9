package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/mailwire/mailwire/inspect/record"
)

const (
	ringOctets  = 16 << 20  // of the kernel's memory, which counts as the tap's
	floodMemory = 144 << 20 // octets that a tap may use besides
	floodBurst  = 4 << 20   // octets that may be on their way
)

// passing are the network's addresses of frames that are for neither host, so that both leave them alone.
var passing = layers.Ethernet{
	SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 8}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, EthernetType: layers.EthernetTypeIPv4,
}

// internet is an IPv4 header between two hosts that are not there.
func internet(protocol layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{
		Version: 4, IHL: 5, TTL: 64, Protocol: protocol,
		SrcIP: net.IPv4(198, 51, 100, 1), DstIP: net.IPv4(203, 0, 113, 1),
	}
}

func frame(t *testing.T, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, parts...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

// Where a frame has what.
const (
	atFragmentID = 14 + 4
	atSource     = 14 + 12
	atPort       = 14 + 20
	atSequence   = 14 + 20 + 4
)

// transmit sends a frame.
func transmit(t *testing.T, socket int, frame []byte) {
	t.Helper()
	for {
		switch _, err := unix.Write(socket, frame); {
		case err == nil:
			return
		case !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR):
			t.Fatal(err)
		}
	}
}

// flood sends frames as fast as the tap takes them, so that the kernel drops none: count of them, and on until enough is true.
func (p *tapped) flood(socket, count int, enough func() bool, next func(i int) []byte) (sent int) {
	p.t.Helper()
	const header = 128 // octets, or less, that the kernel puts before each
	before := p.metric("packets_total")
	seen := func() bool { return p.metric("packets_total")+p.metric("dropped_total")-before >= int64(sent) }
	for burst := 0; sent < count || !enough(); sent++ {
		data := next(sent)
		if burst += len(data) + header; burst > floodBurst {
			await(p.t, "the tap to keep up", seen)
			burst = 0
		}
		transmit(p.t, socket, data)
	}
	await(p.t, "the tap to have seen all", seen)
	return sent
}

// checkFlooded: memory was bounded, the kernel dropped nothing, and the real sessions are recorded.
func (p *tapped) checkFlooded(sessions int) recorded {
	p.t.Helper()
	used := p.memory("VmHWM")
	p.t.Logf("%d MiB resident at most", used>>20)
	if used > ringOctets+floodMemory {
		p.t.Errorf("%d MiB resident", used>>20)
	}
	if dropped := p.metric("dropped_total"); dropped != 0 {
		p.t.Errorf("the kernel dropped %d packets, though they came no faster than they were taken", dropped)
	}
	got := p.end()
	real := got
	real.sessions = slices.DeleteFunc(slices.Clone(got.sessions), func(s record.Session) bool { return s.Client.IP != clientAddress })
	checkWhole(p.t, real, sessions, demoMail)
	return got
}

// beside lets sessions go on, one after the other, until they are through or one fails.
func (r *tapRig) beside(sessions int) (done func() bool, failed func() error) {
	var left atomic.Int64
	var running sync.WaitGroup
	var failure error
	left.Store(int64(sessions))
	running.Go(func() {
		for left.Load() > 0 && failure == nil {
			failure = r.client.send(smtpAddress, demoMail)
			left.Add(-1)
		}
		left.Store(0)
	})
	return func() bool { return left.Load() == 0 }, func() error { running.Wait(); return failure }
}

// scaled is the number for every day, or that of a full run.
func scaled(daily, full int) int {
	if os.Getenv("MAILWIRE_FULL") != "" {
		return full
	}
	return daily
}

// testHandshakes: connection attempts from everywhere do not use up memory, and cost no session its record, neither those
// that go on for as long as the attempts, nor those that begin when there is no room any more.
func testHandshakes(t *testing.T, r *tapRig) {
	const sessions, kept = 100, 65536
	p := r.tap("-i", "eth0")
	syn := frame(t, &passing, internet(layers.IPProtocolTCP), &layers.TCP{DstPort: 25, SYN: true, Window: 1024})
	random := rand.New(rand.NewPCG(1, 2))
	socket, attempt := r.client.rawSocket("eth0"), func(int) []byte {
		binary.BigEndian.PutUint32(syn[atSource:], 0x2c000000|random.Uint32()>>8) // 44.0.0.0/8
		binary.BigEndian.PutUint16(syn[atPort:], uint16(random.Uint32()))
		binary.BigEndian.PutUint32(syn[atSequence:], random.Uint32())
		return syn
	}
	r.wholeMail(func() {
		sent := p.flood(socket, 2*kept, func() bool { return true }, attempt)
		done, failed := r.beside(sessions)
		sent += p.flood(socket, scaled(300_000, 1_000_000)-sent, done, attempt)
		if err := failed(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d attempts", sent)
		await(t, "attempts to be given up", func() bool { return p.metric("half_open_total") >= int64(sent-kept) })
	})
	if evicted := p.metric("evicted_total"); evicted != 0 {
		t.Errorf("%d connections were given up", evicted)
	}
	if got := p.checkFlooded(sessions + 1); len(got.sessions) != sessions+1 {
		t.Errorf("%d sessions", len(got.sessions))
	}
}

// testFragments: first fragments of datagrams of which nothing else comes.
func testFragments(t *testing.T, r *tapRig) {
	p := r.tap("-i", "eth0")
	done, failed := r.beside(10)
	ip := internet(layers.IPProtocolTCP)
	ip.Flags = layers.IPv4MoreFragments
	fragment := frame(t, &passing, ip, gopacket.Payload(make([]byte, 1480)))
	sent := p.flood(r.client.rawSocket("eth0"), scaled(50_000, 500_000), done, func(i int) []byte {
		binary.BigEndian.PutUint16(fragment[atFragmentID:], uint16(i))
		binary.BigEndian.PutUint16(fragment[atSource:], 0x2c00|uint16(i>>16))
		return fragment
	})
	if err := failed(); err != nil {
		t.Fatal(err)
	}
	const kept = 8 << 20 / 1480 // at most
	await(t, "the fragments to be given up", func() bool { return p.metric("unassembled_total") >= int64(sent-kept) })
	p.says("incomplete_fragments=")
	p.checkFlooded(10)
	if !strings.Contains(p.said.String(), " incomplete IP fragments") {
		t.Errorf("it did not speak of the fragments: %s", &p.said)
	}
}

// testHoard: connections that miss one octet and go on without.
func testHoard(t *testing.T, r *tapRig) {
	const connections, segments, octets = 10, 9000, 1400
	p := r.tap("-i", "eth0")
	done, failed := r.beside(10)
	toServer := &layers.TCP{SrcPort: 1024, DstPort: 25, Window: 1024}
	fromServer := &layers.TCP{SrcPort: 25, DstPort: 1024, Window: 1024, SYN: true, ACK: true, Seq: 1, Ack: 1001}
	back := internet(layers.IPProtocolTCP)
	back.SrcIP, back.DstIP = back.DstIP, back.SrcIP
	answer := frame(t, &passing, back, fromServer)
	toServer.SYN, toServer.Seq = true, 1000
	open := frame(t, &passing, internet(layers.IPProtocolTCP), toServer)
	toServer.SYN, toServer.ACK, toServer.Ack = false, true, 2
	data := frame(t, &passing, internet(layers.IPProtocolTCP), toServer, gopacket.Payload(make([]byte, octets)))
	p.flood(r.client.rawSocket("eth0"), connections*(segments+2), done, func(i int) []byte {
		port := uint16(1024 + i%connections) // all at the same time
		switch n := i / connections; n {
		case 0:
			binary.BigEndian.PutUint16(open[atPort:], port)
			return open
		case 1:
			binary.BigEndian.PutUint16(answer[atPort+2:], port)
			return answer
		default:
			binary.BigEndian.PutUint16(data[atPort:], port)
			binary.BigEndian.PutUint32(data[atSequence:], uint32(1001+1+octets*(n-2)))
			return data
		}
	})
	if err := failed(); err != nil {
		t.Fatal(err)
	}
	holes := 0
	for _, s := range p.checkFlooded(10).sessions {
		if s.Client.IP == "198.51.100.1" && s.Lost.Client == 1 {
			holes++
		}
	}
	if holes != connections {
		t.Errorf("%d connections have the hole, want %d", holes, connections)
	}
}

// testEncapsulations: tunnels in tunnels, and a stack of labels that fills its frame.
func testEncapsulations(t *testing.T, r *tapRig) {
	p := r.tap("-i", "eth0")
	done, failed := r.beside(10)
	gre := []gopacket.SerializableLayer{&passing}
	for range 40 {
		gre = append(gre, internet(layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeIPv4})
	}
	labelled := passing
	labelled.EthernetType = layers.EthernetTypeMPLSUnicast
	mpls := []gopacket.SerializableLayer{&labelled}
	for range 370 {
		mpls = append(mpls, &layers.MPLS{Label: 100, TTL: 64})
	}
	inmost := []gopacket.SerializableLayer{internet(layers.IPProtocolTCP), &layers.TCP{DstPort: 25, SYN: true}}
	bombs := [][]byte{frame(t, append(gre, inmost...)...), frame(t, mpls...)}
	sent := p.flood(r.client.rawSocket("eth0"), scaled(50_000, 500_000), done, func(i int) []byte { return bombs[i%len(bombs)] })
	if err := failed(); err != nil {
		t.Fatal(err)
	}
	await(t, "all to be counted", func() bool { return p.metric("undecodable_total") == int64(sent) })
	p.checkFlooded(10)
}

// testDropped: packets for which the kernel has no room are counted, each of them, and said.
func testDropped(t *testing.T, r *tapRig) {
	const frames = 20_000 // of which each other is for another port
	p := r.tap("-i", "eth0", "--ring-size", "2")
	p.signal(syscall.SIGSTOP)
	await(t, "it to stand still", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
	socket := r.client.rawSocket("eth0")
	for i := range frames {
		port := layers.TCPPort(25 + i%2)
		transmit(t, socket, frame(t, &passing, internet(layers.IPProtocolTCP),
			&layers.TCP{SrcPort: 1024, DstPort: port, ACK: true, Seq: uint32(i)}, gopacket.Payload(make([]byte, 1000))))
	}
	p.signal(syscall.SIGCONT)
	p.says("the kernel dropped packets")
	await(t, "all packets to be counted", func() bool {
		return p.metric("packets_total")+p.metric("dropped_total") == frames/2
	})
	packets, dropped, frozen := p.metric("packets_total"), p.metric("dropped_total"), p.metric("freezes_total")
	t.Logf("%d packets, %d dropped, %d freezes", packets, dropped, frozen)
	if dropped < frames/4 || frozen != 1 {
		t.Errorf("%d dropped, %d freezes", dropped, frozen)
	}
	p.end()
	if n := strings.Count(p.log.String(), "the kernel dropped packets"); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	said := regexp.MustCompile(`(?m)^dropped +([0-9,]+) packets, by the kernel`).FindStringSubmatch(p.said.String())
	if said == nil || strings.ReplaceAll(said[1], ",", "") != strconv.FormatInt(dropped, 10) {
		t.Errorf("%d were dropped; the summary: %s", dropped, &p.said)
	}
}
