package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// moment reads a time as users write it: a day, a day and a time, RFC 3339, a word, or how long before now. Its zone is
// now's where the text has none.
func moment(s string, now time.Time) (time.Time, error) {
	switch s {
	case "now":
		return now, nil
	case "today":
		return midnight(now), nil
	case "yesterday":
		return dayAfter(now, -1), nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if text, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.ParseUint(text, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(days)), nil
		}
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return firstMoment(t.Year(), t.Month(), t.Day(), now.Location()), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s: give a day like 2026-11-22, a time like \"2026-11-22 15:04\", or how long ago, like 2h or 7d", s)
}

// midnight returns the first moment of that day.
func midnight(t time.Time) time.Time { return dayAfter(t, 0) }

// dayAfter returns the first moment of the day so many days after that of t.
func dayAfter(t time.Time, days int) time.Time {
	return firstMoment(t.Year(), t.Month(), t.Day()+days, t.Location())
}

// firstMoment returns that of a day: midnight, or what comes instead where clocks are put forward at midnight.
func firstMoment(year int, month time.Month, day int, zone *time.Location) time.Time {
	t := time.Date(year, month, day, 0, 0, 0, 0, zone)
	if noon := time.Date(year, month, day, 12, 0, 0, 0, zone); t.Day() != noon.Day() {
		_, t = t.ZoneBounds()
	}
	return t
}
