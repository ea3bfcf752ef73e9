package report

import (
	"io"
	"os"
	"strconv"
	"testing"
	"time"
)

// BenchmarkReport makes a report over a day of 20,000 sessions, or as many as MAILWIRE_SESSIONS says.
func BenchmarkReport(b *testing.B) {
	n := 20_000
	if s := os.Getenv("MAILWIRE_SESSIONS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	w := newWorld(b)
	w.everyday(n, 23*time.Hour)
	w.trouble()
	db := w.open()
	for b.Loop() {
		r, err := Make(b.Context(), db, Options{Location: time.UTC})
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Text(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n), "sessions")
}
