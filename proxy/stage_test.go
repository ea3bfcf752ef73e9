package proxy

import (
	"bufio"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
)

// patience is how long a test waits for what has to come.
const patience = 10 * time.Second

// stage is a proxy between clients and a server that a test plays itself.
type stage struct {
	t        *testing.T
	server   net.Listener
	proxy    *Proxy
	sessions chan *record.Session
	warnings chan string
}

// newStage begins to relay by one route, with what o says besides.
func newStage(t *testing.T, r Route, o Options) *stage {
	t.Helper()
	s := &stage{t: t, sessions: make(chan *record.Session, 100), warnings: make(chan string, 100)}
	var err error
	if s.server, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Skip("no loopback interface for a server:", err)
	}
	r.Listen, r.Upstream = cmp.Or(r.Listen, "127.0.0.1:0"), s.server.Addr().String()
	o.Routes, o.Inspect, o.Recorder = []Route{r}, &inspect.Config{}, sessionRecorder{s.sessions}
	o.MaxConnections, o.DrainTimeout = 100, 50*time.Millisecond
	o.Warn = func(_, message string) { s.warnings <- message }
	if s.proxy, err = Listen(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.proxy.Serve(serving, context.Background()) }()
	t.Cleanup(func() {
		_ = s.server.Close()
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the proxy does not end: a conversation hangs")
		}
	})
	return s
}

// sessionRecorder passes session records on, and drops all else.
type sessionRecorder struct{ sessions chan<- *record.Session }

func (r sessionRecorder) Journal() inspect.Journal { return sessionJournal(r) }
func (r sessionRecorder) Commit() error            { return nil }
func (r sessionRecorder) Crowded() bool            { return false }

type sessionJournal struct{ sessions chan<- *record.Session }

func (j sessionJournal) Stamp(int64)                              {}
func (j sessionJournal) Packet(inspect.Packet)                    {}
func (j sessionJournal) Cut()                                     {}
func (j sessionJournal) Line(*record.Session, record.Line)        {}
func (j sessionJournal) Login(*record.Session, int, record.Login) {}
func (j sessionJournal) Secret(*record.Session, record.Secret)    {}
func (j sessionJournal) OpenMail(*record.Message) inspect.Mail    { return nil }
func (j sessionJournal) Message(*record.Message, inspect.Mail)    {}
func (j sessionJournal) Session(s *record.Session)                { j.sessions <- s }

// dial connects a client.
func (s *stage) dial() *player {
	s.t.Helper()
	at := s.proxy.Addrs()[0]
	conn, err := net.Dial(at.Network(), at.String())
	if err != nil {
		s.t.Fatal(err)
	}
	return newPlayer(s.t, "the client", conn)
}

// accept is the server's end of the next conversation.
func (s *stage) accept() *player {
	s.t.Helper()
	_ = s.server.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	conn, err := s.server.Accept()
	if err != nil {
		s.t.Fatal("the server waits for a connection:", err)
	}
	return newPlayer(s.t, "the server", conn)
}

// pair is both ends of a conversation.
func (s *stage) pair() (client, server *player) {
	client = s.dial()
	return client, s.accept()
}

// nobody fails if a connection has come to the server. It is called when a conversation is over.
func (s *stage) nobody() {
	s.t.Helper()
	_ = s.server.(*net.TCPListener).SetDeadline(time.Now().Add(time.Millisecond))
	if conn, err := s.server.Accept(); err == nil {
		octets, _ := io.ReadAll(conn)
		s.t.Errorf("the server got a connection, and %q", octets)
	}
}

// session is the record of the conversation that ended next.
func (s *stage) session() *record.Session {
	s.t.Helper()
	select {
	case r := <-s.sessions:
		return r
	case <-time.After(patience):
		s.t.Fatal("no session was recorded")
		return nil
	}
}

func hasAnomaly(r *record.Session, kind string) bool {
	return slices.ContainsFunc(r.Anomalies, func(a record.Anomaly) bool { return a.Kind == kind })
}

// player is a test's end of a connection.
type player struct {
	t    *testing.T
	name string
	conn net.Conn
	r    *bufio.Reader
}

func newPlayer(t *testing.T, name string, conn net.Conn) *player {
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &player{t: t, name: name, conn: conn, r: bufio.NewReader(conn)}
}

// say sends octets.
func (p *player) say(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, text); err != nil && text != "" {
		p.t.Fatalf("%s says %q: %v", p.name, text, err)
	}
}

// hear waits for exactly these octets.
func (p *player) hear(want string) {
	p.t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(p.r, got)
	if string(got[:n]) != want {
		p.t.Fatalf("%s hears %q (%v), want %q", p.name, got[:n], err, want)
	}
}

// rest is all that still comes, and how it ends: nil where the other side said that it ends.
func (p *player) rest() (string, error) {
	octets, err := io.ReadAll(p.r)
	if err, ok := errors.AsType[net.Error](err); ok && err.Timeout() {
		p.t.Helper()
		p.t.Fatalf("%s: the connection does not end", p.name)
	}
	return string(octets), err
}

// cutOff waits for the end, which has to come without another octet.
func (p *player) cutOff() {
	p.t.Helper()
	if text, _ := p.rest(); text != "" {
		p.t.Errorf("%s hears %q, want the end", p.name, text)
	}
}

// reset closes the connection by a reset.
func (p *player) reset() {
	_ = p.conn.(*net.TCPConn).SetLinger(0)
	_ = p.conn.Close()
}

// talk lets each side say its lines in turn, "C: " or "S: " in front, and the other one hear them.
func talk(client, server *player, lines ...string) {
	client.t.Helper()
	for _, line := range lines {
		from, to := client, server
		who, text, _ := strings.Cut(line, ": ")
		if who == "S" {
			from, to = server, client
		}
		from.say(text + "\r\n")
		to.hear(text + "\r\n")
	}
}

// secured is TLS over the player's connection; done tells how the handshake went.
func (p *player) secured(config *tls.Config, client bool) (inside *player, done <-chan error) {
	conn := tls.Server(strict{p.conn, p.r}, config)
	if client {
		conn = tls.Client(strict{p.conn, p.r}, config)
	}
	result := make(chan error, 1)
	go func() { result <- conn.Handshake() }()
	return newPlayer(p.t, p.name+" inside TLS", conn), result
}

// strict is a connection whose end, unless TLS said before that it ends, is no end to crypto/tls either.
type strict struct {
	net.Conn
	r io.Reader
}

func (c strict) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err == io.EOF {
		err = errCut
	}
	return n, err
}

var errCut = errors.New("cut off")

// authority signs certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its own certificate
	last int64
}

// longAgo is before the time in a bubble of testing/synctest.
var longAgo = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test Authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: longAgo, NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.file = a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) write(name, kind string, der []byte) string {
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// sign makes a certificate for name, 127.0.0.1 and ::1, valid until the given time.
func (a *authority) sign(name string, until time.Time) tls.Certificate {
	a.t.Helper()
	a.last++
	key := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.last), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:   longAgo, NotAfter: until,
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// save writes a certificate and its key to NAME.pem and NAME.key.
func (a *authority) save(name string, c tls.Certificate) (cert, key string) {
	a.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.write(name+".pem", "CERTIFICATE", c.Certificate[0]), a.write(name+".key", "PRIVATE KEY", der)
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

const proxyName, serverName = "proxy.example.net", "mx.example.net"

// terminate are options that end TLS, and the server's own certificate.
func (a *authority) terminate() (*Terminate, tls.Certificate) {
	hour := time.Now().Add(time.Hour)
	cert, key := a.save("proxy", a.sign(proxyName, hour))
	return &Terminate{Cert: cert, Key: key, UpstreamCA: a.file}, a.sign(serverName, hour)
}
