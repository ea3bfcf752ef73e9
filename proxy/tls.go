package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/tlsinfo"
	"github.com/mailwire/mailwire/inspect/wire"
)

// Terminate says how TLS is ended here and begun anew towards the server.
type Terminate struct {
	Cert, Key  string // PEM files: our certificate with its chain, and its key; read again when they change
	UpstreamCA string // a PEM file; "" for the system's authorities
	Name       string // that the server's certificate is for; "" for the name in the route
	Insecure   bool   // believe any certificate of the server

	certificate atomic.Pointer[tls.Certificate]
	authorities *x509.CertPool
	read        string // the stamp of the files that were read last
}

// load reads the files.
func (t *Terminate) load() error {
	t.read = t.stamp()
	if err := t.loadCertificate(); err != nil {
		return err
	}
	if t.UpstreamCA == "" {
		return nil
	}
	pem, err := os.ReadFile(t.UpstreamCA)
	if err != nil {
		return fmt.Errorf("--upstream-ca cannot be read; name a PEM file with certificates: %w", err)
	}
	if t.authorities = x509.NewCertPool(); !t.authorities.AppendCertsFromPEM(pem) {
		return fmt.Errorf("--upstream-ca %s holds no certificate; name a PEM file with certificates", t.UpstreamCA)
	}
	return nil
}

func (t *Terminate) loadCertificate() error {
	certificate, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return fmt.Errorf("the certificate --tls-cert %s and its key --tls-key %s cannot be used; both must be PEM files that belong together: %w", t.Cert, t.Key, err)
	}
	t.certificate.Store(&certificate)
	return nil
}

const reloadInterval = 2 * time.Second

// reloadCertificates reads certificates again when their files change. One that cannot be used leaves the old one in use.
func (p *Proxy) reloadCertificates(ctx context.Context) {
	tick := time.NewTicker(reloadInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, r := range p.allRoutes() {
			if r.Terminate == nil {
				continue
			}
			if err := r.Terminate.refresh(); err != nil {
				p.warn("certificate: "+err.Error(), err.Error()+"; the one that was read before stays in use")
			}
		}
	}
}

// refresh reads the certificate again if its files have changed.
func (t *Terminate) refresh() error {
	now := t.stamp()
	if now == t.read {
		return nil
	}
	t.read = now
	return t.loadCertificate()
}

// stamp tells whether the files have changed.
func (t *Terminate) stamp() (s string) {
	for _, name := range []string{t.Cert, t.Key} {
		if info, err := os.Stat(name); err == nil {
			s += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), " ")
		}
	}
	return s
}

// beginTLS prepares for STARTTLS, or begins TLS on both sides where the route says so: with the server first, so that
// its failure is the client's too.
func (c *call) beginTLS() bool {
	if !c.r.TLS {
		c.upgrade = newUpgrade(c)
		return true
	}
	server, err := c.tlsToServer()
	if err != nil {
		c.serverTLSFailed(err)
		c.breakOff(inspect.EndRefused)
		return false
	}
	client, err := c.tlsToClient()
	if err != nil {
		c.clientTLSFailed(err)
		c.breakOff(inspect.EndAborted)
		return false
	}
	c.secured("implicit", client, server)
	return true
}

// tlsToServer begins TLS with the server and verifies it.
func (c *call) tlsToServer() (*tls.Conn, error) {
	t := c.r.Terminate
	name := t.Name
	if name == "" {
		name = c.server.Addr().String()
		if host, _, err := net.SplitHostPort(c.r.Upstream); err == nil && c.r.unixServer() == "" {
			name = host
		}
	}
	conn := tls.Client(strictEnd{c.ends[wire.FromServer]}, &tls.Config{
		ServerName: strings.Trim(name, "[]"), RootCAs: t.authorities, InsecureSkipVerify: t.Insecure, MinVersion: tls.VersionTLS10,
	})
	return conn, c.handshake(conn)
}

// tlsToClient begins TLS with the client.
func (c *call) tlsToClient() (*tls.Conn, error) {
	t := c.r.Terminate
	begin := &beginning{strictEnd: strictEnd{c.ends[wire.FromClient]}, room: maxBeginning}
	conn := tls.Server(begin, &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return t.certificate.Load(), nil },
		MinVersion:     tls.VersionTLS10,
	})
	err := c.handshake(conn)
	if err != nil {
		c.show(wire.FromClient, begin.octets)
	}
	begin.octets, begin.room = nil, 0
	return conn, err
}

func (c *call) handshake(conn *tls.Conn) error {
	ctx, cancel := context.WithTimeout(c.r.p.aborting, c.r.ConnectTimeout)
	defer cancel()
	err := conn.HandshakeContext(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("the TLS handshake took too long")
	}
	return err
}

// secured goes on inside TLS.
func (c *call) secured(how string, client, server *tls.Conn) {
	c.ends = [2]end{wire.FromClient: client, wire.FromServer: server}
	inner, outer := client.ConnectionState(), server.ConnectionState()
	upstream := tlsinfo.Of(&outer, outer.PeerCertificates[0])
	facts := record.TLS{How: how, Ended: true, Handshake: tlsinfo.Of(&inner, c.r.Terminate.certificate.Load().Leaf), Upstream: &upstream}
	c.pump.Tell(time.Now(), func(s *inspect.Session, t time.Time) { s.Secured(t, facts) })
}

// serverTLSFailed says why the server was not believed.
func (c *call) serverTLSFailed(err error) {
	server, err := c.r.named(c.server), cause(err)
	c.r.p.warn("upstream tls "+server, fmt.Sprintf("TLS with the server %s failed, so clients get none: %v", server, err))
	c.pump.Tell(time.Now(), func(s *inspect.Session, t time.Time) {
		s.Anomaly(wire.UpstreamTLS, t)
		s.Note(t, "TLS with the server failed: %v", err)
	})
}

// clientTLSFailed says why the client got no TLS.
func (c *call) clientTLSFailed(err error) {
	err = cause(err)
	c.pump.Tell(time.Now(), func(s *inspect.Session, t time.Time) { s.Note(t, "TLS with the client failed: %v", err) })
}

// strictEnd is the socket below a TLS connection. crypto/tls takes the end of the octets at a record's boundary for the
// end of the dialogue; here only close_notify is (RFC 8446 section 6.1).
type strictEnd struct{ net.Conn }

var errTruncated = errors.New("the connection ended, but TLS did not")

func (e strictEnd) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	if err == io.EOF {
		err = errTruncated
	}
	return n, err
}

// maxBeginning is how much is shown of a handshake that failed: room for a ClientHello, or for the plain text in its place.
const maxBeginning = 16 << 10

// beginning keeps the first octets of one side.
type beginning struct {
	strictEnd
	octets []byte
	room   int
}

func (o *beginning) Read(p []byte) (int, error) {
	n, err := o.strictEnd.Read(p)
	kept := min(n, o.room)
	o.octets, o.room = append(o.octets, p[:kept]...), o.room-kept
	return n, err
}
