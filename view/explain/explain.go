// Package explain says in plain words what a server's reply means and, where that is known, what to do about it.
//
// Three sources answer, the most telling first: rules for what servers really write (rules.go), the registry of
// enhanced status codes (RFC 5248, enhanced.go), and the basic codes of SMTP (RFC 5321). Replies are foreign text: a
// phrase quotes nothing of one but the name of a block list.
package explain

import (
	"strconv"
	"strings"
)

// Kind is what a refusal is about: the classes in which an administrator thinks.
type Kind string

// The kinds. None is a reply that refuses nothing, or for a reason that has no class of its own.
const (
	None          Kind = ""
	Unavailable   Kind = "unavailable"
	ServerError   Kind = "server error"
	Greylisted    Kind = "greylisted"
	RelayDenied   Kind = "relay denied"
	UnknownUser   Kind = "unknown user"
	TooBig        Kind = "too big"
	MailboxFull   Kind = "mailbox full"
	BadHelo       Kind = "bad HELO"
	ReverseDNS    Kind = "reverse DNS"
	BlockListed   Kind = "block list"
	NeedsLogin    Kind = "TLS or login needed"
	WrongPassword Kind = "wrong password"
	RateLimited   Kind = "rate limit"
	PollsTooOften Kind = "polls too often"
	BadSender     Kind = "sender refused"
	Unproved      Kind = "SPF, DKIM or DMARC"
	Content       Kind = "content refused"
	Protocol      Kind = "protocol error"
)

// Reply says what a reply means; "" where there is nothing to add to it. A protocol other than record.POP3 counts as
// SMTP. A code of 0 is POP3's -ERR.
func Reply(protocol string, code int, enhanced, text string) string {
	r := newReply(code, enhanced, text)
	if protocol == pop3 {
		return find(pop3Rules, r).phrase
	}
	switch {
	case code == 251:
		return "the user is elsewhere, and the server forwards the mail"
	case code == 252:
		return "the server does not say whether the user exists, but would take the mail"
	case code < 400:
		return ""
	}
	if m := find(smtpRules, r); m.phrase != "" {
		if m.kind == BlockListed {
			if list := BlockList(text); list != "" {
				return m.phrase + " (" + list + ")"
			}
		}
		return m.phrase
	}
	if s := meaning(enhanced); s != "" {
		return s
	}
	return basic(code)
}

// Of gives the class of a reply, from the same rules as Reply.
func Of(protocol string, code int, enhanced, text string) Kind {
	if protocol != pop3 && code < 400 {
		return None
	}
	rules := smtpRules
	if protocol == pop3 {
		rules = pop3Rules
	}
	return find(rules, newReply(code, enhanced, text)).kind
}

const pop3 = "pop3" // record.POP3

// Split takes a reply as it was on the wire apart: "550-5.1.1 first\n550 5.1.1 second" has the code 550, the enhanced
// code 5.1.1 and the text "first\nsecond". A POP3 reply has the code 0.
func Split(protocol, wire string) (code int, enhanced, text string) {
	if protocol == pop3 {
		text, _ = strings.CutPrefix(wire, "-ERR")
		text, _ = strings.CutPrefix(text, "+OK")
		return 0, "", strings.TrimSpace(text)
	}
	lines := strings.Split(wire, "\n")
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		if len(line) >= 3 {
			n, err := strconv.Atoi(line[:3])
			if err == nil && n >= 100 && n < 600 && (len(line) == 3 || line[3] == ' ' || line[3] == '-') {
				code, line = n, line[min(4, len(line)):]
			}
		}
		if word, rest, _ := strings.Cut(line, " "); isEnhanced(word) {
			enhanced, line = word, rest
		}
		lines[i] = line
	}
	return code, enhanced, strings.Join(lines, "\n")
}

func isEnhanced(s string) bool {
	class, rest, ok := strings.Cut(s, ".")
	subject, detail, ok2 := strings.Cut(rest, ".")
	return ok && ok2 && (class == "2" || class == "4" || class == "5") && digits(subject) && digits(detail)
}

func digits(s string) bool {
	return s != "" && len(s) <= 3 && strings.Trim(s, "0123456789") == ""
}

// BlockList finds the host of the block list that a refusal speaks of, or "".
func BlockList(text string) string {
	lower := strings.ToLower(text[:min(len(text), maxText)])
	for _, w := range strings.FieldsFunc(lower, func(r rune) bool { return r > '~' || !hostOctet(byte(r)) }) {
		w = strings.Trim(w, ".-_")
		for _, known := range blockLists {
			if (w == known || strings.HasSuffix(w, "."+known)) && strings.Contains(w, ".") {
				return strings.TrimPrefix(strings.TrimPrefix(w, "www."), "check.")
			}
		}
	}
	for _, before := range listWords {
		_, rest, ok := strings.Cut(lower, before)
		if !ok {
			continue
		}
		if name := firstHost(rest); name != "" {
			return name
		}
	}
	return ""
}

// firstHost returns the host's name, or the host of the URL, that s begins with.
func firstHost(s string) string {
	s = strings.TrimLeft(s, " ")
	s = strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://")
	end := strings.IndexFunc(s, func(r rune) bool { return r > '~' || !hostOctet(byte(r)) })
	if end >= 0 {
		s = s[:end]
	}
	s = strings.Trim(strings.TrimPrefix(s, "www."), ".")
	if !isHost(s) {
		return ""
	}
	return s
}

const maxText = 4 << 10 // octets of a text that are looked at; record.MaxText

// isHost holds for a name with a dot and a letter in its last label, and nothing in it but what names have.
func isHost(s string) bool {
	dot := strings.LastIndexByte(s, '.')
	if dot < 1 || dot == len(s)-1 || len(s) > 253 {
		return false
	}
	for i := range len(s) {
		if !hostOctet(s[i]) {
			return false
		}
	}
	return s[dot+1] >= 'a' && s[dot+1] <= 'z'
}

func hostOctet(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_'
}
