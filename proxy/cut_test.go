package proxy

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// longDialogue has all in which the place of a cut could matter. Its last words are the beginning of TLS.
func longDialogue() []flight {
	var d []flight
	say := func(from wire.Direction, octets string) { d = append(d, flight{from, []byte(octets)}) }
	client := func(octets string) { say(wire.FromClient, octets) }
	server := func(octets string) { say(wire.FromServer, octets) }
	server("220-mx.example.net ESMTP\r\n220 at your service\r\n")
	client("EHLO client.example.org\r\n")
	server("250-mx.example.net\r\n250-PIPELINING\r\n250-AUTH PLAIN LOGIN\r\n250-CHUNKING\r\n250 STARTTLS\r\n")
	client("STARTTLS\r\n")
	server("454 4.7.0 Not now\r\n")
	client("AUTH LOGIN\r\n")
	server("334 VXNlcm5hbWU6\r\n")
	client(base64.StdEncoding.EncodeToString([]byte("alice")) + "\r\n")
	server("334 UGFzc3dvcmQ6\r\n")
	client(base64.StdEncoding.EncodeToString([]byte("wrong")) + "\r\n")
	server("535 5.7.8 Authentication failed\r\n")
	client("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00alice\x00right")) + "\r\n")
	server("235 2.7.0 Authentication successful\r\n")
	client("MAIL FROM:<a@example.org> BODY=8BITMIME\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<c@example.net>\r\nDATA\r\n")
	server("250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n550-5.1.1 No such user\r\n550 5.1.1 here\r\n354 End with .\r\n")
	client("Subject: =?utf-8?q?cut?=\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"--=_x\"\r\n\r\n" +
		"----=_x\r\n\r\n..\r\n.. dots\r\n\r.\r\n\r\n----=_x\r\nContent-Type: text/plain; name=a\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\nb2N0ZXRz\r\n----=_x--\r\n.\r\n")
	server("250 2.0.0 Ok: queued as 4XyZ\r\n")
	chunk := "Subject: chunks\r\n\r\n.\r\nQUIT\r\n\x00\xff\r"
	client("MAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\n" + fmt.Sprintf("BDAT %d\r\n", len(chunk)) + chunk + "BDAT 3 LAST\r\n\n.\r")
	server("250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n250 2.0.0 Go on\r\n250 2.0.0 Ok: queued as 5XyZ\r\n")
	client("STARTTLS\r\n")
	server("220 2.0.0 Ready to start TLS\r\n")
	client(hello(1, "\x00\x00\x02\x13\x01\x01\x00", "\x00\x00\x00\x13\x00\x11\x00\x00\x0emx.example.net"))
	server(hello(2, "\x00\x13\x01\x00", "\x00\x2b\x00\x02\x03\x04"))
	client("\x17\x03\x03\x00\x10sixteen  octets.")
	return d
}

// hello is a TLS hello (RFC 8446 section 4.1) in its record: 1 is the client's, 2 the server's.
func hello(kind byte, choices, extensions string) string {
	prefixed := func(n int, s string) string { return string([]byte{byte(n >> 8), byte(n)}) + s }
	body := "\x03\x03" + strings.Repeat("r", 32) + choices + prefixed(len(extensions), extensions)
	message := string([]byte{kind, 0}) + prefixed(len(body), body)
	return "\x16\x03\x01" + prefixed(len(message), message)
}

// TestCuts: wherever a dialogue is cut, it arrives as it was, and the records say the same.
func TestCuts(t *testing.T) {
	flights := longDialogue()
	longest := 0
	for _, f := range flights {
		longest = max(longest, len(f.octets))
	}
	eachRelay(t, func(t *testing.T, o Options) {
		r := newRig(t, o)
		// converse lets the two say their flights in pieces, each of which arrives before the next is sent.
		converse := func(cut func(octets string) []string) string {
			r.memory.forget()
			client, server := r.pair()
			for _, f := range flights {
				from, to := client, server
				if f.from == wire.FromServer {
					from, to = server, client
				}
				for _, piece := range cut(string(f.octets)) {
					say(t, from, to, piece)
				}
			}
			_ = client.Close()
			receiveEnd(t, server)
			_ = server.Close()
			return said(r.memory.records(t, 1))
		}
		whole := converse(func(octets string) []string { return []string{octets} })
		s, mails := r.memory.records(t, 1)
		if len(mails) != 2 || mails[0].Outcome != record.Accepted || mails[1].Outcome != record.Accepted ||
			len(s[0].Auth) != 2 || s[0].Auth[1].Outcome != record.Success || s[0].TLS == nil || s[0].TLS.SNI != "mx.example.net" {
			t.Fatalf("recorded was %s", whole)
		}
		same := func(how, got string) {
			if got != whole {
				t.Errorf("cut %s:\n%s\nwhole:\n%s", how, got, whole)
			}
		}
		same("octet by octet", converse(func(octets string) []string { return strings.Split(octets, "") }))
		for n := 1; n < longest && !t.Failed(); n++ {
			same(fmt.Sprintf("behind octet %d", n), converse(func(octets string) []string {
				n := min(n, len(octets))
				return []string{octets[:n], octets[n:]}
			}))
		}
	})
}

// said are the records of one conversation, but for times and ports.
func said(sessions []*record.Session, messages []*record.Message) string {
	var b []byte
	for _, m := range messages {
		c := *m
		c.Begin, c.End, c.Client.Port, c.ID, c.Session = record.Time{}, record.Time{}, 0, "", ""
		b = append(c.AppendJSON(b), '\n')
	}
	c := *sessions[0]
	c.Begin, c.End, c.Client.Port, c.ID, c.CommunityID, c.DurationMS, c.Slowest = record.Time{}, record.Time{}, 0, "", "", 0, nil
	c.Auth, c.Errors, c.Dialogue = slices.Clone(c.Auth), slices.Clone(c.Errors), slices.Clone(c.Dialogue)
	for i := range c.Auth {
		c.Auth[i].Time = record.Time{}
	}
	for i := range c.Errors {
		c.Errors[i].Time = record.Time{}
	}
	for i := range c.Dialogue {
		c.Dialogue[i].MS = 0
	}
	return string(c.AppendJSON(b))
}
