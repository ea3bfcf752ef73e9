package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// A way is how connections come to the proxy: a MODE of testdata/pcap/proxied.sh.
type way struct {
	mode  string
	cases []string // of record.sh; none: all
	tells bool     // the server gets to know the client's address
	ends  bool     // the proxy takes TLS off, and so sees what the tap does not
}

var ways = []way{
	{mode: "redirect"},
	{mode: "transparent", tells: true, cases: []string{
		"postfix-simple", "postfix-pipelining", "postfix-source", "postfix-bdat", "postfix-from-exim", "postfix-errors",
		"postfix-auth-clients", "postfix-starttls", "postfix-smtps", "postfix-lmtp", "postfix-smuggling", "postfix-ipv6",
		"postfix-lossy", "postfix-offload", "exim-simple", "exim-pipelining", "exim-from-postfix", "opensmtpd-simple",
		"opensmtpd-smuggling-paused", "dovecot-lmtp", "dovecot-pop3", "dovecot-pop3-mpop", "dovecot-stls", "dovecot-pop3s",
		"dovecot-pop3-ipv6",
	}},
	{mode: "proxy-protocol", tells: true, cases: []string{
		"postfix-simple", "postfix-smtps", "postfix-ipv6", "exim-simple", "exim-auth-ntlm", "opensmtpd-simple",
		"dovecot-lmtp", "dovecot-pop3", "dovecot-pop3s",
	}},
	{mode: "terminate", ends: true, cases: []string{
		"postfix-starttls", "postfix-smtps", "exim-starttls", "opensmtpd-auth", "dovecot-stls", "dovecot-pop3s",
	}},
}

// pointless are the cases that show nothing here.
var pointless = map[string]string{
	"postfix-tap-loss": "its packets are taken out of the capture, not off the wire: who is there misses none of them",
}

// readable are the cases whose archive is also opened in mail programs: accepted and refused mail, in UTF-8, from POP3.
var readable = []string{"postfix-simple", "postfix-extensions", "postfix-rejected", "dovecot-pop3"}

// TestPeersThroughProxy puts `mailwire proxy` between the real servers and clients of record.sh. What it recorded is held
// against what the servers say that they did, and against what the tap says of the packets of the same run.
func TestPeersThroughProxy(t *testing.T) {
	needPeers(t)
	bin := buildProgram(t)
	for _, way := range ways {
		t.Run(way.mode, func(t *testing.T) {
			if way.cases == nil {
				way.cases = allCases(t)
			}
			out := runPeers(t, way.mode, way.cases, "PROXY="+bin, "MODE="+way.mode)
			for _, name := range way.cases {
				t.Run(name, func(t *testing.T) {
					if reason := pointless[name]; reason != "" {
						t.Skip(reason)
					}
					got := way.check(t, filepath.Join(out, name))
					if way.mode == "redirect" && slices.Contains(readable, name) {
						t.Run("mutt", func(t *testing.T) { checkMutt(t, got) })
						t.Run("dovecot", func(t *testing.T) { checkDovecot(t, got) })
					}
				})
			}
		})
	}
}

// TestPeersTapped lets `mailwire tap -i` look on while the real servers and clients of record.sh talk. What it recorded is held
// against what the servers say that they did, and against what the tap says of tcpdump's capture of the same packets.
func TestPeersTapped(t *testing.T) {
	needPeers(t)
	cases := allCases(t)
	out := runPeers(t, "tap", cases, "TAP="+buildProgram(t))
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			if reason := pointless[name]; reason != "" {
				t.Skip(reason)
			}
			path := filepath.Join(out, name)
			want := readOracle(t, path+".json")
			got := load(t, path+".tap")
			said, err := os.ReadFile(path + ".tap.log")
			if err != nil {
				t.Fatal(err)
			}
			got.all = append(got.all, said...)
			want.check(t, got)
			compareModes(t, got, recordPeers(t, path+".pcap"))
			if _, err := os.Stat(path + "-client.pcap"); err == nil {
				compareModes(t, load(t, path+"-client.tap"), recordPeers(t, path+"-client.pcap"))
			}
		})
	}
}

// recordPeers reads a capture of record.sh with what proxied.sh and tapped.sh give to the live ones.
func recordPeers(t *testing.T, capture string) recorded {
	t.Helper()
	return record1(t, capture, "--sensor", "peers", "--local-net", "192.0.2.25,2001:db8::25", "--local-domain", "example.net")
}

func buildProgram(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "mailwire")
	build := exec.Command("go", "build", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

// allCases are those of record.sh.
func allCases(t *testing.T) []string {
	t.Helper()
	list, err := exec.Command(pcaps+"record.sh", "-l").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(list))
}

const pcaps = "../../testdata/pcap/"

// needPeers skips the test where the servers and clients, or the right to make namespaces for them, are missing.
func needPeers(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes minutes, which -short does not have")
	}
	if os.Getuid() != 0 {
		t.Skip("only root may make the namespaces in which the servers run")
	}
	if out, err := exec.Command(pcaps+"install.sh", "check").CombinedOutput(); err != nil {
		t.Skipf("testdata/pcap/install.sh has to be run before: %s%v", out, err)
	}
	probe := exec.Command("unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--mount-proc", "nft", "list", "ruleset")
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("there can be no namespaces here, or no packet filter in them: %s%v", out, err)
	}
}

// underKnownName is a command for which the host has a name that every /etc/hosts knows. Dovecot, mutt and swaks look its name
// up before anything else, and where no name server answers that takes them a minute.
func underKnownName(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "unshare", append([]string{"--uts", "sh", "-c", `hostname localhost && exec "$@"`, "-", name}, args...)...)
}

// runPeers runs cases and returns the directory of what comes out. Whatever is started is in a namespace of processes that
// ends with its first one, and this one ends with us.
func runPeers(t *testing.T, name string, cases []string, env ...string) (out string) {
	t.Helper()
	if out = os.Getenv("MAILWIRE_PEERS_OUT"); out == "" { // else it is kept
		out = t.TempDir()
	}
	out = filepath.Join(out, name)
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := t.Context(), func() {}
	if deadline, ok := t.Deadline(); ok {
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-20*time.Second))
	}
	defer cancel()
	args := []string{"--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", pcaps + "record.sh"}
	for _, name := range cases {
		if pointless[name] == "" {
			args = append(args, name)
		}
	}
	runtime.LockOSThread() // by "us", --pdeathsig means the thread
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "setpriv", args...)
	cmd.Env = append(append(os.Environ(), env...), "OUT="+out, "TMPDIR="+sharedDir(t), "JOBS="+fmt.Sprint(runtime.NumCPU()+1))
	began := time.Now()
	said, err := cmd.CombinedOutput()
	t.Logf("%s, in %v:\n%s", cmd, time.Since(began).Round(time.Second), said)
	if err != nil {
		t.Errorf("record.sh: %v %v", err, ctx.Err()) // what it did is still worth a look
	}
	return out
}

// check looks at one case: path.json and path.log, path.data, which is the proxy's, and path.pcap.
func (way way) check(t *testing.T, path string) recorded {
	want := readOracle(t, path+".json")
	want.proxied = true
	if way.ends {
		want.Visible = "all"
	}
	got := load(t, path+".data")
	said, err := os.ReadFile(path + ".log")
	if err != nil {
		t.Fatal(err)
	}
	got.all = append(got.all, said...)
	want.check(t, got)
	way.checkAddresses(t, got, want)
	if way.ends {
		way.checkEnded(t, got)
		return got
	}
	for _, capture := range []string{path + ".pcap", path + "-client.pcap"} {
		if _, err := os.Stat(capture); err == nil {
			compareModes(t, got, recordPeers(t, capture))
		}
	}
	return got
}

// checkAddresses: the servers saw the clients, or none of them.
func (way way) checkAddresses(t *testing.T, got recorded, want oracle) {
	if len(want.Peers) == 0 {
		t.Error("the server has seen nobody")
	}
	for _, peer := range want.Peers {
		client := slices.ContainsFunc(got.sessions, func(s record.Session) bool { return s.Client.IP == peer })
		if client != way.tells {
			t.Errorf("the server was talking to %s: is that a client? %t, want %t", peer, client, way.tells)
		}
	}
}

// checkEnded: TLS hid nothing.
func (way way) checkEnded(t *testing.T, got recorded) {
	for _, s := range got.sessions {
		if s.TLS != nil && !s.TLS.Ended {
			t.Errorf("%v: what was said in TLS is not recorded", s.Client)
		}
	}
}
