package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect/record"
)

const (
	confinedVariable = "MAILWIRE_TEST_CONFINED" // a directory: this process is to be confined
	caseVariable     = "MAILWIRE_TEST_CASE"

	// The user that the tests become is in files of their own, in the place of /etc/passwd and /etc/group.
	testUser   = "watcher"
	testID     = 4711
	testPasswd = "root:x:0:0::/root:/bin/sh\nwatcher:x:4711:4712::/nonexistent:/bin/false\n"
	testGroup  = "root:x:0:\nwatcher:x:4712:\nbackup:x:4713:root,watcher\nother:x:4714:root\n"

	// Capabilities.
	none              = "0000000000000000"
	netRaw            = "0000000000002000"
	netRawDACOverride = "0000000000002002"
)

// confined runs the test again, alone, in a process that finds dir and which case it is in its environment. starter is
// what starts it: nothing, or a command that gives it other rights. The process may become testUser.
func confined(t *testing.T, dir, which string, starter ...string) {
	t.Helper()
	for name, text := range map[string]string{"passwd": testPasswd, "group": testGroup} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const script = `mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && install "$1" "$0/program" && shift && exec "$@"`
	test, _, _ := strings.Cut(t.Name(), "/")
	args := append([]string{"--mount", "sh", "-c", script, dir, os.Args[0]}, starter...)
	c := exec.Command("unshare", append(args, filepath.Join(dir, "program"), "-test.run", "^"+test+"$", "-test.v")...)
	c.Env = append(os.Environ(), confinedVariable+"="+dir, caseVariable+"="+which)
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+test) {
		t.Errorf("%v: %s", err, out)
	}
}

func needUser(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	need(t, "unshare")
	if out, err := exec.Command("unshare", "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("no mount namespace, for a user of this test's own: %v: %s", err, out)
	}
}

// confinedCases are the ways to start a tap, and what is in force then.
var confinedCases = map[string]struct {
	user    string   // --user
	starter []string // as confined takes it
	inForce string
	status  map[string]string // /proc/PID/status, but for what all have in common
}{
	"user": {
		user: testUser, inForce: "user=watcher capabilities=cap_net_raw",
		status: map[string]string{
			"Uid": "4711 4711 4711 4711", "Gid": "4712 4712 4712 4712", "Groups": "4712 4713",
			"CapPrm": netRaw, "CapEff": netRaw, "CapBnd": none,
		},
	},
	"number": {
		user: "4711", inForce: "user=watcher capabilities=cap_net_raw",
		status: map[string]string{"Uid": "4711 4711 4711 4711", "Gid": "4712 4712 4712 4712", "Groups": "4712 4713"},
	},
	"root": { // also root writes to a data directory that is the user's
		inForce: "user=root capabilities=cap_dac_override,cap_net_raw",
		status: map[string]string{
			"Uid": "0 0 0 0", "Gid": "0 0 0 0", "CapPrm": netRawDACOverride, "CapEff": netRawDACOverride, "CapBnd": none,
		},
	},
	"unit": {
		starter: []string{
			"setpriv", "--reuid", "4711", "--regid", "4712", "--clear-groups", "--no-new-privs",
			"--bounding-set", "-all,+net_raw", "--inh-caps", "-all,+net_raw", "--ambient-caps", "-all,+net_raw",
		},
		inForce: "user=watcher capabilities=cap_net_raw",
		status:  map[string]string{"Uid": "4711 4711 4711 4711", "CapPrm": netRaw, "CapEff": netRaw},
	},
}

// TestConfine: what confines a tap leaves it what it needs, and nothing else, in all its threads.
func TestConfine(t *testing.T) {
	if dir := os.Getenv(confinedVariable); dir != "" {
		confinedTap(t, dir, os.Getenv(caseVariable))
		return
	}
	needUser(t)
	for which, c := range confinedCases {
		t.Run(which, func(t *testing.T) {
			need(t, c.starter[:min(1, len(c.starter))]...)
			dir := t.TempDir()
			file := filepath.Join(dir, "elsewhere/file")
			for _, err := range []error{
				os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755),
				os.Mkdir(filepath.Join(dir, "elsewhere"), 0o700), os.WriteFile(file, []byte("text"), 0o600),
				os.Chmod(filepath.Dir(file), 0o777), os.Chmod(file, 0o666),
				os.Mkdir(filepath.Join(dir, "data"), 0o700), os.Chown(filepath.Join(dir, "data"), testID, testID+1),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			confined(t, dir, which, c.starter...)
		})
	}
}

// confinedTap does what a tap does from its start on, and tries what it must not.
func confinedTap(t *testing.T, dir, which string) {
	c := confinedCases[which]
	data, elsewhere := filepath.Join(dir, "data"), filepath.Join(dir, "elsewhere")
	listener, client := oneListener(t)
	begin, threads := otherThreads(t, elsewhere)

	if err := mayCapture(); err != nil {
		t.Fatal(err)
	}
	if err := dropTo(c.user, false); err != nil {
		t.Fatal(err)
	}
	kept, err := archive.Open(archive.Options{Dir: data, Keep: archive.All, Live: true, Fsync: true, Warn: func(msg string) { t.Error(msg) }})
	if err != nil {
		t.Fatal(err)
	}
	inForce, err := confine(false, data)
	if err != nil {
		t.Fatal(err)
	}
	version, err := ll.LandlockGetABIVersion()
	landlocked := err == nil && version >= firstLandlock
	landlock := "unavailable"
	if landlocked {
		landlock = fmt.Sprint("v", version)
	}
	if want := fmt.Sprintf("%s landlock=%s no_new_privs", c.inForce, landlock); inForce != want {
		t.Errorf("in force: %s, want %s", inForce, want)
	}
	checkThreads(t, c.status)
	checkThreads(t, map[string]string{"CapInh": none, "CapAmb": none, "NoNewPrivs": "1"})
	checkRights(t)
	archives(t, kept, data)
	if !landlocked {
		t.Log("this kernel has no Landlock")
		return
	}
	close(begin)
	threads.Wait()
	checkFiles(t, data, elsewhere)
	checkNetwork(t, version, listener, client)
}

// oneListener returns a listener with a client that waits to be accepted.
func oneListener(t *testing.T) (net.Listener, net.Conn) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return listener, client
}

// otherThreads starts threads that write to a directory, which they must not, when they may go.
func otherThreads(t *testing.T, dir string) (chan<- struct{}, *sync.WaitGroup) {
	begin, threads := make(chan struct{}), new(sync.WaitGroup)
	var running sync.WaitGroup
	for i := range 8 {
		running.Add(1)
		threads.Go(func() {
			runtime.LockOSThread() // and never unlocked: the thread is this goroutine's
			running.Done()
			<-begin
			denied(t, fmt.Sprint("thread ", i), os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600))
		})
	}
	running.Wait()
	return begin, threads
}

// checkThreads looks at /proc/PID/task/*/status.
func checkThreads(t *testing.T, want map[string]string) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, name := range tasks {
		text, err := os.ReadFile(name)
		if err != nil { // the thread has ended
			continue
		}
		looked++
		got := map[string]string{}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(line, ":")
			got[key] = strings.Join(strings.Fields(value), " ")
		}
		for key, value := range want {
			if got[key] != value {
				t.Errorf("%s: %s is %s, want %s", name, key, got[key], value)
			}
		}
	}
	if looked < 2 {
		t.Errorf("there are %d threads to look at", looked)
	}
}

// archives stores mails, a small one and one that is spooled in a file of its own.
func archives(t *testing.T, kept *archive.Archive, data string) {
	j := kept.Journal()
	begin := record.Time{Time: time.Date(2026, 11, 22, 3, 4, 5, 0, time.UTC)}
	s := &record.Session{ID: "k3m9abcdefgh0001", Protocol: record.SMTP, Begin: begin, End: begin}
	for i, octets := range []int{10, 1 << 20} {
		m := &record.Message{ID: record.MessageID(s.ID, i+1), Session: s.ID, Protocol: record.SMTP, Begin: begin, End: begin, Outcome: record.Accepted}
		mail := j.OpenMail(m)
		mail.Write([]byte(strings.Repeat("line\r\n", octets)))
		j.Message(m, mail)
	}
	j.Session(s)
	j.Cut()
	if err := errors.Join(kept.Commit(), kept.Close()); err != nil {
		t.Error(err)
	}
	if stats := kept.Stats(); stats.Stored != 2 || stats.NotStored+stats.LinesLost+stats.Errors != 0 {
		t.Errorf("%+v", stats)
	}
	mails, _ := filepath.Glob(filepath.Join(data, "mail/.2026-11-22/new/*"))
	if len(mails) != 2 {
		t.Errorf("the mails are %q", mails)
	}
}

// checkRights: of what root may, it may open packet sockets only.
func checkRights(t *testing.T) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: lo.Index}); err != nil {
		t.Errorf("binding a packet socket: %v", err)
	}
	for what, err := range map[string]error{
		"CAP_NET_ADMIN": unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20),
		"CAP_SYS_ADMIN": unix.Sethostname([]byte("other")),
		"CAP_SETUID":    syscall.Setreuid(1, 1),
		"CAP_SETGID":    syscall.Setgroups([]int{1}),
	} {
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("what needs %s: %v, want EPERM", what, err)
		}
	}
}

// denied wants EACCES, as Landlock says it.
func denied(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, unix.EACCES) {
		t.Errorf("%s: %v, want EACCES", what, err)
	}
}

// checkFiles: everything is readable, what is in the data directory can be written, and nothing else, and run.
func checkFiles(t *testing.T, data, elsewhere string) {
	for _, name := range []string{"/etc/passwd", "/proc/self/stat", "/proc/self/limits", "/proc/stat", "/proc/self/fd"} {
		f, err := os.Open(name)
		if err != nil {
			t.Errorf("reading: %v", err)
		}
		f.Close()
	}
	inside := filepath.Join(data, "file")
	if err := os.WriteFile(inside, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Error(err)
	}
	outside := filepath.Join(elsewhere, "file")
	denied(t, "writing", os.WriteFile(filepath.Join(elsewhere, "new"), nil, 0o600))
	denied(t, "writing to /tmp", os.WriteFile(filepath.Join(os.TempDir(), "mailwire-new"), nil, 0o600))
	denied(t, "making a directory", os.Mkdir(filepath.Join(elsewhere, "dir"), 0o700))
	denied(t, "removing", unix.Unlink(outside))
	denied(t, "moving in", unix.Rename(outside, filepath.Join(data, "stolen")))
	denied(t, "moving out", unix.Rename(inside, filepath.Join(elsewhere, "moved")))
	denied(t, "linking", unix.Link(inside, filepath.Join(elsewhere, "linked")))
	denied(t, "making a symbolic link", unix.Symlink("/etc/passwd", filepath.Join(data, "passwd")))
	denied(t, "running what was written", start(inside))
	denied(t, "running", start("/bin/true"))
	denied(t, "running itself", start("/proc/self/exe"))
	if os.Getuid() != 0 {
		_, err := os.ReadFile("/etc/shadow")
		denied(t, "reading what is root's", err)
	}
	if version, err := ll.LandlockGetABIVersion(); err == nil && version >= 3 {
		denied(t, "truncating", os.Truncate(outside, 0))
	}
	if text, err := os.ReadFile(outside); string(text) != "text" {
		t.Errorf("a file elsewhere has become %q, %v", text, err)
	}
}

// start runs a program, without a file to write to.
func start(name string) error {
	p, err := os.StartProcess(name, []string{name, "-test.list=^$"}, &os.ProcAttr{})
	if err == nil {
		_, _ = p.Wait()
	}
	return err
}

// checkNetwork: what listens goes on to, and no more connections or listeners are opened.
func checkNetwork(t *testing.T, version int, listener net.Listener, client net.Conn) {
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := client.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if version < 4 {
		t.Logf("Landlock v%d does not know the network", version)
		return
	}
	_, err = net.Dial("tcp", listener.Addr().String())
	denied(t, "connecting", err)
	plain := new(net.ListenConfig)
	plain.SetMultipathTCP(false)
	_, err = plain.Listen(context.Background(), "tcp", "127.0.0.1:0")
	denied(t, "listening", err)
}

// TestWithoutRights: who may not capture, or become another user, is told what to do.
func TestWithoutRights(t *testing.T) {
	if os.Getenv(confinedVariable) == "" {
		needUser(t)
		confined(t, t.TempDir(), "")
		return
	}
	if err := cap.NewSet().SetProc(); err != nil {
		t.Fatal(err)
	}
	program, _ := os.Executable()
	for want, err := range map[string]error{
		"capturing needs the right CAP_NET_RAW: run as root, or give it once by: sudo setcap cap_net_raw+ep " + program: mayCapture(),
		"--user watcher: only root can become another user; run as root, or leave --user out":                           dropTo(testUser, false),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := dropTo("", false); err != nil {
		t.Errorf("giving up what is not there: %v", err)
	}
	checkThreads(t, map[string]string{"Uid": "0 0 0 0", "CapPrm": none, "CapEff": none, "NoNewPrivs": "1"})
}

// TestUnknownUser: it is wrong usage, and nothing was given up yet.
func TestUnknownUser(t *testing.T) {
	err := dropTo("no-such-user", false)
	if wrong := new(usageError); !errors.As(err, wrong) || err.Error() != "--user no-such-user: this host knows no such user; name one of /etc/passwd" {
		t.Errorf("%v", err)
	}
}
