package message

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

// checkContent: what Content is given is what the list of parts counts and digests.
func checkContent(t *testing.T, mail string) {
	t.Helper()
	content := map[int][]byte{}
	p := Parser{Content: func(part int, octets []byte) {
		if octets == nil {
			content[part] = nil
		}
		content[part] = append(content[part], octets...)
	}}
	whole := feed(&p, mail, func() int { return 1 << 30 })
	for i, part := range whole.Parts {
		got, begun := content[i]
		sum := sha256.Sum256(got)
		if !begun || int64(len(got)) != part.Octets || part.SHA256 != "" && part.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("part %d, %s: %d octets %.100q", i+1, partText(part), len(got), got)
		}
	}
}
