package index

import (
	"context"
	"database/sql"
	"slices"
)

const forgetRows = 4000 // by one transaction

// forgetVanished forgets what was in files that are not there any more.
func (f *filler) forgetVanished(ctx context.Context, days []string) error {
	type key struct{ day, kind string }
	rows, err := f.conn.QueryContext(ctx, "SELECT day, kind FROM files ORDER BY kind DESC") // sessions, then messages
	known, err := collect(rows, err, func(r *sql.Rows, k *key) error { return r.Scan(&k.day, &k.kind) })
	if err != nil {
		return err
	}
	for _, k := range known {
		if slices.Contains(days, k.day) { // the other file of the day may be there: then grown sees that this one is shorter
			continue
		}
		if err := f.forget(ctx, k.kind, k.day); err != nil {
			return err
		}
	}
	return nil
}

// forget takes out what came from one file.
func (f *filler) forget(ctx context.Context, kind, day string) error {
	one := f.forgetSession
	if kind == messagesFile {
		one = f.forgetMessage
	}
	for more := true; more; {
		err := f.transaction(ctx, func() error {
			rows, err := ints(f.conn.QueryContext(ctx, "SELECT row FROM "+kind+" WHERE day = ? LIMIT ?", day, forgetRows))
			if err != nil {
				return err
			}
			for _, row := range rows {
				if err := one(ctx, row); err != nil {
					return err
				}
			}
			if more = len(rows) == forgetRows; more {
				return nil
			}
			return f.forgetFile(ctx, kind, day)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *filler) forgetFile(ctx context.Context, kind, day string) error {
	tables := []string{"waits", "slowest", "load", "clients"}
	if kind == messagesFile {
		tables = []string{"sizes"}
	}
	for _, table := range tables {
		if _, err := f.conn.ExecContext(ctx, "DELETE FROM "+table+" WHERE day = ?", day); err != nil {
			return err
		}
	}
	_, err := f.conn.ExecContext(ctx, "DELETE FROM files WHERE day = ? AND kind = ?", day, kind)
	return err
}

// forgetSession takes a session out. Its messages, if their file is still there, wait again.
func (f *filler) forgetSession(ctx context.Context, row int64) error {
	messages, err := ints(f.conn.QueryContext(ctx, "SELECT row FROM messages WHERE session_row = ?", row))
	if err != nil {
		return err
	}
	for _, m := range messages {
		if err := f.setSession(ctx, m, 0); err != nil {
			return err
		}
	}
	for _, d := range []string{
		"DELETE FROM errors WHERE session_row = ?", "DELETE FROM logins WHERE session_row = ?",
		"DELETE FROM anomalies WHERE session_row = ?", "DELETE FROM words WHERE rowid = ?", "DELETE FROM sessions WHERE row = ?",
	} {
		if _, err := f.conn.ExecContext(ctx, d, row); err != nil {
			return err
		}
	}
	return nil
}

// forgetMessage takes a message out, and its words from those of its session, if that is still there.
func (f *filler) forgetMessage(ctx context.Context, row int64) error {
	var session int64
	if err := f.conn.QueryRowContext(ctx, "SELECT session_row FROM messages WHERE row = ?", row).Scan(&session); err != nil {
		return err
	}
	for _, d := range []string{"DELETE FROM recipients WHERE message_row = ?", "DELETE FROM messages WHERE row = ?"} {
		if _, err := f.conn.ExecContext(ctx, d, row); err != nil {
			return err
		}
	}
	if session == 0 {
		return nil
	}
	d, err := f.docOf(ctx, session)
	if err != nil {
		return err
	}
	_, err = f.statements[changeWords].ExecContext(ctx, d.row, string(d.text))
	return err
}
