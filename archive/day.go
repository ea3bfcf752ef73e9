package archive

import (
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// day is a day of the calendar, of any year: the year, and in the lower nine bits month and day.
type day int64

// dayOf returns the day of t in its own location.
func dayOf(t record.Time) day {
	y, m, d := t.Date()
	return day(y)<<9 | day(m)<<5 | day(d)
}

// after returns the day so many days later.
func (d day) after(days int) day { return dayOf(record.Time{Time: d.midnight().AddDate(0, 0, days)}) }

func (d day) midnight() time.Time {
	return time.Date(int(d>>9), time.Month(d>>5&15), int(d&31), 0, 0, 0, 0, time.UTC)
}

func (d day) String() string { return d.midnight().Format(time.DateOnly) }
