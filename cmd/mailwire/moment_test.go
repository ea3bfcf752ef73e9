package main

import (
	"testing"
	"time"
	_ "time/tzdata"
)

// TestFirstMoment: a day begins when it does, also where clocks are put forward at midnight.
func TestFirstMoment(t *testing.T) {
	for _, c := range []struct{ zone, day, begin, end string }{
		{"UTC", "2026-11-22", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"Europe/Zurich", "2026-03-29", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"},
		{"America/Santiago", "2026-09-05", "2026-09-05T00:00:00-04:00", "2026-09-06T01:00:00-03:00"},
		{"America/Santiago", "2026-09-06", "2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"},
		{"Asia/Beirut", "2026-03-29", "2026-03-29T01:00:00+03:00", "2026-03-30T00:00:00+03:00"},
		{"America/Havana", "2026-11-01", "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		begin, err := moment(c.day, time.Now().In(zone))
		if err != nil {
			t.Fatal(err)
		}
		if got := begin.Format(time.RFC3339); got != c.begin || !midnight(begin).Equal(begin) {
			t.Errorf("%s in %s begins at %s, not %s", c.day, c.zone, got, c.begin)
		}
		if got := dayAfter(begin, 1).Format(time.RFC3339); got != c.end {
			t.Errorf("%s in %s ends at %s, not %s", c.day, c.zone, got, c.end)
		}
		if got := dayAfter(dayAfter(begin, 1), -1); !got.Equal(begin) {
			t.Errorf("the day before that after %s in %s begins at %s", c.day, c.zone, got)
		}
	}
}
