package index

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"strings"
)

// Cursor is how far the sessions of each day were seen.
type Cursor map[string]int64

// Has says that a session was taken in before: any other is one of the News, though it may be found already.
func (c Cursor) Has(r Row) bool { return r.At.Offset < c[r.At.Day] }

// Cursor returns where the index ends now.
func (x *Index) Cursor(ctx context.Context) (Cursor, error) {
	c := Cursor{}
	rows, err := x.DB().QueryContext(ctx, "SELECT day, read FROM files WHERE kind = ?", sessionsFile)
	_, err = collect(rows, err, func(r *sql.Rows, _ *struct{}) error {
		var day string
		var read int64
		err := r.Scan(&day, &read)
		c[day] = read
		return err
	})
	return c, err
}

// News gives the sessions that are wanted and were taken in behind the cursor, in the order in which they ended, and
// moves it. Limit and Before of the query are nothing to it.
func (x *Index) News(ctx context.Context, q Query, c Cursor) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		now, err := x.Cursor(ctx)
		if err != nil {
			yield(Row{}, x.Explain(err))
			return
		}
		q.Before = 0
		text, args, err := q.statement()
		if err != nil {
			yield(Row{}, err)
			return
		}
		text = strings.Replace(text, " ORDER BY", " AND s.row = (SELECT row FROM sessions WHERE id = ?) ORDER BY", 1)
		for day, end := range now {
			for at, s := range x.data.Sessions(day, c[day], nil) {
				if at.Offset >= end {
					break
				}
				c[day] = at.Offset + int64(at.Octets)
				more := true
				err := x.rows(ctx, text, append(args[:len(args):len(args)], s.ID), func(r *Row) (bool, error) {
					if !q.holds(r) || r.At != at {
						return false, nil
					}
					err := x.complete(ctx, r)
					more = err == nil && yield(*r, nil)
					return false, err
				})
				if err != nil {
					yield(Row{}, x.Explain(err))
				}
				if err != nil || !more {
					return
				}
			}
			c[day] = end
		}
	}
}

// Problems says what of the records is not in the index, in a sentence or two, or nothing.
func (x *Index) Problems(ctx context.Context) (string, error) {
	lines, err := x.leftOut(ctx)
	if err != nil {
		return "", x.Explain(err)
	}
	var many int
	if err := x.DB().QueryRowContext(ctx, "SELECT count(*) FROM words WHERE words MATCH ?", term(tooMany, "")).Scan(&many); err != nil {
		return "", x.Explain(err)
	}
	if many == 0 {
		return lines, nil
	}
	words := fmt.Sprintf("filters may miss %d of the sessions, as no more than %d addresses, ids and words of a subject are kept of each", many, maxTags)
	return strings.TrimPrefix(lines+"; "+words, "; "), nil
}

// leftOut says which lines are not.
func (x *Index) leftOut(ctx context.Context) (string, error) {
	var broken, newer int
	db := x.DB()
	if err := db.QueryRowContext(ctx, "SELECT coalesce(sum(broken), 0), coalesce(sum(newer), 0) FROM files").Scan(&broken, &newer); err != nil {
		return "", err
	}
	if broken+newer == 0 {
		return "", nil
	}
	said, err := texts(db.QueryContext(ctx, "SELECT said FROM files WHERE said <> '' ORDER BY day, kind LIMIT 3"))
	if err != nil {
		return "", err
	}
	if broken+newer == 1 && len(said) == 1 {
		return said[0], nil
	}
	return fmt.Sprintf("%d lines are left out: %s", broken+newer, strings.Join(said, "; ")), nil
}

// Torn names, as FILE:OFFSET, the last lines that have no end. Where a mailwire records, they may get it yet.
func (x *Index) Torn(ctx context.Context) ([]string, error) {
	list, err := texts(x.DB().QueryContext(ctx, "SELECT 'logs/' || kind || '-' || day || '.jsonl:' || read FROM files WHERE seen > read ORDER BY day, kind"))
	if err != nil {
		return nil, x.Explain(err)
	}
	return list, nil
}
