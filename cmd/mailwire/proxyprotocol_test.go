//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// connects are the lines in which a server logs its client.
var connects = map[string]*regexp.Regexp{
	"postfix": regexp.MustCompile(`: connect from unknown\[([^\]]+)\]`),
	"dovecot": regexp.MustCompile(`pop3-login: .* rip=([^,]+),`),
}

// sees waits until all clients that a server has logged beyond its first octets of log are these.
func (s *servers) sees(server string, since int, want ...string) {
	s.t.Helper()
	var got []string
	for end := time.Now().Add(patience); !slices.Equal(got, want); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) || len(got) > len(want) {
			s.t.Fatalf("%s sees %v, want %v", server, got, want)
		}
		got = nil
		for _, m := range connects[server].FindAllStringSubmatch(s.log(server)[since:], -1) {
			got = append(got, m[1])
		}
	}
}

// TestSendProxy: Postfix and Dovecot see who the client of the proxy is.
func TestSendProxy(t *testing.T) {
	s := startServers(t, "postfix")
	need(t, "swaks", "curl")
	for i, version := range []string{"v1", "v2"} {
		for _, tls := range []string{"", "pass", "terminate"} {
			t.Run(strings.TrimSpace(version+" "+tls), func(t *testing.T) {
				address := fmt.Sprintf("127.0.0.%d", 2+i)
				smtp, smtps, pop3, pop3s := freePort(t), freePort(t), freePort(t), freePort(t)
				args := []string{
					"--send-proxy", version, "--smtp", smtp + "=" + s.at["smtp-haproxy"], "--smtps", smtps + "=" + s.at["smtps-haproxy"],
					"--pop3", pop3 + "=" + s.at["pop3-haproxy"], "--pop3s", pop3s + "=" + s.at["pop3s-haproxy"],
				}
				if tls == "terminate" {
					args = append(args, s.terminating()...)
				}
				p := relay(t, args...)
				here, postfix, dovecot, n := s.in(t), len(s.log("postfix")), len(s.log("dovecot")), 1
				send := []string{"-s", "127.0.0.1", "--local-interface", address, "-f", "a@example.org", "-t", "alice@example.net", "-p"}
				fetch := []string{"-sS", "-k", "--interface", address, "-u", "alice:" + password}
				if tls == "" {
					client(t, "swaks", append(send, portOf(smtp))...)
					client(t, "curl", append(fetch, "pop3://127.0.0.1:"+portOf(pop3))...)
				} else {
					n = 2
					client(t, "swaks", append(send, portOf(smtp), "--tls")...)
					client(t, "swaks", append(send, portOf(smtps), "--tlsc")...)
					client(t, "curl", append(fetch, "--ssl-reqd", "pop3://127.0.0.1:"+portOf(pop3))...)
					client(t, "curl", append(fetch, "pop3s://127.0.0.1:"+portOf(pop3s))...)
				}
				here.sees("postfix", postfix, slices.Repeat([]string{address}, n)...)
				here.sees("dovecot", dovecot, slices.Repeat([]string{address}, n)...)
				got := p.stop()
				if len(got.sessions) != 2*n {
					t.Errorf("%d sessions, want %d", len(got.sessions), 2*n)
				}
				for _, r := range got.sessions {
					if r.Client.IP != address || len(r.Anomalies) > 0 {
						t.Errorf("recorded %v, %+v", r.Client, r.Anomalies)
					}
				}
				checkPasswords(t, got)
			})
		}
	}
}

// startHAProxy runs HAProxy as a relay to each of the given addresses, and returns its own.
func (s *servers) startHAProxy(options string, to ...string) (at []string) {
	s.t.Helper()
	need(s.t, "haproxy")
	config := "defaults\n mode tcp\n timeout connect 10s\n timeout client 20s\n timeout server 20s\n"
	for i, address := range to {
		at = append(at, freePort(s.t))
		config += fmt.Sprintf("listen mail%d\n bind %s\n server mailwire %s %s\n", i, at[i], address, options)
	}
	s.daemon("haproxy", "-db", "-f", s.write("haproxy.cfg", config))
	for _, address := range at {
		await(s.t, "HAProxy", func() bool { return listening(s.t, address) })
	}
	return at
}

// TestAcceptProxy: behind HAProxy, with both versions of the header, the record has the true client; and so has the
// server, where the proxy says it on.
func TestAcceptProxy(t *testing.T) {
	s := startServers(t, "postfix")
	need(t, "swaks", "curl", "haproxy")
	for _, c := range []struct {
		options string
		args    []string
		tls     bool
		on      bool // the server is told, too
	}{
		{"send-proxy", nil, false, false},
		{"send-proxy-v2", nil, false, false},
		{"send-proxy", []string{"--send-proxy", "v2"}, false, true},
		{"send-proxy-v2", []string{"--send-proxy", "v1"}, false, true},
		{"send-proxy", append([]string{"--send-proxy", "v1"}, s.terminating()...), true, true},
		{"send-proxy-v2", append([]string{"--send-proxy", "v2"}, s.terminating()...), true, true},
	} {
		t.Run(c.options+" "+strings.Join(c.args[:min(2, len(c.args))], " ")+fmt.Sprint(c.tls), func(t *testing.T) {
			here := s.in(t)
			listen, secure, fetch := freePort(t), freePort(t), freePort(t)
			suffix := ""
			if c.on {
				suffix = "-haproxy"
			}
			p := relay(t, append(c.args, "--accept-proxy", "127.0.0.1/32", "--smtp", listen+"="+s.at["smtp"+suffix],
				"--smtps", secure+"="+s.at["smtps"+suffix], "--pop3", fetch+"="+s.at["pop3"+suffix])...)
			front := here.startHAProxy(c.options, listen, secure, fetch)
			postfix, dovecot, n := len(s.log("postfix")), len(s.log("dovecot")), 1
			send := []string{"-s", "127.0.0.1", "--local-interface", "127.0.0.4", "-f", "a@example.org", "-t", "alice@example.net", "-p"}
			client(t, "swaks", append(send, portOf(front[0]))...)
			if c.tls {
				n = 3
				client(t, "swaks", append(send, portOf(front[0]), "--tls")...)
				client(t, "swaks", append(send, portOf(front[1]), "--tlsc")...)
			}
			client(t, "curl", "-sS", "--interface", "127.0.0.4", "-u", "alice:"+password, "pop3://"+front[2])
			seen := "127.0.0.1"
			if c.on {
				seen = "127.0.0.4"
			}
			here.sees("postfix", postfix, slices.Repeat([]string{seen}, n)...)
			here.sees("dovecot", dovecot, seen)
			got := p.stop()
			for _, r := range got.sessions {
				if len(r.Anomalies) > 0 {
					t.Errorf("%v: %+v", r.Client, r.Anomalies)
				}
				if r.Client.IP != "127.0.0.4" {
					t.Errorf("recorded %v", r.Client)
				}
			}
			if len(got.sessions) != n+1 {
				t.Errorf("%d sessions, want %d", len(got.sessions), n+1)
			}
		})
	}
}

// TestProxyChain: addresses of every family that a header can have come to the server as they were said.
func TestProxyChain(t *testing.T) {
	s := startServers(t, "postfix")
	for _, version := range []string{"v1", "v2"} {
		listen := freePort(t)
		p := relay(t, "--accept-proxy", "127.0.0.0/8", "--send-proxy", version, "--smtp", listen+"="+s.at["smtp-haproxy"])
		for _, c := range []struct{ header, want string }{
			{"PROXY TCP4 198.51.100.7 192.0.2.25 51234 25\r\n", "198.51.100.7"},
			{"PROXY TCP6 2001:db8::7 2001:db8::25 51234 25\r\n", "2001:db8::7"},
			{"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x08\xc0\x00\x02\x19\xc8\x22\x00\x19", "198.51.100.8"},
			{"\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x25\xc8\x22\x00\x19", "2001:db8::8"},
			{"PROXY UNKNOWN\r\n", "127.0.0.5"},
			{"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "127.0.0.5"},
		} {
			since := len(s.log("postfix"))
			conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 5)}}).Dial("tcp", listen)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, _ = io.WriteString(conn, c.header)
			r := bufio.NewReader(conn)
			if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "220 ") {
				t.Fatalf("%s, %q: greeted with %q, %v", version, c.header, line, err)
			}
			_, _ = io.WriteString(conn, "QUIT\r\n")
			_, _ = io.Copy(io.Discard, r)
			_ = conn.Close()
			s.sees("postfix", since, c.want)
		}
		var clients []string
		for _, r := range p.stop().sessions {
			clients = append(clients, r.Client.IP)
		}
		want := []string{"198.51.100.7", "2001:db8::7", "198.51.100.8", "2001:db8::8", "127.0.0.5", "127.0.0.5"}
		if !slices.Equal(clients, want) {
			t.Errorf("recorded %v, want %v", clients, want)
		}
	}
}
