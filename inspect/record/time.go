package record

import "time"

// layout is RFC 3339 with microseconds, always six digits, so that times sort as text.
const layout = "2006-01-02T15:04:05.000000Z07:00"

// Time is a point in time that is written with microseconds in its own location.
type Time struct{ time.Time }

// Append appends t as text to dst.
func (t Time) Append(dst []byte) []byte { return t.AppendFormat(dst, layout) }

func (t Time) String() string { return t.Format(layout) }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	return append(t.Append([]byte{'"'}), '"'), nil
}

// Day returns the day of t in its own location, as 2006-01-02: the day of the file that a line with this time is in.
func (t Time) Day() string { return t.Format(time.DateOnly) }

// MS returns the milliseconds from begin to t, rounded to a tenth.
func (t Time) MS(begin Time) float64 {
	return float64(t.Sub(begin.Time).Round(100*time.Microsecond)) / float64(time.Millisecond)
}
