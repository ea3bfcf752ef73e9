package report

import (
	"encoding/json"
	"time"
)

// jsonVersion changes when a field changes its meaning or goes.
const jsonVersion = 1

// MarshalJSON writes the report for scripts: each section with its rows as objects. Times are RFC 3339, waits are
// milliseconds; what is unknown is null.
func (r *Report) MarshalJSON() ([]byte, error) {
	type section struct {
		Name  string           `json:"name"`
		Title string           `json:"title"`
		Says  string           `json:"says"`
		More  bool             `json:"more,omitempty"`
		Rows  []map[string]any `json:"rows"`
	}
	out := struct {
		V        int       `json:"v"`
		Type     string    `json:"type"`
		Since    time.Time `json:"since,omitzero"`
		Until    time.Time `json:"until,omitzero"`
		Totals   Totals    `json:"totals"`
		Sections []section `json:"sections"`
	}{V: jsonVersion, Type: "report", Since: r.Since, Until: r.Until, Totals: r.Totals, Sections: []section{}}
	for _, s := range r.Sections {
		j := section{Name: s.Name, Title: s.Title, Says: s.Says, More: s.More, Rows: make([]map[string]any, len(s.Rows))}
		for i, row := range s.Rows {
			j.Rows[i] = make(map[string]any, len(row))
			for k, c := range s.Columns {
				j.Rows[i][c.Name] = row[k]
			}
		}
		out.Sections = append(out.Sections, j)
	}
	return json.Marshal(out)
}
