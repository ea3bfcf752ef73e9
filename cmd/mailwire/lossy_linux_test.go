package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/mailwire/mailwire/inspect/record"
)

var lossySeed = flag.Uint64("lossy-seed", rand.Uint64(), "of TestTapLossy's mails")

const lossySessions = 300

// TestTapLossy lets a mirror port lose frames on their way to the tap (C1): sessions that lost none are recorded as they
// were, and what is said of the others is true.
func TestTapLossy(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute, which -short does not have")
	}
	if os.Getuid() != 0 {
		t.Skip("only root may make networks of its own and capture there")
	}
	need(t, "ip", "nft", "tcpdump")
	program := buildProgram(t)
	t.Logf("-lossy-seed %d", *lossySeed)
	for _, perMille := range []int{1, 10, 50} {
		t.Run(fmt.Sprint(perMille, " per mille"), func(t *testing.T) { testLossy(t, newLossyRig(t, program, perMille)) })
	}
}

func testLossy(t *testing.T, r *lossyRig) {
	whole, leg := r.dump(r.server, "eth0"), r.dump(r.sensor, "eth0")
	tap := (&tapRig{t: t, program: r.program, server: r.sensor}).tap("-i", "eth0", "--smtp-port", "25", "--ring-size", "128", "--trace")
	sent := r.talk(lossySessions, *lossySeed)
	before, after := whole.end("passed", "dropped"), leg.end("passed")
	got, dropped := tap.end(), r.counted("dropped")
	if strings.Contains(tap.said.String(), "dropped") {
		t.Fatal("the tap had no room for all that there was")
	}
	// Its own trace: where several processors deliver frames, another socket may get them in another order.
	traces, _ := filepath.Glob(filepath.Join(tap.dir, "trace", "*.pcapng"))
	if len(traces) != 1 { // or it was midnight
		t.Fatal(traces)
	}
	t.Run("capture file", func(t *testing.T) { compareModes(t, got, record1(t, traces[0], "--smtp-port", "25")) })
	messages := map[string][]record.Message{}
	for _, m := range got.messages {
		messages[m.Session] = append(messages[m.Session], m)
	}
	touched := 0
	for _, s := range got.sessions {
		port := s.Client.Port
		if before[port] == nil || sent[port] == nil {
			t.Errorf("port %d: there is no such session, or two", port)
			continue
		}
		c := &lossyCheck{t, got.dir, sent[port], s, messages[s.ID], got.said[s.ID]}
		if after[port].frames == before[port].frames {
			c.untouched()
		} else {
			touched++
			c.touched()
			c.lost(before[port], after[port])
		}
		delete(sent, port)
		delete(messages, s.ID)
	}
	for port := range sent {
		if after[port] != nil && after[port].frames == before[port].frames {
			t.Errorf("port %d is not recorded", port)
		}
	}
	for id := range messages {
		t.Errorf("%s has messages, but no session", id)
	}
	t.Logf("%d of %d frames dropped, %d of %d sessions touched", dropped, dropped+r.counted("passed"), touched, len(got.sessions))
	if dropped == 0 || touched == 0 || touched == len(got.sessions) {
		t.Error("this shows nothing")
	}
}

// lossyRig is a client, a server, and a sensor to which a mirror port sends what goes through the server's interface eth0;
// some frames get lost on that leg.
type lossyRig struct {
	t                      *testing.T
	program                string
	client, server, sensor *host
}

func newLossyRig(t *testing.T, program string, perMille int) *lossyRig {
	t.Helper()
	r := &lossyRig{t, program, newHost(t), newHost(t), newHost(t)}
	(&tapRig{t: t, client: r.client, server: r.server}).plug()
	r.server.ip("link add leg type veth peer name eth0 netns " + r.sensor.path)
	r.server.ip("link set leg up")
	r.sensor.ip("link set eth0 up")
	for _, h := range []*host{r.client, r.server} {
		h.ip("link set eth0 gso_max_segs 1") // frames as a network has them
	}
	r.nft(fmt.Sprintf(`table netdev mirror {
		counter dropped { }
		counter passed { }
		chain comes { type filter hook ingress device eth0 priority 0; dup to leg; }
		chain leaves { type filter hook egress device eth0 priority 0; dup to leg; }
		chain leg {
			type filter hook egress device leg priority 0
			numgen random mod 1000 < %d counter name dropped drop
			counter name passed
		}
	}`, perMille))
	return r
}

// nft runs nft(8) on the server.
func (r *lossyRig) nft(script string) string {
	r.t.Helper()
	nft := exec.Command("nft", "-f", "-")
	nft.Stdin = strings.NewReader(script)
	said, err := in(r.server, nft.CombinedOutput)
	if err != nil {
		r.t.Fatalf("nft: %v: %s", err, said)
	}
	return string(said)
}

var packetsCounted = regexp.MustCompile(`packets (\d+)`)

// counted is the sum of counters of frames on the leg.
func (r *lossyRig) counted(names ...string) (sum int) {
	r.t.Helper()
	for _, name := range names {
		n, err := strconv.Atoi(packetsCounted.FindStringSubmatch(r.nft("list counter netdev mirror " + name))[1])
		if err != nil {
			r.t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// dump is a running tcpdump.
type dump struct {
	*lossyRig
	file string
	cmd  *exec.Cmd
}

func (r *lossyRig) dump(h *host, device string) *dump {
	r.t.Helper()
	d := &dump{lossyRig: r, file: filepath.Join(r.t.TempDir(), "tcpdump.pcap")}
	log := new(output)
	d.cmd = exec.Command("tcpdump", "-i", device, "-w", d.file, "-U", "-s", "2000", "-B", "65536", "--immediate-mode", "-Z", "root")
	d.cmd.Stderr = log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if _, err := in(h, func() (any, error) { return nil, d.cmd.Start() }); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait()
	})
	await(r.t, "tcpdump", func() bool { return strings.Contains(log.String(), "listening on") })
	return d
}

// end waits until all frames of the counters are captured, and returns what there was of each client's connection.
func (d *dump) end(counters ...string) (seen map[uint16]*seenFlow) {
	d.t.Helper()
	await(d.t, "tcpdump to get all frames", func() (all bool) {
		var frames int
		seen, frames = seenFlows(d.t, d.file)
		return frames == d.counted(counters...)
	})
	return seen
}

// seenFlow is a connection as far as it was captured, the client's side first.
type seenFlow struct {
	frames int
	answer *layers.TCP // to the SYN
	fin    [2]bool
	pieces [2][]*layers.TCP
}

func (f *seenFlow) take(side int, tcp *layers.TCP) {
	f.frames++
	if tcp.SYN && tcp.ACK {
		f.answer = tcp
	}
	f.fin[side] = f.fin[side] || tcp.FIN
	f.pieces[side] = append(f.pieces[side], tcp)
}

// count is the number of different octets of one side that were captured.
func (f *seenFlow) count(side int) int64 {
	seen := map[uint32]bool{}
	for _, p := range f.pieces[side] {
		for i := range p.Payload {
			seen[p.Seq+uint32(i)] = true
		}
	}
	return int64(len(seen))
}

// seenFlows reads a capture, which may still grow, and counts its frames.
func seenFlows(t *testing.T, file string) (flows map[uint16]*seenFlow, frames int) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewReader(bytes.NewReader(data))
	if errors.Is(err, io.EOF) {
		return nil, 0
	}
	if err != nil {
		t.Fatal(err)
	}
	flows = map[uint16]*seenFlow{}
	for {
		data, _, err := r.ReadPacketData()
		if err != nil {
			return flows, frames
		}
		frames++
		packet := gopacket.NewPacket(data, r.LinkType(), gopacket.NoCopy)
		if tcp, ok := packet.Layer(layers.LayerTypeTCP).(*layers.TCP); ok {
			side, port := 0, uint16(tcp.SrcPort)
			if tcp.SrcPort == 25 {
				side, port = 1, uint16(tcp.DstPort)
			}
			if flows[port] == nil {
				flows[port] = new(seenFlow)
			}
			flows[port].take(side, tcp)
		}
	}
}
