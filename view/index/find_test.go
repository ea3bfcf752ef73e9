package index

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailwire/mailwire/view"
)

// TestFind: each id leads to its record.
func TestFind(t *testing.T) {
	dir := captured(t)
	x, _ := open(t, dir)
	catchUp(t, x)
	found := 0
	for _, r := range recorded(t, dir) {
		f, err := x.Find(t.Context(), r.s.ID[:10])
		if err != nil || len(f) != 1 || f[0].ID != r.s.ID {
			t.Errorf("%s: %+v, %v", r.s.ID, f, err)
			continue
		}
		if s, err := x.data.Session(f[0].Place); err != nil || s.ID != r.s.ID {
			t.Errorf("%s: %+v, %v", r.s.ID, s, err)
		}
		for _, m := range r.ms {
			names := []string{m.ID, m.QueueID}
			if m.Header != nil {
				names = append(names, m.Header.MessageID, strings.Trim(m.Header.MessageID, "<>"))
			}
			for _, name := range names {
				if name == "" {
					continue
				}
				found++
				f, err := x.Find(t.Context(), name)
				if err != nil || len(f) < maxFound && !slices.ContainsFunc(f, func(f view.Found) bool { return f.ID == m.ID && f.Message }) {
					t.Errorf("%s: %+v, %v", name, f, err)
					continue
				}
				for _, one := range f {
					if again, err := x.data.Message(one.Place); err != nil || again.ID != one.ID {
						t.Errorf("%s: %+v, %v", name, again, err)
					}
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d ids", found)
	}
	for _, id := range []string{"", "nothing", "nothing.1", "' OR 1=1 --", "a.b", "."} {
		if f, err := x.Find(t.Context(), id); err != nil || len(f) > 0 {
			t.Errorf("%q: %+v, %v", id, f, err)
		}
	}
}

// TestFindAll: an id that may be of two kinds leads to both, as it does without an index.
func TestFindAll(t *testing.T) {
	s, _ := sample(1, time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC))
	other, ms := sample(2, time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC))
	s.ID, ms[0].QueueID, ms[1].Header.MessageID = "4bcde12345678901", "4bcde", "<4bcde>"
	const day = "2026-11-22.jsonl"
	x, _ := open(t, dataDir(t, map[string]string{
		"sessions-" + day: string(s.AppendJSON(nil)) + "\n" + string(other.AppendJSON(nil)) + "\n",
		"messages-" + day: string(ms[0].AppendJSON(nil)) + "\n" + string(ms[1].AppendJSON(nil)) + "\n",
	}))
	catchUp(t, x)
	want, err := x.data.Find("4bcde", nil)
	if err != nil || len(want) != 3 {
		t.Fatal(want, err)
	}
	got, err := x.Find(t.Context(), "4bcde")
	if err != nil || len(got) != len(want) {
		t.Fatal(got, err)
	}
	for i := range want {
		if got[i].ID != want[i].ID || got[i].Place != want[i].Place {
			t.Errorf("%+v, not %+v", got[i], want[i])
		}
	}
}
