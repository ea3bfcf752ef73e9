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

// TestPutOffAtTheEnd: what a server said of a whole mail is known to the session only.
func TestPutOffAtTheEnd(t *testing.T) {
	w := newWorld(t)
	s := w.session(noon, "192.0.2.1", mx, func(s *record.Session) {
		refuse(s, "DATA-END", 451, "4.7.0", "Temporary server error. Please try again later. PRX5")
		s.Messages = 1
	})
	s.Messages = 0
	w.mail(s, "scanner@example.net", []string{"a@example.net"}, func(m *record.Message) {
		m.Outcome, m.Reply = record.Rejected, &record.Reply{Code: 451, Enhanced: "4.7.0", Text: "Temporary server error. Please try again later. PRX5"}
	})
	reportOn(t, w.open(), Options{}).row(t, "never-accepted", "from=scanner@example.net", "reply=451 4.7.0 Temporary server error. Please try")
}

// TestTurnedAway: who is cut off after a mail, because no other came, was not turned away.
func TestTurnedAway(t *testing.T) {
	w := newWorld(t)
	for _, mails := range []int{0, 1} {
		client := []string{"192.0.2.1", "192.0.2.2"}[mails]
		s := w.session(noon, client, mx, func(s *record.Session) {
			refuse(s, "", 421, "4.4.2", "Error: timeout exceeded")
			s.Messages = mails
		})
		if s.Messages = 0; mails > 0 {
			w.mail(s, "a@example.org", []string{"b@example.net"}, nil)
		}
	}
	r := reportOn(t, w.open(), Options{})
	r.row(t, "turned-away", "client=192.0.2.1", "replies=1")
	if rows := r.section(t, "turned-away").Rows; len(rows) != 1 {
		t.Errorf("turned away: %v", rows)
	}
}
