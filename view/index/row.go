package index

import (
	"math"
	"net/netip"
	"time"
)

const (
	slotBits = 10 // rows of one microsecond
	slots    = 1 << slotBits
	lastTime = 1<<52 - 1 // in microseconds since 1970: the year 2112
)

// firstRow returns the first row of what begins then.
func firstRow(begin time.Time) int64 {
	return min(max(begin.UnixMicro(), 0), lastTime) << slotBits
}

// Rows returns the rows of what began in that span of time: from the first one on, below the second one. A zero time is
// no bound. A table that has rows of sessions by another name, as session_row, is cut by the same numbers.
func Rows(since, until time.Time) (from, below int64) {
	from, below = math.MinInt64, math.MaxInt64
	if !since.IsZero() {
		from = firstRow(since)
	}
	if !until.IsZero() {
		below = firstRow(until)
	}
	return from, below
}

// netOf returns the network that an address is counted with: its /24, or its /64 in IPv6.
func netOf(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	a = a.Unmap()
	bits := 24
	if a.Is6() {
		bits = 64
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}
