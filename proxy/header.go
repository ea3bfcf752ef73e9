package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

// header returns the PROXY header (haproxy.org, proxy-protocol.txt) that tells the server who the client is and which
// address it has connected to.
func (r *route) header(client, own netip.AddrPort) []byte {
	h := proxyproto.HeaderProxyFromAddrs(byte(r.SendProxy), tcpAddr(client), tcpAddr(own))
	data, err := h.Format()
	if err != nil { // a family that the header has no word for
		data, _ = (&proxyproto.Header{Version: byte(r.SendProxy), Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}).Format()
	}
	return data
}

// wanted is the address that a client has connected to: our own, or the server's where the packet filter has changed it.
func (r *route) wanted(own, server netip.AddrPort) netip.AddrPort {
	if r.Upstream == Original {
		return server
	}
	return own
}

func tcpAddr(a netip.AddrPort) net.Addr {
	if !a.IsValid() || a == noAddress {
		return nil
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
}

const (
	headerTime   = 5 * time.Second
	maxHeader    = 536 // octets
	maxHeader1   = 107 // of version 1
	headerPrefix = "PROXY "
	headerMagic  = "\r\n\r\n\x00\r\nQUIT\n" // of version 2
)

// readHeader reads the PROXY header of a client that is to send one, and believes it. It says false where there is none,
// or a bad one; nothing has gone to the server then.
func (c *call) readHeader() bool {
	if len(c.r.AcceptProxy) == 0 {
		return true
	}
	if c.stranger = !slices.ContainsFunc(c.r.AcceptProxy, func(net netip.Prefix) bool { return net.Contains(c.client.Addr().WithZone("")) }); c.stranger {
		return true
	}
	client := c.under[wire.FromClient]
	_ = client.SetReadDeadline(time.Now().Add(headerTime))
	text, err := takeHeader(client)
	var h *proxyproto.Header
	if err == nil {
		h, err = proxyproto.Read(bufio.NewReader(bytes.NewReader(text)))
	}
	_ = client.SetReadDeadline(time.Time{})
	if isTimeout(err) {
		err = errLate
	}
	if err != nil {
		c.badHeader(fmt.Errorf("a PROXY header was expected: %w", cause(err)))
		return false
	}
	source, ok := h.SourceAddr.(*net.TCPAddr)
	if h.Command == proxyproto.PROXY && ok { // not LOCAL, and not UNKNOWN
		c.client, c.own = addressOf(source), addressOf(h.DestinationAddr)
	}
	return true
}

// takeHeader reads a header, however it is cut, and nothing behind it.
func takeHeader(from io.Reader) ([]byte, error) {
	const v2Length = 16 // of what every header of version 2 has
	text := make([]byte, 0, maxHeader)
	need := func(n int) error {
		if n > maxHeader {
			return errTooLong
		}
		_, err := io.ReadFull(from, text[len(text):n])
		text = text[:n]
		return err
	}
	prefix := headerPrefix
	for n := 1; ; n++ {
		if err := need(n); err != nil {
			return nil, err
		}
		if n == 1 && text[0] == headerMagic[0] {
			prefix = headerMagic
		}
		switch {
		case n <= len(prefix) && text[n-1] != prefix[n-1]:
			return nil, errNoHeader
		case n < len(prefix):
		case prefix == headerPrefix && text[n-1] == '\n':
			return text, nil
		case prefix == headerPrefix && n == maxHeader1:
			return nil, errTooLong
		case prefix == headerMagic && n == v2Length:
			err := need(v2Length + int(binary.BigEndian.Uint16(text[v2Length-2:])))
			return text, err
		}
	}
}

var (
	errNoHeader = errors.New("what came is none")
	errTooLong  = errors.New("it is too long")
	errLate     = fmt.Errorf("it did not come within %v", headerTime)
)

// strangersHeader says whether a client that is not believed begins with a PROXY header.
func strangersHeader(data []byte) bool {
	return bytes.HasPrefix(data, []byte(headerPrefix)) || bytes.HasPrefix(data, []byte(headerMagic))
}

// stranded returns the octets with which a stranger has begun, once they are known not to be the beginning of a header,
// which ends the call, or have been held for as long as a header may take. Those that come then are still looked at.
func (c *call) stranded(data []byte, late bool) []byte {
	begun := len(c.first) > 0
	c.first = append(c.first, data...)
	c.stranger = mayBeHeader(c.first)
	switch {
	case strangersHeader(c.first):
		c.badHeader(errStranger)
		return nil
	case c.stranger && c.given == 0 && !late:
		if !begun {
			c.readUntil(time.Now().Add(headerTime))
		}
		return nil
	case begun && c.given == 0:
		c.readUntil(time.Time{})
	}
	first := c.first[c.given:]
	c.given = len(c.first)
	return first
}

// readUntil limits how long the client's next octets are waited for, unless its last words are.
func (c *call) readUntil(t time.Time) {
	client := c.ends[wire.FromClient]
	_ = client.SetReadDeadline(t)
	if c.broken.Load() { // maybe only just now
		_ = client.SetReadDeadline(time.Now().Add(lastWordsTime))
	}
}

func mayBeHeader(data []byte) bool {
	return len(data) < len(headerPrefix) && strings.HasPrefix(headerPrefix, string(data)) ||
		len(data) < len(headerMagic) && strings.HasPrefix(headerMagic, string(data))
}

// badHeader ends a call whose client said wrongly, or had no right to say, who it is.
func (c *call) badHeader(err error) {
	which := "from " + c.client.String()
	if !c.client.IsValid() {
		which = "to " + c.r.Listen
	}
	c.r.p.warn("proxy header", fmt.Sprintf("the connection %s was closed: %v", which, err))
	if c.pump == nil {
		if servers := c.r.servers.Load(); servers != nil {
			c.server = (*servers)[0]
		}
		c.pump = c.r.begin(c.client, c.server, c.begin)
	}
	c.pump.Tell(time.Now(), func(s *inspect.Session, t time.Time) {
		s.Anomaly(wire.ProxyHeader, t)
		s.Note(t, "the proxy closes the connection: %v", err)
	})
	c.breakOff(inspect.EndAborted)
}

var errStranger = errors.New("it began with a PROXY header, and --accept-proxy does not name its address")
