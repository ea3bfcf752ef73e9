package index

import (
	"reflect"
	"slices"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

func TestShape(t *testing.T) {
	for text, want := range map[string]string{
		"<nobody@example.net>: Recipient address rejected: User unknown in virtual mailbox table": "…: Recipient address rejected: User unknown in virtual mailbox table",
		"<x@y.example>: Relay access denied":                                                      "…: Relay access denied",
		"Greylisted, please try again in 300 seconds":                                             "Greylisted, please try again in … seconds",
		"Message size exceeds fixed limit":                                                        "Message size exceeds fixed limit",
		"5.7.1 Service unavailable; client [192.0.2.7] blocked":                                   "5.7.1 Service unavailable; client … blocked",
		"Sender on our block list, see https://bl.example/q?192.0.2.7":                            "Sender on our block list, see …",
		"[AUTH] Authentication failed for [192.0.2.7]":                                            "[AUTH] Authentication failed for …",
		"[192.0.2.7] is not welcome":                                                              "… is not welcome",
		"can't do it, won't do it":                                                                "can't do it, won't do it",
		"queued as 4XyZ1 1234 5678 done":                                                          "queued as … done",
		"unknown user \"some body\".":                                                             "unknown user ….",
		"first line\nsecond line":                                                                 "first line",
		"":                                                                                        "",
		"<never closed":                                                                           "<never closed",
		"mx1.example.net Service not available, closing (id=q8-20020a1709)":                       "… Service not available, closing …)",
	} {
		if got := shape(text); got != want {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
}

// TestWaits: each reply is held against the command that it answers.
func TestWaits(t *testing.T) {
	client := func(ms float64, text string) record.Entry { return record.Entry{MS: ms, From: "client", Text: &text} }
	server := func(ms float64, text string) record.Entry { return record.Entry{MS: ms, From: "server", Text: &text} }
	body := func(ms float64) record.Entry { n := int64(10); return record.Entry{MS: ms, From: "client", Body: &n} }
	three := []record.Entry{
		server(1, "220 mx"), client(2, "MAIL FROM:<a@b.example>"), server(3, "250 ok"), client(4, "RCPT TO:<a@b.example>"), server(5, "250 ok"),
		client(6, "RCPT TO:<b@b.example>"), server(7, "550 no"), client(8, "RCPT TO:<c@b.example>"), server(9, "250 ok"),
		client(10, "DATA"), server(11, "354 go"), body(20), server(30, "353 each"), server(40, "250 a"), server(50, "452 c"),
		server(60, "250 all"), client(70, "QUIT"), server(71, "221 bye"),
	}
	envelope := []wait{{"CONNECT", 1}, {"MAIL", 1}, {"RCPT", 1}, {"RCPT", 1}, {"RCPT", 1}, {"DATA", 1}}
	for name, c := range map[string]struct {
		dialogue []record.Entry
		want     []wait
	}{
		"pipelined": {
			[]record.Entry{
				server(5, "220 mx"), client(6, "ehlo x"), server(8, "250 mx"), client(10, "MAIL FROM:<>"), client(10, "RCPT TO:<a@b.example>"),
				client(10, "DATA"), server(11, "250 ok"), server(30, "250 ok"), server(31, "354 go"), body(40), server(140.1, "250 queued"),
				client(150, "QUIT"), server(151, "221 bye"),
			},
			[]wait{{"CONNECT", 5}, {"EHLO", 2}, {"MAIL", 1}, {"RCPT", 20}, {"DATA", 21}, {"DATA-END", 100.1}, {"QUIT", 1}},
		},
		"authenticated": {
			[]record.Entry{
				server(1, "220 mx"), client(2, "AUTH LOGIN"), server(3, "334 VXNlcm5hbWU6"), client(4, "***"), server(6, "334 UGFzc3dvcmQ6"),
				client(7, "***"), server(2007, "535 no"), client(2008, "NONSENSE"), server(2009, "500 what"),
			},
			[]wait{{"CONNECT", 1}, {"AUTH", 1}, {"AUTH", 2}, {"AUTH", 2000}, {"OTHER", 1}},
		},
		"chunks": {
			[]record.Entry{server(1, "220 mx"), client(2, "BDAT 10 LAST"), body(50), server(60, "250 ok"), server(70, "421 bye")},
			[]wait{{"CONNECT", 1}, {"DATA-END", 10}},
		},
		"omitted": {
			[]record.Entry{server(1, "+OK"), client(2, "STAT"), {Omitted: 5}, server(60, "+OK")},
			[]wait{{"CONNECT", 1}},
		},
		"lmtp": {
			append(slices.Clone(three[:12]), three[13], three[14], three[16], three[17]),
			append(slices.Clone(envelope), wait{"DATA-END", 20}, wait{"DATA-END", 30}, wait{"QUIT", 1}),
		},
		"prdr": {
			three,
			append(slices.Clone(envelope), wait{"DATA-END", 10}, wait{"DATA-END", 20}, wait{"DATA-END", 30}, wait{"DATA-END", 40}, wait{"QUIT", 1}),
		},
	} {
		s := record.Session{Protocol: record.SMTP, Status: record.Closed, Dialogue: c.dialogue}
		if name == "lmtp" {
			s.Protocol = record.LMTP
		}
		if got := waitsOf(&s, nil); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, not %v", name, got, c.want)
		}
	}
	for name, s := range map[string]record.Session{
		"begun before":     {Status: record.Unknown},
		"octets lost":      {Status: record.Closed, Lost: record.Octets{Server: 1}},
		"resynchronised":   {Status: record.Closed, Anomalies: []record.Anomaly{{Kind: wire.Resync, Count: 1}}},
		"commands skipped": {Status: record.Closed, Anomalies: []record.Anomaly{{Kind: wire.TooManyPending, Count: 1}}},
	} {
		s.Dialogue = three
		if got := waitsOf(&s, nil); got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	for ms, want := range map[float64]int{0: -10, 0.1: -10, 1: 0, 1.3: 1, 9.99: 9, 10: 10, 1000: 30} {
		if got := bucketOf(ms); got != want {
			t.Errorf("%v ms: bucket %d, not %d", ms, got, want)
		}
	}
}
