package sasl

import (
	"bytes"
	"encoding/base64"
	"slices"
	"unicode"

	"github.com/mailwire/mailwire/inspect/wire"
)

const (
	maxSecrets   = 16  // remembered in a session, the newest ones
	maxSecretLen = 512 // octets remembered of one
	minSecretLen = 3   // shorter ones would blacken half of every text
)

// Mask stands where a secret stood.
const Mask = "***"

// Scrubber masks the secrets of one session wherever a peer says them again, as servers do that repeat in an error reply
// what they did not understand. Its zero value knows none.
type Scrubber struct {
	secrets [][]byte // folded
}

// Add remembers a secret in the form in which it was sent, and the words of it between control octets.
func (s *Scrubber) Add(secret []byte) {
	s.add(secret)
	for word := range bytes.FieldsFuncSeq(secret, unicode.IsControl) {
		s.add(word)
	}
}

func (s *Scrubber) add(secret []byte) {
	secret = fold(clip(bytes.TrimSpace(secret), maxSecretLen))
	if len(secret) < minSecretLen {
		return
	}
	for _, known := range s.secrets {
		if bytes.Equal(known, secret) {
			return
		}
	}
	if len(s.secrets) == maxSecrets {
		s.secrets = s.secrets[1:]
	}
	s.secrets = append(s.secrets, secret)
}

// AddEncoded remembers a secret and its base64 form.
func (s *Scrubber) AddEncoded(secret []byte) {
	s.Add(secret)
	s.Add(base64.RawStdEncoding.AppendEncode(nil, secret))
}

// Unknown returns a client's line that is no known command as it may be shown. It is masked and remembered if it is
// suspect, as the line behind an AUTH that the server refused, or looks like a response of an exchange whose beginning
// was lost.
//
// A line that begins like a login of this or another protocol (PASS, a1 LOGIN, AUTH=PLAIN) shows these words only.
func (s *Scrubber) Unknown(line []byte, suspect bool) []byte {
	shown, hidden := cutLogin(line)
	switch {
	case !suspect && len(hidden) > 0:
		for secret := range bytes.FieldsSeq(hidden) {
			s.Add(bytes.Trim(secret, `="`))
			s.Add(decode(secret))
		}
		return slices.Concat(shown, []byte(" "+Mask))
	case !suspect && !mayBeResponse(line):
		return s.Scrub(line)
	}
	s.Add(bytes.TrimRight(line, "="))
	s.Add(decode(line))
	return []byte(Mask)
}

// Scrub returns text without the secrets: text itself where there are none in it, and else a masked copy. Case is not
// looked at, as some servers answer in upper case.
func (s *Scrubber) Scrub(text []byte) []byte {
	if len(s.secrets) == 0 {
		return text
	}
	folded := fold(text)
	var hidden []bool // which octets of text are secret; nil: none
	for _, secret := range s.secrets {
		for from, to := 0, 0; ; {
			i := bytes.Index(folded[to:], secret)
			if i < 0 {
				break
			}
			if hidden == nil {
				hidden = make([]bool, len(text))
			}
			from, to = to+i, to+i+len(secret)
			for len(secret) == maxSecretLen && to < len(text) && text[to] > ' ' { // more of it was not remembered
				to++
			}
			for ; from < to; from++ {
				hidden[from] = true
			}
		}
	}
	if hidden == nil {
		return text
	}
	return mask(text, hidden)
}

// mask returns a copy of text with a Mask for each run of hidden octets.
func mask(text []byte, hidden []bool) []byte {
	out := make([]byte, 0, len(text)+len(Mask))
	for i, c := range text {
		switch {
		case !hidden[i]:
			out = append(out, c)
		case i == 0 || !hidden[i-1]:
			out = append(out, Mask...)
		}
	}
	return out
}

// fold returns a copy of text with its ASCII letters in lower case: an octet for each octet.
func fold(text []byte) []byte {
	out := bytes.Clone(text)
	for i, c := range out {
		if 'A' <= c && c <= 'Z' {
			out[i] = c + 'a' - 'A'
		}
	}
	return out
}

// cutLogin splits a line that begins like a login into those words and what follows them. IMAP has a tag before the
// command (RFC 9051 section 2.2.1).
func cutLogin(line []byte) (login, rest []byte) {
	word, rest := wire.CutWord(line)
	if loginLike(word) {
		return word, rest
	}
	second, rest := wire.CutWord(rest)
	if loginLike(second) {
		return slices.Concat(word, []byte(" "), second), rest
	}
	return nil, nil
}

// loginLike says whether a word is, or nearly is, one that a password follows.
func loginLike(word []byte) bool {
	word = bytes.ToUpper(bytes.TrimLeftFunc(word, unicode.IsControl))
	for _, prefix := range [...]string{"PAS", "AUT", "AUH", "APOP", "LOGIN", "USER"} {
		if bytes.HasPrefix(word, []byte(prefix)) {
			return true
		}
	}
	return false
}

// mayBeResponse says whether a line is one word of base64 whose length suits it.
func mayBeResponse(line []byte) bool {
	if len(line) < 8 || len(line)%4 != 0 {
		return false
	}
	for _, c := range bytes.TrimRight(line, "=") {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '+' && c != '/' {
			return false
		}
	}
	return true
}
