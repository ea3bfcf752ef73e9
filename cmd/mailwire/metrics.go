package main

import (
	"cmp"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
	"github.com/mailwire/mailwire/proxy"
	"github.com/mailwire/mailwire/tap"
)

const (
	maxReplies = 1000   // combinations of protocol, command and code that a journal tells apart
	noCommand  = "NONE" // of a reply that answers no command
	otherCode  = "other"
)

// waits are the buckets of a command's duration, in seconds. The last three are what RFC 5321 section 4.5.3.2 lets a client
// wait for: 2 minutes for the reply to DATA, 5 for most, 10 for that to the end of data.
var waits = []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 30, 120, 300, 600}

// sizes are those of a mail, in octets: 1 KiB to 256 MiB.
var sizes = prometheus.ExponentialBuckets(1<<10, 4, 10)

const lostHelp = "Octets that were not inspected, by who sent them; overload: the budget was used up; capture: they were not seen."

// sum adds up what several ways to watch say.
type sum struct {
	mu    sync.Mutex
	parts []func() int64
}

func (s *sum) add(part func() int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts = append(s.parts, part)
}

func (s *sum) value() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, part := range s.parts {
		n += part()
	}
	return n
}

// metrics are what Prometheus reads. Their labels never hold an address, a user or any other word of the wire that is
// not one of a known set.
type metrics struct {
	registry   *prometheus.Registry
	active     sum // sessions under way
	sessions   *prometheus.CounterVec
	inspected  *prometheus.CounterVec
	anomalies  *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	replies    *prometheus.CounterVec
	logins     *prometheus.CounterVec
	messages   *prometheus.CounterVec
	sizes      prometheus.Histogram
	recipients *prometheus.CounterVec
}

func newMetrics() *metrics {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	add := promauto.With(registry)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return add.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	add.NewGauge(prometheus.GaugeOpts{
		Name: "mailwire_build_info", Help: "1, labelled by the version of this program and of the Go that it was built with.",
		ConstLabels: prometheus.Labels{"version": buildVersion(), "goversion": runtime.Version()},
	}).Set(1)
	m := &metrics{
		registry:  registry,
		sessions:  counter("mailwire_sessions_total", "Sessions that have ended, by how they ended.", "protocol", "mode", "direction", "status"),
		inspected: counter("mailwire_inspected_bytes_total", "Octets that were inspected of sessions that have ended, by who sent them.", "side"),
		anomalies: counter("mailwire_anomalies_total", "Things that should not be on the wire, in sessions that have ended.", "kind"),
		durations: add.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mailwire_command_duration_seconds", Buckets: waits,
			Help: "Time from a command to its reply; CONNECT is the wait for the greeting, DATA-END that after the end of a mail.",
		}, []string{"protocol", "command", "class"}),
		replies:  counter("mailwire_replies_total", "Replies of servers, by the command that they answer.", "protocol", "command", "code"),
		logins:   counter("mailwire_auth_attempts_total", "Login attempts.", "protocol", "mechanism", "outcome"),
		messages: counter("mailwire_messages_total", "Mail transactions, and mails fetched, with their outcome.", "direction", "outcome"),
		sizes: add.NewHistogram(prometheus.HistogramOpts{
			Name: "mailwire_message_size_bytes", Help: "Octets of each mail, without the parts that TOP fetches.", Buckets: sizes,
		}),
		recipients: counter("mailwire_recipients_total", "Recipients that senders named, by the server's answer.", "outcome"),
	}
	m.gauge("mailwire_sessions_active", "Sessions under way.", m.active.value)
	return m
}

// count adds a number that somebody else counts; labels are pairs of name and value.
func (m *metrics) count(name, help string, value func() int64, labels ...string) {
	m.registry.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: name, Help: help, ConstLabels: pairs(labels)}, func() float64 { return float64(value()) }))
}

// gauge adds a number that somebody else knows.
func (m *metrics) gauge(name, help string, value func() int64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) }))
}

func pairs(list []string) prometheus.Labels {
	labels := prometheus.Labels{}
	for pair := range slices.Chunk(list, 2) {
		labels[pair[0]] = pair[1]
	}
	return labels
}

// ofArchive adds what the archive counts.
func (m *metrics) ofArchive(stats func() archive.Stats) {
	m.count("mailwire_archive_errors_total", "File operations that failed and lost something.",
		func() int64 { return stats().Errors })
	m.count("mailwire_archive_stored_total", "Mails that were stored.",
		func() int64 { return stats().Stored })
	m.count("mailwire_archive_not_stored_total", "Mails that could not be stored, as their records say.",
		func() int64 { return stats().NotStored })
	m.count("mailwire_archive_lines_lost_total", "Lines of logs and records that could not be written.",
		func() int64 { return stats().LinesLost })
	m.count("mailwire_archive_removals_total", "Days that were removed, as they need not be kept any more.",
		func() int64 { return stats().RemovedDays })
}

// ofProxy adds what a proxy counts. Once all sessions have ended, what was relayed of a side is what was inspected and
// what was lost; only what the proxy refuses to pass on, as plain text behind STARTTLS, is inspected besides.
func (m *metrics) ofProxy(p *proxy.Proxy) {
	stats := p.Stats
	m.active.add(func() int64 { return stats().Active })
	m.gauge("mailwire_sessions_limit", "Sessions that may be under way at once; more clients have to wait.",
		func() int64 { return int64(p.Options().MaxConnections) })
	m.count("mailwire_connections_total", "Connections accepted from clients.",
		func() int64 { return stats().Accepted })
	m.count("mailwire_connections_refused_total", "Connections closed because the server could not be reached.",
		func() int64 { return stats().Refused })
	for _, side := range []wire.Direction{wire.FromClient, wire.FromServer} {
		m.count("mailwire_relay_bytes_total", "Octets relayed, by who sent them.",
			func() int64 { return stats().Relayed[side] }, "side", side.String())
		m.count("mailwire_lost_bytes_total", lostHelp,
			func() int64 { return stats().Overloaded[side] }, "reason", "overload", "side", side.String())
	}
	m.count("mailwire_inspector_failures_total", "Failures of the inspection, each of which cost a session the rest of its record.",
		func() int64 { return stats().Failures })
	m.gauge("mailwire_inspection_pending_bytes", "Memory in use by octets that wait for inspection.",
		func() int64 { return stats().Pending })
	m.gauge("mailwire_inspection_budget_bytes", "Memory that octets may use while they wait for inspection.",
		func() int64 { return p.Options().TotalBudget })
}

// ofTap adds what a live tap counts.
func (m *metrics) ofTap(l *tap.Live) {
	for _, c := range []struct {
		name, help string
		value      func(*tap.Stats) int64
	}{
		{"mailwire_capture_packets_total", "Packets captured.", func(s *tap.Stats) int64 { return s.Packets }},
		{"mailwire_capture_bytes_total", "Their octets.", func(s *tap.Stats) int64 { return s.Octets }},
		{"mailwire_capture_dropped_total", "Packets that the kernel dropped, as its ring was full.", func(s *tap.Stats) int64 { return s.Dropped }},
		{"mailwire_capture_freezes_total", "Times when the kernel's ring was full.", func(s *tap.Stats) int64 { return s.Frozen }},
		{"mailwire_capture_undecodable_total", "Packets that make no sense.", func(s *tap.Stats) int64 { return s.Undecodable }},
		{"mailwire_capture_unassembled_total", "IP datagrams of which not all fragments came.", func(s *tap.Stats) int64 { return s.Unassembled }},
		{"mailwire_capture_evicted_total", "Connections given up because there were too many.", func(s *tap.Stats) int64 { return s.Evicted }},
		{"mailwire_capture_half_open_total", "Unanswered connection attempts given up because there were too many.", func(s *tap.Stats) int64 { return s.HalfOpen }},
	} {
		m.count(c.name, c.help, func() int64 { s := l.Stats(); return c.value(&s) })
	}
	m.count("mailwire_lost_bytes_total", lostHelp, func() int64 { return l.Stats().Lost }, "reason", "capture", "side", "")
	m.active.add(func() int64 { return l.Stats().Active })
}

// countingJournal counts what it is told, and passes it on. Since one goroutine at a time uses it, it remembers the
// counter of each set of labels in maps of its own: finding one by WithLabelValues takes a lock.
type countingJournal struct {
	inspect.Journal
	m          *metrics
	replies    map[replyLabels]*replyCount
	sessions   counters
	inspected  counters
	anomalies  counters
	logins     counters
	messages   counters
	recipients [3]prometheus.Counter
}

func (m *metrics) journal(next inspect.Journal) *countingJournal {
	j := &countingJournal{
		Journal: next, m: m, replies: map[replyLabels]*replyCount{},
		sessions: newCounters(m.sessions), inspected: newCounters(m.inspected), anomalies: newCounters(m.anomalies),
		logins: newCounters(m.logins), messages: newCounters(m.messages),
	}
	for i, outcome := range []string{record.Accepted, record.Rejected, record.Unknown} {
		j.recipients[i] = m.recipients.WithLabelValues(outcome)
	}
	return j
}

// counters are those of a CounterVec that a journal has met.
type counters struct {
	vec   *prometheus.CounterVec
	known map[[4]string]prometheus.Counter
}

func newCounters(vec *prometheus.CounterVec) counters {
	return counters{vec, map[[4]string]prometheus.Counter{}}
}

func (c *counters) with(values ...string) prometheus.Counter {
	var key [4]string
	copy(key[:], values)
	counter := c.known[key]
	if counter == nil {
		counter = c.vec.WithLabelValues(slices.Clone(values)...)
		c.known[key] = counter
	}
	return counter
}

// replyLabels are what replies are told apart by. A code of one digit is any of its class.
type replyLabels struct {
	protocol, command string
	code              int
}

// Codes of POP3, which has none.
const (
	codeOK   = -1 - iota // +OK
	codeErr              // -ERR
	codeGoOn             // +
)

// replyCount counts replies, and how long clients waited for them.
type replyCount struct {
	seen prometheus.Counter
	wait prometheus.Observer
}

// Line implements inspect.Sink.
func (j *countingJournal) Line(s *record.Session, l record.Line) {
	if l.Kind == record.FromServer || l.Kind == record.Refusal {
		r := j.reply(labelsOf(s.Protocol, &l))
		r.seen.Inc()
		if l.Wait >= 0 {
			r.wait.Observe(l.Wait.Seconds())
		}
	}
	j.Journal.Line(s, l)
}

func labelsOf(protocol string, l *record.Line) replyLabels {
	k := replyLabels{protocol, l.Command, l.Code}
	switch {
	case protocol != record.POP3:
	case l.Kind == record.Refusal:
		k.code = codeErr
	case l.GoOn:
		k.code = codeGoOn
	default:
		k.code = codeOK
	}
	return k
}

func (j *countingJournal) reply(k replyLabels) *replyCount {
	r := j.replies[k]
	if r != nil {
		return r
	}
	if len(j.replies) >= maxReplies && k.code > 9 {
		k.code /= 100
		return j.reply(k)
	}
	command := cmp.Or(k.command, noCommand)
	code, class := k.codeAndClass()
	r = &replyCount{
		seen: j.m.replies.WithLabelValues(k.protocol, command, code),
		wait: j.m.durations.WithLabelValues(k.protocol, command, class),
	}
	j.replies[k] = r
	return r
}

func (k replyLabels) codeAndClass() (code, class string) {
	switch {
	case k.code == codeOK:
		return "ok", "ok"
	case k.code == codeErr:
		return "err", "err"
	case k.code == codeGoOn:
		return "continue", "continue"
	case 2 <= k.code && k.code <= 5:
		return otherCode, strconv.Itoa(k.code)
	case 200 <= k.code && k.code <= 599:
		code = strconv.Itoa(k.code)
		return code, code[:1]
	}
	return otherCode, otherCode
}

// Login implements inspect.Sink.
func (j *countingJournal) Login(s *record.Session, attempt int, l record.Login) {
	j.logins.with(s.Protocol, mechanism(l.Mechanism), l.Outcome).Inc()
	j.Journal.Login(s, attempt, l)
}

// mechanism returns the name if it is one that mail servers offer: clients can send any.
func mechanism(name string) string {
	switch name {
	case "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM", "GSSAPI", "GSS-SPNEGO", "EXTERNAL", "ANONYMOUS", "OTP", "XOAUTH2", "OAUTHBEARER",
		"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-512-PLUS", "USER/PASS", "APOP":
		return name
	}
	return wire.Other
}

// Message implements inspect.Sink.
func (j *countingJournal) Message(m *record.Message, mail inspect.Mail) {
	j.messages.with(m.Direction, m.Outcome).Inc()
	if m.Via != "" && m.Via != "TOP" {
		j.m.sizes.Observe(float64(m.Octets))
	}
	if r := m.Recipients; r != nil {
		for i, n := range []int{r.Accepted, r.Rejected, r.Unknown} {
			j.recipients[i].Add(float64(n))
		}
	}
	j.Journal.Message(m, mail)
}

// Session implements inspect.Sink.
func (j *countingJournal) Session(s *record.Session) {
	j.sessions.with(s.Protocol, s.Mode, s.Direction, s.Status).Inc()
	j.inspected.with("client").Add(float64(s.Octets.Client))
	j.inspected.with("server").Add(float64(s.Octets.Server))
	for _, a := range s.Anomalies {
		j.anomalies.with(a.Kind).Add(float64(a.Count))
	}
	j.Journal.Session(s)
}
