package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"github.com/mailwire/mailwire/inspect/record"
)

// testPacketsAndTime: a tap ends by itself after the last packet that is wanted, or in time.
func testPacketsAndTime(t *testing.T, r *tapRig) {
	p := r.tap("-i", "eth0", "-c", "10")
	socket := r.client.rawSocket("eth0")
	syn := frame(t, &passing, internet(layers.IPProtocolTCP), &layers.TCP{SrcPort: 1024, DstPort: 25, SYN: true})
	for range 10 {
		transmit(t, socket, syn)
	}
	p.results()
	if !strings.HasPrefix(p.said.String(), "read      10 packets,") {
		t.Errorf("it said %s", &p.said)
	}
	r.tap("-i", "eth0", "--duration", "300ms").results()
}

// testSnaplen: what is not captured of a packet is lost, and said to be. Where the end of a mail is in what is lost, nobody
// knows how long that mail was.
func testSnaplen(t *testing.T, r *tapRig) {
	mail := "Subject: long\r\n\r\n" + strings.Repeat("The quick brown fox jumps over the lazy dog.\r\n", 1000)
	whole, p := r.tap("-i", "eth0"), r.tap("-i", "eth0", "--snaplen", "200")
	r.client.sends(smtpAddress, mail)
	want, got := whole.end(), p.end()
	checkWhole(t, want, 1, mail)
	if len(got.sessions) != 1 || len(got.messages) != 1 {
		t.Fatalf("%d sessions, %d mails", len(got.sessions), len(got.messages))
	}
	s, m := got.sessions[0], got.messages[0]
	if s.Status != record.Closed || s.Lost.Client == 0 || s.Octets.Client+s.Lost.Client != want.sessions[0].Octets.Client {
		t.Errorf("%s: %d octets and %d lost are not %d", s.Status, s.Octets.Client, s.Lost.Client, want.sessions[0].Octets.Client)
	}
	var missing int64
	for _, hole := range m.Holes {
		missing += max(0, hole.Octets)
	}
	if m.Outcome != record.Accepted || missing == 0 || m.Octets+missing > int64(len(mail)) {
		t.Errorf("%s: %d octets and the holes %v, of %d", m.Outcome, m.Octets, m.Holes, len(mail))
	}
	if want := count(s.Lost.Client+s.Lost.Server) + " octets of conversations"; !strings.Contains(p.said.String(), want) {
		t.Errorf("it did not say %q: %s", want, &p.said)
	}
}

// testBPFFile: only what the user's filter takes is recorded.
func testBPFFile(t *testing.T, r *tapRig) {
	need(t, "tcpdump")
	program, err := in(r.server, exec.Command("tcpdump", "-i", "eth0", "-ddd", "tcp port 2525").Output)
	if err != nil {
		t.Fatal(err)
	}
	filter := filepath.Join(t.TempDir(), "filter")
	write(t, filter, string(program), 0o600)
	p := r.tap("-i", "eth0", "--bpf-file", filter)
	r.client.sends(smtpAddress, demoMail)
	r.client.sends(serverAddress+":2525", demoMail)
	got := p.end()
	checkWhole(t, got, 1, demoMail)
	if len(got.sessions) == 1 && got.sessions[0].Server.Port != 2525 {
		t.Errorf("recorded: %v", got.sessions[0].Server)
	}

	for text, want := range map[string]string{
		"tcp port 25\n":               `line 1 is "tcp port 25", not a number of instructions`,
		"2\n255 0 0 0\n6 0 0 65535\n": "the kernel does not take the filter",
	} {
		write(t, filter, text, 0o600)
		checkRefused(t, r.start(nil, "-i", "eth0", "--bpf-file", filter), 2, "--bpf-file "+filter+": "+want)
	}
	checkRefused(t, r.start(nil, "-i", "eth0", "--bpf-file", filter+"s"), 2, "--bpf-file: open "+filter+"s: no such file")
}

// checkRefused wants a program that has not begun, and the sentence that says why.
func checkRefused(t *testing.T, p *tapped, status int, want string) {
	t.Helper()
	got := p.status()
	said := p.log.String()
	if got != status || !strings.HasPrefix(said, "mailwire: "+want) || strings.Count(said, "\n") != 1 {
		t.Errorf("status %d, want %d: %s, want %s", got, status, said, want)
	}
	if _, err := os.Stat(p.dir); err == nil {
		t.Error("there is a data directory, though nothing was captured")
	}
}

// testTunnels sends a capture through a tunnel.
func testTunnels(t *testing.T, r *tapRig) {
	want := record1(t, capture)
	r.client.ip("link set eth0 mtu 65535") // the tunnel's headers come on top
	r.server.ip("link set eth0 mtu 65535")
	file, err := os.ReadFile(capture)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flag     string
		sessions int
	}{
		{"--tunnels", len(want.sessions)}, {"--tunnels=false", 0},
	} {
		p := r.tap("-i", "eth0", c.flag)
		packets, err := pcapgo.NewReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		socket := r.client.rawSocket("eth0")
		for {
			data, _, err := packets.ReadPacketData()
			if err != nil {
				break
			}
			gre := &layers.GRE{Protocol: layers.EthernetTypeTransparentEthernetBridging}
			transmit(t, socket, frame(t, &passing, internet(layers.IPProtocolGRE), gre, gopacket.Payload(data)))
		}
		got := p.end()
		if len(got.sessions) != c.sessions {
			t.Errorf("%s: %d sessions, want %d", c.flag, len(got.sessions), c.sessions)
		}
		if c.sessions > 0 && fmt.Sprint(shas(got.messages)) != fmt.Sprint(shas(want.messages)) {
			t.Errorf("%s: other mails than in the capture", c.flag)
		}
		if c.sessions == 0 && !strings.HasPrefix(p.said.String(), "read      0 packets,") {
			t.Errorf("%s: the kernel let packets through: %s", c.flag, &p.said)
		}
	}
}

// testWrongUsage: a sentence says what is wrong, and nothing is begun.
func testWrongUsage(t *testing.T, r *tapRig) {
	for args, want := range map[string]string{
		"-i nowhere0":              "-i: there is no such interface: nowhere0; ip link shows those there are",
		"-i eth0 -i nowhere0":      "-i: there is no such interface: nowhere0; ip link shows those there are",
		"-i eth0 --smtp-port smtp": "--smtp-port smtp: give port numbers from 1 to 65535",
		"-i eth0 --pop3-port 0":    "--pop3-port 0: give port numbers from 1 to 65535",
		"-i eth0 --ring-size 1":    "--ring-size 1: give from 2 to 2047 MiB",
		"-i eth0 --ring-size 2048": "--ring-size 2048: give from 2 to 2047 MiB",
		"-i eth0 --burst-size 15":  "--burst-size 15: give from 16 to 2047 MiB",
		"-i eth0 --snaplen 95":     "--snaplen 95: give from 96 to 262144 octets",
		"-i eth0 --duration -1s":   "--duration must be more than 0",
		"-i eth0 --user no-such":   "--user no-such: this host knows no such user",
		"-i eth0 -r mail.pcap":     "tap takes -i or -r, not both",
	} {
		checkRefused(t, r.start(nil, strings.Fields(args)...), 2, want)
	}
	nobody := []string{"setpriv", "--reuid", "nobody", "--clear-groups"}
	checkRefused(t, r.start(nobody, "-i", "eth0"), 1,
		"capturing needs the right CAP_NET_RAW: run as root, or give it once by: sudo setcap cap_net_raw+ep "+r.program+"\n")
}

// testUserDropped: the user that a tap becomes writes the records, and opens an interface that comes back.
func testUserDropped(t *testing.T, r *tapRig) {
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip(err)
	}
	uid, err := strconv.Atoi(nobody.Uid)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(sharedDir(t), "nobody's")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, uid, -1); err != nil {
		t.Fatal(err)
	}
	p := r.tap("-i", "eth0", "--user", "nobody", "--data", dir)
	p.dir = dir
	p.says("user=nobody capabilities=cap_net_raw")
	r.client.sends(smtpAddress, demoMail)
	p.recorded(1)
	r.server.ip("link set eth0 down")
	p.says("eth0 is down: nothing is seen until it is up again")
	r.server.ip("link set eth0 up")
	p.says("eth0 is up: it is captured from")
	r.client.sends(smtpAddress, demoMail)
	checkWhole(t, p.end(), 2, demoMail)
	for name := range files(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t).Uid; owner != uint32(uid) || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, of user %d", name, info.Mode(), owner)
		}
	}
}

// tunnel makes an interface tun0; what goes through it is read and written as IP packets.
func (h *host) tunnel(t *testing.T, address string) *os.File {
	t.Helper()
	end, err := in(h, func() (*os.File, error) {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		request, err := unix.NewIfreq("tun0")
		if err == nil {
			request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		return os.NewFile(uintptr(fd), "tun0"), err
	})
	if err != nil {
		t.Skip("there can be no tunnel: ", err)
	}
	t.Cleanup(func() { end.Close() })
	h.ip("address add " + address + "/24 dev tun0")
	h.ip("link set tun0 up")
	return end
}

// carry takes packets from one end of a tunnel to the other.
func carry(to, from *os.File) {
	packet := make([]byte, 1<<16)
	for {
		n, err := from.Read(packet)
		if err != nil {
			return
		}
		if _, err := to.Write(packet[:n]); err != nil {
			return
		}
	}
}
