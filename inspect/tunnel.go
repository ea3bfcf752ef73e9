package inspect

import (
	"bytes"

	"github.com/mailwire/mailwire/inspect/wire"
)

// tunnel is the opening of a tunnel in front of the dialogue: SOCKS4, SOCKS5 (RFC 1928), HTTP CONNECT (RFC 9110 section
// 9.3.6), or a PROXY protocol header (HAProxy's proxy-protocol.txt).
type tunnel struct {
	name     string
	pending  bool // it may be one; more octets will tell
	done     bool
	answered bool // the server has a part in it
}

// openTunnel takes the opening off both sides' first octets, once it is whole.
func (d *detector) openTunnel() {
	t := &d.tunnel
	if t.done {
		return
	}
	client, server := d.first[wire.FromClient], d.first[wire.FromServer]
	name, c, s, whole := opening(client, server)
	t.pending = name != "" && !whole
	if t.pending && (len(client) == maxDetect || len(server) == maxDetect) {
		t.pending = false
	}
	if !whole {
		return
	}
	t.name, t.done, t.pending, t.answered = name, true, false, s > 0
	d.via = name
	d.strip(wire.FromClient, c)
	d.strip(wire.FromServer, s)
}

// strip drops the first n octets of one side.
func (d *detector) strip(dir wire.Direction, n int) {
	d.first[dir] = d.first[dir][n:]
	for i := range d.held.Chunks {
		if c := &d.held.Chunks[i]; c.Dir == dir && n > 0 {
			k := min(n, len(c.Data))
			c.Data = c.Data[k:]
			n -= k
		}
	}
}

// opening recognises a tunnel's opening and returns how many octets of each side belong to it. An empty name: it is none.
func opening(client, server []byte) (name string, c, s int, whole bool) {
	switch {
	case len(client) == 0:
	case begins(client, "CONNECT "):
		c, s = headEnd(client), headEnd(server)
		return "http-connect", c, s, c > 0 && s > 0
	case begins(client, "PROXY "):
		c = bytes.IndexByte(client, '\n') + 1
		return "proxy-v1", c, 0, c > 0
	case begins(client, "\r\n\r\n\x00\r\nQUIT\n"):
		if len(client) < 16 {
			return "proxy-v2", 0, 0, false
		}
		c = 16 + int(client[14])<<8 + int(client[15])
		return "proxy-v2", c, 0, len(client) >= c
	case client[0] == 5 && (len(server) == 0 || server[0] == 5):
		c, s = socks5(client, server)
		return "socks5", c, s, c > 0
	case begins(client, "\x04\x01") && (len(server) == 0 || server[0] == 0):
		c, s = socks4(client, server)
		return "socks4", c, s, c > 0
	}
	return "", 0, 0, false
}

// begins says whether data begins with prefix, as far as it goes.
func begins(data []byte, prefix string) bool {
	n := min(len(data), len(prefix))
	return bytes.EqualFold(data[:n], []byte(prefix[:n]))
}

// headEnd returns the length of an HTTP message's head, 0 as long as it is not whole.
func headEnd(data []byte) int {
	if i := bytes.Index(data, []byte("\r\n\r\n")); i >= 0 {
		return i + 4
	}
	if i := bytes.Index(data, []byte("\n\n")); i >= 0 {
		return i + 2
	}
	return 0
}

// socks5 returns the lengths of both sides of a SOCKS5 opening, 0 as long as it is not whole.
func socks5(client, server []byte) (c, s int) {
	if len(client) < 2 || len(server) < 2 {
		return 0, 0
	}
	c, s = 2+int(client[1]), 2
	if server[1] == 2 { // RFC 1929: version, user, password
		if len(client) < c+2 || len(client) < c+3+int(client[c+1]) {
			return 0, 0
		}
		c += 2 + int(client[c+1])
		c += 1 + int(client[c])
		s += 2
	}
	for _, side := range []struct {
		n    *int
		data []byte
	}{{&c, client}, {&s, server}} {
		n, ok := socksAddress(side.data, *side.n)
		if !ok {
			return 0, 0
		}
		*side.n = n
	}
	return c, s
}

// socksAddress returns the end of a request or reply that begins at i.
func socksAddress(data []byte, i int) (end int, ok bool) {
	if len(data) < i+5 {
		return 0, false
	}
	switch data[i+3] {
	case 1:
		end = i + 4 + 4 + 2
	case 3:
		end = i + 4 + 1 + int(data[i+4]) + 2
	case 4:
		end = i + 4 + 16 + 2
	default:
		return 0, false
	}
	return end, len(data) >= end
}

// socks4 returns the lengths of both sides of a SOCKS4 or 4a opening, 0 as long as it is not whole.
func socks4(client, server []byte) (c, s int) {
	if len(client) < 9 || len(server) < 8 {
		return 0, 0
	}
	user := bytes.IndexByte(client[8:], 0)
	if user < 0 {
		return 0, 0
	}
	c = 8 + user + 1
	if ip := client[4:8]; ip[0] == 0 && ip[1] == 0 && ip[2] == 0 && ip[3] != 0 { // 4a: the name follows
		host := bytes.IndexByte(client[c:], 0)
		if host < 0 {
			return 0, 0
		}
		c += host + 1
	}
	return c, 8
}
