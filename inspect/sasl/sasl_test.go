package sasl

import (
	"encoding/base64"
	"strings"
	"testing"
)

func b64(s string) []byte { return []byte(base64.StdEncoding.EncodeToString([]byte(s))) }

func TestExchange(t *testing.T) {
	const ntlm = "TlRMTVNTUAADAAAAGAAYAFgAAAAYABgAcAAAAA4ADgCIAAAACAAIAJYAAAAQABAAngAAABAAEACuAAAABQIAAgoAYUoAAAAPAAAAAAAAAAAAAAAA" +
		"AAAAAExMTExMTExMTExMTExMTExMTExMTExMTE5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTlMATQBUAFAARABPAE0AagBhAGMAawBTAE0AVABQAEgATwBT" +
		"AFQAS0tLS0tLS0tLS0tLS0tLSw=="
	for _, c := range []struct {
		mechanism    string
		responses    []string
		user, secret string
	}{
		{"plain", []string{"\x00alice\x00secret"}, "alice", "secret"},
		{"PLAIN", []string{"admin\x00alice\x00se\x00cret"}, "alice", "se\x00cret"},
		{"LOGIN", []string{"alice", "secret"}, "alice", "secret"},
		{"LOGIN", []string{"\x00alice\x00secret"}, "alice", "secret"},
		{"LOGIN", []string{"alice\x00secret"}, "", "alice\x00secret"},
		{"LOGIN", []string{"alice", "se\x00cr\x00et"}, "alice", "se\x00cr\x00et"},
		{"EXTERNAL", []string{"\x00alice\x00secret"}, "alice", "secret"},
		{"CRAM-MD5", []string{"\x00alice\x00a secret"}, "alice", "a secret"},
		{"CRAM-MD5", []string{"alice smith 0123abcd"}, "alice smith", ""},
		{"CRAM-SHA256", []string{"alice 0123abcd"}, "alice", ""},
		{"DIGEST-MD5", []string{`realm="x",username="alice",nonce="n"`}, "alice", ""},
		{"SCRAM-SHA-256", []string{"n,,n=al=2Cice,r=abc", "c=biws,r=abcdef,p=proof"}, "al,ice", ""},
		{"XOAUTH2", []string{"user=alice@example.org\x01auth=Bearer tok\x01\x01"}, "alice@example.org", "Bearer tok"},
		{"OAUTHBEARER", []string{"n,a=alice,\x01host=h\x01auth=Bearer tok\x01\x01"}, "alice", "Bearer tok"},
		{"EXTERNAL", []string{"alice"}, "alice", ""},
		{"X-OWN", []string{"token"}, "", "token"},
	} {
		e := Start([]byte(c.mechanism))
		for _, r := range c.responses {
			e.Response(b64(r))
		}
		if e.User != c.user || e.Secret != c.secret {
			t.Errorf("%s %q: user %q secret %q, want %q %q", c.mechanism, c.responses, e.User, e.Secret, c.user, c.secret)
		}
	}
	e := Start([]byte("ntlm"))
	e.Response([]byte(ntlm))
	if e.User != "jack" {
		t.Errorf("NTLM: user %q, want jack", e.User)
	}
}

// FuzzExchange: no response of any mechanism makes it fail.
func FuzzExchange(f *testing.F) {
	f.Add("PLAIN", []byte("AGEAYg=="))
	f.Add("NTLM", []byte("TlRMTVNTUAADAAAA"))
	f.Fuzz(func(t *testing.T, mechanism string, line []byte) {
		e := Start([]byte(mechanism))
		for range 3 {
			e.Response(line)
		}
		if len(e.User) > 3*maxUser {
			t.Errorf("a user of %d octets", len(e.User))
		}
	})
}

func TestScrub(t *testing.T) {
	var s Scrubber
	s.Add([]byte("c2VjcmV0"))
	s.AddEncoded([]byte("hunter2"))
	for in, want := range map[string]string{
		"500 unknown command C2VJCMV0":         "500 unknown command ***",
		"535 hunter2 is no password, Hunter2!": "535 *** is no password, ***!",
		"535 aHVudGVyMg==":                     "535 ***==",
		"250 ok":                               "250 ok",
	} {
		if got := string(s.Scrub([]byte(in))); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// TestScrubOverlap: secrets within each other are hidden as a whole, and one that was cut up to its end.
func TestScrubOverlap(t *testing.T) {
	var s Scrubber
	s.Add([]byte("hunter2"))
	s.Add([]byte("Hunter22"))
	s.Add([]byte("my hunter"))
	token := strings.Repeat("T0ken", 200)
	s.Add([]byte(token))
	in := "535 HUNTER22 my hunter2, " + token + " expired " + token
	if got, want := string(s.Scrub([]byte(in))), "535 *** ***, *** expired ***"; got != want {
		t.Errorf("%q became %q, want %q", in, got, want)
	}
}

func TestMayBeResponse(t *testing.T) {
	for in, want := range map[string]bool{"cHVuamFiQDEyMw==": true, "finish": false, "Hello, Alice (2)": false, "": false, "c2VjcmV0": true} {
		if mayBeResponse([]byte(in)) != want {
			t.Errorf("%q: want %v", in, want)
		}
	}
}

func TestValid(t *testing.T) {
	for in, want := range map[string]bool{
		"Scram-Sha-256": true, "Gs2-Krb5": true, "Kerberos_v4": true, "Otp": true, "SecurID": true, "Ecdsa-Nist256p-Challenge": true, "Abc-def": false,
		"PLAIN": true, "Plain": true, "OAUTHBEARER": true, "SCRAM-SHA-256-PLUS": true, "x-own": true,
		"AGFsaWNlAHNlY3JldA": false, "AGFsaWNlAHNlY3JldA==": false, "A-NAME-THAT-IS-FAR-TOO-LONG": false,
	} {
		if Valid([]byte(in)) != want {
			t.Errorf("%q: want %v", in, want)
		}
	}
}

// BenchmarkScrub looks for secrets that nearly are in the text at each of its octets.
func BenchmarkScrub(b *testing.B) {
	var s Scrubber
	for i := range maxSecrets {
		s.Add([]byte(strings.Repeat("a", 400+i) + "b"))
	}
	text := []byte(strings.Repeat("a", 4000))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s.Scrub(text)
	}
}
