package main

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"
	"golang.org/x/net/netutil"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/proxy"
	"github.com/mailwire/mailwire/tap"
)

const (
	maxWatchers  = 64               // connections to --http; more have to wait
	maxScrapes   = 4                // readings of /metrics at once; more are refused
	stopWatchers = 2 * time.Second  // that a reading under way may take at the end
	headerLimit  = 16 << 10         // octets of a request's header
	requestTime  = 10 * time.Second // for a request to come
	answerTime   = 30 * time.Second // and for its answer to go
	betweenTime  = 2 * time.Minute  // and for the next request on a connection
)

// monitor is what --http shows: metrics, and whether this process lives and is ready. A nil monitor, as without --http,
// shows nothing and is in nobody's way.
type monitor struct {
	metrics *metrics
	health  health
	stats   func() archive.Stats
	commits sync.Mutex // guards failed: the ways to watch commit one after the other
	failed  int64      // file operations of the archive, up to the last commit
	warn    func(cause, message string)
	server  *http.Server
	serving sync.WaitGroup
}

// startMonitor begins to answer at --http ADDR.
func startMonitor(c *cli.Context, log *logrus.Logger, rare *rareLog, kept *archive.Archive) (*monitor, error) {
	address := c.String("http")
	if address == "" {
		return nil, nil
	}
	if err := checkHTTP(address); err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(c.Context, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("--http %s is in use by another program; stop it (ss -ltnp shows which one it is) or name another port", address)
	case err != nil:
		return nil, fmt.Errorf("--http %s: listening failed; name an address of this host, with a port that is free: %w", address, err)
	}
	m := &monitor{metrics: newMetrics(), stats: kept.Stats, warn: rare.warn}
	m.health.set("it does not listen for mail yet")
	m.metrics.ofArchive(kept.Stats)
	errorLog := stdlog.New(m, "", 0)
	m.server = &http.Server{
		Handler: m.handler(errorLog), ErrorLog: errorLog, MaxHeaderBytes: headerLimit,
		ReadHeaderTimeout: requestTime, ReadTimeout: requestTime, WriteTimeout: answerTime, IdleTimeout: betweenTime,
	}
	m.serving.Go(func() {
		if err := m.server.Serve(netutil.LimitListener(listener, maxWatchers)); !errors.Is(err, http.ErrServerClosed) {
			m.warn("http", "--http answers no more: "+err.Error())
		}
	})
	log.WithField("address", listener.Addr()).Info("answering /metrics, /livez and /readyz")
	return m, nil
}

// checkHTTP says what is wrong with an address.
func checkHTTP(address string) error {
	if _, _, err := net.SplitHostPort(address); address != "" && err != nil {
		return usage("--http %s: give HOST:PORT, as in 127.0.0.1:9090", address)
	}
	return nil
}

// Write takes a line that the HTTP server has to say.
func (m *monitor) Write(line []byte) (int, error) {
	m.warn("http", strings.TrimSpace(string(line)))
	return len(line), nil
}

func (m *monitor) handler(errorLog *stdlog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.metrics.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, ErrorLog: errorLog,
	}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if trouble := m.health.trouble(); trouble != "" {
			http.Error(w, "not ready: "+trouble, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// recorder returns next, with a look at all that it is told.
func (m *monitor) recorder(next inspect.Recorder) inspect.Recorder {
	if m == nil {
		return next
	}
	return &monitoredRecorder{Recorder: next, m: m}
}

// listening says that the proxy takes connections.
func (m *monitor) listening(p *proxy.Proxy) {
	if m != nil {
		m.metrics.ofProxy(p)
		m.health.set("")
	}
}

// capturing says that the tap sees packets.
func (m *monitor) capturing(l *tap.Live) {
	if m != nil {
		m.metrics.ofTap(l)
		m.health.set("")
	}
}

// draining says that it takes no more.
func (m *monitor) draining() {
	if m != nil {
		m.health.set("it is about to end and takes no more connections")
	}
}

// stop answers no more.
func (m *monitor) stop() {
	if m == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopWatchers)
	defer cancel()
	if m.server.Shutdown(ctx) != nil {
		_ = m.server.Close() // who has not read its answer by now does not get it
	}
	m.serving.Wait()
}

// monitoredRecorder counts what its journals are told, and looks whether commits succeed.
type monitoredRecorder struct {
	inspect.Recorder
	m *monitor
}

// Journal implements inspect.Recorder.
func (r *monitoredRecorder) Journal() inspect.Journal {
	return r.m.metrics.journal(r.Recorder.Journal())
}

// Commit implements inspect.Recorder.
func (r *monitoredRecorder) Commit() error {
	m := r.m
	m.commits.Lock()
	defer m.commits.Unlock()
	m.health.begin()
	err := r.Recorder.Commit()
	failed := m.stats().Errors
	m.health.end(err == nil && failed == m.failed)
	m.failed = failed
	return err
}

// healthTime is for how long the archive must have failed before the process is called not ready. It is also for how long
// it is called so after the last failure: if that keeps mail away from it, it tries again.
const healthTime = time.Minute

// health is whether mail is relayed and recorded.
type health struct {
	mu      sync.Mutex
	reason  string    // why no mail is relayed; "" if it is
	begun   time.Time // of the commit under way; zero: none is
	failing time.Time // the first commit of those that failed with none between them that did not; zero: there is none
	failed  time.Time // and the last
}

func (h *health) set(reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reason = reason
}

// begin notes that a commit begins.
func (h *health) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begun = time.Now()
}

// end notes what became of it.
func (h *health) end(ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	begun := h.begun
	h.begun = time.Time{}
	if ok {
		h.failing = time.Time{}
		return
	}
	if h.failing.IsZero() {
		h.failing = begun
	}
	h.failed = time.Now()
}

// trouble says why the process is not ready; "" if it is.
func (h *health) trouble() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	switch {
	case h.reason != "":
		return h.reason
	case !h.begun.IsZero() && now.Sub(h.begun) >= healthTime:
		return "the archive has been waiting for the disk since " + h.begun.Format(time.RFC3339)
	case !h.failing.IsZero() && now.Sub(h.failing) >= healthTime && now.Sub(h.failed) < healthTime:
		return "the archive has lost what it should write since " + h.failing.Format(time.RFC3339) + "; the program's log says why"
	}
	return ""
}
