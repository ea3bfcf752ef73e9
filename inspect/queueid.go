package inspect

import "strings"

// queueID finds the id under which a server queued a mail in its reply to the end of data: "Ok: queued as 4XyZ" (Postfix),
// "OK id=1u..." (Exim), "[InternalId=...]" (Exchange), "4XyZ Message accepted for delivery" (Sendmail, OpenSMTPD),
// "<recipient> 4XyZ Saved" (Dovecot), "Ok. 000000006B0BAC4B.00005A23" (Courier).
func queueID(reply string) string {
	id, rest, _ := strings.Cut(reply, " ")
	if strings.ContainsAny(id, "0123456789") && !strings.Contains(id, "=") && strings.HasPrefix(strings.ToLower(rest), "message accepted") {
		return word(id)
	}
	for _, mark := range []string{"queued as ", "OK id=", "InternalId=", "id="} {
		if _, id, ok := strings.Cut(reply, mark); ok {
			return word(id)
		}
	}
	if id, ok := strings.CutPrefix(reply, "Ok. "); ok && courierID(id) {
		return id
	}
	if before, ok := strings.CutSuffix(reply, " Saved"); ok {
		id, _, _ := strings.Cut(before[strings.LastIndexByte(before, ' ')+1:], ":R") // the recipient's number follows
		return word(id)
	}
	return ""
}

// courierID says whether s is an id of Courier's as it tells it to clients: a time and a process in hexadecimal digits, which
// in its log stand behind an inode.
func courierID(s string) bool {
	begin, process, ok := strings.Cut(s, ".")
	return ok && min(len(begin), len(process)) >= 8 && strings.Trim(begin+process, "0123456789ABCDEF") == ""
}

// word returns the characters that a queue id may have, from the beginning of s.
func word(s string) string {
	end := strings.IndexFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.:/+", r))
	})
	if end >= 0 {
		s = s[:end]
	}
	return strings.TrimRight(s, ".:")
}
