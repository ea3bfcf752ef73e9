package main

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkTapTopspeed replays a capture as fast as it goes over a veth pair, to the tap and then to tcpdump, which writes it
// to a file. MAILWIRE_BENCH names the capture, by default one of ours many times over, and MAILWIRE_BENCH_PORT the mail
// server's port in it, by default 25. What counts is that the tap has no more drops than tcpdump.
func BenchmarkTapTopspeed(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("only root may make a network namespace")
	}
	for _, tool := range []string{"tcpreplay", "tcpdump", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skip(tool, " is not installed")
		}
	}
	dir := b.TempDir()
	program := filepath.Join(dir, "mailwire")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	replay := "--loop=4000 --unique-ip " + pcaps + "postfix-source.pcap"
	if name := os.Getenv("MAILWIRE_BENCH"); name != "" {
		replay = name
	}
	port := cmp.Or(os.Getenv("MAILWIRE_BENCH_PORT"), "25")
	for b.Loop() {
		data := filepath.Join(b.TempDir(), "data")
		tap := replayTo(b, replay, program+" tap -i v1 --smtp-port "+port+" --data "+data)
		file := replayTo(b, replay, "tcpdump -i v1 -n -s 0 -Z root -w "+filepath.Join(dir, "pcap")+" tcp port "+port)
		b.ReportMetric(tap(`dropped +([0-9,]+) packets`), "dropped")
		b.ReportMetric(file(`([0-9]+) packets dropped by kernel`), "dropped-by-tcpdump")
		b.ReportMetric(tap(`read +([0-9,]+) packets`), "packets")
		b.ReportMetric(tap(`recorded +([0-9,]+) sessions`), "sessions")
		b.ReportMetric(tap(`unstored +([0-9,]+) mails`), "mails-given-up")
		b.ReportMetric(tap(`VmHWM:\s+([0-9]+) kB`)/1024, "MiB-resident")
	}
}

// replayTo replays to a program that captures from v1, and returns what finds a number in what it said.
func replayTo(b *testing.B, replay, capture string) (number func(pattern string) float64) {
	b.Helper()
	const script = `
		ip link set lo up
		ip link add v0 mtu 65535 type veth peer name v1 mtu 65535
		sysctl -q -w net.ipv6.conf.v0.disable_ipv6=1 net.ipv6.conf.v1.disable_ipv6=1
		ip link set v0 up; ip link set v1 up
		$CAPTURE >$SAID 2>&1 & pid=$!
		until grep -q "capturing\|listening" $SAID; do kill -0 $pid || exit 1; sleep 0.05; done
		tcpreplay --topspeed -i v0 $REPLAY >/dev/null 2>$SAID.replay || { cat $SAID.replay; exit 1; }
		sleep 1
		grep VmHWM /proc/$pid/status
		kill -TERM $pid
		wait $pid
		cat $SAID`
	cmd := exec.Command("unshare", "--net", "bash", "-c", script)
	cmd.Env = append(os.Environ(), "CAPTURE="+capture, "REPLAY="+replay, "SAID="+filepath.Join(b.TempDir(), "said"))
	said, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%s: %v: %s", capture, err, said)
	}
	return func(pattern string) float64 {
		found := regexp.MustCompile(pattern).FindSubmatch(said)
		if found == nil {
			return 0
		}
		n, err := strconv.ParseFloat(strings.ReplaceAll(string(found[1]), ",", ""), 64)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
}
