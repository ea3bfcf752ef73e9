package wire

import "time"

// Event is what a parser says about a conversation: one of the types below. Events are internal and may change; records
// (package record) are the product. Every event and every slice in it is borrowed for the call that hands it over.
type Event interface{ event() }

// Command is one command line of the client. Commands are numbered from 1 in the order of their events, so that a Reply
// can name the one that it answers.
type Command struct {
	Time time.Time
	N    int
	Verb string // in upper case; AUTH for a response within an AUTH exchange
	Held bool   // it was held until a reply said that it is a command: more may have been sent behind it
	Arg  []byte // what follows the verb and its space; secrets are "***"
	Line []byte // the line as sent, without its line end; secrets are "***"
	Cut  int64  // octets of the line beyond MaxLine, not in Line

	Response bool // the line is a response within an AUTH exchange
}

// Reply is one whole reply of the server, however many lines it has.
type Reply struct {
	Time     time.Time
	To       int           // the number of the command that it answers; 0: to none that is known
	Verb     string        // that command's verb, Connect for the greeting, DataEnd for an end of data
	Command  []byte        // that command's line
	Wait     time.Duration // from the command to the reply; negative where it is not known
	Code     int           // SMTP's three digits; 0 in POP3
	Enhanced string        // RFC 3463's code, as 5.7.1
	OK       bool          // 2xx, 3xx, +OK or + ; an error reply otherwise
	GoOn     bool          // 3xx or +: the command is not answered yet, the client is to send more
	Text     []byte        // the text without codes, its lines joined by "\n"
	Lines    []byte        // the lines as sent, joined by "\n"
	Cut      int64         // octets of the reply beyond MaxLine, not in Lines
}

// Pseudo-verbs. No command line has one of them, see UnknownVerb.
const (
	Connect = "CONNECT"  // the greeting answers the connection
	DataEnd = "DATA-END" // the reply to the octets of a mail
	Other   = "OTHER"    // any verb that is not known, where their number must be bounded
)

// BodyBegin begins the octets of a mail.
type BodyBegin struct {
	Time    time.Time
	Dir     Direction // who sends them
	Via     string    // DATA, BDAT, RETR or TOP
	Command int       // the number of the command that they belong to
	UIDL    string    // POP3: the unique id, where it was seen
}

// Body is a run of a mail's octets, after dot-unstuffing. Lost counts those missing just before Data.
type Body struct {
	Lost int64
	Data []byte
}

// BodyEnd ends the octets of a mail. Unless Complete, the end of data was not seen.
type BodyEnd struct {
	Time     time.Time
	Complete bool
}

// Login is one login attempt, at its result.
type Login struct {
	Time      time.Time
	Mechanism string // in upper case; USER/PASS and APOP in POP3
	User      string // empty where it was not seen
	Outcome   Outcome
	Code      int
	Enhanced  string
	Text      []byte
	Secret    string // what proves the user's identity, for who wants to keep it (see Config.Secrets)
}

// Outcome of a login.
type Outcome uint8

const (
	OutcomeUnknown Outcome = iota // no result was seen
	Success
	Failure
)

// Upgrade says that what follows is TLS (Plain: that it should be, and is plain text, as in a decrypted capture).
type Upgrade struct {
	Time  time.Time
	How   string // starttls, stls or implicit
	Plain bool
}

// Layer says that what follows is in a security layer that AUTH has begun (RFC 4422 section 3.7).
type Layer struct{ Time time.Time }

// Opaque is a run of octets that nobody interprets: TLS, another protocol, noise.
type Opaque struct {
	Time time.Time
	Dir  Direction
	Lost int64
	Data []byte
}

// Gap says that octets among commands or replies are missing (LostUnknown: an unknown number).
type Gap struct {
	Time time.Time
	Dir  Direction
	Lost int64
}

// Noise is a line that is neither a command nor a reply.
type Noise struct {
	Time time.Time
	Dir  Direction
	Line []byte
}

// Anomaly is something that should not be on the wire.
type Anomaly struct {
	Time  time.Time
	Kind  string
	Count int64
}

// Kinds of anomaly that parsers and those who feed them report.
const (
	AmbiguousEOD     = "ambiguous-eod"            // an end of data that some servers take for one: LF.LF and its like
	Smuggling        = "smuggling"                // the server took it for one, and what followed for commands
	BareLF           = "bare-lf"                  // a line end without CR, among commands or in a mail
	BareCR           = "bare-cr"                  // a CR without LF
	NUL              = "nul"                      // an octet 0 in a command or a reply
	LongLine         = "long-line"                // a command or reply beyond MaxLine
	EarlyTalker      = "early-talker"             // the client spoke before the greeting
	STARTTLSInject   = "starttls-injection"       // plain text pipelined behind an accepted STARTTLS or STLS
	PlainAfterTLS    = "plaintext-after-starttls" // readable octets where TLS should be
	BadReply         = "bad-reply"                // a server line that is no reply
	UnsolicitedReply = "unsolicited"              // a reply to no command
	BadBDAT          = "bad-bdat"                 // a BDAT without a usable size
	TooManyPending   = "pending-limit"            // more unanswered commands than are kept
	Resync           = "resync"                   // octets skipped until something was understood again
	NotThisProtocol  = "protocol"                 // the conversation is not what its port says
	Overlap          = "overlap"                  // TCP segments that contradict each other
	Overload         = "overload"                 // octets that were not inspected, as the budget was used up
	InspectorFailure = "inspector-failure"        // the inspection of the session failed, and was given up
	ProxyHeader      = "proxy-header"             // a PROXY header that is missing, wrong, or from a stranger
	UpstreamTLS      = "upstream-tls"             // the server's handshake or certificate was refused by who ends TLS
)

func (*Command) event()   {}
func (*Reply) event()     {}
func (*BodyBegin) event() {}
func (*Body) event()      {}
func (*BodyEnd) event()   {}
func (*Login) event()     {}
func (*Upgrade) event()   {}
func (*Layer) event()     {}
func (*Opaque) event()    {}
func (*Gap) event()       {}
func (*Noise) event()     {}
func (*Anomaly) event()   {}
