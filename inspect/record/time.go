package record

import "time"

// layout is RFC 3339 with microseconds, always six digits, so that times sort as text.
const layout = "2006-01-02T15:04:05.000000Z07:00"

// Time is a point in time that is written with microseconds in its own location.
type Time struct{ time.Time }

// Append appends t as text to dst, as AppendFormat with the layout does, in a third of its time.
func (t Time) Append(dst []byte) []byte {
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(dst, layout)
	}
	hour, minute, second := t.Clock()
	dst = appendTwo(appendTwo(dst, year/100), year%100)
	dst = appendTwo(append(dst, '-'), int(month))
	dst = appendTwo(append(dst, '-'), day)
	dst = appendTwo(append(dst, 'T'), hour)
	dst = appendTwo(append(dst, ':'), minute)
	dst = appendTwo(append(dst, ':'), second)
	micro := t.Nanosecond() / int(time.Microsecond)
	dst = appendTwo(append(dst, '.'), micro/10000)
	dst = appendTwo(appendTwo(dst, micro/100%100), micro%100)
	_, offset := t.Zone()
	if offset == 0 {
		return append(dst, 'Z')
	}
	sign, minutes := byte('+'), offset/60
	if minutes < 0 {
		sign, minutes = '-', -minutes
	}
	dst = appendTwo(append(dst, sign), minutes/60)
	return appendTwo(append(dst, ':'), minutes%60)
}

func appendTwo(dst []byte, n int) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }

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
