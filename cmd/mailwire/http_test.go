package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect"
)

// TestHTTPPaths: what there is, and nothing else.
func TestHTTPPaths(t *testing.T) {
	p := startProxy(t)
	for path, want := range map[string]int{
		"/metrics": 200, "/livez": 200, "/readyz": 200, "/": 404, "/metrics/": 404, "/metrics/x": 404, "/debug/pprof/": 404, "/favicon.ico": 404,
	} {
		if got, body := p.get(t, path); got != want {
			t.Errorf("%s: %d, %q", path, got, body)
		}
	}
	if _, body := p.get(t, "/livez"); body != "ok\n" {
		t.Errorf("/livez says %q", body)
	}
	body := p.scrape(t)
	for _, name := range []string{"go_goroutines ", "process_start_time_seconds ", "mailwire_build_info{goversion=\"go"} {
		if !strings.Contains(body, "\n"+name) {
			t.Errorf("there is no %s", name)
		}
	}
	answer, err := http.Post("http://"+p.http+"/metrics", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", answer.Status)
	}
}

// TestHTTPAddress: an address that cannot be is told in a sentence, before anything is relayed.
func TestHTTPAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip("no loopback interface:", err)
	}
	defer taken.Close()
	for address, want := range map[string]struct {
		status int
		says   string
	}{
		taken.Addr().String(): {1, "is in use by another program"},
		"192.0.2.1:9090":      {1, "name an address of this host"},
		"9090":                {2, "give HOST:PORT, as in 127.0.0.1:9090"},
	} {
		route := "unix:" + filepath.Join(t.TempDir(), "smtp") + "=127.0.0.1:1"
		status, _, stderr := mailwire(t, nil, "proxy", "--smtp", route, "--http", address, "--data", t.TempDir())
		if status != want.status || !strings.Contains(stderr, "--http "+address) || !strings.Contains(stderr, want.says) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, %q", address, status, stderr)
		}
	}
}

// TestReadyWhileDraining: who balances load must hear at once that no more connections are accepted; metrics are there
// until the end.
func TestReadyWhileDraining(t *testing.T) {
	p := startProxy(t)
	c := p.dial(t, "smtp")
	if err := c.Hello("client.example.org"); err != nil {
		t.Fatal(err)
	}
	p.end()
	await(t, "/readyz to say no", func() bool {
		status, body := p.get(t, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "takes no more connections")
	})
	if status, _ := p.get(t, "/livez"); status != http.StatusOK {
		t.Errorf("/livez: %d", status)
	}
	if values(p.scrape(t))["mailwire_sessions_active"] != 1 {
		t.Error("the session under way is not in the metrics")
	}
	if err := c.Quit(); err != nil {
		t.Error(err)
	}
	if status := <-p.ended; status != 0 {
		t.Errorf("status %d: %s", status, p.log.String())
	}
	p.ended = nil
	if conn, err := net.Dial("tcp", p.http); err == nil {
		conn.Close()
		t.Error("--http answers after the end")
	}
}

// TestReadyWhileArchiveFails: a disk that is full or frozen for a minute is trouble, one that hiccups is not.
func TestReadyWhileArchiveFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &brokenRecorder{wait: func() {}}
		m := &monitor{metrics: newMetrics(), stats: func() archive.Stats { return disk.stats }}
		handler := m.handler(nil)
		ready := func() bool {
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, httptest.NewRequest("GET", "/readyz", nil))
			if answer.Code != 200 && !strings.Contains(answer.Body.String(), "not ready: the archive has ") {
				t.Errorf("%d %s", answer.Code, answer.Body)
			}
			return answer.Code == 200
		}
		expect := func(want bool, when string) {
			t.Helper()
			if ready() != want {
				t.Errorf("%s: ready is %v", when, !want)
			}
		}
		r := m.recorder(disk)
		commit := func() { _ = r.Commit() }
		commit()
		expect(true, "all is well")
		disk.err = errors.New("no space left on device")
		commit()
		expect(true, "one failure")
		time.Sleep(healthTime)
		expect(true, "nothing was tried since")
		commit()
		expect(false, "a minute of failures")
		time.Sleep(healthTime)
		expect(true, "nothing was tried for a minute: it may be well again")
		commit()
		expect(false, "it is not")
		disk.err = nil
		commit()
		expect(true, "it is")

		disk.stats.Errors++ // a mail was lost, and all lines were written
		commit()
		time.Sleep(healthTime)
		disk.stats.Errors++
		commit()
		expect(false, "a minute of lost mails")
		commit()
		expect(true, "no more are lost")

		thaw := make(chan struct{})
		disk.wait = func() { <-thaw }
		go commit()
		synctest.Wait()
		expect(true, "the disk is slow")
		time.Sleep(healthTime)
		expect(false, "the disk is frozen")
		close(thaw)
		synctest.Wait()
		expect(true, "the disk goes on")
	})
}

// brokenRecorder is an archive whose disk fails as told.
type brokenRecorder struct {
	err   error
	stats archive.Stats
	wait  func()
}

func (r *brokenRecorder) Journal() inspect.Journal { return nowhere{} }

func (r *brokenRecorder) Crowded() bool { return false }

func (r *brokenRecorder) Commit() error {
	r.wait()
	return r.err
}

// testProxy is a `mailwire proxy --http` in this process. It listens on sockets in a directory, for an SMTP server (smtp), a
// POP3 server (pop3), and one that is not there (dead).
type testProxy struct {
	dir   string
	http  string // where it answers
	log   output
	end   func()
	ended chan int // its exit status
}

func startProxy(t *testing.T, args ...string) *testProxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "mailwire") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &testProxy{dir: dir, end: cancel, ended: make(chan int, 1)}
	args = append([]string{
		"mailwire", "proxy", "--http", "127.0.0.1:0", "--data", filepath.Join(dir, "data"),
		"--smtp", p.route("smtp", smtpServer(t)), "--pop3", p.route("pop3", pop3Server(t)), "--smtp", p.route("dead", "unix:"+dir+"/none"),
	}, args...)
	go func() { p.ended <- run(ctx, args, nil, io.Discard, &p.log) }()
	t.Cleanup(func() {
		if cancel(); p.ended != nil {
			if status := <-p.ended; status != 0 {
				t.Errorf("status %d: %s", status, p.log.String())
			}
		}
		os.RemoveAll(dir)
	})
	address := regexp.MustCompile(`address="?([0-9.:]+)`)
	await(t, "the proxy to be ready", func() bool {
		found := address.FindStringSubmatch(p.log.String())
		if len(found) == 0 {
			return false
		}
		p.http = found[1]
		status, _ := p.get(t, "/readyz")
		return status == http.StatusOK
	})
	return p
}

func (p *testProxy) route(name, server string) string {
	return "unix:" + filepath.Join(p.dir, name) + "=" + server
}

func (p *testProxy) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	answer, err := http.Get("http://" + p.http + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func (p *testProxy) scrape(t *testing.T) string {
	t.Helper()
	_, body := p.get(t, "/metrics")
	return body
}

// dial returns a client behind its greeting.
func (p *testProxy) dial(t *testing.T, name string) *smtp.Client {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(p.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return smtp.NewClient(conn)
}

// smtpServer starts the demo's mail server, and returns its address.
func smtpServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip("no loopback interface:", err)
	}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return new(demoMailbox), nil }))
	server.Domain, server.AllowInsecureAuth, server.MaxMessageBytes = "mx.example.net", true, 1<<20
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// until looks again and again whether something has come true, and says whether it has in time.
func until(ok func() bool) bool {
	late := time.After(patience)
	for tick := time.Tick(5 * time.Millisecond); !ok(); {
		select {
		case <-tick:
		case <-late:
			return false
		}
	}
	return true
}

// await waits until something has come true.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !until(ok) {
		t.Fatal("waited for too long for " + what)
	}
}
