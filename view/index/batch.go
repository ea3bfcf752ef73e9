package index

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// batch is what one transaction takes in.
type batch struct {
	*filler
	docs     []doc
	reword   []int64 // sessions that were there before one of their messages
	waits    map[waitKey]*waited
	waitList []wait
	next     map[nextKey]int64
	load     load
}

type nextKey struct {
	table string
	first int64
}

func newBatch(f *filler) *batch {
	return &batch{filler: f, waits: map[waitKey]*waited{}, next: map[nextKey]int64{}, load: newLoad()}
}

func (b *batch) exec(ctx context.Context, s statement, args ...any) error {
	_, err := b.statements[s].ExecContext(ctx, args...)
	return err
}

// write takes in the records.
func (b *batch) write(ctx context.Context, day string, sessions []located[record.Session], messages []located[record.Message]) error {
	of := map[string][]located[record.Message]{} // by session
	for _, m := range messages {
		of[m.r.Session] = append(of[m.r.Session], m)
	}
	for _, s := range sessions {
		row, err := b.addSession(ctx, s)
		if err != nil {
			return err
		}
		if row == 0 {
			continue
		}
		d := doc{row: row}
		d.session(s.r)
		own := of[s.r.ID]
		delete(of, s.r.ID)
		for _, m := range own {
			added, err := b.addMessage(ctx, m, row)
			if err != nil {
				return err
			}
			if added {
				d.message(m.r)
			}
		}
		if len(own) < s.r.Messages {
			waited, err := b.adopt(ctx, s.r.ID, row)
			if err != nil {
				return err
			}
			if waited {
				b.reword = append(b.reword, row)
				continue
			}
		}
		d.tags = nil // no more will come
		b.docs = append(b.docs, d)
	}
	for _, m := range messages {
		if of[m.r.Session] == nil {
			continue
		}
		if err := b.addEarlyOrLate(ctx, m); err != nil {
			return err
		}
	}
	if err := b.writeWords(ctx); err != nil {
		return err
	}
	return errors.Join(b.writeWaits(ctx), b.writeLoad(ctx))
}

// addSession adds a session with its errors and logins; row 0 is one that was there already.
func (b *batch) addSession(ctx context.Context, s located[record.Session]) (int64, error) {
	tame(s.r)
	row, err := b.insert(ctx, "sessions", addSession, s.r.Begin.Time, s.r.ID, sessionRow(s.at, s.r))
	if err != nil || row == 0 {
		return row, err
	}
	day := s.at.Day
	for n := range s.r.Errors {
		if err := b.exec(ctx, addError, errorRow(row, n, day, s.r)...); err != nil {
			return 0, err
		}
	}
	for n := range s.r.Auth {
		if err := b.exec(ctx, addLogin, loginRow(row, n, day, s.r)...); err != nil {
			return 0, err
		}
	}
	for _, a := range s.r.Anomalies {
		if err := b.exec(ctx, addAnomaly, row, a.Kind, s.r.Client.IP, a.Count); err != nil {
			return 0, err
		}
	}
	b.addWaits(row, hourOf(s.r.Begin.UnixMicro()), day, s.r)
	b.load.session(row, day, s.r)
	return row, nil
}

// addMessage adds a message of a session; it is false if it was there already.
func (b *batch) addMessage(ctx context.Context, m located[record.Message], session int64) (bool, error) {
	bound(&m.r.Octets)
	row, err := b.insert(ctx, "messages", addMessage, m.r.Begin.Time, m.r.ID, messageRow(m.at, m.r, session))
	if err != nil || row == 0 {
		return false, err
	}
	for n := range m.r.Rcpt {
		r := result(&m.r.Rcpt[n])
		if err := b.exec(ctx, addRecipient, row, n, session, m.r.Rcpt[n].To, r.Code, r.Enhanced, r.Text); err != nil {
			return false, err
		}
	}
	b.load.message(m.at.Day, m.r)
	return true, nil
}

// addEarlyOrLate adds a message whose session is not in this batch: it goes on, or it was taken in before.
func (b *batch) addEarlyOrLate(ctx context.Context, m located[record.Message]) error {
	var session int64
	err := b.conn.QueryRowContext(ctx, "SELECT row FROM sessions WHERE id = ?", m.r.Session).Scan(&session)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	added, err := b.addMessage(ctx, m, session)
	if added && session != 0 {
		b.reword = append(b.reword, session)
	}
	return err
}

// adopt gives a session the messages that waited for it.
func (b *batch) adopt(ctx context.Context, id string, row int64) (bool, error) {
	list, err := ints(b.conn.QueryContext(ctx, "SELECT row FROM messages WHERE session_row = 0 AND session = ?", id))
	if err != nil {
		return false, err
	}
	for _, message := range list {
		if err := b.setSession(ctx, message, row); err != nil {
			return false, err
		}
	}
	return len(list) > 0, nil
}

func (f *filler) setSession(ctx context.Context, message, session int64) error {
	if _, err := f.conn.ExecContext(ctx, "UPDATE messages SET session_row = ? WHERE row = ?", session, message); err != nil {
		return err
	}
	_, err := f.conn.ExecContext(ctx, "UPDATE recipients SET session_row = ? WHERE message_row = ?", session, message)
	return err
}

// insert adds a row of sessions or messages at the first free place of its microsecond, and returns it, or 0 for an id
// that is there already.
func (b *batch) insert(ctx context.Context, table string, s statement, begin time.Time, id string, columns []any) (int64, error) {
	first := firstRow(begin)
	key := nextKey{table, first}
	row, crowded := b.next[key]
	if !crowded {
		row = max(first, 1) // 0 is no row
	}
	for {
		columns[0] = row
		result, err := b.statements[s].ExecContext(ctx, columns...)
		if err != nil {
			return 0, err
		}
		if n, err := result.RowsAffected(); err != nil || n > 0 {
			if crowded {
				b.next[key] = row + 1
			}
			return row, err
		}
		var same bool
		if err := b.conn.QueryRowContext(ctx, "SELECT count(*) FROM "+table+" WHERE "+among(table), id, first, row).Scan(&same); err != nil || same {
			return 0, err
		}
		if row, err = b.freeRow(ctx, table, row); err != nil {
			return 0, err
		}
		crowded = true
	}
}

// among is where a row with that id can be, between two rows.
func among(table string) string {
	if table == "sessions" {
		return "id = ?1"
	}
	return "id = ?1 AND row BETWEEN ?2 AND ?3"
}

// freeRow returns a row that is free, beyond one that is not.
func (b *batch) freeRow(ctx context.Context, table string, row int64) (int64, error) {
	for {
		end := row | (slots - 1)
		var last int64
		err := b.conn.QueryRowContext(ctx, "SELECT coalesce(max(row), 0) FROM "+table+" WHERE row BETWEEN ? AND ?", row, end).Scan(&last)
		switch {
		case err != nil:
			return 0, err
		case last == 0:
			return row, nil
		case last < end:
			return last + 1, nil
		}
		row = end + 1
	}
}

// writeWords adds the words of the sessions, in the order of their rows, as FTS5 likes it.
func (b *batch) writeWords(ctx context.Context) error {
	slices.Sort(b.reword)
	for _, row := range slices.Compact(b.reword) {
		b.docs = append(b.docs, doc{row: row, again: true})
	}
	slices.SortStableFunc(b.docs, func(a, b doc) int { return cmp.Compare(a.row, b.row) })
	for _, d := range b.docs {
		s := addWords
		if d.again { // only now, so that one at a time is in memory: there may be many mails that are no longer
			var err error
			if d, err = b.docOf(ctx, d.row); err != nil {
				return err
			}
			s = changeWords // which takes longer
		}
		if err := b.exec(ctx, s, d.row, string(d.text)); err != nil {
			return err
		}
	}
	return nil
}

// docOf makes the words of a session from its records.
func (f *filler) docOf(ctx context.Context, row int64) (doc, error) {
	d := doc{row: row}
	at, err := places(f.conn.QueryContext(ctx, "SELECT day, place, octets FROM sessions WHERE row = ?", row))
	if err != nil {
		return d, err
	}
	for _, p := range at {
		if s, err := f.data.Session(p); err == nil { // else it vanished just now
			d.session(s)
		}
	}
	at, err = places(f.conn.QueryContext(ctx, "SELECT day, place, octets_line FROM messages WHERE session_row = ? ORDER BY row", row))
	if err != nil {
		return d, err
	}
	for _, p := range at {
		if m, err := f.data.Message(p); err == nil {
			d.message(m)
		}
	}
	return d, nil
}
