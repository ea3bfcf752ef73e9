package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// sentMail is a mail as its client sent it, and what the server said to it. Its sender's address names it.
type sentMail struct {
	from     string
	to       []record.Rcpt
	text     []byte
	accepted bool
}

// sentSession is all that a client said to the server.
type sentSession struct {
	pipelining bool
	mails      []*sentMail
}

const (
	lossyPort    = 20000 // of the first session's client
	lossyWorkers = 6     // sessions at a time
)

// Who these words begin the address of is refused.
const (
	refusedSender    = "spam"
	refusedRecipient = "nobody"
)

// plannedSession makes the nth session, at random.
func plannedSession(n int, r *rand.Rand) *sentSession {
	s := &sentSession{pipelining: r.IntN(2) == 0}
	for i := range 1 + r.IntN(3) {
		m := &sentMail{from: fmt.Sprintf("s%d.m%d@example.org", n, i), accepted: r.IntN(6) > 0}
		if !m.accepted {
			m.from = refusedSender + m.from
		}
		for k := range 1 + r.IntN(4) {
			to := record.Rcpt{To: fmt.Sprintf("r%d.%s", k, strings.Replace(m.from, "org", "net", 1)), Code: 250}
			if k > 0 && r.IntN(3) == 0 {
				to.To, to.Code = refusedRecipient+to.To, 550
			}
			m.to = append(m.to, to)
		}
		octets := int(100 * math.Pow(3000, r.Float64())) // from 100 octets to 300 kB, as many small ones as large ones
		for len(m.text) < octets {
			line := make([]byte, 1+r.IntN(76))
			for i := range line {
				line[i] = byte('a' + r.IntN(26))
			}
			m.text = append(append(m.text, line...), "\r\n"...)
		}
		s.mails = append(s.mails, m)
	}
	return s
}

// commands come before the mail.
func (m *sentMail) commands() []string {
	all := []string{"MAIL FROM:<" + m.from + ">"}
	for _, to := range m.to {
		all = append(all, "RCPT TO:<"+to.To+">")
	}
	return append(all, "DATA")
}

// after is what comes between a mail and the next one.
func (s *sentSession) after(i int) string {
	commands := []string{".", "QUIT"}
	if i+1 < len(s.mails) {
		commands = append(commands[:1], s.mails[i+1].commands()...)
	}
	return strings.Join(commands, "\r\n") + "\r\n"
}

// smtpReply is what the server says to a command, or, at the end of data, to a sender.
func smtpReply(line, from string) string {
	verb, arg, _ := strings.Cut(line, ":<")
	switch {
	case line == ".":
		if strings.HasPrefix(from, refusedSender) {
			return "550 5.7.1 not wanted"
		}
		return "250 2.0.0 Ok: queued as " + queueName(from)
	case verb == "RCPT TO" && strings.HasPrefix(arg, refusedRecipient):
		return "550 5.1.1 unknown"
	case line == "DATA":
		return "354 go ahead"
	case line == "QUIT":
		return "221 2.0.0 bye"
	case strings.HasPrefix(line, "EHLO"):
		return "250-mx.example.net\r\n250 PIPELINING"
	}
	return "250 2.0.0 Ok"
}

// queueName is the queue id of a mail.
func queueName(from string) string {
	name, _, _ := strings.Cut(from, "@")
	return strings.ToUpper(strings.ReplaceAll(name, ".", ""))
}

// serveLossy answers one client. Like every server, it lets replies wait as long as there are more commands.
func serveLossy(conn net.Conn) {
	defer conn.Close()
	r, w := bufio.NewReader(conn), bufio.NewWriter(conn)
	fmt.Fprint(w, "220 mx.example.net ESMTP\r\n")
	from, inMail := "", false
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		if inMail && line != "." {
			continue
		}
		if sender, ok := strings.CutPrefix(line, "MAIL FROM:<"); ok {
			from = strings.TrimSuffix(sender, ">")
		}
		fmt.Fprint(w, smtpReply(line, from), "\r\n")
		inMail = line == "DATA"
		if line == "QUIT" {
			_ = w.Flush()
			return
		}
	}
}

// smtpTalk is a client's end of a session.
type smtpTalk struct {
	conn    net.Conn
	replies *bufio.Reader
	unsent  bytes.Buffer
	waiting []string // for their replies, which are these
}

// say lets commands wait for flush.
func (c *smtpTalk) say(command, from string) {
	fmt.Fprint(&c.unsent, command, "\r\n")
	c.waiting = append(c.waiting, smtpReply(command, from))
}

// flush sends what waits, and takes the replies.
func (c *smtpTalk) flush() error {
	if _, err := c.conn.Write(c.unsent.Bytes()); err != nil {
		return err
	}
	c.unsent.Reset()
	for ; len(c.waiting) > 0; c.waiting = c.waiting[1:] {
		for want := range strings.SplitSeq(c.waiting[0], "\r\n") {
			got, err := c.replies.ReadString('\n')
			if err != nil || got != want+"\r\n" {
				return fmt.Errorf("the server says %q, not %q: %w", got, want, err)
			}
		}
	}
	return nil
}

// talk sends the session's mails.
func (s *sentSession) talk(conn net.Conn) error {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	c := &smtpTalk{conn: conn, replies: bufio.NewReader(conn), waiting: []string{"220 mx.example.net ESMTP"}}
	step := func() error {
		if s.pipelining {
			return nil
		}
		return c.flush()
	}
	if err := c.flush(); err != nil {
		return err
	}
	c.say("EHLO client.example.org", "")
	if err := c.flush(); err != nil {
		return err
	}
	for _, m := range s.mails {
		for _, command := range m.commands() {
			c.say(command, "")
			if err := step(); err != nil {
				return err
			}
		}
		if err := c.flush(); err != nil {
			return err
		}
		c.unsent.Write(m.text)
		c.say(".", m.from)
		if err := step(); err != nil {
			return err
		}
	}
	c.say("QUIT", "")
	if err := c.flush(); err != nil {
		return err
	}
	_, err := c.replies.ReadByte() // the server closes first
	if err == nil {
		return fmt.Errorf("the server goes on")
	}
	return nil
}

// talk lets clients and a server of the two hosts send mails, and returns the sessions by the clients' ports.
func (r *lossyRig) talk(sessions int, seed uint64) map[uint16]*sentSession {
	r.t.Helper()
	listener, err := in(r.server, func() (net.Listener, error) { return net.Listen("tcp", smtpAddress) })
	if err != nil {
		r.t.Fatal(err)
	}
	defer listener.Close()
	var serving, talking sync.WaitGroup
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { serveLossy(conn) })
		}
	}()
	sent := map[uint16]*sentSession{}
	next := make(chan uint16)
	for n := range sessions {
		sent[lossyPort+uint16(n)] = plannedSession(n, rand.New(rand.NewPCG(seed, uint64(n))))
	}
	for range lossyWorkers {
		talking.Go(func() {
			for port := range next {
				dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(clientAddress), Port: int(port)}, Timeout: patience}
				conn, err := in(r.client, func() (net.Conn, error) { return dialer.Dial("tcp", smtpAddress) })
				if err == nil {
					err = sent[port].talk(conn)
				}
				if err != nil {
					r.t.Errorf("session %d: %v", port-lossyPort, err)
				}
			}
		})
	}
	for n := range sessions {
		next <- lossyPort + uint16(n)
	}
	close(next)
	talking.Wait()
	serving.Wait()
	return sent
}
