package index

import (
	"database/sql"
	"errors"

	"github.com/mailwire/mailwire/view"
)

// collect scans all rows of a query.
func collect[T any](rows *sql.Rows, err error, scan func(*sql.Rows, *T) error) (list []T, _ error) {
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		list = append(list, v)
	}
	return list, errors.Join(rows.Err(), rows.Close())
}

func ints(rows *sql.Rows, err error) ([]int64, error) {
	return collect(rows, err, func(r *sql.Rows, v *int64) error { return r.Scan(v) })
}

func texts(rows *sql.Rows, err error) ([]string, error) {
	return collect(rows, err, func(r *sql.Rows, v *string) error { return r.Scan(v) })
}

func places(rows *sql.Rows, err error) ([]view.Place, error) {
	return collect(rows, err, func(r *sql.Rows, v *view.Place) error { return r.Scan(&v.Day, &v.Offset, &v.Octets) })
}
