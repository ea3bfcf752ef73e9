package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mailwire/mailwire/view/explain"
)

// Chart is a row of bars, or of stacks of them.
type Chart struct {
	Title  string
	Series []string // names of what is stacked, from the bottom up; one where nothing is
	Bars   []Bar
	Across bool // bars lie, so that their labels have room
}

// Bar is one bar: a value for each series.
type Bar struct {
	Label  string
	Values []int64
}

const maxBars = 96 // of a chart over time: a day by quarters of an hour would fit

// hourChart counts sessions by hour, or by as many hours as make few enough bars.
func (q *query) hourChart() (*Chart, error) {
	var first, last int64
	if err := q.row("SELECT COALESCE(MIN(hour), 0), COALESCE(MAX(hour), 0) FROM "+q.load(), &first, &last); err != nil {
		return nil, err
	}
	step := int64(1)
	for _, step = range []int64{1, 2, 3, 6, 12, 24, 48, 7 * 24, 30 * 24, 365 * 24} {
		if (last-first)/step < maxBars {
			break
		}
	}
	_, offset := q.time(first * 3600e6).Zone()
	shift := int64(offset) / 3600
	c := &Chart{Title: "Sessions by hour", Series: []string{"SMTP", "POP3"}}
	if step > 1 {
		c.Title = fmt.Sprintf("Sessions by %d hours", step)
	}
	rows, err := q.db.QueryContext(q.ctx, fmt.Sprintf(`
		SELECT (hour + %[1]d) / %[2]d slot, SUM(sessions * (protocol <> 'pop3')), SUM(sessions * (protocol = 'pop3'))
		FROM %[3]s GROUP BY slot ORDER BY slot`, shift, step, q.load()), q.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	next := int64(math.MinInt64)
	for rows.Next() {
		var slot, smtp, pop3 int64
		if err := rows.Scan(&slot, &smtp, &pop3); err != nil {
			return nil, err
		}
		for next > math.MinInt64 && next < slot && len(c.Bars) < 2*maxBars {
			c.Bars = append(c.Bars, Bar{q.slotLabel(next*step-shift, step), []int64{0, 0}})
			next++
		}
		c.Bars = append(c.Bars, Bar{q.slotLabel(slot*step-shift, step), []int64{smtp, pop3}})
		next = slot + 1
	}
	return c, rows.Err()
}

func (q *query) slotLabel(hour, step int64) string {
	if step < 24 {
		return q.time(hour * 3600e6).Format("01-02 15:04")
	}
	return q.time((hour + 12) * 3600e6).Format(time.DateOnly) // midnight is an hour earlier or later when summer time changes
}

const barsOfTen = 4 // of mails' sizes, for each power of ten

// sizeChart counts mails by size.
func (q *query) sizeChart() (*Chart, error) {
	c := &Chart{Title: "Mails by size", Series: []string{"mails"}}
	rows, err := q.db.QueryContext(q.ctx, `
		SELECT bucket / `+fmt.Sprint(sizeBuckets/barsOfTen)+` bar, SUM(messages) FROM `+q.sizes()+`
		WHERE bucket >= 0 GROUP BY bar ORDER BY bar`, q.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	next := math.MaxInt
	for rows.Next() {
		var bucket int
		var n int64
		if err := rows.Scan(&bucket, &n); err != nil {
			return nil, err
		}
		for ; next < bucket; next++ {
			c.Bars = append(c.Bars, Bar{sizeLabel(next), []int64{0}})
		}
		c.Bars = append(c.Bars, Bar{sizeLabel(bucket), []int64{n}})
		next = bucket + 1
	}
	return c, rows.Err()
}

func sizeLabel(bucket int) string {
	return octets(int64(math.Round(math.Pow(10, float64(bucket)/barsOfTen))))
}

// kindChart shows what refusals were about.
func kindChart(byKind map[explain.Kind]int64) *Chart {
	c := &Chart{Title: "What refusals were about", Series: []string{"replies"}, Across: true}
	for kind, n := range byKind {
		label := string(kind)
		if kind == explain.None {
			label = "anything else"
		}
		c.Bars = append(c.Bars, Bar{label, []int64{n}})
	}
	slices.SortFunc(c.Bars, func(a, b Bar) int {
		return cmp.Or(-cmp.Compare(a.Values[0], b.Values[0]), cmp.Compare(a.Label, b.Label))
	})
	return c
}
