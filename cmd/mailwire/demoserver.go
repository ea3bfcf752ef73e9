package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// demoSessions starts a mail server on the loopback interface whose connections are watched, and talks to it.
func demoSessions(ctx context.Context, config *inspect.Config, kept *archive.Archive) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	watched := &watchedListener{Listener: listener, config: config, journal: kept.Journal()}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return new(demoMailbox), nil }))
	server.Domain, server.AllowInsecureAuth, server.MaxMessageBytes = "mx.example.net", true, 1<<20
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(watched) })
	for _, talk := range []func(*smtp.Client) error{goodMail, unknownUser, wrongPassword, tooBig} {
		if err := demoTalk(listener.Addr().String(), talk); err != nil {
			server.Close()
			return err
		}
	}
	shutdown, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = server.Shutdown(shutdown)
	serving.Wait()
	watched.journal.Cut()
	return errors.Join(err, kept.Commit())
}

// watchedListener gives each connection a session of the inspection core. One journal serves all of them, one at a time.
type watchedListener struct {
	net.Listener
	config  *inspect.Config
	mu      sync.Mutex // of the journal, and so of all sessions
	journal inspect.Journal
	count   int64
}

func (l *watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	l.journal.Stamp(l.count)
	session := inspect.New(l.config, inspect.Conn{
		Client: addrPort(c.RemoteAddr()), Server: addrPort(c.LocalAddr()), Begin: time.Now(),
		Mode: record.ModeProxy, Hint: inspect.SMTP, Started: true,
	}, l.journal)
	return &watchedConn{Conn: c, mu: &l.mu, session: session}, nil
}

func addrPort(a net.Addr) netip.AddrPort {
	p, _ := netip.ParseAddrPort(a.String())
	return p
}

// watchedConn is the server's end of a connection, with somebody looking over its shoulder.
type watchedConn struct {
	net.Conn
	mu      *sync.Mutex
	session *inspect.Session
	closed  bool
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.saw(wire.FromClient, p[:n], err)
	return n, err
}

func (c *watchedConn) Write(p []byte) (int, error) {
	c.saw(wire.FromServer, p, nil)
	return c.Conn.Write(p)
}

func (c *watchedConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.session.Close(time.Now(), inspect.EndClosed)
	}
	return c.Conn.Close()
}

func (c *watchedConn) saw(dir wire.Direction, p []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
	case len(p) > 0:
		c.session.Feed(wire.Chunk{Dir: dir, Time: time.Now(), Data: p})
	case errors.Is(err, io.EOF):
		c.session.HalfClose(dir, time.Now())
	}
}

// demoTalk connects, says hello and lets talk go on. That the server refuses something is part of the demo.
func demoTalk(addr string, talk func(*smtp.Client) error) error {
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Hello("client.example.org"); err != nil {
		return err
	}
	var refused *smtp.SMTPError
	if err := talk(c); err != nil && !errors.As(err, &refused) {
		return err
	}
	return c.Quit()
}

func goodMail(c *smtp.Client) error {
	return c.SendMail("alice@example.org", []string{"bob@example.net"}, strings.NewReader(demoMail))
}

func unknownUser(c *smtp.Client) error {
	return c.SendMail("alice@example.org", []string{"nobody@example.net"}, strings.NewReader(demoMail))
}

func wrongPassword(c *smtp.Client) error {
	if err := c.Auth(sasl.NewPlainClient("", "alice", "letmein")); err == nil {
		return errors.New("a wrong password was accepted")
	}
	return c.Auth(sasl.NewPlainClient("", "alice", demoPassword))
}

func tooBig(c *smtp.Client) error {
	body := io.MultiReader(strings.NewReader(demoMail), bytes.NewReader(bytes.Repeat([]byte("far too long\r\n"), 1<<17)))
	return c.SendMail("alice@example.org", []string{"bob@example.net"}, body)
}

const demoPassword = "correct horse battery staple"

// demoMailbox is the demo's mail server: it knows bob, and alice's password.
type demoMailbox struct{}

func (*demoMailbox) AuthMechanisms() []string { return []string{sasl.Plain} }

func (*demoMailbox) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "alice" || password != demoPassword {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (*demoMailbox) Mail(string, *smtp.MailOptions) error { return nil }

func (*demoMailbox) Rcpt(to string, _ *smtp.RcptOptions) error {
	if to != "bob@example.net" {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user here"}
	}
	return nil
}

func (*demoMailbox) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r) // a mail that is too big has its own reply in the error
	return err
}

func (*demoMailbox) Reset()        {}
func (*demoMailbox) Logout() error { return nil }

var demoMail = strings.ReplaceAll(`From: Alice <alice@example.org>
To: Bob <bob@example.net>
Subject: =?utf-8?q?The_caf=C3=A9_at_noon?=
Date: Sun, 22 Nov 2026 10:00:00 +0100
Message-ID: <demo@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain; charset=utf-8

See you there.
--b
Content-Type: text/csv
Content-Disposition: attachment; filename="menu.csv"
Content-Transfer-Encoding: base64

Y29mZmVlLDMKY2FrZSw0Cg==
--b--
`, "\n", "\r\n")
