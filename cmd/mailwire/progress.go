package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/term"

	"github.com/mailwire/mailwire/tap"
)

// progress is one line on a terminal that says how far a long read is. Without a terminal it says nothing.
type progress struct {
	out   io.Writer // nil: nobody looks
	begin time.Time
	last  time.Time
	shown bool
}

func newProgress(w io.Writer) *progress {
	p := &progress{begin: time.Now()}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.out = f
	}
	return p
}

// show says how far the read is, a second after the begin and then four times a second.
func (p *progress) show(s tap.Stats) {
	if !p.due() {
		return
	}
	done := ""
	if s.InputSize > 0 {
		done = fmt.Sprintf("%3d %%  ", s.Input*100/s.InputSize)
	}
	fmt.Fprintf(p.out, "\r\x1b[K%s%s packets  %s sessions  %s", done, count(s.Packets), count(s.Sessions),
		rate(s.Octets, p.last.Sub(p.begin)))
}

// due says whether it is time to say something, and that it is said.
func (p *progress) due() bool {
	now := time.Now()
	if p.out == nil || now.Sub(p.begin) < time.Second || now.Sub(p.last) < time.Second/4 {
		return false
	}
	p.last, p.shown = now, true
	return true
}

// end takes the line away.
func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

// count writes a number with a comma at each thousand.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes octets in the unit that suits them.
func size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d octets", n)
}

func rate(octets int64, took time.Duration) string {
	return fmt.Sprintf("%.1f MB/s", float64(octets)/1e6/max(took.Seconds(), 1e-6))
}
