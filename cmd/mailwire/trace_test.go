//go:build linux

package main

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// TestTraceOfProxy: the tap reads in the proxy's trace what the proxy recorded, and so do others.
func TestTraceOfProxy(t *testing.T) {
	listen, maildrop, server := freePort(t), freePort(t), smtpServer(t)
	p := relay(t, "--trace", "--sensor", "here", "--smtp", listen+"="+server, "--pop3", maildrop+"="+pop3Server(t))
	for _, talk := range []func(*smtp.Client) error{goodMail, unknownUser, wrongPassword, tooBig} {
		if err := demoTalk(listen, talk); err != nil {
			t.Fatal(err)
		}
	}
	fetchFrom(t, maildrop)
	got := p.stop()
	if len(got.sessions) != 5 || len(got.messages) != 4 {
		t.Fatalf("%d sessions, %d messages", len(got.sessions), len(got.messages))
	}
	trace := traceOf(t, p.dir)
	compareModes(t, got, record1(t, trace, "--sensor", "here"))
	checkDissected(t, trace, server, got)
}

// TestTraceOfTLS: what was inside TLS that ends in the proxy is in the trace in clear.
func TestTraceOfTLS(t *testing.T) {
	s := startServers(t, "postfix")
	clients := sendClients(s)
	for _, c := range []mailClient{clients[0], clients[4]} {
		t.Run(c.name, func(t *testing.T) {
			listen, route, server := freePort(t), "--smtp", "smtp"
			if c.implicit {
				route, server = "--smtps", "smtps"
			}
			p := relay(t, append(s.terminating(), "--trace", "--sensor", "here", route, listen+"="+s.at[server])...)
			c.run(t, s, portOf(listen))
			got := p.stop()
			if len(got.sessions) != 1 || got.sessions[0].TLS == nil || !got.sessions[0].TLS.Ended {
				t.Fatalf("%+v", got.sessions)
			}
			tapped := record1(t, traceOf(t, p.dir), "--sensor", "here")
			for _, both := range []*recorded{&got, &tapped} {
				withoutTLS(both)
			}
			compareModes(t, got, tapped)
			if len(got.messages) != 1 || got.messages[0].Outcome != record.Accepted {
				t.Errorf("%+v", got.messages)
			}
			if c.implicit {
				checkDissected(t, traceOf(t, p.dir), s.at[server], got)
			}
		})
	}
}

// withoutTLS takes away what a reader of the trace cannot know: that there was TLS.
func withoutTLS(r *recorded) {
	for i := range r.sessions {
		s := &r.sessions[i]
		s.TLS = nil
		for i := range s.Auth {
			s.Auth[i].TLS = false
		}
		if len(s.Anomalies) == 1 && s.Anomalies[0].Kind == wire.PlainAfterTLS {
			s.Anomalies = nil
		}
	}
	for i := range r.messages {
		r.messages[i].TLS = false
	}
	for id, lines := range r.said {
		var plain []string
		for _, line := range lines {
			if !strings.HasPrefix(line, "=== ") {
				plain = append(plain, strings.ReplaceAll(line[:2], "~", "-")+line[2:])
			}
		}
		r.said[id] = plain
	}
}

// traceOf returns the only trace in a data directory.
func traceOf(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "trace", "trace-*.pcapng"))
	if err != nil || len(names) == 0 {
		t.Fatalf("there is no trace: %v", err)
	}
	if len(names) > 1 {
		t.Skip("it has become midnight, and there are two traces")
	}
	return names[0]
}

// checkDissected holds tshark's commands of a trace against those in the records of SMTP.
func checkDissected(t *testing.T, trace, server string, got recorded) {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Log("tshark is not installed")
		return
	}
	var want []string
	for _, s := range got.sessions {
		for _, e := range s.Dialogue {
			if s.Protocol == record.SMTP && e.From == "client" && e.Body == nil {
				verb, _, _ := strings.Cut(*e.Text, " ")
				want = append(want, verb)
			}
		}
	}
	out, err := exec.Command("tshark", "-r", trace, "-d", "tcp.port=="+portOf(server)+",smtp", "-Y", "smtp.req.command", "-T", "fields", "-e", "smtp.req.command").Output()
	if err != nil {
		t.Fatal(err)
	}
	noCommand := func(word string) bool { return strings.HasPrefix(word, "*") } // it gives up a login
	want = slices.DeleteFunc(want, noCommand)
	if seen := slices.DeleteFunc(strings.Fields(string(out)), noCommand); !slices.Equal(seen, want) || len(seen) == 0 {
		t.Errorf("tshark sees %v, the records say %v", seen, want)
	}
	out, err = exec.Command("tshark", "-r", trace, "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-Y",
		"tcp.analysis.flags || tcp.checksum.status == 0 || ip.checksum.status == 0 || _ws.malformed").Output()
	if err != nil || len(out) > 0 {
		t.Errorf("tshark finds fault with packets: %v\n%s", err, out)
	}
}

// fetchFrom fetches the mail of pop3Server.
func fetchFrom(t *testing.T, address string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for _, c := range []struct{ say, until string }{{"", "+OK ready"}, {"USER alice", "+OK"}, {"RETR 1", "."}, {"QUIT", "+OK"}} {
		if c.say != "" {
			fmt.Fprintf(conn, "%s\r\n", c.say)
		}
		for lines.Scan() && lines.Text() != c.until {
		}
		if lines.Text() != c.until {
			t.Fatalf("%q gets %q, %v", c.say, lines.Text(), lines.Err())
		}
	}
}
