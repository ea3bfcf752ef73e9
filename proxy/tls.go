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
}

// load reads the files.
func (t *Terminate) load() error {
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

// reload reads our certificate again when its files change. One that cannot be used leaves the old one in use.
func (t *Terminate) reload(ctx context.Context, warn func(cause, message string)) {
	stamp := func() (s string) {
		for _, name := range []string{t.Cert, t.Key} {
			if info, err := os.Stat(name); err == nil {
				s += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), " ")
			}
		}
		return s
	}
	last := stamp()
	tick := time.NewTicker(reloadInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := stamp(); now != last {
			last = now
			if err := t.loadCertificate(); err != nil {
				warn("certificate", err.Error()+"; the one that was read before stays in use")
			}
		}
	}
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
	t := c.r.p.Terminate
	name := t.Name
	if name == "" {
		name = c.server.Addr().String()
		if host, _, err := net.SplitHostPort(c.r.Upstream); err == nil {
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
	t := c.r.p.Terminate
	conn := tls.Server(strictEnd{c.ends[wire.FromClient]}, &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return t.certificate.Load(), nil },
		MinVersion:     tls.VersionTLS10,
	})
	return conn, c.handshake(conn)
}

func (c *call) handshake(conn *tls.Conn) error {
	ctx, cancel := context.WithTimeout(c.r.p.aborting, c.r.p.ConnectTimeout)
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
	facts := record.TLS{How: how, Ended: true, Handshake: tlsinfo.Of(&inner, c.r.p.Terminate.certificate.Load().Leaf), Upstream: &upstream}
	c.pump.Tell(time.Now(), func(s *inspect.Session, t time.Time) { s.Secured(t, facts) })
}

// serverTLSFailed says why the server was not believed.
func (c *call) serverTLSFailed(err error) {
	c.r.p.Warn("upstream tls", fmt.Sprintf("TLS with the server %s failed, so clients get none: %v", c.r.named(c.server), err))
	c.pump.Tell(time.Now(), func(s *inspect.Session, t time.Time) {
		s.Anomaly(wire.UpstreamTLS, t)
		s.Note(t, "TLS with the server failed: %v", err)
	})
}

func (c *call) clientTLSFailed(err error) {
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
