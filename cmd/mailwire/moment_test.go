package main

import (
	"testing"
	"time"
	_ "time/tzdata"
)

// TestAgo: how long ago is counted from now, days by the calendar.
func TestAgo(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 29, 12, 0, 0, 0, zone) // clocks were put forward in the morning
	for s, want := range map[string]string{
		"90m": "2026-03-29T10:30:00+02:00", "1d": "2026-03-28T12:00:00+01:00", "24h": "2026-03-28T11:00:00+01:00", "30d": "2026-02-27T12:00:00+01:00",
	} {
		if got, err := moment(s, now); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%s ago is %s, %v", s, got.Format(time.RFC3339), err)
		}
	}
	for _, s := range []string{"d", "-1d", "1.5d", "1d2h", "99999d", "1dd"} {
		if got, err := moment(s, now); err == nil {
			t.Errorf("%s is %s", s, got)
		}
	}
}

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
