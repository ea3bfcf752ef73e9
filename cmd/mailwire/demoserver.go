package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/proxy"
)

// demoSessions starts a mail server on the loopback interface with a proxy before it, and talks to it through the proxy.
func demoSessions(ctx context.Context, config *inspect.Config, kept *archive.Archive) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return new(demoMailbox), nil }))
	server.Domain, server.AllowInsecureAuth, server.MaxMessageBytes = "mx.example.net", true, 1<<20
	defer server.Close()
	var serving sync.WaitGroup
	defer serving.Wait()
	serving.Go(func() { _ = server.Serve(listener) }) // it ends with an error when it is closed

	front, err := proxy.Listen(ctx, proxy.Options{
		Routes:  []proxy.Route{{Protocol: inspect.SMTP, Listen: "127.0.0.1:0", Upstream: listener.Addr().String()}},
		Inspect: config, Recorder: kept,
	})
	if err != nil {
		return errors.Join(err, server.Close())
	}
	relaying, stop := context.WithCancel(ctx)
	defer stop()
	var relayed error
	serving.Go(func() { relayed = front.Serve(relaying, ctx) })
	for _, talk := range []func(*smtp.Client) error{goodMail, unknownUser, wrongPassword, tooBig} {
		if err := demoTalk(front.Addrs()[0].String(), talk); err != nil {
			return errors.Join(err, server.Close())
		}
	}
	stop()
	err = server.Shutdown(ctx)
	serving.Wait()
	return errors.Join(relayed, err)
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
