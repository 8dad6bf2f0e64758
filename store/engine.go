package store

import (
	"context"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/fault"
)

// engine is what SQLite and Postgres do differently. Its errors are classified.
type engine interface {
	reader
	// write hands a hot write to the group commit and waits for its answer. When ctx ends first the
	// write may happen all the same.
	write(ctx context.Context, w *write) error
	// update runs f in a transaction of its own, or in one where f's neighbours cannot be told from
	// no neighbours. f may run more than once.
	update(ctx context.Context, f func(ctx context.Context, tx tx) error) error
	exclusive(ctx context.Context, name string, f func(ctx context.Context) error) error
	close() error

	nonceKey(ctx context.Context) (acmeserver.NonceKey, error)
	redeemNonce(ctx context.Context, key acmeserver.NonceKey, n acmeserver.NonceID) (bool, error)
	cleanNonces(ctx context.Context, before time.Time) error
}

// answerLimit is for one query or transaction: an engine slower than that is away.
const answerLimit = 15 * time.Second

// reader runs a query whose placeholders are $1, $2, … on either engine.
type reader interface {
	query(ctx context.Context, sql string, args ...any) (rows, error)
}

// tx is a transaction under way. exec tells how many rows it changed.
type tx interface {
	reader
	exec(ctx context.Context, sql string, args ...any) (int64, error)
}

// rows is what pgx and database/sql give for a query.
type rows interface {
	scanner
	Next() bool
	Err() error
	Close()
}

type scanner interface {
	Scan(dest ...any) error
}

// list reads all rows of a query, within answerLimit.
func list[T any](
	ctx context.Context, r reader, scan func(scanner) (T, error), sql string, args ...any,
) ([]T, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	rows, err := r.query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, fault.Wrap(fault.Internal, err, "reading a row")
		}
		all = append(all, item)
	}
	if err := rows.Err(); err != nil {
		return nil, classify(err)
	}
	return all, nil
}

// one reads the first row of a query; without one it is fault.NotFound, naming what was sought.
func one[T any](
	ctx context.Context, r reader, what string, scan func(scanner) (T, error),
	sql string, args ...any,
) (T, error) {
	all, err := list(ctx, r, scan, sql, args...)
	if err != nil {
		return *new(T), err
	}
	if len(all) == 0 {
		return *new(T), fault.New(fault.NotFound, "there is no such %s", what)
	}
	return all[0], nil
}

// value scans a row of one column.
func value[T any](row scanner) (v T, err error) {
	err = row.Scan(&v)
	return v, err
}

// micros is how the database keeps a time.
func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(n int64) time.Time { return time.UnixMicro(n).UTC() }

// optional is micros for a column that is NULL where t is zero.
func optional(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.UnixMicro()
	return &n
}

func fromOptional(n *int64) time.Time {
	if n == nil {
		return time.Time{}
	}
	return fromMicros(*n)
}
