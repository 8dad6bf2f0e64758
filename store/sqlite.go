package store

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"modernc.org/sqlite"

	"github.com/mayflyca/mayfly/fault"
)

// sqliteEngine is the engine for one process: one connection writes, a pool reads. All its writes go
// through one committer, and nonces stay in memory.
type sqliteEngine struct {
	memoryNonces
	lock    *os.File // held while we are open
	writers *sql.DB
	readers *sql.DB
	writer  *liteTx // used by the committer's goroutine only
	commits committer
	read    sync.Map // SQL text → *sql.Stmt on readers
	mutexes sync.Map // name → chan struct{}, for exclusive
}

func openSQLite(ctx context.Context, c Config) (engine, error) {
	meters, err := newMeters(c.Metrics, "durable")
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "registering the store's metrics")
	}
	// As C builds of SQLite do: it is as durable, and spares the disk the file's time stamp. Where it
	// cannot be had, nothing changes.
	_, _ = sqlite.Fdatasync(true)
	s := &sqliteEngine{memoryNonces: newMemoryNonces()}
	if err := s.open(ctx, c.DataDir); err != nil {
		s.close()
		return nil, err
	}
	if err := migrateSQLite(ctx, s.writers, c); err != nil {
		s.close()
		return nil, err
	}
	conn, err := s.writers.Conn(ctx)
	if err != nil {
		s.close()
		return nil, openingSQLite(c.DataDir, err)
	}
	s.writer = &liteTx{conn: conn, prepared: make(map[string]*sql.Stmt)}
	s.commits = committer{commit: s.commit, meter: meters["durable"], now: c.Now}
	c.Log.Debug("database open", slog.String("engine", "sqlite"))
	return s, nil
}

func openingSQLite(dir string, err error) error {
	return fault.Wrap(fault.Unavailable, oneLine{err},
		"cannot open the SQLite database in "+dir+"; check that the directory is ours and not full")
}

func (s *sqliteEngine) open(ctx context.Context, dir string) error {
	path, err := filepath.Abs(filepath.Join(dir, "mayfly.db"))
	if err != nil {
		return openingSQLite(dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return openingSQLite(dir, err)
	}
	if s.lock, err = lockFile(path + ".lock"); errors.Is(err, syscall.EWOULDBLOCK) {
		return fault.New(fault.Conflict, "another mayfly process is using %s; stop that one first, "+
			"or use Postgres (database.url), which several can share", dir)
	} else if err != nil {
		return openingSQLite(dir, err)
	}
	// SQLite gives its journal the mode of the file, which nobody else may read.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return openingSQLite(dir, err)
	}
	file.Close()
	if s.writers, err = sql.Open("sqlite", dataSource(path, writing)); err != nil {
		return openingSQLite(dir, err)
	}
	s.writers.SetMaxOpenConns(1)
	if s.readers, err = sql.Open("sqlite", dataSource(path, "_pragma=query_only(1)")); err != nil {
		return openingSQLite(dir, err)
	}
	s.readers.SetMaxOpenConns(max(4, runtime.NumCPU()))
	s.readers.SetMaxIdleConns(max(4, runtime.NumCPU()))
	if err := s.writers.PingContext(ctx); err != nil {
		return openingSQLite(dir, err)
	}
	return nil
}

// writing makes the journal grow to 32 MiB before it is copied into the database: random keys touch
// the same pages again and again until then. The cache is large enough to hold what it touches.
const writing = "_txlock=immediate&_pragma=wal_autocheckpoint(8192)" +
	"&_pragma=journal_size_limit(67108864)&_pragma=cache_size(-32768)"

func dataSource(path, more string) string {
	file := url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=busy_timeout(10000)" +
		"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&" + more}
	return file.String()
}

// lockFile locks a file of our own: SQLite's locks end with the first descriptor that is closed.
func lockFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func (s *sqliteEngine) close() error {
	s.commits.close()
	var errs []error
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	if s.readers != nil {
		errs = append(errs, s.readers.Close())
	}
	if s.writers != nil {
		errs = append(errs, s.writers.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

func (s *sqliteEngine) query(ctx context.Context, text string, args ...any) (rows, error) {
	stmt, ok := s.read.Load(text)
	if !ok {
		fresh, err := s.readers.PrepareContext(ctx, numbered(text))
		if err != nil {
			return nil, classify(err)
		}
		if stmt, ok = s.read.LoadOrStore(text, fresh); ok {
			fresh.Close()
		}
	}
	got, err := stmt.(*sql.Stmt).QueryContext(ctx, args...)
	if err != nil {
		return nil, classify(err)
	}
	return liteRows{got}, nil
}

func (s *sqliteEngine) write(ctx context.Context, w *write) error { return s.commits.do(ctx, w) }

func (s *sqliteEngine) update(ctx context.Context, f func(ctx context.Context, tx tx) error) error {
	return s.commits.do(ctx, &write{plain: f})
}

// commit is the committer's.
func (s *sqliteEngine) commit(_ context.Context, batch []*write) error {
	// A context that can end would cost a goroutine per statement, and nothing here waits for long.
	ctx := context.Background()
	if _, err := s.writer.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, w := range batch {
		err := w.plain(ctx, s.writer)
		if answer, ok := errors.AsType[unchanged](err); ok {
			w.answer = answer.error
			continue
		}
		if err == nil {
			err = writeEntries(ctx, s.writer, w.entries)
		}
		if err != nil {
			s.rollback(ctx)
			return err
		}
	}
	if _, err := s.writer.exec(ctx, "COMMIT"); err != nil {
		s.rollback(ctx)
		return err
	}
	return nil
}

// rollback ends the transaction, unless SQLite has done so by itself (as it does when the disk is
// full): then the statement fails, and there is nothing to tell.
func (s *sqliteEngine) rollback(ctx context.Context) { _, _ = s.writer.exec(ctx, "ROLLBACK") }

// exclusive needs no more than a mutex: this process is alone.
func (s *sqliteEngine) exclusive(
	ctx context.Context, name string, f func(ctx context.Context) error,
) error {
	token, _ := s.mutexes.LoadOrStore(name, make(chan struct{}, 1))
	mutex := token.(chan struct{})
	select {
	case mutex <- struct{}{}:
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
	defer func() { <-mutex }()
	return f(ctx)
}

// liteTx runs statements, each prepared once, on the writing connection.
type liteTx struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
}

// close also closes the statements, which database/sql leaves to us: with one of them left, SQLite
// would keep the files open, and its journal.
func (t *liteTx) close() error {
	var errs []error
	for _, stmt := range t.prepared {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, t.conn.Close())...)
}

func (t *liteTx) stmt(ctx context.Context, text string) (*sql.Stmt, error) {
	if stmt, ok := t.prepared[text]; ok {
		return stmt, nil
	}
	stmt, err := t.conn.PrepareContext(ctx, numbered(text))
	if err != nil {
		return nil, err
	}
	t.prepared[text] = stmt
	return stmt, nil
}

func (t *liteTx) exec(ctx context.Context, text string, args ...any) (int64, error) {
	stmt, err := t.stmt(ctx, text)
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (t *liteTx) query(ctx context.Context, text string, args ...any) (rows, error) {
	stmt, err := t.stmt(ctx, text)
	if err != nil {
		return nil, err
	}
	got, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return nil, err
	}
	return liteRows{got}, nil
}

// numbered turns $1 into ?1. To SQLite $1 is a name, bound by order of appearance.
func numbered(text string) string { return strings.ReplaceAll(text, "$", "?") }

type liteRows struct{ *sql.Rows }

func (r liteRows) Close() { _ = r.Rows.Close() }
