package inspect

import (
	"bytes"

	"github.com/mailwire/mailwire/inspect/pop3"
	"github.com/mailwire/mailwire/inspect/smtp"
	"github.com/mailwire/mailwire/inspect/wire"
)

// Bounds of what is held before the protocol must be known: octets of one side, and chunks.
const (
	maxDetect = 4 << 10
	maxChunks = 1000
)

// verdict is what a detector makes of a conversation.
type verdict uint8

const (
	undecided verdict = iota
	isSMTP
	isPOP3
	isNeither
	isReversed // the source takes the server for the client
)

// detector finds out which protocol a conversation speaks. It holds the first chunks, and looks at each side's first
// octets: in SMTP and POP3 the server speaks first, with "220 " or "+OK". Other protocols greet alike (FTP says 220 too,
// Redis +OK), so where no port promises a protocol, the greeting's words or the client's first command must agree.
type detector struct {
	hint    Hint
	started bool
	final   bool // no more octets will come
	verdict verdict
	via     string // the tunnel's name
	held    wire.Backlog
	first   [2][]byte // what each side said so far, behind any tunnel's opening
	tunnel  tunnel
}

// add looks at the next chunk, which it copies.
func (d *detector) add(c wire.Chunk) {
	d.held.Add(c)
	f := &d.first[c.Dir]
	*f = append(*f, c.Data[:min(len(c.Data), maxDetect-len(*f))]...)
	if c.Lost != 0 && len(c.Data) == 0 {
		return
	}
	d.look()
}

// finish decides with what there is.
func (d *detector) finish() {
	d.final = true
	if len(d.held.Chunks) > 0 {
		d.look()
	}
}

// reverse exchanges the sides.
func (d *detector) reverse() {
	d.first[0], d.first[1] = d.first[1], d.first[0]
	for i := range d.held.Chunks {
		d.held.Chunks[i].Dir = d.held.Chunks[i].Dir.Reverse()
	}
	d.started = true // nothing is reversed twice
	d.verdict = undecided
	d.look()
}

func (d *detector) look() {
	if d.openTunnel(); d.tunnel.pending && !d.final {
		return
	}
	client, server := d.first[wire.FromClient], d.first[wire.FromServer]
	full := d.final || len(client) == maxDetect || len(server) == maxDetect || len(d.held.Chunks) >= maxChunks
	if !d.started && looksLikeServer(client) && !looksLikeServer(server) {
		d.verdict = isReversed
		return
	}
	if d.tunnel.answered && len(server) == 0 && !full {
		return // the server may go on in the same breath
	}
	hint := d.hint
	if d.tunnel.name != "" {
		hint = AnyProtocol
	}
	switch {
	case d.started || hint == AnyProtocol:
		d.verdict = judge(hint, client, server, full)
	case len(client) >= 4 || len(server) >= 4 || full: // what was missed is what the port promises
		d.verdict = hint.promise()
	}
}

// judge judges a conversation from its beginning on; full: it will not be known better.
func judge(hint Hint, client, server []byte, full bool) verdict {
	if hint == AnyProtocol {
		return discover(client, server, full)
	}
	return promised(hint, client, server, full)
}

// promised judges a conversation on a port that promises a protocol: what does not contradict the promise is it.
func promised(hint Hint, client, server []byte, full bool) verdict {
	switch {
	case startsTLS(client), startsTLS(server):
		return hint.promise()
	case looksLikeServer(server), isRefusal(server):
		if server[0] == '+' || server[0] == '-' {
			return isPOP3
		}
		return isSMTP
	case len(server) > 0:
		if bytes.IndexByte(server, '\n') >= 0 || full {
			return isNeither
		}
	case bytes.IndexByte(client, '\n') >= 0:
		if v := firstCommand(firstLine(client), hint.promise()); v != isNeither {
			return v
		}
	}
	if full && len(client)+len(server) > 0 {
		return isNeither
	}
	return undecided
}

func (h Hint) promise() verdict {
	if h == POP3 {
		return isPOP3
	}
	return isSMTP
}

// firstCommand judges by the client's first line. It prefers the promise, as both protocols have some verbs.
func firstCommand(client []byte, promise verdict) verdict {
	inSMTP, inPOP3 := smtp.Known(client), pop3.Known(client)
	switch {
	case inSMTP && inPOP3:
		return promise
	case inSMTP:
		return isSMTP
	case inPOP3:
		return isPOP3
	}
	return isNeither
}

// discover judges a conversation on any other port.
func discover(client, server []byte, full bool) verdict {
	if smtp.Greets(firstLine(client)) && (len(server) == 0 || isReplyLine(server)) {
		return isSMTP
	}
	switch {
	case isReplyLine(server):
		return discoverBy(client, server, saysMail(server, "SMTP", "LMTP"), smtp.Greets, isSMTP, full)
	case hasPrefixFold(server, "+OK"):
		return discoverBy(client, server, saysMail(server, "POP"), pop3.Known, isPOP3, full)
	case len(server) >= 4, full:
		return isNeither
	case len(client) >= 4 && len(server) == 0 && bytes.IndexByte(client, '\n') >= 0:
		return isNeither
	}
	return undecided
}

// discoverBy decides behind a greeting that fits: its words say mail, or the client's first line agrees.
func discoverBy(client, server []byte, greeted bool, speaks func([]byte) bool, protocol verdict, full bool) verdict {
	line := firstLine(client)
	switch {
	case greeted, speaks(line):
		return protocol
	case line != nil && firstLine(server) != nil, full:
		return isNeither
	}
	return undecided
}

// saysMail says whether the server's first line has one of the words.
func saysMail(server []byte, words ...string) bool {
	line, _, _ := bytes.Cut(server, []byte("\n"))
	line = bytes.ToUpper(line)
	for _, w := range words {
		if bytes.Contains(line, []byte(w)) {
			return true
		}
	}
	return false
}

// firstLine returns the first line of data with its line end, nil as long as it is not whole.
func firstLine(data []byte) []byte {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return data[:i+1]
	}
	return nil
}

// looksLikeServer says whether data begins as a greeting of SMTP or POP3 does.
func looksLikeServer(data []byte) bool {
	return isReplyLine(data) || hasPrefixFold(data, "+OK") || hasPrefixFold(data, "-ERR")
}

// isReplyLine says whether data begins with an SMTP greeting: 220, or one of the refusals that are usual (RFC 5321 section
// 3.1, RFC 7504).
func isReplyLine(data []byte) bool {
	if !hasCode(data) {
		return false
	}
	switch string(data[:3]) {
	case "220", "421", "450", "451", "454", "521", "550", "554":
		return true
	}
	return false
}

// isRefusal says whether data begins with any error reply of SMTP.
func isRefusal(data []byte) bool {
	return hasCode(data) && (data[0] == '4' || data[0] == '5') && '0' <= data[1] && data[1] <= '9' && '0' <= data[2] && data[2] <= '9'
}

// hasCode says whether what stands behind the first three octets may stand behind the code of a reply.
func hasCode(data []byte) bool {
	return len(data) >= 4 && (data[3] == ' ' || data[3] == '-' || data[3] == '\r' || data[3] == '\n')
}

func hasPrefixFold(data []byte, prefix string) bool {
	return len(data) >= len(prefix) && bytes.EqualFold(data[:len(prefix)], []byte(prefix))
}

// startsTLS says whether data begins with a TLS handshake record.
func startsTLS(data []byte) bool { return len(data) >= 2 && data[0] == 0x16 && data[1] == 3 }
