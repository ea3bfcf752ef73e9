package replay

import (
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

func TestDiffers(t *testing.T) {
	for _, c := range []struct {
		old, now string
		want     bool
	}{
		{"", "550 no", false},
		{"250 2.0.0 queued as 1", "250 2.0.0 queued as 2", false},
		{"250 2.1.5", "250 2.0.0 fine", false},
		{"250-one\n250 two", "250 three", false},
		{"250 fine", "550 5.1.1 no", true},
		{"550 5.1.1 no", "550 5.7.1 relay", true},
		{"450 4.7.1 later", "250 fine", true},
		{"250 fine", "", true},
	} {
		if got := (Step{Old: c.old, New: c.now}).Differs(); got != c.want {
			t.Errorf("%q and %q: %v", c.old, c.now, got)
		}
	}
}

func TestRefused(t *testing.T) {
	for reply, want := range map[string]bool{"": false, "250-a\n250 b": false, "354 go on": false, "421 bye": true, "552 5.2.2 full\n250 2.0.0 saved": true} {
		if got := (Step{New: reply}).Refused(); got != want {
			t.Errorf("%q: %v", reply, got)
		}
	}
}

func TestCommandAndReply(t *testing.T) {
	for _, c := range []struct{ said, command, reply string }{
		{"RCPT TO:<a>\r\n250-one\r\n250 two\r\n", "RCPT TO:<a>", "250-one\n250 two"},
		{"250 late\r\n", "", "250 late"},
		{"\r\n.\r\n550 5.7.1 no\r\n", "", "550 5.7.1 no"},
		{"QUIT\r\n", "QUIT", ""},
		{"", "", ""},
	} {
		if command, reply := commandAndReply(c.said); command != c.command || reply != c.reply {
			t.Errorf("%q: %q, %q", c.said, command, reply)
		}
	}
}

func TestGreeting(t *testing.T) {
	for first, want := range map[string]string{
		"220 mx\r\n": "220 mx", "220-a\r\n220 b\r\n250 early\r\n": "220-a\r\n220 b", "220-a\r\n": "220-a", "": "",
	} {
		if got := (&greeting{first: []byte(first)}).line(); got != want {
			t.Errorf("%q: %q", first, got)
		}
	}
}

func TestXtext(t *testing.T) {
	for in, want := range map[string]string{"": "", "a+2Bb": "a+b", "a@b": "a@b", "+0A": "", "+": "", "+2": "", "+ZZ": "", "ü": ""} {
		if got := fromXtext(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestLeftOut(t *testing.T) {
	m := Mail{Params: map[string]string{"SIZE": "1", "BY": "1"}, Rcpt: []record.Rcpt{{Params: map[string]string{"NOTIFY": "NEVER", "ODD": ""}}}}
	if got := LeftOut(m); len(got) != 2 || got[0] != "BY" || got[1] != "ODD" {
		t.Error(got)
	}
}
