package index

import (
	"fmt"
	"os"
	"strings"
)

// idleness looks at how busy the host is.
type idleness struct{ idle, all int64 }

// since says whether at least half of all processors' time was idle since it was asked last.
func (i *idleness) since() bool {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return false
	}
	line, _, _ := strings.Cut(string(data), "\n")
	var n [8]int64 // user nice system idle iowait irq softirq steal
	if _, err := fmt.Sscanf(line, "cpu %d %d %d %d %d %d %d %d", &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7]); err != nil {
		return false
	}
	now := idleness{idle: n[3] + n[4]}
	for _, ticks := range n {
		now.all += ticks
	}
	was := *i
	if now.all == was.all { // too short to tell
		return false
	}
	*i = now
	return 2*(now.idle-was.idle) >= now.all-was.all
}
