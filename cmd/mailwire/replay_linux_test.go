package main

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// TestReplayTLS: inside TLS, and by LMTP, it is the same; a certificate that nobody vouches for is refused.
func TestReplayTLS(t *testing.T) {
	certs := t.TempDir()
	newAuthority(t, certs, "ca").sign("mx", "mx.example.net", time.Now().Add(time.Hour))
	cert, err := tls.LoadX509KeyPair(filepath.Join(certs, "mx.pem"), filepath.Join(certs, "mx.key"))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	dir, k := replayedMail(t), new(keeper)
	startTLS := k.serve(t, func(s *smtp.Server, _ *net.Listener) { s.TLSConfig = config })
	implicit := k.serve(t, func(_ *smtp.Server, l *net.Listener) { *l = tls.NewListener(*l, config) })
	lmtp := k.serve(t, func(s *smtp.Server, _ *net.Listener) { s.LMTP = true })
	want := []string{"a@example.org RET=HDRS", "b@example.net NEVER", "c@example.net", replayed}
	for _, args := range [][]string{
		{"--to", startTLS, "--tls", "starttls", "--insecure"}, {"--to", implicit, "--tls", "implicit", "--insecure"}, {"--to", lmtp, "--lmtp"},
	} {
		status, stdout, stderr := mailwire(t, nil, append([]string{"replay", "abcd.1", "--data", dir}, args...)...)
		if got := k.take(); status != 0 || !slices.Equal(got, want) {
			t.Errorf("%q: status %d, %s: %q", args, status, stderr, got)
		}
		if !strings.HasPrefix(stdout, "CONNECT\n    220 mx | 220 mx.example.net ") || !strings.Contains(stdout, "DATA-END\n    250 2.0.0 queued as 4XyZ | 250 2.0.0 ") {
			t.Errorf("%q: %s", args, stdout)
		}
	}
	for _, args := range [][]string{{"--to", startTLS, "--tls", "starttls"}, {"--to", implicit, "--tls", "implicit"}, {"--to", lmtp}} {
		status, _, stderr := mailwire(t, nil, append([]string{"replay", "abcd.1", "--data", dir}, args...)...)
		if got := k.take(); status != 1 || got != nil || !strings.Contains(stderr, "certificate") && !strings.Contains(stderr, "refuses EHLO") {
			t.Errorf("%q: status %d, %s: %q", args, status, stderr, got)
		}
	}
}
