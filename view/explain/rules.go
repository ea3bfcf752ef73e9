package explain

import (
	"strconv"
	"strings"
)

// reply is what a rule looks at: the text is in lower case and has no addresses, whose words mean nothing.
type reply struct {
	code     int
	enhanced string
	text     string
}

func newReply(code int, enhanced, text string) reply {
	var b strings.Builder
	for word := range strings.FieldsSeq(strings.ToLower(text[:min(len(text), maxText)])) {
		if !strings.Contains(word, "@") && !strings.HasPrefix(word, "<") {
			b.WriteByte(' ')
			b.WriteString(word)
		}
	}
	return reply{code, enhanced, b.String()}
}

// rule explains the replies that have one of its codes, one of its enhanced codes and one of its words. What a rule
// leaves out, any reply has. In a code and in an enhanced code x stands for any digit, and so for any class.
type rule struct {
	kind     Kind
	codes    string // as "450 55x"
	enhanced string // as "x.7.1 5.1.10"; "-" is a reply without one
	words    []string
	phrase   string // where the kind's own does not say it
}

// find returns the first rule that explains r, or none.
func find(rules []rule, r reply) rule {
	for _, c := range rules {
		if matches(c.codes, strconv.Itoa(r.code)) && matches(c.enhanced, orDash(r.enhanced)) && contains(r.text, c.words) {
			if c.phrase == "" {
				c.phrase = phrases[c.kind]
			}
			return c
		}
	}
	return rule{}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func matches(patterns, s string) bool {
	if patterns == "" {
		return true
	}
	for p := range strings.FieldsSeq(patterns) {
		if like(p, s) {
			return true
		}
	}
	return false
}

func like(pattern, s string) bool {
	if len(pattern) != len(s) {
		return false
	}
	for i := range len(s) {
		if pattern[i] != s[i] && pattern[i] != 'x' {
			return false
		}
	}
	return true
}

func contains(text string, words []string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return len(words) == 0
}

// What servers write. Where two kinds share a code the words decide, so order matters: narrow rules come first.
var (
	greylistWords = []string{
		"greylist", "graylist", "grey list", "gray list", "postgrey",
	}
	relayWords = []string{
		"relay access denied", "relaying denied", "relay not permitted", "unable to relay", "relaying not allowed",
		"not permitted to relay", "relay denied", "relaying prohibited", "relay attempt", "does not relay",
		"don't relay", "we do not relay", "relaying",
	}
	listedWords = append([]string{
		"blacklist", "black list", "blocklist", "block list", "dnsbl", " rbl", "blocked using", "listed at ",
		"listed in ", "listed by ", "is listed", "banned sending ip", "(s3140)", "(s3150)", "poor reputation",
		"bad reputation",
	}, blockLists...)
	reverseWords = []string{
		"reverse dns", "reverse hostname", "reverse lookup", "ptr record", " ptr ", "rdns",
		"cannot find your hostname", "reverse mapping", "no ptr", "client host rejected: cannot find",
	}
	unknownWords = []string{
		"user unknown", "unknown user", "no such user", "no such mailbox", "no such recipient", "unknown recipient",
		"recipient not found", "recipientnotfound", "unrouteable address", "unroutable address", "invalid recipient",
		"mailbox not found", "mailbox unavailable", "does not exist", "doesn't exist", "unknown or illegal alias",
		"no mailbox here", "unknown address", "address unknown", "undeliverable address", "recipient unknown",
		"user not found", "recipient address rejected: access denied", "not a valid mailbox", "no longer valid",
	}
	fullWords = []string{
		"mailbox full", "mailbox is full", "over quota", "overquota", "quota exceeded", "exceeded storage",
		"mailbox for user is full", "out of storage", "insufficient mailbox",
	}
	bigWords = []string{
		"size exceeds", "exceeds fixed", "exceeds maximum", "exceeds the maximum", "exceeded maximum",
		"message too big", "message too large", "too large", "too big", "size limit", "maximum message size",
		"exceeds limit", "max message size", "exceeds administrative limit",
	}
	rateWords = []string{
		"too many connections", "too many concurrent", "too many open connections", "rate limit", "ratelimit",
		"connection rate", "too much mail", "unusual rate", "too many messages", "too many sessions", "throttl",
		"sending limit", "mail flood", "at a rate that", "thread limit", "too many requests",
		"limit exceeded", "too fast",
	}
	wrongWords = []string{
		"incorrect authentication", "authentication failed", "authentication unsuccessful", "authentication failure",
		"authentication credentials invalid", "username and password not accepted", "invalid login", "login failed",
		"bad password", "wrong password", "password incorrect", "incorrect password", "bad login", "logon failure",
		"authentication rejected", "invalid credentials",
	}
	wrongLoginWords = append([]string{ // of POP3, where nothing else could be meant
		"invalid user", "invalid password", "unknown user", "no such user", "login incorrect",
		"incorrect login", "wrong user", "bad user", "is incorrect", "authorization failed", "unable to log on",
		"logon denied", "login denied",
	}, wrongWords...)
	proofWords = []string{
		"dmarc", "spf fail", "spf check", "spf:", " spf ", "dkim", "unauthenticated email", "is unauthenticated",
		"not authorized to send", "sender policy framework",
	}
	contentWords = []string{
		"spam", "unsolicited", "for its content", "virus", "malware", "content rejected",
		"message content", "phish", "suspicious", "potential security issue", "junk",
	}
	abortWords = []string{"authentication aborted", "authentication cancelled", "authentication canceled"}
	tlsWords   = []string{
		"starttls first", "issue a starttls", "starttls is required", "encryption required", "encryption needed",
		"tls is required", "tls required", "require tls", "requires tls", "must use tls", "encryption is required",
	}
	senderWords = []string{
		"sender verify failed", "sender address rejected", "domain of sender", "send as this sender", "sender rejected",
	}
	heloWords = []string{
		"helo command rejected", "invalid helo", "invalid ehlo", "bad helo", "syntactically invalid helo",
		"syntactically invalid ehlo", "invalid domain name", "helo name", "helo argument",
	}
)

// blockLists are hosts of block lists, found in a refusal also where nothing else says that it is about one.
var blockLists = []string{
	"spamhaus.org", "spamhaus.net", "spamcop.net", "barracudacentral.org", "sorbs.net", "uceprotect.net", "abuseat.org",
	"surriel.com", "mailspike.net", "nixspam.net", "manitu.net", "senderscore.com", "spamrats.com", "invaluement.com",
	"dronebl.org", "blocklist.de", "spfbl.net", "gbudb.net", "hostkarma.junkemailfilter.com", "backscatterer.org",
	"truncate.gbudb.net", "wpbl.info", "0spam.org", "abusix.zone", "mail.abusix.zone", "inps.de", "interserver.net",
}

// listWords stand before a block list's name.
var listWords = []string{
	"blocked using ", "listed at ", "listed in ", "listed by ", "listed on ", "black list at ", "blacklist at ",
	"block list at ", "blacklisted at ", "blacklisted by ", "found in ", "rejected by ", " see ",
}

// phrases say what a kind means where its rule does not.
var phrases = map[Kind]string{
	Unavailable:   "the service is not available: stopped, starting or overloaded; clients should try again later",
	ServerError:   "temporary server error: look at the server; clients should try again, but scanners often do not",
	Greylisted:    "greylisted: first contact is put off on purpose; a real mail server tries again, a script may not",
	RelayDenied:   "relay attempt: the recipient is elsewhere, and the client may not send through here without a login",
	UnknownUser:   "there is no such user: a typing error, somebody who left, or somebody who tries out addresses",
	TooBig:        "the mail is bigger than the server takes: send less, or raise the limit",
	MailboxFull:   "the mailbox is full: its owner must delete something, or get more room",
	BadHelo:       "the name in HELO or EHLO is not a host's full name: set the client's own name right",
	ReverseDNS:    "the client's address has no reverse DNS, or one that does not lead back: its provider sets the PTR",
	BlockListed:   "the client's or sender's address is on a block list: find out why, and ask the list to remove it",
	NeedsLogin:    "TLS or a login is needed first",
	WrongPassword: "wrong user or password: if it goes on, an old password in a device, or somebody who guesses",
	RateLimited:   "too much in a short time: send less at once, or find out what sends so much",
	PollsTooOften: "polls too often: set a longer interval in the mail program",
	BadSender:     "the sender's address is refused: its domain takes no mail, or the user may not send as it",
	Unproved:      "the mail does not prove where it comes from: check SPF, DKIM and DMARC of the sender's domain",
	Content:       "refused for what the mail contains or seems to be: spam, a virus, a forbidden attachment",
}

// Phrases that more than one rule has.
const (
	needsTLS   = "TLS is needed first: turn on STARTTLS in the client"
	needsLogin = "a login is needed first: the client must authenticate before it sends"
)

var smtpRules = []rule{
	{Greylisted, "4xx", "", greylistWords, ""},
	{ReverseDNS, "", "x.7.25", nil, ""},
	{ReverseDNS, "", "", reverseWords, ""},
	{Unproved, "", "x.7.20 x.7.21 x.7.22 x.7.23 x.7.24 x.7.26 x.7.29 5.7.509", nil, ""},
	{BlockListed, "", "", listedWords, ""},
	{RelayDenied, "", "5.7.54", nil, ""},
	{RelayDenied, "45x 513 53x 55x", "", relayWords, ""},
	{NeedsLogin, "", "", tlsWords, needsTLS},
	{NeedsLogin, "530", "", []string{"auth", "login", "log in"}, needsLogin},
	{NeedsLogin, "530 550", "5.7.57", nil, needsLogin},
	{NeedsLogin, "", "x.7.10 x.7.11", nil, needsTLS},
	{NeedsLogin, "538", "", nil, needsTLS},
	{NeedsLogin, "530", "", nil, ""},
	{NeedsLogin, "503 535", "", []string{"authentication required"}, needsLogin},
	{Protocol, "501", "", abortWords, "the client gave this login up"},
	{Protocol, "5xx", "", []string{"base64"}, "the client's login is not written correctly"},
	{
		Protocol, "5xx", "",
		[]string{"authentication mechanism", "authentication type"},
		"the server does not offer this way to log in",
	},
	{
		WrongPassword, "534", "",
		[]string{"application-specific"},
		"the account has two-step verification: the client needs an application password",
	},
	{WrongPassword, "", "5.7.8", nil, ""},
	{WrongPassword, "535", "", nil, ""},
	{WrongPassword, "5xx", "", wrongWords, ""},
	{
		ServerError, "454", "4.7.0 4.3.3 4.5.4", nil,
		"TLS or logins do not work now: look at the server's certificate or at its user database",
	},
	{RateLimited, "", "x.7.28", nil, ""},
	{RateLimited, "4xx 550 552 554", "", rateWords, ""},
	{RateLimited, "421 450", "4.7.x", []string{"unsolicited", "reputation"}, ""},
	{BadHelo, "", "", heloWords, ""},
	{BadHelo, "501 504", "5.5.x -", []string{"helo", "ehlo", "hostname", "fully-qualified"}, ""},
	{UnknownUser, "5xx", "5.1.1", nil, ""},
	{UnknownUser, "550", "5.1.10 5.4.1", unknownWords, ""}, // Exchange's own use of these codes
	{BadSender, "", "x.1.7 x.1.8 5.7.27 5.7.60", nil, ""},
	{BadSender, "", "", senderWords, ""},
	{BadSender, "517", "", []string{"domain does not exist"}, ""},
	{TooBig, "", "x.3.4 x.2.3", nil, ""},
	{MailboxFull, "", "x.2.2", nil, ""},
	{MailboxFull, "", "", fullWords, ""},
	{TooBig, "52x 534 55x", "", bigWords, ""},
	{UnknownUser, "550 551 553", "", unknownWords, ""},
	{Unproved, "421 55x", "", proofWords, ""},
	{Content, "", "", contentWords, ""},
	{
		ServerError, "4xx", "4.3.1 4.4.5", nil,
		"the server is short of disk or memory: make room if it is yours; clients should try again",
	},
	{
		None, "421", "4.4.1 4.4.2 -",
		[]string{
			"timeout", "timed out", "lost input", "lost connection", "idle", "unexpected close", "connection reset", "i/o error",
		},
		"the server gave up waiting, or lost the connection",
	},
	{
		Protocol, "", "",
		[]string{"bare linefeed", "bare line feed", "bare carriage return", "bare newline", "bare lf"},
		"the client does not end its lines with CR LF: correct the program that sends, or send through a mail server",
	},
	{
		Protocol, "421 5xx", "",
		[]string{"too many errors", "too many syntax", "too many unrecognized", "too many bad"},
		"the client made too many errors and was cut off",
	},
	{Protocol, "421", "", []string{"error"}, "the client made too many errors and was cut off"},
	{Unavailable, "4xx", "4.3.2", nil, ""},
	{Unavailable, "421", "4.3.x -", nil, ""},
	{
		Greylisted, "450 451", "4.7.1", nil,
		"put off by the server's policy, most likely greylisted; a real mail server tries again, a script may not",
	},
	{
		RateLimited, "421", "4.7.x", nil,
		"cut off by the server's policy, most often for too many connections or errors",
	},
	{ServerError, "4xx", "4.7.0 4.7.500 4.3.x", nil, ""},
	{Unavailable, "421", "", nil, ""},
	{ServerError, "451 454", "-", nil, ""},
	{
		Protocol, "554", "",
		[]string{"synchronization error"},
		"the client did not wait for its turn, as programs that send spam do",
	},
	{TooBig, "552", "-", nil, "the mail is bigger than the server takes, or the mailbox is full"},
	{Protocol, "500 501 502 503 504 555", "5.5.x -", nil, ""}, // the code itself says which
}

var pop3Rules = []rule{
	{
		PollsTooOften, "", "",
		[]string{
			"[in-use]", "already locked", "is locked", "maildrop locked", "can't lock", "cannot lock", "lock busy", "can't get lock",
		},
		"the maildrop is open in another session: two devices poll it, or one polls before its last session ended",
	},
	{
		PollsTooOften, "", "",
		[]string{"[login-delay]"},
		"polls too often: the server wants a pause between logins; set a longer interval in the mail program",
	},
	{
		NeedsLogin, "", "", append([]string{"plaintext auth", "cleartext auth"}, tlsWords...),
		"TLS is needed first: turn it on in the mail program",
	},
	{Protocol, "", "", abortWords, "the client gave this login up"},
	{WrongPassword, "", "", []string{"[auth]"}, ""},
	{
		ServerError, "", "",
		[]string{"[sys/temp]"},
		"temporary server error: look at the server's user database and storage; the mail program may try again",
	},
	{
		ServerError, "", "",
		[]string{"[sys/perm]"},
		"the maildrop has a fault that does not go away: an administrator must look at it",
	},
	{RateLimited, "", "", rateWords, ""},
	{
		Unavailable, "", "",
		[]string{"service unavailable", "not available", "shutting down", "timeout", "inactiv"},
		"the server ended the session: it was idle, or the service stops",
	},
	{WrongPassword, "", "", wrongLoginWords, ""},
	{
		Protocol, "", "",
		[]string{"no such message", "there's no message", "invalid message", "is deleted", "already deleted"},
		"no message has that number, or it was deleted in this session",
	},
	{
		Protocol, "", "",
		[]string{"unknown command", "unimplemented", "invalid command", "not supported", "bad command", "unrecognized"},
		"the server does not know this command, or not now; mail programs try out what it knows",
	},
}
