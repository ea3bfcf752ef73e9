package sasl

import (
	"bytes"
	"encoding/base64"
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
type Scrubber struct{ secrets [][]byte }

// Add remembers a secret in the form in which it was sent.
func (s *Scrubber) Add(secret []byte) {
	secret = clip(bytes.TrimSpace(secret), maxSecretLen)
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
	s.secrets = append(s.secrets, bytes.Clone(secret))
}

// AddEncoded remembers a secret and its base64 form.
func (s *Scrubber) AddEncoded(secret []byte) {
	s.Add(secret)
	s.Add(base64.RawStdEncoding.AppendEncode(nil, secret))
}

// Scrub returns text without the secrets: text itself where there are none in it, and else a masked copy. Case is not
// looked at, as some servers answer in upper case.
func (s *Scrubber) Scrub(text []byte) []byte {
	for _, secret := range s.secrets {
		text = mask(text, secret)
	}
	return text
}

func mask(text, secret []byte) []byte {
	i := indexFold(text, secret)
	if i < 0 {
		return text
	}
	var out []byte
	for ; i >= 0; i = indexFold(text, secret) {
		out = append(append(out, text[:i]...), Mask...)
		text = text[i+len(secret):]
	}
	return append(out, text...)
}

// indexFold is bytes.Index without regard to the case of ASCII letters.
func indexFold(text, secret []byte) int {
	for i := 0; i+len(secret) <= len(text); i++ {
		if lower(text[i]) == lower(secret[0]) && bytes.EqualFold(text[i:i+len(secret)], secret) {
			return i
		}
	}
	return -1
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// MayBeResponse says whether a line that is no known command may be a response of an AUTH exchange whose beginning was
// not seen: one word of base64 whose length suits it. Such a line is shown masked.
func MayBeResponse(line []byte) bool {
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
