package index

import (
	"testing"
	"time"
)

// TestReplaced: another file by the name of one that was taken in is noticed, also one that is as long or longer.
func TestReplaced(t *testing.T) {
	const day = "2026-11-22.jsonl"
	records := func(first, n int) (sessions, messages string) {
		for i := range n {
			s, ms := sample(first+i, time.Date(2026, 11, 22, 1, i, 0, 0, time.UTC))
			sessions += string(s.AppendJSON(nil)) + "\n"
			for _, m := range ms {
				messages += string(m.AppendJSON(nil)) + "\n"
			}
		}
		return sessions, messages
	}
	oldSessions, oldMessages := records(10, 20)
	for name, c := range map[string]struct {
		first, n int
		kinds    []string
		again    bool // who looks opens the index anew
	}{
		"longer":             {40, 25, []string{"sessions", "messages"}, false},
		"longer by one":      {11, 20, []string{"sessions", "messages"}, false},
		"as long":            {40, 20, []string{"sessions", "messages"}, false},
		"as long, later":     {40, 20, []string{"sessions", "messages"}, true},
		"sessions only":      {11, 30, []string{"sessions"}, false},
		"messages only":      {11, 30, []string{"messages"}, false},
		"shorter":            {40, 3, []string{"sessions", "messages"}, false},
		"the same, and more": {10, 30, []string{"sessions", "messages"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := dataDir(t, map[string]string{"sessions-" + day: oldSessions, "messages-" + day: oldMessages})
			x, _ := open(t, dir)
			catchUp(t, x)
			sessions, messages := records(c.first, c.n)
			for _, kind := range c.kinds {
				text := map[string]string{"sessions": sessions, "messages": messages}[kind]
				if name == "longer by one" {
					text += "\n" // the last line is where it was
				}
				write(t, dir, kind+"-"+day, text)
			}
			if c.again {
				x, _ = open(t, dir)
			}
			catchUp(t, x)
			fresh, _ := open(t, copyOf(t, dir))
			catchUp(t, fresh)
			equal(t, name, dump(t, x), dump(t, fresh))
		})
	}
}
