// Package record is what mailwire says about a session and about a mail: the versioned schema that scripts rely on.
//
// A record is owned by whoever holds it, bounded in size (see the Max constants) and complete in itself. Two kinds keep
// memory independent of a connection's length: a Message, one for each SMTP transaction and each POP3 RETR or TOP, and
// a Session, one for each connection. Names are those of the RFCs; a field that has nothing to say is left out.
// AppendJSON writes a record as one line; encoding/json reads it back.
//
// The package is a leaf: parsers, archive and views all import it, and it imports none of them.
package record

import "time"

// Version is the "v" of the records written by this program. Readers accept every older one.
const Version = 1

// Bounds of one record. What goes beyond is counted, not kept.
const (
	MaxText       = 4 << 10 // octets of one text field
	MaxDialogue   = 1000    // entries of Session.Dialogue, before {"omitted":N}
	MaxRecipients = 1000    // recipients kept in Message.Rcpt; all are counted
	MaxLogins     = 1000    // attempts kept in Session.Auth
	MaxErrors     = 1000    // replies kept in Session.Errors
	MaxHoles      = 1000    // holes kept in Message.Holes; the last one then spans the rest
	MaxNames      = 100     // names kept in Certificate.Names
)

// Values of the fields with a fixed vocabulary.
const (
	SMTP, LMTP, POP3, Unknown = "smtp", "lmtp", "pop3", "unknown" // Protocol; Unknown also Direction, Status, Outcome

	Inbound, Outbound, Internal, External = "inbound", "outbound", "internal", "external" // Direction

	Local, Remote = "local", "remote" // Endpoint.Side

	Closed, Aborted, Reset, Timeout, Refused = "closed", "aborted", "reset", "timeout", "refused" // Status; Aborted also Outcome

	Accepted, Rejected = "accepted", "rejected" // Outcome of a message

	Success, Failure = "success", "failure" // Outcome of a login

	ModeTap, ModeProxy = "tap", "proxy" // Mode
)

// Session is one connection, from its first octet to its last.
type Session struct {
	V            int         `json:"v"`
	Type         string      `json:"type"` // "session"
	ID           string      `json:"id"`
	CommunityID  string      `json:"community_id,omitempty"`
	Sensor       string      `json:"sensor,omitempty"`
	Mode         string      `json:"mode"`
	Protocol     string      `json:"protocol"`
	Begin        Time        `json:"begin"`
	End          Time        `json:"end"`
	DurationMS   float64     `json:"duration_ms"`
	Client       Endpoint    `json:"client"`
	Server       Endpoint    `json:"server"`
	Direction    string      `json:"direction"`
	Status       string      `json:"status"`
	Via          string      `json:"via,omitempty"` // what the conversation was wrapped in: socks4, socks5, http-connect, proxy-v1, proxy-v2
	Banner       string      `json:"banner,omitempty"`
	Helo         string      `json:"helo,omitempty"`
	Capabilities []string    `json:"capabilities,omitempty"`
	TLS          *TLS        `json:"tls,omitempty"`
	Auth         []Login     `json:"auth,omitempty"`
	Messages     int         `json:"messages"`
	Recipients   *Recipients `json:"recipients,omitempty"`
	Errors       []Error     `json:"errors,omitempty"`
	Commands     int         `json:"commands"`
	Replies      int         `json:"replies"`
	Unanswered   int         `json:"unanswered,omitempty"` // commands behind the last one that was answered, where nothing of the server's was lost
	Slowest      *Slowest    `json:"slowest,omitempty"`
	Octets       Octets      `json:"octets"`
	Lost         Octets      `json:"lost"`
	Dialogue     []Entry     `json:"dialogue,omitempty"`
	Anomalies    []Anomaly   `json:"anomalies,omitempty"`
}

// Message is one SMTP transaction or one mail fetched by POP3.
type Message struct {
	V           int               `json:"v"`
	Type        string            `json:"type"` // "message"
	ID          string            `json:"id"`   // SESSION.N
	Session     string            `json:"session"`
	Sensor      string            `json:"sensor,omitempty"`
	Mode        string            `json:"mode"`
	Protocol    string            `json:"protocol"`
	Transaction int               `json:"transaction"` // N, from 1
	Via         string            `json:"via,omitempty"`
	Begin       Time              `json:"begin"`
	End         Time              `json:"end"`
	Client      Endpoint          `json:"client"`
	Server      Endpoint          `json:"server"`
	Direction   string            `json:"direction"`
	Helo        string            `json:"helo,omitempty"`
	User        string            `json:"user,omitempty"`
	TLS         bool              `json:"tls,omitempty"`
	From        *string           `json:"from,omitempty"` // the envelope's; empty is the null reverse-path, nil is none seen
	Params      map[string]string `json:"params,omitempty"`
	Rcpt        []Rcpt            `json:"rcpt,omitempty"`
	Recipients  *Recipients       `json:"recipients,omitempty"`
	UIDL        string            `json:"uidl,omitempty"`
	Reply       *Reply            `json:"reply,omitempty"`
	QueueID     string            `json:"queue_id,omitempty"`
	Outcome     string            `json:"outcome"`
	Octets      int64             `json:"octets"`
	SHA256      string            `json:"sha256,omitempty"`
	Holes       []Hole            `json:"holes,omitempty"`
	Header      *Header           `json:"header,omitempty"`
	Parts       []Part            `json:"parts,omitempty"`
	Stored      *Stored           `json:"stored,omitempty"`
	Anomalies   []Anomaly         `json:"anomalies,omitempty"`
}

// Endpoint is one end of the connection. Side is left out where nothing was declared local.
type Endpoint struct {
	IP   string `json:"ip"`
	Port uint16 `json:"port"`
	Side string `json:"side,omitempty"`
}

// TLS is what was visible of a TLS connection. Who ends TLS between the two sides has a connection with each: the
// Handshake is then the client's, and Upstream the one with the server.
type TLS struct {
	How   string `json:"how"`   // starttls, stls or implicit
	Ended bool   `json:"ended"` // the inspector saw the plain text inside
	Handshake
	Upstream *Handshake `json:"upstream,omitempty"`
}

// Handshake is what a TLS handshake settled, as far as it was visible.
type Handshake struct {
	Version     string       `json:"version,omitempty"` // as "TLS 1.3"
	Cipher      string       `json:"cipher,omitempty"`  // as "TLS_AES_128_GCM_SHA256"
	SNI         string       `json:"sni,omitempty"`     // the server's name that the client asked for
	Certificate *Certificate `json:"certificate,omitempty"`
}

// Certificate is the one that the server showed. One that cannot be parsed has its digest only.
type Certificate struct {
	Subject   string   `json:"subject,omitempty"` // as "CN=mx.example.net,O=Example" (RFC 2253)
	Issuer    string   `json:"issuer,omitempty"`
	Names     []string `json:"names,omitempty"` // DNS names and IP addresses that it is good for
	NotBefore Time     `json:"not_before,omitzero"`
	NotAfter  Time     `json:"not_after,omitzero"`
	SHA256    string   `json:"sha256"` // of its DER
}

// Login is one login attempt with its result.
type Login struct {
	Time      Time   `json:"time"`
	Mechanism string `json:"mechanism"`
	User      string `json:"user,omitempty"`
	TLS       bool   `json:"tls,omitempty"` // it was inside TLS
	Outcome   string `json:"outcome"`       // success, failure or unknown
	Code      int    `json:"code,omitempty"`
	Enhanced  string `json:"enhanced,omitempty"`
	Text      string `json:"text,omitempty"`
}

// Recipients counts the RCPT commands by their reply; Unknown had none that was seen.
type Recipients struct {
	Accepted int `json:"accepted"`
	Rejected int `json:"rejected"`
	Unknown  int `json:"unknown,omitempty"`
}

// Error is a reply that refuses: 4xx, 5xx or -ERR (which has no code).
type Error struct {
	Time     Time   `json:"time"`
	Command  string `json:"command,omitempty"`
	Code     int    `json:"code,omitempty"`
	Enhanced string `json:"enhanced,omitempty"`
	Text     string `json:"text,omitempty"`
}

// Slowest is the longest wait for a reply.
type Slowest struct {
	Command string  `json:"command"` // the verb, CONNECT for the greeting, DATA-END for the reply to the end of data
	MS      float64 `json:"ms"`
}

// Octets counts octets by who sent them.
type Octets struct {
	Client int64 `json:"client"`
	Server int64 `json:"server"`
}

// Entry is one element of the dialogue: a command, a reply (its lines joined by "\n"), a body, or what was left out.
type Entry struct {
	MS      float64 `json:"ms"`
	From    string  `json:"from,omitempty"` // client or server
	Text    *string `json:"text,omitempty"`
	Body    *int64  `json:"body,omitempty"`    // octets of a message
	Raw     *string `json:"raw,omitempty"`     // a line that is neither command nor reply
	Omitted int     `json:"omitted,omitempty"` // entries not kept
}

// Anomaly is something that should not be on the wire, and how often it was.
type Anomaly struct {
	Kind  string `json:"kind"`
	Count int    `json:"count"`
}

// Rcpt is one RCPT command with its reply; LMTP's per-recipient outcome is in Delivered.
type Rcpt struct {
	To        string            `json:"to"`
	Params    map[string]string `json:"params,omitempty"`
	Code      int               `json:"code,omitempty"`
	Enhanced  string            `json:"enhanced,omitempty"`
	Text      string            `json:"text,omitempty"`
	Delivered *Reply            `json:"delivered,omitempty"`
}

// Reply is a server's reply.
type Reply struct {
	Code     int    `json:"code,omitempty"`
	Enhanced string `json:"enhanced,omitempty"`
	Text     string `json:"text,omitempty"`
}

// Hole is a run of octets that a message had on the wire and that were not seen. Offset is the place in the octets that
// were seen; Octets is -1 where the number is not known.
type Hole struct {
	Offset int64 `json:"offset"`
	Octets int64 `json:"octets"`
}

// Header holds the fields of a mail's header that people look for, decoded to UTF-8 (RFC 2047, RFC 2231).
type Header struct {
	Date      string   `json:"date,omitempty"`
	From      []string `json:"from,omitempty"`
	To        []string `json:"to,omitempty"`
	Cc        []string `json:"cc,omitempty"`
	ReplyTo   []string `json:"reply_to,omitempty"`
	Subject   string   `json:"subject,omitempty"`
	MessageID string   `json:"message_id,omitempty"`
	InReplyTo string   `json:"in_reply_to,omitempty"`
	UserAgent string   `json:"user_agent,omitempty"`
	Received  int      `json:"received,omitempty"`
}

// Part is a leaf of a mail's MIME structure, or a message attached to it. Octets and SHA256 are those of the decoded
// content; Damaged says that a hole, a broken encoding or a missing end of the part makes them less than what was sent.
type Part struct {
	Type        string `json:"type"`
	Charset     string `json:"charset,omitempty"`
	Name        string `json:"name,omitempty"`
	Disposition string `json:"disposition,omitempty"`
	Octets      int64  `json:"octets"`
	SHA256      string `json:"sha256,omitempty"`
	Damaged     bool   `json:"damaged,omitempty"`
}

// Stored says where the mail's octets are, relative to the data directory, or why they are nowhere.
type Stored struct {
	Path  string `json:"path,omitempty"`
	Exact bool   `json:"exact,omitempty"` // the file has the wire's line ends; else each LF in it was CRLF
	Error string `json:"error,omitempty"`
}

// Line is one line of the dialogue log: what was said, or what happened, as it happened.
type Line struct {
	Time   Time
	Kind   LineKind
	TLS    bool   // said inside TLS
	Text   []byte // foreign octets, unescaped, borrowed for the call
	Octets int64  // for a Body: how many octets of message

	// Of a reply only, as labels and value of a measurement.
	Command string        // the verb that it answers, CONNECT, DATA-END, or OTHER for any unknown verb; "" if it answers none
	Code    int           // 0 in POP3
	GoOn    bool          // the command is not answered yet: the client is to send more
	Wait    time.Duration // from the command to the reply; negative where it is not known
}

// LineKind says who said a Line.
type LineKind uint8

const (
	FromClient LineKind = iota // a command
	FromServer                 // a reply
	Refusal                    // a reply that refuses
	ClientBody                 // the octets of a message sent by the client
	ServerBody                 // the octets of a message sent by the server
	Note                       // not dialogue: connected, TLS, lost octets, anomalies, closed
)

// Secret is a password or token, kept only where --record-secrets asks for it.
type Secret struct {
	Time      Time
	Mechanism string
	User      string
	Secret    string
}
