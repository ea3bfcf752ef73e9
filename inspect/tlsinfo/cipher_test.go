package tlsinfo

import (
	"crypto/tls"
	"testing"
)

func TestCipherName(t *testing.T) {
	for id, want := range map[uint16]string{
		tls.TLS_AES_128_GCM_SHA256: "TLS_AES_128_GCM_SHA256",
		0x0039:                     "TLS_DHE_RSA_WITH_AES_256_CBC_SHA",
		0xC028:                     "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384",
		0xCCAA:                     "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
		0xFEFE:                     "0xFEFE",
	} {
		if got := cipherName(id); got != want {
			t.Errorf("%#x: %s, want %s", id, got, want)
		}
	}
}
