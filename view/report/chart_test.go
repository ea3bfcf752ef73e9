package report

import (
	"testing"
	"time"
	_ "time/tzdata"
)

// TestHourChartInSummer: each day has its own bar, also where one of them has 25 hours or 23.
func TestHourChartInSummer(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	for _, first := range []time.Time{time.Date(2026, 10, 1, 12, 0, 0, 0, zone), time.Date(2026, 3, 1, 12, 0, 0, 0, zone)} {
		w := newWorld(t)
		const days = 60
		for i := range days {
			w.session(first.AddDate(0, 0, i).UTC(), "192.0.2.1", mx, nil)
		}
		r, err := Make(t.Context(), w.open(), Options{Location: zone})
		if err != nil {
			t.Fatal(err)
		}
		bars := r.section(t, "load-by-hour").Chart.Bars
		if len(bars) != days {
			t.Fatalf("%d bars", len(bars))
		}
		for i, b := range bars {
			if want := first.AddDate(0, 0, i).Format(time.DateOnly); b.Label != want || b.sum() != 1 {
				t.Errorf("bar %d is %s with %d, not %s", i, b.Label, b.sum(), want)
			}
		}
	}
}
