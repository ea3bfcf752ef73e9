// Package replay sends a mail again, with the envelope that it had, and says where the server's replies are others than
// those that were recorded.
package replay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/view/explain"
)

// How TLS is spoken.
const (
	None     = "none"
	StartTLS = "starttls"
	Implicit = "implicit"
)

const (
	connectTimeout = 30 * time.Second
	commandTimeout = 5 * time.Minute // RFC 5321 section 4.5.3.2
	endTimeout     = 10 * time.Minute
)

// Options says where a mail goes, and how.
type Options struct {
	To       string // HOST:PORT
	TLS      string // None, StartTLS or Implicit
	Insecure bool   // any certificate will do
	LMTP     bool
	Helo     string // what we call ourselves
}

// Mail is what is sent.
type Mail struct {
	From   string
	Params map[string]string // of MAIL; those that the server does not offer are left out
	Rcpt   []record.Rcpt
	Octets io.Reader // with line ends as CRLF or LF
	Wire   bool      // they are those of the wire
	Old    Replies
}

// Step is a command and what the server said, now and when it was recorded ("" where that is not known).
type Step struct {
	Command  string
	Old, New string // replies as on the wire, their lines joined by "\n"
}

// Refused says whether the server refuses now; in LMTP, whether it does for one of the recipients.
func (s Step) Refused() bool {
	for line := range strings.SplitSeq(s.New, "\n") {
		if code, _, _ := explain.Split(record.SMTP, line); code >= 400 {
			return true
		}
	}
	return false
}

// Differs says whether the server decides otherwise than it did: another code, or for a refusal, another enhanced code.
// Texts have queue ids and times in them, and those of success mean little.
func (s Step) Differs() bool {
	oldCode, oldEnhanced, _ := explain.Split(record.SMTP, s.Old)
	newCode, newEnhanced, _ := explain.Split(record.SMTP, s.New)
	return s.Old != "" && (oldCode != newCode || s.Refused() && oldEnhanced != newEnhanced)
}

// Result is what happened. LoneLF counts line ends of the wire's octets that were LF without CR: SMTP has
// none, and they were sent as CRLF.
type Result struct {
	Steps  []Step
	LoneLF int
}

// Refused counts the steps that the server refused.
func (r *Result) Refused() int {
	n := 0
	for _, s := range r.Steps {
		if s.Refused() {
			n++
		}
	}
	return n
}

// Send sends a mail. An error is what kept it from being sent besides the server's replies; what was said until then is
// in the result.
func Send(ctx context.Context, m Mail, o Options) (*Result, error) {
	conn, err := (&net.Dialer{Timeout: connectTimeout}).DialContext(ctx, "tcp", o.To)
	if err != nil {
		return &Result{}, fmt.Errorf("%s cannot be reached: %w", o.To, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s := &sender{m: m, o: o, result: new(Result)}
	err = s.send(ctx, conn)
	if _, refused := errors.AsType[*smtp.SMTPError](err); refused {
		err = nil // it is a step of the result
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return s.result, err
}

type sender struct {
	m      Mail
	o      Options
	result *Result
	client *smtp.Client
	heard  transcript
}

func (s *sender) send(ctx context.Context, conn net.Conn) error {
	if err := s.hello(ctx, conn); err != nil {
		return err
	}
	err := s.transaction()
	// A command in the middle of a mail would end it as if it were whole (textproto.Writer), so there is no QUIT then.
	if _, refused := errors.AsType[*smtp.SMTPError](err); err == nil || refused {
		_ = s.step("QUIT", "", s.client.Quit) // the mail has its reply
	}
	return err
}

// transaction sends the envelope and the mail.
func (s *sender) transaction() error {
	if err := s.step("", s.m.Old.Mail, func() error { return s.client.Mail(s.m.From, s.mailOptions()) }); err != nil {
		return err
	}
	accepted := 0
	for i := range s.m.Rcpt {
		r := &s.m.Rcpt[i]
		old := ""
		if i < len(s.m.Old.Rcpt) {
			old = s.m.Old.Rcpt[i]
		}
		err := s.step("", old, func() error { return s.client.Rcpt(r.To, rcptOptions(r.Params)) })
		if _, refused := errors.AsType[*smtp.SMTPError](err); err != nil && !refused {
			return err
		}
		if err == nil {
			accepted++
		}
	}
	if accepted == 0 {
		return nil
	}
	return s.data()
}

// hello connects, speaks TLS where it is asked for, and greets.
func (s *sender) hello(ctx context.Context, conn net.Conn) error {
	host, _, err := net.SplitHostPort(s.o.To)
	if err != nil {
		return err
	}
	config := &tls.Config{ServerName: host, InsecureSkipVerify: s.o.Insecure}
	if s.o.TLS == Implicit {
		inside := tls.Client(conn, config)
		if err := inside.HandshakeContext(ctx); err != nil {
			return fmt.Errorf("TLS with %s failed: %w", s.o.To, err)
		}
		conn = inside
	}
	first := &greeting{Conn: conn}
	switch {
	case s.o.TLS == StartTLS:
		s.client, err = smtp.NewClientStartTLS(first, config)
		s.add("CONNECT", s.m.Old.Connect, first.line())
		if err != nil {
			return fmt.Errorf("STARTTLS with %s failed: %w", s.o.To, err)
		}
	case s.o.LMTP:
		s.client = smtp.NewClientLMTP(first)
	default:
		s.client = smtp.NewClient(first)
	}
	s.client.DebugWriter = &s.heard
	s.client.CommandTimeout, s.client.SubmissionTimeout = commandTimeout, endTimeout
	err = s.client.Hello(s.o.Helo)
	said := s.heard.take()
	if s.o.TLS != StartTLS {
		s.add("CONNECT", s.m.Old.Connect, first.line())
		_, said, _ = strings.Cut(said, first.line()+"\r\n")
	}
	if command, reply := commandAndReply(said); command != "" {
		s.add(command, s.m.Old.Helo, reply)
	}
	return err
}

// data sends the mail itself.
func (s *sender) data() error {
	var body *smtp.DataCommand
	err := s.step("", s.m.Old.Data, func() (err error) {
		body, err = s.client.Data()
		return err
	})
	if err != nil {
		return err
	}
	lines := &lineEnds{r: s.m.Octets}
	s.heard.deaf = true
	_, err = io.Copy(body, lines)
	if s.m.Wire {
		s.result.LoneLF = lines.lone
	}
	if err != nil {
		return fmt.Errorf("the mail was broken off, and so not sent: %w", err) // no end of data goes out
	}
	s.heard.deaf = false
	return s.step("DATA-END", s.m.Old.End, body.Close)
}

// step does something that gets a reply, and notes it. An empty command is the one that is heard.
func (s *sender) step(command, old string, do func() error) error {
	err := do()
	said := s.heard.take()
	if command == "DATA-END" {
		said = said[strings.LastIndex(said, "\r\n.\r\n")+1:]
	}
	heard, reply := commandAndReply(said)
	if command == "" {
		command = heard
	}
	if command != "" && (reply != "" || err != nil) {
		s.add(command, old, reply)
	}
	if _, refused := errors.AsType[*smtp.SMTPError](err); err != nil && !refused && reply == "" {
		return fmt.Errorf("%s: %w", command, err)
	}
	return err
}

func (s *sender) add(command, old, now string) {
	s.result.Steps = append(s.result.Steps, Step{command, old, now})
}

// offers says whether the server offers an extension.
func (s *sender) offers(name string) bool {
	ok, _ := s.client.Extension(name)
	return ok
}

// mailOptions are the parameters of MAIL that go-smtp knows and the server offers.
func (s *sender) mailOptions() *smtp.MailOptions {
	p := s.m.Params
	o := &smtp.MailOptions{}
	_, _ = fmt.Sscan(p["SIZE"], &o.Size) // what is no number is left out
	_, o.UTF8 = p["SMTPUTF8"]
	o.UTF8 = o.UTF8 && s.offers("SMTPUTF8")
	_, o.RequireTLS = p["REQUIRETLS"]
	o.RequireTLS = o.RequireTLS && s.offers("REQUIRETLS")
	if r := smtp.DSNReturn(strings.ToUpper(p["RET"])); r == smtp.DSNReturnFull || r == smtp.DSNReturnHeaders {
		o.Return = r
	}
	o.EnvelopeID = fromXtext(p["ENVID"])
	return o
}

func rcptOptions(p map[string]string) *smtp.RcptOptions {
	o := &smtp.RcptOptions{}
	for word := range strings.SplitSeq(strings.ToUpper(p["NOTIFY"]), ",") {
		if n := smtp.DSNNotify(word); slices.Contains([]smtp.DSNNotify{smtp.DSNNotifyNever, smtp.DSNNotifyDelayed, smtp.DSNNotifyFailure, smtp.DSNNotifySuccess}, n) {
			o.Notify = append(o.Notify, n)
		}
	}
	if kind, address, ok := strings.Cut(p["ORCPT"], ";"); ok && strings.EqualFold(kind, "rfc822") {
		o.OriginalRecipientType, o.OriginalRecipient = smtp.DSNAddressTypeRFC822, fromXtext(address)
	}
	return o
}

// LeftOut names the parameters that were recorded and are not sent again, as this program does not know them.
func LeftOut(m Mail) []string {
	left := map[string]bool{}
	for key := range m.Params {
		left[key] = !slices.Contains([]string{"SIZE", "SMTPUTF8", "REQUIRETLS", "RET", "ENVID", "BODY"}, key)
	}
	for _, r := range m.Rcpt {
		for key := range r.Params {
			left[key] = !slices.Contains([]string{"NOTIFY", "ORCPT"}, key)
		}
	}
	maps.DeleteFunc(left, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(left))
}

// fromXtext undoes the encoding of RFC 3461 section 4; "" where it is none, or not printable.
func fromXtext(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+3 > len(s) {
				return ""
			}
			if _, err := fmt.Sscanf(s[i+1:i+3], "%02X", &c); err != nil {
				return ""
			}
			i += 2
		}
		if c < ' ' || c > '~' {
			return ""
		}
		b.WriteByte(c)
	}
	return b.String()
}
