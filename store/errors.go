package store

import (
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/mayflyca/mayfly/fault"
)

// unchanged is the answer of a conditional write whose condition did not hold. Nothing was written,
// so the rest of the transaction may stand.
type unchanged struct{ error }

const retryAfter = 3 * time.Second

func unavailable(err error) error {
	return &fault.Error{
		Kind: fault.Unavailable, RetryAfter: retryAfter, Err: err,
		Detail: "the database cannot be used at the moment",
	}
}

// classify turns an engine's error into one of package fault. It goes by codes, never by text.
func classify(err error) error {
	var known *fault.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return unavailable(err) // even if Postgres says why it does not let us in
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return classifyPostgres(err, pg)
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		return classifySQLite(err, lite)
	}
	if _, ok := errors.AsType[pgx.ScanArgError](err); ok {
		return fault.Wrap(fault.Internal, err, "reading a row")
	}
	// What is left comes from the way to the database: a socket, a deadline, a closed pool.
	return unavailable(err)
}

func classifyPostgres(err error, pg *pgconn.PgError) error {
	switch pg.Code[:min(2, len(pg.Code))] {
	case "08", "53", "55", "57", "58", "40": // away, full, busy, going down, I/O, rolled back
		return unavailable(err)
	case "XX": // corruption, or an engine in trouble
		return unavailable(err)
	}
	switch pg.Code {
	case "25006": // read_only_sql_transaction: a standby, or an administrator's hand
		return unavailable(err)
	case "22021": // character_not_in_repertoire: NUL or broken UTF-8 in a text
		return fault.Wrap(fault.Invalid, err, "a text holds octets that are not UTF-8, or NUL")
	}
	return fault.Wrap(fault.Internal, err, "using the database")
}

func classifySQLite(err error, lite *sqlite.Error) error {
	switch lite.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
		sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM,
		sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
		sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_PERM:
		return unavailable(err)
	}
	return fault.Wrap(fault.Internal, err, "using the database")
}

// isUnique reports whether err is a unique index's refusal.
func isUnique(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == "23505"
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		return lite.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE ||
			lite.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	return false
}

// ownFault reports whether a failed batch is worth running again one by one: the engine is well and
// certainly rolled everything back, because of what one of the writes held or met. (Where the
// outcome is unknown, a second run would find its own first one and call it another's.)
func ownFault(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if ok && (pg.Code == "40P01" || pg.Code == "40001") {
		return true // deadlock or serialization failure with another replica's batch
	}
	return !fault.Is(classify(err), fault.Unavailable)
}

// oneLine flattens an error's text, which for pgx may have a line per address it tried.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }
func (e oneLine) Unwrap() error { return e.error }
