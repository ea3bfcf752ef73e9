package report

import (
	"slices"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// TestPutOff: what counts is the last word to each recipient, be it to RCPT, to the mail, or to both.
func TestPutOff(t *testing.T) {
	w := newWorld(t)
	minute := 0
	// try says what a server answers to a mail from somebody to x@example.net and, in LMTP, delivers to each.
	try := func(from string, rcpt, mail int, delivered ...int) {
		minute++
		s := w.session(noon.Add(time.Duration(minute)*time.Minute), "192.0.2.1", mx, func(s *record.Session) {
			s.Messages = 1
			if delivered != nil {
				s.Protocol = record.LMTP
			}
		})
		s.Messages = 0
		to := []string{"x@example.net", "y@example.net"}[:max(1, len(delivered))]
		w.mail(s, from+"@example.org", to, func(m *record.Message) {
			m.Rcpt[0].Code, m.Rcpt[0].Enhanced = rcpt, ""
			m.Reply = &record.Reply{Code: mail}
			if mail >= 400 {
				m.Outcome = record.Rejected
			}
			for i, code := range delivered {
				m.Rcpt[i].Delivered = &record.Reply{Code: code, Enhanced: "4.2.2", Text: "over quota"}
			}
		})
	}
	try("lmtp", 250, 250, 452, 250)
	try("lmtp-later", 250, 250, 452, 250)
	try("lmtp-later", 250, 250, 250, 250)
	try("lmtp-twice", 250, 250, 250, 452)
	try("lmtp-twice", 250, 250, 452, 250)
	try("lmtp-refused", 250, 250, 452, 250)
	try("lmtp-refused", 250, 250, 552, 250)
	try("rcpt-refused", 450, 554)
	try("rcpt-refused", 550, 554)
	try("mail-refused", 250, 451)
	try("mail-refused", 250, 554)
	try("refused-before", 550, 554)
	try("refused-before", 450, 554)
	try("nobody", 450, 554) // no valid recipients
	r := reportOn(t, w.open(), Options{Top: 100})
	var got []string
	for _, row := range r.section(t, "never-accepted").Rows {
		got = append(got, row[1].(string)+" "+row[2].(string)+" "+row[6].(string))
	}
	slices.Sort(got)
	want := []string{
		"lmtp-twice@example.org x@example.net 452 4.2.2 over quota",
		"lmtp@example.org x@example.net 452 4.2.2 over quota",
		"nobody@example.org x@example.net 450 ",
		"refused-before@example.org x@example.net 450 ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("never accepted: %q, not %q", got, want)
	}
	later := r.section(t, "accepted-later")
	r.row(t, "accepted-later", "from=lmtp-later@example.org", "to=x@example.net", "delay=1:00 min")
	r.row(t, "accepted-later", "from=lmtp-twice@example.org", "to=y@example.net", "delay=1:00 min")
	if len(later.Rows) != 2 {
		t.Errorf("accepted later: %v", later.Rows)
	}
}
