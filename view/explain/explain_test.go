package explain

import (
	"strings"
	"testing"
)

// What real servers write, as it is on the wire, and the kind that it has.
var wire = []struct {
	reply string
	kind  Kind
	word  string // in the phrase
}{
	// Postfix
	{"554 5.7.1 <someone@elsewhere.example>: Relay access denied", RelayDenied, "relay"},
	{"550 5.1.1 <nobody@example.net>: Recipient address rejected: User unknown in virtual mailbox table", UnknownUser, "no such user"},
	{"450 4.7.1 <g@example.net>: Recipient address rejected: Greylisted, please try again in 300 seconds", Greylisted, "first contact"},
	{"450 4.2.0 <g@example.net>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/example.net.html", Greylisted, "first contact"},
	{"554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.7", BlockListed, "(zen.spamhaus.org)"},
	{"554 5.7.1 <spammer@bad.example>: Sender address rejected: Sender on our block list, see https://bl.example/q?192.0.2.7", BlockListed, "(bl.example)"},
	{"550 5.7.25 Client host rejected: cannot find your hostname, [192.0.2.7]", ReverseDNS, "PTR"},
	{"450 4.7.25 Client host rejected: cannot find your reverse hostname, [192.0.2.7]", ReverseDNS, "PTR"},
	{"501 5.5.2 <[bad>: Helo command rejected: invalid ip address", BadHelo, "HELO"},
	{"504 5.5.2 <mail>: Helo command rejected: need fully-qualified hostname", BadHelo, "HELO"},
	{"552 5.3.4 Message size exceeds fixed limit", TooBig, "bigger"},
	{"552 5.3.4 Error: message file too big", TooBig, "bigger"},
	{"530 5.7.0 Must issue a STARTTLS command first", NeedsLogin, "TLS"},
	{"530 5.7.0 Authentication required", NeedsLogin, "login"},
	{"535 5.7.8 Error: authentication failed: (reason unavailable)", WrongPassword, "password"},
	{"535 5.7.8 Error: authentication failed: Invalid authentication mechanism", Protocol, "way to log in"},
	{"501 5.7.0 Authentication aborted", Protocol, "gave this login up"},
	{"450 4.1.8 <a@nowhere.example>: Sender address rejected: Domain not found", BadSender, "sender's address"},
	{"421 4.7.0 mx.example.net Error: too many connections from 192.0.2.7", RateLimited, "too much"},
	{"421 4.7.0 mx.example.net Error: too many errors", Protocol, "too many errors"},
	{"421 4.4.2 mx.example.net Error: timeout exceeded", None, "gave up waiting"},
	{"421 4.3.0 Temporary lookup failure", Unavailable, "not available"},
	{"451 4.3.0 <a@example.net>: Temporary lookup failure", ServerError, "look at the server"},
	{"452 4.3.1 Insufficient system storage", ServerError, "disk"},
	{"454 4.7.0 TLS not available due to local problem", ServerError, "certificate"},
	{"454 4.7.0 Temporary authentication failure: Connection lost to authentication server", ServerError, "user database"},
	{"452 4.5.3 Error: too many recipients", None, "too many recipients"},
	{"503 5.5.1 Error: send HELO/EHLO first", Protocol, "not possible at this point"},
	{"550 5.7.1 <blocked@example.net>: Recipient address rejected: Mailbox is not for you", None, "policy"},
	{"554 5.7.1 Client host rejected: Access denied", None, "policy"},

	// Exim
	{"550 relay not permitted", RelayDenied, "relay"},
	{"550 Unrouteable address", UnknownUser, "no such user"},
	{"535 Incorrect authentication data", WrongPassword, "password"},
	{"552 Message size exceeds maximum permitted", TooBig, "bigger"},
	{"451 Temporary local problem - please try later", ServerError, "temporary server error"},
	{"451 Greylisted, please try again in 300 seconds", Greylisted, "first contact"},
	{"501 Syntactically invalid EHLO argument(s)", BadHelo, "HELO"},
	{"421 Too many concurrent SMTP connections; please try again later.", RateLimited, "too much"},
	{"421 mx.example.net lost input connection", None, "lost the connection"},
	{"550 Sender verify failed", BadSender, "sender"},
	{"554 SMTP synchronization error", Protocol, "did not wait"},
	{"550-Rejected because 192.0.2.7 is in a black list at bl.spamcop.net\n550 Blocked - see https://www.spamcop.net/bl.shtml?192.0.2.7", BlockListed, "(bl.spamcop.net)"},
	{"550 Refused for its content", Content, "contains"},
	{"503 sender not yet given", Protocol, "out of order"},

	// OpenSMTPD
	{"550 Invalid recipient: <nobody@example.net>", UnknownUser, "no such user"},
	{"500 5.5.1 Invalid command: Command unrecognized", Protocol, "unknown"},
	{"554 5.3.4 Message too big for system: Transaction failed, message too big", TooBig, "bigger"},
	{"530 5.5.1 Invalid command: Must issue an AUTH command first", NeedsLogin, "login"},

	// Dovecot's LMTP
	{"552 5.2.2 <full@example.net> Quota exceeded (mailbox for user is full)", MailboxFull, "full"},
	{"550 5.1.1 <nobody@example.net> User doesn't exist: nobody@example.net", UnknownUser, "no such user"},
	{"451 4.3.0 <alice@example.net> Temporary internal error", ServerError, "look at the server"},

	// Exchange
	{"451 4.7.0 Temporary server error. Please try again later. PRX5", ServerError, "temporary server error"},
	{"550 5.7.1 Unable to relay", RelayDenied, "relay"},
	{"550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", RelayDenied, "relay"},
	{"552 5.3.4 Message size exceeds fixed maximum message size", TooBig, "bigger"},
	{"421 4.3.2 Service not active", Unavailable, "not available"},
	{"452 4.3.1 Insufficient system resources", ServerError, "memory"},
	{"550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient nobody@example.net not found by SMTP address lookup", UnknownUser, "no such user"},
	{"550 5.4.1 Recipient address rejected: Access denied. AS(201806281)", UnknownUser, "no such user"},
	{"530 5.7.57 SMTP; Client was not authenticated to send anonymous mail during MAIL FROM", NeedsLogin, "login"},
	{"535 5.7.3 Authentication unsuccessful", WrongPassword, "password"},
	{"504 5.7.4 Unrecognized authentication type", Protocol, "way to log in"},
	{"550 5.7.60 SMTP; Client does not have permissions to send as this sender", BadSender, "send as it"},
	{"550 5.7.606 Access denied, banned sending IP [192.0.2.7]", BlockListed, "block list"},
	{"550 5.7.509 Access denied, sending domain example.org does not pass DMARC verification", Unproved, "DMARC"},
	{"432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", RateLimited, "too much"},
	{"554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException", MailboxFull, "full"},
	{"451 4.7.500 Server busy. Please try again later from [192.0.2.7]. (S77719)", ServerError, "temporary"},

	// Gmail
	{"550-5.1.1 The email account that you tried to reach does not exist. Please try\n550 5.1.1 double-checking the recipient's email address", UnknownUser, "no such user"},
	{"421-4.7.0 [192.0.2.7      15] Our system has detected an unusual rate of\n421 4.7.0 unsolicited mail originating from your IP address.", RateLimited, "too much"},
	{"421-4.7.28 Our system has detected an unusual rate of unsolicited mail", RateLimited, "too much"},
	{"450 4.7.28 Gmail has detected an unusual rate of email", RateLimited, "too much"},
	{"450-4.2.1 The user you are trying to contact is receiving mail at a rate that\n450 4.2.1 prevents additional messages from being delivered.", RateLimited, "too much"},
	{"552-5.2.2 The email account that you tried to reach is over quota.", MailboxFull, "full"},
	{"550-5.7.26 This mail is unauthenticated, which poses a security risk", Unproved, "DKIM"},
	{"550-5.7.25 [192.0.2.7] The IP address sending this message does not have a PTR record", ReverseDNS, "PTR"},
	{"550-5.7.1 [192.0.2.7      12] Our system has detected that this message is likely unsolicited mail.", Content, "spam"},
	{"534-5.7.9 Application-specific password required.", WrongPassword, "two-step"},
	{"535-5.7.8 Username and Password not accepted.", WrongPassword, "password"},
	{"552-5.7.0 This message was blocked because its content presents a potential security issue.", Content, "attachment"},
	{"552-5.3.4 Your message exceeded Google's message size limits.", TooBig, "bigger"},

	// Sendmail
	{"550 5.1.1 <nobody@example.net>... User unknown", UnknownUser, "no such user"},
	{"550 5.7.1 <a@example.org>... Relaying denied. Proper authentication required.", RelayDenied, "relay"},
	{"553 5.1.8 <a@nowhere.example>... Domain of sender address a@nowhere.example does not exist", BadSender, "sender's address"},
	{"552 5.2.3 Message exceeds maximum fixed size (10485760)", TooBig, "bigger"},
	{"554 5.7.1 Rejected: 192.0.2.7 listed at zen.spamhaus.org", BlockListed, "(zen.spamhaus.org)"},
	{"550 5.7.1 Fix reverse DNS for 192.0.2.7", ReverseDNS, "PTR"},
	{"421 4.3.2 Connection rate limit exceeded.", RateLimited, "too much"},
	{"421 4.3.2 Too many open connections.", RateLimited, "too much"},
	{"421 4.4.1 collect: relay=localhost, from=<a@example.org>, info=unexpected close", None, "lost the connection"},
	{"421 4.4.1 mx.example.net Lost input channel from localhost", None, "lost the connection"},
	{"421 4.5.0 Bare linefeed (LF) not allowed", Protocol, "CR LF"},
	{"421 4.7.0 mx.example.net Too many bad commands; closing connection", Protocol, "too many errors"},
	{"452 4.4.5 Insufficient disk space; try again later", ServerError, "disk"},
	{"454 4.3.3 TLS not available after start", ServerError, "certificate"},
	{"454 4.5.4 Temporary authentication failure", ServerError, "user database"},
	{"503 5.7.0 Authentication required.", NeedsLogin, "login"},

	// Courier
	{"513 Relaying denied.", RelayDenied, "relay"},
	{"517-Domain does not exist: nowhere.example.\n517 See <URL:https://example.net>", BadSender, "sender's address"},
	{"523 Message length (204800 bytes) exceeds administrative limit.", TooBig, "bigger"},
	{"534 SIZE=Message too big.", TooBig, "bigger"},
	{"535 Authentication required.", NeedsLogin, "login"},
	{"535 Authentication failed.", WrongPassword, "password"},
	{"550 User <nobody> unknown", UnknownUser, "no such user"},

	// qpsmtpd
	{"502 5.5.1 Too many unrecognized commands, goodbye.", Protocol, "too many errors"},

	// Only the code says something.
	{"550 5.1.99 Something new", None, "address"},
	{"550 No", None, "no such mailbox"},
	{"450 Later", None, "try again"},
	{"471 What", None, "for now"},
	{"599 What", None, "for good"},
}

func TestSMTP(t *testing.T) {
	for _, c := range wire {
		code, enhanced, text := Split("smtp", c.reply)
		if kind := Of("smtp", code, enhanced, text); kind != c.kind {
			t.Errorf("%q is of kind %q, want %q", c.reply, kind, c.kind)
		}
		if phrase := Reply("smtp", code, enhanced, text); !strings.Contains(phrase, c.word) {
			t.Errorf("%q is explained as %q, want %q in it", c.reply, phrase, c.word)
		}
	}
}

func TestNothingToAdd(t *testing.T) {
	for _, reply := range []string{"250 2.1.5 Ok", "220 mx ESMTP spam blocked using zen.spamhaus.org", "354 go on", "", "what"} {
		code, enhanced, text := Split("smtp", reply)
		if phrase, kind := Reply("smtp", code, enhanced, text), Of("smtp", code, enhanced, text); phrase != "" || kind != None {
			t.Errorf("%q is explained as %q, of kind %q", reply, phrase, kind)
		}
	}
	if s := Reply("pop3", 0, "", "What now?"); s != "" {
		t.Errorf("an unknown -ERR is explained as %q", s)
	}
}

func TestPOP3(t *testing.T) {
	for _, c := range []struct {
		reply string
		kind  Kind
		word  string
	}{
		{"-ERR [AUTH] Authentication failed.", WrongPassword, "password"},
		{"-ERR [AUTH] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.", NeedsLogin, "TLS"},
		{"-ERR [IN-USE] Couldn't open INBOX: Mailbox is locked", PollsTooOften, "another session"},
		{"-ERR can't lock mailbox file", PollsTooOften, "another session"}, // solid-pop3d
		{"-ERR [LOGIN-DELAY] minimum time between mail checks violation", PollsTooOften, "pause"},
		{"-ERR [SYS/TEMP] Temporary authentication failure.", ServerError, "user database"},
		{"-ERR [SYS/PERM] maildrop corrupt", ServerError, "administrator"},
		{"-ERR Logon failure: unknown user name or bad password.", WrongPassword, "password"}, // Exchange
		{"-ERR Invalid user name or password", WrongPassword, "password"},
		{"-ERR Password supplied for \"alice\" is incorrect.", WrongPassword, "password"},
		{"-ERR Authentication aborted by client.", Protocol, "gave this login up"},
		{"-ERR There's no message 99.", Protocol, "number"},
		{"-ERR Unknown command: LAST", Protocol, "does not know"},
		{"-ERR Disconnected for inactivity.", Unavailable, "idle"},
	} {
		code, enhanced, text := Split("pop3", c.reply)
		if kind := Of("pop3", code, enhanced, text); kind != c.kind {
			t.Errorf("%q is of kind %q, want %q", c.reply, kind, c.kind)
		}
		if phrase := Reply("pop3", code, enhanced, text); !strings.Contains(phrase, c.word) {
			t.Errorf("%q is explained as %q, want %q in it", c.reply, phrase, c.word)
		}
	}
}

// Every rule is there for a reply above, or says why not by being the table's last resort: a rule that an earlier one
// hides is a defect.
func TestNoRuleIsHidden(t *testing.T) {
	for i, r := range smtpRules {
		for _, earlier := range smtpRules[:i] {
			if earlier.words == nil && (earlier.codes == "" || earlier.codes == r.codes) && earlier.enhanced == r.enhanced {
				t.Errorf("rule %d (%s %s %s) is never reached", i, r.kind, r.codes, r.enhanced)
			}
		}
	}
	for kind, phrase := range phrases {
		if len(phrase) > 110 || strings.HasSuffix(phrase, ".") || kind == None {
			t.Errorf("the phrase of %q is not a short phrase: %q", kind, phrase)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		wire     string
		code     int
		enhanced string
		text     string
	}{
		{"550-5.1.1 first\r\n550 5.1.1 second", 550, "5.1.1", "first\nsecond"},
		{"250", 250, "", ""},
		{"250 2.0.0", 250, "2.0.0", ""},
		{"550 9.1.1 x", 550, "", "9.1.1 x"},
		{"550 5.1.x y", 550, "", "5.1.x y"},
		{"55", 0, "", "55"},
	} {
		if code, enhanced, text := Split("smtp", c.wire); code != c.code || enhanced != c.enhanced || text != c.text {
			t.Errorf("%q is %d %q %q, want %d %q %q", c.wire, code, enhanced, text, c.code, c.enhanced, c.text)
		}
	}
}

func TestBlockList(t *testing.T) {
	for text, want := range map[string]string{
		"Client host [192.0.2.7] blocked using b.barracudacentral.org; Client host blocked": "b.barracudacentral.org",
		"192.0.2.7 is listed at BL.Example.ORG.":                                            "bl.example.org",
		"listed at our place":                                                               "",
		"blocked using 192.0.2.7":                                                           "",
		"blocked using \x1b[31mzen.example":                                                 "",
		"nospamhaus.org":                                                                    "",
		"see https://www.spamhaus.org/query/ip/1":                                           "spamhaus.org",
	} {
		if got := BlockList(text); got != want {
			t.Errorf("%q names the list %q, want %q", text, got, want)
		}
	}
}

// Foreign text must cost little and must not get into a phrase.
func FuzzReply(f *testing.F) {
	for _, c := range wire {
		f.Add("smtp", c.reply)
	}
	f.Add("pop3", "-ERR [AUTH] no")
	f.Fuzz(func(t *testing.T, protocol, wire string) {
		code, enhanced, text := Split(protocol, wire)
		phrase := Reply(protocol, code, enhanced, text)
		if len(phrase) > 400 {
			t.Fatalf("%q is explained in %d octets", wire, len(phrase))
		}
		for i := range len(phrase) {
			if phrase[i] < ' ' || phrase[i] > '~' || phrase[i] == '<' || phrase[i] == '"' {
				t.Fatalf("%q is explained as %q", wire, phrase)
			}
		}
	})
}
