package proxy

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// version2 is a PROXY header of version 2, made by hand.
func version2(command, family byte, address string) string {
	length := binary.BigEndian.AppendUint16(nil, uint16(len(address)))
	return "\r\n\r\n\x00\r\nQUIT\n" + string([]byte{command, family}) + string(length) + address
}

const (
	v4Addresses = "\xc6\x33\x64\x07\xc0\x00\x02\x19\xc8\x22\x00\x19" // 198.51.100.7:51234, 192.0.2.25:25
	v6Addresses = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x25" + "\xc8\x22\x00\x19"
)

var localhost = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// TestHeader: who the client is stands in the header; what follows it is for the server.
func TestHeader(t *testing.T) {
	s := newStage(t, Route{Protocol: inspect.SMTP}, Options{Terms: Terms{AcceptProxy: localhost}})
	for _, c := range []struct{ name, header, client string }{
		{"v1 TCP4", "PROXY TCP4 198.51.100.7 192.0.2.25 51234 25\r\n", "198.51.100.7"},
		{"v1 TCP6", "PROXY TCP6 2001:db8::7 2001:db8::25 51234 25\r\n", "2001:db8::7"},
		{"v1 longest", "PROXY TCP6 ffff:f00f:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", "ffff:f00f:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"v1 UNKNOWN", "PROXY UNKNOWN\r\n", "127.0.0.1"},
		{"v1 UNKNOWN with text", "PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", "127.0.0.1"},
		{"v2 TCP4", version2(0x21, 0x11, v4Addresses), "198.51.100.7"},
		{"v2 TCP6", version2(0x21, 0x21, v6Addresses), "2001:db8::7"},
		{"v2 TCP6 with an IPv4 address", version2(0x21, 0x21, strings.Repeat("\x00", 10)+"\xff\xff\xc6\x33\x64\x07"+v6Addresses[16:]), "198.51.100.7"},
		{"v2 with TLVs", version2(0x21, 0x11, v4Addresses+"\x02\x00\x0emx.example.net\x03\x00\x04\x01\x02\x03\x04\x04\x00\x64"+strings.Repeat("\x00", 100)), "198.51.100.7"},
		{"v2 longest", version2(0x21, 0x11, v4Addresses+"\x04\x01\xf9"+strings.Repeat("\x00", 505)), "198.51.100.7"},
		{"v2 LOCAL", version2(0x20, 0x00, ""), "127.0.0.1"},
		{"v2 LOCAL with an address", version2(0x20, 0x11, v4Addresses), "127.0.0.1"},
		{"v2 LOCAL with octets", version2(0x20, 0x00, "some octets"), "127.0.0.1"},
	} {
		for _, how := range []string{"at once", "octet by octet", "with a command"} {
			client := s.dial()
			behind := ""
			switch how {
			case "octet by octet":
				for _, octet := range []byte(c.header) {
					client.say(string([]byte{octet}))
				}
			case "with a command":
				behind = "EHLO early\r\n"
				fallthrough
			default:
				client.say(c.header + behind)
			}
			server := s.accept()
			server.name += " behind " + c.name + ", " + how
			server.hear(behind)
			talk(client, server, "S: 220 mx", "C: QUIT", "S: 221 bye")
			_, _ = server.conn.Close(), client.conn.Close()
			r := s.session()
			if r.Client.IP != c.client || c.client != "127.0.0.1" && r.Client.Port == 0 || hasAnomaly(r, wire.ProxyHeader) {
				t.Errorf("%s, %s: the client is %v, want %s; %+v", c.name, how, r.Client, c.client, r.Anomalies)
			}
		}
	}
}

// TestBadHeader: a header that is none, or too long, or cut ends the connection before there is one to the server.
func TestBadHeader(t *testing.T) {
	s := newStage(t, Route{Protocol: inspect.SMTP}, Options{Terms: Terms{AcceptProxy: localhost}})
	for name, header := range map[string]string{
		"none":                  "EHLO client\r\n",
		"TLS":                   "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"v1 no family":          "PROXY\r\n",
		"v1 bad family":         "PROXY UDP4 198.51.100.7 192.0.2.25 51234 25\r\n",
		"v1 other family":       "PROXY TCP4 2001:db8::7 2001:db8::25 51234 25\r\n",
		"v1 no port":            "PROXY TCP4 198.51.100.7 192.0.2.25 51234\r\n",
		"v1 bad port":           "PROXY TCP4 198.51.100.7 192.0.2.25 51234 65536\r\n",
		"v1 bad address":        "PROXY TCP4 198.51.100.777 192.0.2.25 51234 25\r\n",
		"v1 bare LF":            "PROXY TCP4 198.51.100.7 192.0.2.25 51234 25\n",
		"v1 too long":           "PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n",
		"v1 endless":            "PROXY TCP4 " + strings.Repeat("1", 10_000),
		"v1 cut":                "PROXY TCP4 198.51.100.7",
		"v1 small letters":      "proxy TCP4 198.51.100.7 192.0.2.25 51234 25\r\n",
		"v2 bad magic":          "\r\n\r\n\x00\r\nQUIX\n" + version2(0x21, 0x11, v4Addresses)[12:],
		"v2 version 3":          version2(0x31, 0x11, v4Addresses),
		"v2 bad command":        version2(0x22, 0x11, v4Addresses),
		"v2 bad family":         version2(0x21, 0x41, v4Addresses),
		"v2 bad protocol":       version2(0x21, 0x13, v4Addresses),
		"v2 short addresses":    version2(0x21, 0x11, v4Addresses[:11]),
		"v2 too long":           version2(0x21, 0x11, v4Addresses+"\x04\xff\x00"+strings.Repeat("\x00", 0xff00)),
		"v2 one octet too long": version2(0x21, 0x11, v4Addresses+"\x04\x01\xfa"+strings.Repeat("\x00", 506)),
		"v2 cut":                version2(0x21, 0x11, v4Addresses)[:20],
		"v2 cut in its TLVs":    version2(0x21, 0x11, v4Addresses+"\x04\x00\x64")[:28],
		"nothing":               "",
	} {
		client := s.dial()
		_, _ = io.WriteString(client.conn, header)
		if len(header) < 30 || strings.Contains(name, "cut") {
			_ = client.conn.(*net.TCPConn).CloseWrite()
		}
		client.cutOff()
		r := s.session()
		if !hasAnomaly(r, wire.ProxyHeader) || r.Octets != (record.Octets{}) || r.Status == record.Closed {
			t.Errorf("%s: %s, %+v, %+v", name, r.Status, r.Octets, r.Anomalies)
		}
		said := <-s.warnings
		if strings.Contains(said, "->") || strings.Contains(said, "EOF") || !strings.Contains(said, "was closed: a PROXY header was expected: ") {
			t.Errorf("%s: the log says %q", name, said)
		}
	}
	s.nobody()
}

// TestStranger: who is not believed may speak, but not by a header, however it is cut.
func TestStranger(t *testing.T) {
	s := newStage(t, Route{Protocol: inspect.SMTP}, Options{Terms: Terms{AcceptProxy: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}})
	client, server := s.pair()
	talk(client, server, "S: 220 mx", "C: PROX", "S: 500 what", "C: QUIT", "S: 221 bye")
	_, _ = server.conn.Close(), client.conn.Close()
	if r := s.session(); hasAnomaly(r, wire.ProxyHeader) || r.Status != record.Closed {
		t.Errorf("%s, %+v", r.Status, r.Anomalies)
	}
	for _, header := range []string{"PROXY TCP4 198.51.100.7 192.0.2.25 51234 25\r\n", version2(0x21, 0x11, v4Addresses)} {
		for _, cut := range []int{0, 1, 5, 11} {
			client, server := s.pair()
			if talk(client, server, "S: 220 mx"); cut > 0 {
				client.say(header[:cut])
				time.Sleep(20 * time.Millisecond) // so that it is read alone; else the test shows less
			}
			_, _ = io.WriteString(client.conn, header[cut:])
			client.cutOff()
			if text, _ := server.rest(); text != "" {
				t.Errorf("cut at %d: the server hears %q", cut, text)
			}
			if r := s.session(); !hasAnomaly(r, wire.ProxyHeader) || r.Client.IP != "127.0.0.1" {
				t.Errorf("cut at %d: %v, %+v", cut, r.Client, r.Anomalies)
			}
		}
	}
}

// TestNamelessStranger: who has no address is told by the socket to which he has connected.
func TestNamelessStranger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := newStage(t, Route{Protocol: inspect.SMTP, Listen: "unix:" + path}, Options{Terms: Terms{AcceptProxy: localhost}})
	client, _ := s.pair()
	client.say("PROXY TCP4 198.51.100.7 192.0.2.25 51234 25\r\n")
	client.cutOff()
	if said := <-s.warnings; !strings.HasPrefix(said, "the connection to unix:"+path+" was closed: ") {
		t.Errorf("the log says %q", said)
	}
}

// TestSlowStranger: what only looks like the beginning of a header is held no longer than a header may take to come. Nor
// does one who is not believed get a header past that by waiting.
func TestSlowStranger(t *testing.T) {
	for _, text := range []string{"\r\n", "PROX", "\r\n\r\n\x00\r\nQUIT", "P"} {
		synctest.Test(t, func(t *testing.T) {
			g := newPipedAs(t, Route{Protocol: inspect.SMTP}, Terms{AcceptProxy: localhost})
			g.play([]spoken{serverSays(smtpGreeting)}, uncut)
			g.client.say(text)
			time.Sleep(headerTime - time.Nanosecond)
			if heard := g.server.hears(); heard != "" {
				t.Errorf("the server hears %q at once", heard)
			}
			time.Sleep(time.Nanosecond)
			if heard := g.server.hears(); heard != text {
				t.Errorf("the server hears %q, want %q", heard, text)
			}
			time.Sleep(2 * headerTime)
			g.play([]spoken{clientSays("NOOP\r\n"), serverSays("250 ok\r\n"), clientSays("PROXY is no command\r\n")}, singly)
			if r := g.session(); hasAnomaly(r, wire.ProxyHeader) {
				t.Errorf("%q: %+v", text, r.Anomalies)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		g := newPipedAs(t, Route{Protocol: inspect.SMTP}, Terms{AcceptProxy: localhost})
		heard := ""
		for _, text := range []string{"PRO", "X", "Y", " TCP4 198.51.100.7 192.0.2.25 51234 25\r\n"} {
			g.client.say(text)
			time.Sleep(headerTime)
			heard += g.server.hears()
		}
		if heard != "PROXY" {
			t.Errorf("the server hears %q", heard)
		}
		if r := g.session(); !hasAnomaly(r, wire.ProxyHeader) {
			t.Errorf("%+v", r.Anomalies)
		}
	})
}

// TestHeaderTime: a client that does not begin with its header, or goes on too slowly, is not waited for.
func TestHeaderTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sessions := make(chan *record.Session, 1)
		said := ""
		p := bare(Options{
			Terms: Terms{AcceptProxy: localhost}, Inspect: &inspect.Config{}, Recorder: sessionRecorder{sessions},
			Warn: func(_, message string) { said = message },
		})
		p.aborting, p.abort = context.WithCancel(t.Context())
		defer p.abort()
		p.inspectors = []*inspector{newInspector(p)}
		inspecting, inspected := context.WithCancel(t.Context())
		go p.inspectors[0].run(inspecting)
		client, own := newPipe()
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			for _, octet := range []byte("PROXY TCP4 198.51.100.7 192.0.2.25 51234 25\r\n") {
				time.Sleep(time.Second)
				if _, err := client.Write([]byte{octet}); err != nil {
					break
				}
			}
		}()
		begin := time.Now()
		newCall(&route{Route: Route{Protocol: inspect.SMTP}, Terms: p.Options().Terms, p: p}, local{own}).run()
		if waited := time.Since(begin); waited != headerTime {
			t.Errorf("waited %v, want %v", waited, headerTime)
		}
		if want := "the connection from 127.0.0.1:51234 was closed: a PROXY header was expected: it did not come within 5s"; said != want {
			t.Errorf("the log says %q, want %q", said, want)
		}
		<-wrote
		inspected()
		if r := <-sessions; !hasAnomaly(r, wire.ProxyHeader) {
			t.Errorf("%+v", r.Anomalies)
		}
	})
}

// local is an end whose other side is at 127.0.0.1.
type local struct{ end }

func (local) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 51234} }

// TestHeaderAndTLS: the time for the header is not the time for the TLS handshake.
func TestHeaderAndTLS(t *testing.T) {
	a := newAuthority(t)
	for _, b := range begins {
		terminate, certificate := a.terminate()
		s := newStage(t, b.route, Options{Terms: Terms{AcceptProxy: localhost, SendProxy: 1, Terminate: terminate}})
		client := s.dial()
		client.say("PROXY TCP4 198.51.100.7 192.0.2.25 51234 25\r\n")
		server := s.accept()
		header, err := server.r.ReadString('\n')
		if fields := strings.Fields(header); err != nil || len(fields) != 6 || fields[2] != "198.51.100.7" || fields[4] != "51234" {
			t.Fatalf("the server gets %q, %v", header, err)
		}
		beginTLS(a, client, server, b.plain, b.command, b.agree, certificate)
		_, _ = client.conn.Close(), server.conn.Close()
		if r := s.session(); r.Client.IP != "198.51.100.7" || r.TLS == nil || !r.TLS.Ended {
			t.Errorf("%s: %v, %+v", b.route, r.Client, r.TLS)
		}
	}
}

// TestSentHeader: what the server gets, in both versions, relayed by a loop and by goroutines.
func TestSentHeader(t *testing.T) {
	for _, goroutines := range []bool{false, true} {
		for _, c := range []struct {
			accepted string
			version  int
			want     string
		}{
			{"", 1, "PROXY TCP4 127.0.0.1 127.0.0.1 "},
			{"", 2, version2(0x21, 0x11, v4Addresses)[:16] + "\x7f\x00\x00\x01\x7f\x00\x00\x01"},
			{"PROXY TCP4 198.51.100.7 192.0.2.25 51234 25\r\n", 1, "PROXY TCP4 198.51.100.7 192.0.2.25 51234 25\r\n"},
			{"PROXY TCP6 2001:db8::7 2001:db8::25 51234 25\r\n", 1, "PROXY TCP6 2001:db8::7 2001:db8::25 51234 25\r\n"},
			{"PROXY TCP6 2001:db8::7 2001:db8::25 51234 25\r\n", 2, version2(0x21, 0x21, v6Addresses)[:32]},
			{"PROXY UNKNOWN\r\n", 1, "PROXY TCP4 127.0.0.1 127.0.0.1 "},
		} {
			o := Options{Terms: Terms{SendProxy: c.version}, goroutines: goroutines}
			if c.accepted != "" {
				o.AcceptProxy = localhost
			}
			s := newStage(t, Route{Protocol: inspect.SMTP}, o)
			client := s.dial()
			client.say(c.accepted)
			server := s.accept()
			server.hear(c.want)
			server.say("220 mx\r\n")
			client.hear("220 mx\r\n")
		}
	}
}
