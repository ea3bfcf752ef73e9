// Package sasl reads what an AUTH exchange (RFC 4954, RFC 5034) says about the user, and knows which octets of it are
// secret. It is sans-io and judges nothing: the server's reply says whether a login succeeded.
package sasl

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"unicode/utf16"

	"github.com/mailwire/mailwire/inspect/wire"
)

// maxUser bounds the octets of a user name.
const maxUser = 256

// Exchange is one attempt: the mechanism, and the client's responses so far.
type Exchange struct {
	Mechanism string // in upper case
	User      string // empty until a response tells
	Secret    string // what proves the identity, where it is a password or a token
	responses int
	password  bool // the server asks for it
	broken    bool // a part of the exchange was lost: nobody knows what a response is
}

// Valid says whether a word can be a mechanism's name (RFC 4422 section 3.1), and not a response whose name was forgotten:
// names that nobody knows are hardly in mixed case, and base64 nearly always is.
func Valid(mechanism []byte) bool {
	const maxName = 20
	upper := bytes.ToUpper(mechanism)
	switch {
	case registered(string(upper)):
		return true
	case len(mechanism) > maxName || !isName(upper):
		return false
	}
	return bytes.Equal(upper, mechanism) || bytes.Equal(bytes.ToLower(mechanism), mechanism) || ofFamily(string(upper))
}

// registered says whether a mechanism, in upper case, is in IANA's registry, or is as widely used.
func registered(name string) bool {
	switch name {
	case "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "XOAUTH2", "OAUTHBEARER", "NTLM", "GSSAPI", "EXTERNAL", "ANONYMOUS",
		"OTP", "SKEY", "SECURID", "SAML20", "OPENID20", "OAUTH10A", "GSS-SPNEGO", "KERBEROS_V4", "KERBEROS_V5",
		"ECDSA-NIST256P-CHALLENGE", "ECDH-X25519-CHALLENGE":
		return true
	}
	return false
}

// ofFamily says whether a mechanism, in upper case, is of a family that the registry knows.
func ofFamily(name string) bool {
	for _, family := range [...]string{"SCRAM-", "GS2-", "EAP-", "9798-"} {
		if strings.HasPrefix(name, family) {
			return true
		}
	}
	return false
}

// isName says whether word, in upper case, has only characters of a name.
func isName(word []byte) bool {
	for _, c := range word {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// Challenge takes the text of a server's challenge, in base64. LOGIN asks by it for the user or for the password.
func (e *Exchange) Challenge(text []byte) {
	e.password = bytes.Contains(bytes.ToLower(decode(text)), []byte("pass"))
}

// Layered says whether octets that follow a login, of which c is the first, are of a security layer of this mechanism (RFC
// 4422 section 3.7). A buffer begins with its length in four octets; none has 16 MiB, and no line begins with a NUL.
func (e *Exchange) Layered(c byte) bool {
	switch e.Mechanism {
	case "DIGEST-MD5", "GSSAPI", "GSS-SPNEGO", "KERBEROS_V4", "NTLM", "SRP":
		return c == 0
	}
	return false
}

// Lose says that octets of the exchange are missing.
func (e *Exchange) Lose() { e.broken = true }

// Start begins an attempt with the mechanism as sent.
func Start(mechanism []byte) Exchange {
	return Exchange{Mechanism: string(bytes.ToUpper(clip(mechanism, 64)))}
}

// Response takes the client's next response as sent, in base64: the initial one (RFC 4954 section 4), or a line after a
// challenge. It returns the secret octets in it, decoded, that an echo must not show (nil: none were understood).
func (e *Exchange) Response(line []byte) (secret []byte) {
	data := decode(line)
	e.responses++
	switch m := e.Mechanism; {
	case e.broken:
		return data
	case m == "LOGIN" && (e.responses > 1 || e.password): // draft-murchison-sasl-login: the user, then the password
		secret = data
	case m == "PLAIN", isText(m) && bytes.IndexByte(data, 0) >= 0: // RFC 4616: authzid NUL authcid NUL password
		// Without an authcid the response is malformed, and nobody knows which field the client meant for its password.
		secret = data
		if f := bytes.SplitN(data, []byte{0}, 3); len(f) == 3 && len(f[1]) > 0 {
			e.setUser(f[1])
			secret = f[2]
		}
	case m == "LOGIN":
		e.setUser(data)
	case strings.HasPrefix(m, "CRAM-"): // RFC 2195: user SP digest; Courier offers it with SHA1 and SHA256, too
		i := bytes.LastIndexByte(data, ' ')
		e.setUser(data[:max(i, 0)])
		return data[i+1:]
	case m == "DIGEST-MD5": // RFC 2831
		e.setUser(quotedField(data, "username="))
	case strings.HasPrefix(m, "SCRAM-"): // RFC 5802: n,,n=user,r=nonce
		if e.User == "" {
			e.setUser(unescapeSCRAM(field(data, "n=", ',')))
		}
	case m == "XOAUTH2": // user=name ^A auth=Bearer token ^A ^A
		e.setUser(field(data, "user=", 1))
		return e.bearer(data)
	case m == "OAUTHBEARER": // RFC 7628: n,a=name, ^A ... ^A auth=Bearer token ^A ^A
		e.setUser(unescapeSCRAM(field(data, "a=", ',')))
		return e.bearer(data)
	case m == "NTLM":
		e.setUser(ntlmUser(data))
	case m == "EXTERNAL": // RFC 4422 appendix A
		e.setUser(data)
	case m == "ANONYMOUS": // RFC 4505: a trace, which is no user
	default: // nobody knows what of it is secret
		secret = data
	}
	if len(secret) > 0 {
		e.Secret = string(secret)
	}
	return secret
}

// isText says whether the responses of a mechanism hold no NUL. One that does is PLAIN's, whatever the client calls it.
func isText(mechanism string) bool {
	switch mechanism {
	case "LOGIN", "DIGEST-MD5", "XOAUTH2", "OAUTHBEARER", "EXTERNAL", "ANONYMOUS":
		return true
	}
	return strings.HasPrefix(mechanism, "CRAM-") || strings.HasPrefix(mechanism, "SCRAM-")
}

func (e *Exchange) setUser(name []byte) {
	if len(name) > 0 {
		e.User = strings.ToValidUTF8(string(clip(name, maxUser)), "\uFFFD")
	}
}

// decode takes off base64, also without padding; "=" is the empty response, and what is no base64 gives what came out.
func decode(line []byte) []byte {
	line = bytes.TrimRight(bytes.TrimSpace(line), "=")
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(line)))
	n, _ := base64.RawStdEncoding.Decode(out, line)
	return out[:n]
}

// field returns what stands between key, at the beginning or behind a separator, and the octet end.
func field(data []byte, key string, end byte) []byte {
	for at := 0; ; {
		i := bytes.Index(data[at:], []byte(key))
		if i < 0 {
			return nil
		}
		at += i
		if at == 0 || data[at-1] == ',' || data[at-1] == 1 {
			value, _, _ := bytes.Cut(data[at+len(key):], []byte{end})
			return value
		}
		at += len(key)
	}
}

// bearer takes the credentials of a response, all of it where it has none, and returns the token behind the word for their
// scheme (RFC 6750 section 2.1): a server may show the token alone.
func (e *Exchange) bearer(data []byte) (token []byte) {
	credentials := field(data, "auth=", 1)
	if len(credentials) == 0 {
		e.Secret = string(data)
		return data
	}
	e.Secret = string(credentials)
	if _, token = wire.CutWord(credentials); len(token) == 0 {
		return credentials
	}
	return token
}

func quotedField(data []byte, key string) []byte {
	value := field(data, key, ',')
	return bytes.Trim(value, `"`)
}

// unescapeSCRAM undoes RFC 5802 section 5.1's =2C and =3D.
func unescapeSCRAM(name []byte) []byte {
	name = bytes.ReplaceAll(name, []byte("=2C"), []byte(","))
	return bytes.ReplaceAll(name, []byte("=3D"), []byte("="))
}

// ntlmUser finds the user in an NTLM AUTHENTICATE_MESSAGE ([MS-NLMP] section 2.2.1.3).
func ntlmUser(data []byte) []byte {
	const userField, flagsField, unicode = 36, 60, 1
	if len(data) < flagsField+4 || string(data[:8]) != "NTLMSSP\x00" || binary.LittleEndian.Uint32(data[8:]) != 3 {
		return nil
	}
	n := uint64(binary.LittleEndian.Uint16(data[userField:]))
	at := uint64(binary.LittleEndian.Uint32(data[userField+4:]))
	if at+n > uint64(len(data)) || n > 4*maxUser {
		return nil
	}
	name := data[at : at+n]
	if binary.LittleEndian.Uint32(data[flagsField:])&unicode == 0 {
		return name
	}
	units := make([]uint16, len(name)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(name[2*i:])
	}
	return []byte(string(utf16.Decode(units)))
}

func clip(b []byte, n int) []byte { return b[:min(len(b), n)] }
