package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/mailwire/mailwire/inspect"
	"github.com/mailwire/mailwire/inspect/wire"
)

// header returns the PROXY header (haproxy.org, proxy-protocol.txt) that tells the server who the client is and which
// address it has connected to.
func (r *route) header(client, own netip.AddrPort) []byte {
	h := proxyproto.HeaderProxyFromAddrs(byte(r.p.SendProxy), tcpAddr(client), tcpAddr(own))
	data, err := h.Format()
	if err != nil { // a family that the header has no word for
		data, _ = (&proxyproto.Header{Version: byte(r.p.SendProxy), Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}).Format()
	}
	return data
}

func tcpAddr(a netip.AddrPort) net.Addr {
	if !a.IsValid() || a == noAddress {
		return nil
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
}

const (
	headerTime   = 5 * time.Second
	maxHeader    = 536 // octets; version 1 has at most 107
	headerPrefix = "PROXY "
	headerMagic  = "\r\n\r\n\x00\r\nQUIT\n" // of version 2
)

// readHeader reads the PROXY header of a client that is to send one, and believes it. It says false where there is none,
// or a bad one; nothing has gone to the server then.
func (c *call) readHeader() bool {
	p := c.r.p
	if len(p.AcceptProxy) == 0 {
		return true
	}
	if c.stranger = !slices.ContainsFunc(p.AcceptProxy, func(net netip.Prefix) bool { return net.Contains(c.client.Addr()) }); c.stranger {
		return true
	}
	client := c.under[wire.FromClient]
	_ = client.SetReadDeadline(time.Now().Add(headerTime))
	h, err := proxyproto.Read(bufio.NewReaderSize(io.LimitReader(octetReader{client}, maxHeader), maxHeader))
	if err != nil {
		c.badHeader(fmt.Errorf("a PROXY header was expected: %w", err))
		return false
	}
	source, ok := h.SourceAddr.(*net.TCPAddr)
	if h.Command == proxyproto.PROXY && ok { // not LOCAL, and not UNKNOWN
		c.client = addressOf(source)
	}
	return true
}

// octetReader reads octet by octet, so that nothing behind a header is taken.
type octetReader struct{ io.Reader }

func (r octetReader) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

// strangersHeader says whether a client that is not believed begins with a PROXY header.
func strangersHeader(data []byte) bool {
	return bytes.HasPrefix(data, []byte(headerPrefix)) || bytes.HasPrefix(data, []byte(headerMagic))
}

// badHeader ends a call whose client said wrongly, or had no right to say, who it is.
func (c *call) badHeader(err error) {
	c.r.p.Warn("proxy header", fmt.Sprintf("the connection from %s was closed: %v", c.client, err))
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
