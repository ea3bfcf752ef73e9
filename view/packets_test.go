package view

import (
	"bytes"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

// TestForgedPackets: a record that lies costs no endless file, and no crash.
func TestForgedPackets(t *testing.T) {
	text := func(s string) *string { return &s }
	huge, below := int64(math.MaxInt64), int64(-5)
	s := record.Session{
		ID: "a", Protocol: record.SMTP, Status: record.Closed, Messages: 1,
		Client: record.Endpoint{IP: "192.0.2.7", Port: 5}, Server: record.Endpoint{IP: "2001:db8::1", Port: 25},
		Octets: record.Octets{Client: math.MaxInt64, Server: -1}, Lost: record.Octets{Client: math.MaxInt64},
		Dialogue: []record.Entry{
			{MS: math.MaxFloat64, From: "client", Text: text("BDAT 9223372036854775807 LAST")},
			{From: "client", Text: text("BDAT -1")},
			{From: "client", Body: &huge},
			{MS: math.Inf(-1), From: "nobody", Body: &below},
			{From: "server", Body: &huge},
			{From: "server"},
			{Omitted: 1},
		},
	}
	m := storedMail("x\r\n", "mail/new/x", false)
	m.V, m.Type, m.Session, m.Octets = 1, "message", "a", huge
	m.Holes = []record.Hole{{Offset: -1, Octets: 5}, {Offset: huge, Octets: huge}, {Offset: 1, Octets: -1}}
	day := s.Begin.Day()
	d := dataDir(t, map[string]string{
		"mail/new/x": "x\n", "logs/messages-" + day + ".jsonl": string(m.AppendJSON(nil)) + "\n",
	})
	var out bytes.Buffer
	warned := 0
	if err := d.WritePackets(&out, &s, func(error) { warned++ }); err != nil || warned == 0 {
		t.Errorf("%v, %d warnings", err, warned)
	}
	if out.Len() < 24 || out.Len() > 1<<20 {
		t.Errorf("%d octets", out.Len())
	}
	s.Client.IP = "nowhere"
	if err := d.WritePackets(io.Discard, &s, nil); err == nil || !strings.Contains(err.Error(), "cannot be written as packets") {
		t.Error(err)
	}
}
