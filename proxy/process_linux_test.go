package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
)

// setup is what a proxy in a process of its own is told, in its environment.
type setup struct {
	Upstream       string
	Goroutines     bool
	MaxConnections int
	ConnectTimeout time.Duration
	Descriptors    int  // that it may have open; 0: as many as this process
	Surprise       bool // nobody told the proxy of Descriptors
}

const setupVariable = "MAILWIRE_TEST_PROXY"

func TestMain(m *testing.M) {
	if s := os.Getenv(setupVariable); s != "" {
		if err := serveAs(s); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveAs is the process: it says its address, then its records, one a line, and at the end its Stats.
func serveAs(s string) error {
	var to setup
	if err := json.Unmarshal([]byte(s), &to); err != nil {
		return err
	}
	if to.Descriptors > 0 && !to.Surprise {
		if err := limitForGood(&to); err != nil {
			return err
		}
	}
	p, err := Listen(context.Background(), Options{
		Routes:         []Route{{Protocol: inspect.SMTP, Listen: "127.0.0.1:0", Upstream: to.Upstream}},
		MaxConnections: to.MaxConnections, Terms: Terms{ConnectTimeout: to.ConnectTimeout}, goroutines: to.Goroutines, Inspect: &inspect.Config{}, Recorder: printer{},
	})
	if err != nil {
		return err
	}
	if to.Surprise {
		limit := unix.Rlimit{Cur: uint64(to.Descriptors), Max: uint64(to.Descriptors)}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return err
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	fmt.Println(p.Addrs()[0])
	if err := p.Serve(ctx, context.Background()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(p.Stats())
}

// limitForGood limits the descriptors so that also root cannot raise the limit: the right to goes with the next program,
// which is this one again.
func limitForGood(to *setup) error {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_RESOURCE, 0, 0, 0) // who may not has not got the right either
	limit := unix.Rlimit{Cur: uint64(to.Descriptors), Max: uint64(to.Descriptors)}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	to.Descriptors = 0
	if err := os.Setenv(setupVariable, to.String()); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, os.Environ())
}

func (to *setup) String() string {
	s, _ := json.Marshal(to)
	return string(s)
}

// printer is a Recorder that prints the records.
type printer struct{}

func (printer) Journal() inspect.Journal                 { return printer{} }
func (printer) Commit() error                            { return nil }
func (printer) Crowded() bool                            { return false }
func (printer) Line(*record.Session, record.Line)        {}
func (printer) Login(*record.Session, int, record.Login) {}
func (printer) Secret(*record.Session, record.Secret)    {}
func (printer) OpenMail(*record.Message) inspect.Mail    { return nil }
func (printer) Stamp(int64)                              {}
func (printer) Packet(inspect.Packet)                    {}
func (printer) Cut()                                     {}
func (printer) Message(m *record.Message, _ inspect.Mail) {
	_, _ = os.Stdout.Write(append(m.AppendJSON(nil), '\n'))
}

func (printer) Session(s *record.Session) { _, _ = os.Stdout.Write(append(s.AppendJSON(nil), '\n')) }

// process is a proxy in a process of its own, whose memory, processor time and descriptors are nobody else's.
type process struct {
	*memory
	t       testing.TB
	pid     int
	address string
	server  net.Listener // its upstream
	end     func() Stats // lets it drain, and returns its counts
}

func newProcess(t testing.TB, to setup) *process {
	t.Helper()
	p := &process{t: t, memory: newMemory(), server: listenAt(t, "tcp", "127.0.0.1:0")}
	to.Upstream = p.server.Addr().String()
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), setupVariable+"="+to.String()), os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	lines := bufio.NewReader(stdout)
	address, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal("the process does not say its address: ", err)
	}
	p.address = strings.TrimSpace(address)
	counts := make(chan Stats, 1)
	go func() { counts <- p.listen(lines) }()
	ended := false
	p.end = func() (s Stats) {
		if !ended {
			ended = true
			_ = stdin.Close()
			late := time.AfterFunc(tooLong, func() { _ = cmd.Process.Kill() })
			defer late.Stop()
			s = <-counts
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		}
		return s
	}
	t.Cleanup(func() { p.end() })
	return p
}

// listen takes the records that the process says, and returns its counts.
func (p *process) listen(lines *bufio.Reader) (s Stats) {
	j := journal{p.memory}
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return s
		}
		switch {
		case bytes.HasPrefix(line, []byte(`{"v":1,"type":"session"`)):
			r := new(record.Session)
			err = json.Unmarshal(line, r)
			j.Session(r)
		case bytes.HasPrefix(line, []byte(`{"v":1,"type":"message"`)):
			r := new(record.Message)
			err = json.Unmarshal(line, r)
			j.Message(r, nil)
		default:
			err = json.Unmarshal(line, &s)
		}
		if err != nil {
			p.t.Errorf("the process says %s: %v", line, err)
		}
	}
}

// pair begins a conversation.
func (p *process) pair() (client, server *net.TCPConn) {
	p.t.Helper()
	client = dialTo(p.t, p.address)
	c, err := acceptFrom(p.server)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Close() })
	return client, c.(*net.TCPConn)
}

// resident returns the octets of memory that the process has, and the most that it ever had.
func (p *process) resident() (now, peak int64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) == 3 {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			switch f[0] {
			case "VmRSS:":
				now = n << 10
			case "VmHWM:":
				peak = n << 10
			}
		}
	}
	if now == 0 || peak == 0 {
		p.t.Skip("the kernel does not say how much memory the process has")
	}
	return now, peak
}

// busy returns the part of a while that the process has a processor for.
func (p *process) busy(while time.Duration) float64 {
	p.t.Helper()
	used := func() (ticks int64) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
		if err != nil {
			p.t.Fatal(err)
		}
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')'):]))
		for _, s := range f[12:14] { // utime and stime, proc_pid_stat(5)
			n, _ := strconv.ParseInt(s, 10, 64)
			ticks += n
		}
		return ticks
	}
	before, begin := used(), time.Now()
	time.Sleep(while)
	return float64(used()-before) / 100 / time.Since(begin).Seconds()
}

// raced says whether this is a program for the race detector, which needs many times the memory.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
