package report

import (
	"net/netip"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// TestSlowestOfHours: the longest waits of some hours, and of one protocol, are there however long others were.
func TestSlowestOfHours(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		w.session(noon.Add(-3*time.Hour), "192.0.2.1", mx, func(s *record.Session) { dialogue(s, 5, float64(90_000+i)) })
	}
	w.session(noon.Add(10*time.Minute), "192.0.2.2", mx, func(s *record.Session) { dialogue(s, 5, 3000) })
	w.session(noon.Add(-3*time.Hour), "192.0.2.2", mx, func(s *record.Session) { s.Protocol = record.LMTP; dialogue(s, 5, 700) })
	db := w.open()
	r := reportOn(t, db, Options{Since: noon.Add(-time.Hour), Until: noon.Add(time.Hour)})
	r.row(t, "slowest", "wait=3.0 s", "command=DATA-END", "client=192.0.2.2")
	r.row(t, "waits", "protocol=smtp", "command=DATA-END", "replies=1", "longest=3.0 s", "session=s")
	r = reportOn(t, db, Options{})
	r.row(t, "waits", "protocol=lmtp", "command=DATA-END", "replies=1", "longest=700 ms", "session=s")
	r.row(t, "waits", "protocol=smtp", "command=DATA-END", "replies=21", "longest=1:30 min")
	for _, s := range reportOn(t, db, Options{Clients: netip.MustParsePrefix("192.0.2.2/32")}).Sections {
		if s.Name == "slowest" || s.Name == "waits" {
			t.Errorf("%s speaks of some clients, which are not kept apart: %v", s.Name, s.Rows)
		}
	}
}

// TestSizesWithinLargest: no mail is larger than the largest one, however wide its class of sizes is.
func TestSizesWithinLargest(t *testing.T) {
	w := newWorld(t)
	s := w.session(noon, "192.0.2.1", mx, nil)
	w.mail(s, "a@example.org", []string{"b@example.net"}, func(m *record.Message) { m.Octets = 448_000 })
	reportOn(t, w.open(), Options{}).row(t, "sizes", "mails=1", "median=448 kB", "95%=448 kB", "largest=448 kB")
}
