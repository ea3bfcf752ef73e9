package main

import (
	"fmt"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/mailwire/mailwire/inspect/record"
)

// TestTapLive runs `mailwire tap -i` between hosts of its own.
func TestTapLive(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute, which -short does not have")
	}
	if os.Getuid() != 0 {
		t.Skip("only root may make networks of its own and capture there")
	}
	need(t, "ip", "setpriv")
	program := buildProgram(t)
	// Nobody runs it, too.
	if err := os.Chmod(filepath.Dir(filepath.Dir(program)), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		test func(*testing.T, *tapRig)
	}{
		{"down at the start", testDownAtStart},
		{"down and up", testDownAndUp},
		{"deleted", testDeleted},
		{"interfaces", testInterfaces},
		{"directions", testDirections},
		{"tunnel interface", testTunnelInterface},
		{"ended in a mail", testEndedInMail},
		{"ended at once", testEndedAtOnce},
		{"begun in a session", testBegunInSession},
		{"offloads", testOffloads},
		{"quiet", testQuiet},
		{"frozen disk", testFrozenDisk},
		{"dropped", testDropped},
		{"handshakes", testHandshakes},
		{"fragments", testFragments},
		{"hoard", testHoard},
		{"encapsulations", testEncapsulations},
		{"packets and time", testPacketsAndTime},
		{"snaplen", testSnaplen},
		{"BPF file", testBPFFile},
		{"tunnels", testTunnels},
		{"wrong usage", testWrongUsage},
		{"user", testUserDropped},
		{"run", testRun},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newTapRig(t, program)) })
	}
}

// checkWhole wants so many sessions, each with one mail, and nothing missing.
func checkWhole(t *testing.T, got recorded, sessions int, mail string) {
	t.Helper()
	if len(got.sessions) != sessions || len(got.messages) != sessions {
		t.Errorf("%d sessions, %d mails, want %d", len(got.sessions), len(got.messages), sessions)
	}
	for _, s := range got.sessions {
		if s.Status != record.Closed || s.Lost != (record.Octets{}) || s.Anomalies != nil || s.Messages != 1 {
			t.Errorf("%v: %s, lost %+v, %v, %d mails", s.Client, s.Status, s.Lost, s.Anomalies, s.Messages)
		}
	}
	for _, m := range got.messages {
		if m.Outcome != record.Accepted || m.SHA256 != hash([]byte(mail)) || string(archived(t, got.dir, m)) != mail {
			t.Errorf("%v: %s, %d octets: not what was sent", m.Client, m.Outcome, m.Octets)
		}
	}
}

// testDownAtStart: a tap waits for its interface.
func testDownAtStart(t *testing.T, r *tapRig) {
	r.server.ip("link set eth0 down")
	p := r.tap("-i", "eth0")
	p.says("eth0 is down: what it shows is recorded as soon as it is up (ip link set eth0 up)")
	r.server.ip("link set eth0 up")
	p.says("eth0 is up: it is captured from")
	r.client.sends(smtpAddress, demoMail)
	checkWhole(t, p.end(), 1, demoMail)
}

// testDownAndUp: it is seen again what was seen before. What came last before the interface went down is recorded, and
// waiting costs nothing.
func testDownAndUp(t *testing.T, r *tapRig) {
	p := r.tap("-i", "eth0", "--user", "root")
	r.client.sends(smtpAddress, demoMail)
	r.server.ip("link set eth0 down")
	p.says("eth0 is down: nothing is seen until it is up again")
	before := p.ticks()
	time.Sleep(time.Second)
	if used := p.ticks() - before; used > 50 {
		t.Errorf("while the interface was down for a second, %d hundredths of it were used", used)
	}
	r.server.ip("link set eth0 up")
	p.says("eth0 is up: it is captured from")
	r.client.sends(smtpAddress, demoMail)
	r.server.ip("link set eth0 down")
	await(t, "the tap to notice", func() bool { return !r.server.captured("eth0") })
	checkWhole(t, p.end(), 2, demoMail)
}

// testDeleted: an interface of the same name is the same to a tap. It ends, too, while there is none.
func testDeleted(t *testing.T, r *tapRig) {
	p := r.tap("-i", "eth0")
	for sessions := range 3 {
		r.client.sends(smtpAddress, demoMail)
		r.server.ip("link delete eth0")
		p.recorded(sessions + 1)
		if sessions == 2 {
			break
		}
		r.plug()
		await(t, "the tap to capture again", func() bool { return r.server.captured("eth0") })
	}
	checkWhole(t, p.end(), 3, demoMail)
}

// testInterfaces: each session is recorded once, whichever the interfaces, also from loopback, which shows each packet twice.
func testInterfaces(t *testing.T, r *tapRig) {
	for _, interfaces := range [][]string{{"any"}, {"lo", "eth0"}} {
		t.Run(fmt.Sprint(interfaces), func(t *testing.T) {
			var args []string
			for _, name := range interfaces {
				args = append(args, "-i", name)
			}
			p := r.tap(args...)
			r.client.sends(smtpAddress, demoMail)
			r.server.sends("127.0.0.1:25", demoMail)
			got := p.end()
			checkWhole(t, got, 2, demoMail)
			for i, ip := range []string{clientAddress, "127.0.0.1"} {
				if len(got.sessions) == 2 && got.sessions[i].Client.IP != ip {
					t.Errorf("session %d is of %v, not of %s", i, got.sessions[i].Client, ip)
				}
			}

			p = r.tap(args...)
			syn := frame(t, &passing, internet(layers.IPProtocolTCP), &layers.TCP{SrcPort: 1024, DstPort: 25, SYN: true})
			for _, socket := range []int{r.client.rawSocket("eth0"), r.server.rawSocket("lo")} {
				for range 10 {
					transmit(t, socket, syn)
				}
			}
			p.end()
			if !strings.HasPrefix(p.said.String(), "read      20 packets,") {
				t.Errorf("20 packets were sent: %s", &p.said)
			}
		})
	}
}

// testDirections: a tap may give each direction on an interface of its own.
func testDirections(t *testing.T, r *tapRig) {
	r.client.ip("link add eth1 type veth peer name eth1 netns " + r.server.path)
	for _, h := range []*host{r.client, r.server} {
		h.ip("link set eth1 up")
		for _, name := range []string{"all", "eth0", "eth1"} {
			_, _ = in(h, func() (any, error) {
				return nil, os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/rp_filter", []byte("0"), 0)
			})
		}
	}
	r.server.ip("route add " + clientAddress + "/32 dev eth1 src " + serverAddress)
	p := r.tap("-i", "eth0", "-i", "eth1")
	const sessions = 20
	for range sessions {
		r.client.sends(smtpAddress, demoMail)
	}
	checkWhole(t, p.end(), sessions, demoMail)
}

// testTunnelInterface: an interface whose packets begin with IP.
func testTunnelInterface(t *testing.T, r *tapRig) {
	ends := []*os.File{r.client.tunnel(t, "198.51.100.1"), r.server.tunnel(t, "198.51.100.2")}
	for i := range ends {
		go carry(ends[1-i], ends[i])
	}
	for _, name := range []string{"tun0", "any"} {
		p := r.tap("-i", name)
		r.client.sends("198.51.100.2:25", demoMail)
		checkWhole(t, p.end(), 1, demoMail)
	}
}

// half begins a session and sends some of a mail, not its end.
func (r *tapRig) half(text string) *textproto.Conn {
	r.t.Helper()
	conn, err := r.client.dial(smtpAddress)
	if err != nil {
		r.t.Fatal(err)
	}
	c := textproto.NewConn(conn)
	r.t.Cleanup(func() { c.Close() })
	said := 220
	for _, command := range []string{"EHLO client.example.org", "MAIL FROM:<alice@example.org>", "RCPT TO:<bob@example.net>", "DATA", text} {
		if _, _, err := c.ReadResponse(said); err != nil {
			r.t.Fatal(err)
		}
		if command != text {
			command += "\r\n"
		}
		if _, err := c.W.WriteString(command); err != nil {
			r.t.Fatal(err)
		}
		if err := c.W.Flush(); err != nil {
			r.t.Fatal(err)
		}
		if said = 250; command == "DATA\r\n" {
			said = 354
		}
	}
	return c
}

// wholeMail sends demoMail in two parts, with what goes on between.
func (r *tapRig) wholeMail(between func()) {
	r.t.Helper()
	begin, end := demoMail[:len(demoMail)/2], demoMail[len(demoMail)/2:]
	c := r.half(begin)
	between()
	for _, next := range []struct {
		text string
		code int
	}{
		{end + ".\r\n", 250}, {"QUIT\r\n", 221},
	} {
		if _, err := c.W.WriteString(next.text); err != nil {
			r.t.Fatal(err)
		}
		if err := c.W.Flush(); err != nil {
			r.t.Fatal(err)
		}
		if _, _, err := c.ReadResponse(next.code); err != nil {
			r.t.Fatal(err)
		}
	}
	c.Close()
}

// testEndedInMail: what was seen of a mail is kept.
func testEndedInMail(t *testing.T, r *tapRig) {
	p := r.tap("-i", "eth0")
	text := strings.Repeat("Half of a mail\r\n", 1000)
	c := r.half(text)
	defer c.Close()
	await(t, "all octets", func() bool { return p.metric("bytes_total") > int64(len(text)) })
	got := p.end()
	if len(got.sessions) != 1 || len(got.messages) != 1 {
		t.Fatalf("%d sessions, %d mails", len(got.sessions), len(got.messages))
	}
	if s := got.sessions[0]; s.Status != record.Unknown || s.Lost != (record.Octets{}) {
		t.Errorf("status %s, lost %+v", s.Status, s.Lost)
	}
	m := got.messages[0]
	if m.Outcome != record.Unknown || m.Octets != int64(len(text)) || string(archived(t, got.dir, m)) != text {
		t.Errorf("outcome %s, %d octets of %d", m.Outcome, m.Octets, len(text))
	}
	if m.Stored == nil || !strings.Contains(m.Stored.Path, ".Incomplete/") {
		t.Errorf("it is stored as %+v", m.Stored)
	}
}

// testEndedAtOnce: what had come when the tap was told to end is recorded, though nobody had looked at it yet.
func testEndedAtOnce(t *testing.T, r *tapRig) {
	for i := range 10 {
		p := r.tap("-i", "eth0")
		// It begins to wait for packets when it goes on, and looks at the clock 100 ms later, or before.
		p.signal(syscall.SIGSTOP)
		time.Sleep(100 * time.Millisecond)
		p.signal(syscall.SIGCONT)
		time.Sleep(time.Duration(50+5*i) * time.Millisecond)
		r.client.sends(smtpAddress, demoMail)
		checkWhole(t, p.end(), 1, demoMail)
	}
}

// testBegunInSession: of a session whose beginning was not seen, nothing is invented.
func testBegunInSession(t *testing.T, r *tapRig) {
	c := r.half("Subject: seen in part\r\n")
	p := r.tap("-i", "eth0")
	for _, line := range []string{"", "the end", ".", "NOOP", "QUIT"} {
		if err := c.PrintfLine("%s", line); err != nil {
			t.Fatal(err)
		}
		if line == "." || line == "NOOP" {
			if _, _, err := c.ReadResponse(250); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := c.ReadResponse(221); err != nil {
		t.Fatal(err)
	}
	c.Close()
	r.client.sends(smtpAddress, demoMail)
	got := p.end()
	if len(got.sessions) != 2 {
		t.Fatalf("%d sessions", len(got.sessions))
	}
	if s := got.sessions[0]; s.Status != record.Unknown || s.Protocol != record.SMTP || s.Helo != "" {
		t.Errorf("%s %s, HELO %q", s.Protocol, s.Status, s.Helo)
	}
	if s := got.sessions[1]; s.Status != record.Closed || s.Messages != 1 {
		t.Errorf("the session that was seen: %s, %d mails", s.Status, s.Messages)
	}
	for _, m := range got.messages {
		if m.Session == got.sessions[0].ID && (m.Outcome == record.Accepted || m.From != nil || m.Rcpt != nil) {
			t.Errorf("invented: %+v", m)
		}
	}
}

// testOffloads: hosts hand each other packets that no wire would carry.
func testOffloads(t *testing.T, r *tapRig) {
	mail := "Subject: large\r\n\r\n" + strings.Repeat("The quick brown fox jumps over the lazy dog.\r\n", 3<<20/46)
	p := r.tap("-i", "eth0")
	r.client.sends(smtpAddress, mail)
	p.recorded(1)
	if packets, octets := p.metric("packets_total"), p.metric("bytes_total"); octets <= 1514*packets {
		t.Errorf("%d octets in %d packets: none was larger than the MTU", octets, packets)
	}
	checkWhole(t, p.end(), 1, mail)
}

// testQuiet: a tap that sees nothing needs next to nothing.
func testQuiet(t *testing.T, r *tapRig) {
	p := r.tap("-i", "eth0")
	if os.Getenv("MAILWIRE_FULL") != "" {
		const measured = 20 * time.Second
		before := p.ticks()
		time.Sleep(measured)
		t.Logf("%d hundredths of a second of processor time in %v", p.ticks()-before, measured)
	}
	resident := p.memory("VmRSS")
	t.Logf("%d KiB resident", resident>>10)
	if resident >= 40<<20 {
		t.Errorf("a quiet tap holds %d MiB", resident>>20)
	}
	p.signal(syscall.SIGTERM)
	if status, lines := p.status(), slices.Collect(strings.Lines(p.said.String())); status != 0 || len(lines) != 2 {
		t.Errorf("status %d: %q", status, lines)
	}
}

// testFrozenDisk: a disk that does not answer, while the index is filled too, keeps nobody from capturing.
func testFrozenDisk(t *testing.T, r *tapRig) {
	need(t, "mkfs.ext4", "mount", "fsfreeze")
	dir := sharedDir(t)
	image := filepath.Join(dir, "image")
	must := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	must("truncate", "-s", "64M", image)
	must("mkfs.ext4", "-q", image)
	disk := filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, disk).CombinedOutput(); err != nil {
		t.Skipf("nothing can be mounted: %s", out)
	}
	t.Cleanup(func() { must("umount", disk) })
	data := filepath.Join(disk, "data")
	p := r.startAs(exec.Command(r.program, "tap", "-i", "eth0", "--data", data, "--http", "127.0.0.1:0"), data)
	p.says("msg=capturing")
	const sessions = 50
	for round := range 2 { // the index has one, and is about to take in the other
		time.Sleep(time.Duration(round) * 2 * indexEvery)
		for range sessions {
			r.client.sends(smtpAddress, demoMail)
		}
		p.recorded((round + 1) * sessions)
	}
	must("fsfreeze", "-f", disk)
	thaw := sync.OnceFunc(func() { must("fsfreeze", "-u", disk) })
	t.Cleanup(thaw)
	time.Sleep(2 * indexEvery)
	before := p.metric("packets_total")
	for range sessions {
		r.client.sends(smtpAddress, strings.Repeat(demoMail, 1000))
	}
	await(t, "packets to be captured", func() bool { return p.metric("packets_total") >= before+20*sessions })
	thaw()
	if got := p.end(); len(got.sessions) != 3*sessions {
		t.Errorf("%d sessions, want %d", len(got.sessions), 3*sessions)
	}
}
