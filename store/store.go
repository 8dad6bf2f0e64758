// Package store keeps everything that must not be forgotten, in SQLite or in Postgres.
//
// One Store satisfies what every package wants from disk; their store.go files are its contracts.
// The SQL is one text for both engines. Writes are group-committed: whatever queued while the last
// commit ran shares the next one.
package store

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/identity/signin"
)

var (
	_ ca.Store         = (*Store)(nil)
	_ acmeserver.Store = (*Store)(nil)
	_ signin.Store     = (*Store)(nil)
)

// Config is what Open needs.
type Config struct {
	DataDir     string // where the SQLite file is; made if missing
	DatabaseURL string // postgres://…; empty for SQLite in DataDir
	Migrate     bool   // bring the schema up to date; otherwise an old one is refused
	Log         *slog.Logger
	Metrics     prometheus.Registerer // nil for none
	Now         func() time.Time
}

// Store is the database. Safe for concurrent use.
type Store struct {
	engine engine
	now    func() time.Time
	alone  bool
	probes singleflight.Group
	close  func() error
}

// Open opens the database, and makes or updates its schema. Its errors are classified by fault and
// fit on one line that says what to do; none holds the password.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{now: c.Now, alone: c.DatabaseURL == ""}
	var err error
	if s.alone {
		s.engine, err = openSQLite(ctx, c)
	} else {
		s.engine, err = openPostgres(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	s.close = sync.OnceValue(s.engine.close)
	return s, nil
}

// Alone says that no other process can use this database.
func (s *Store) Alone() bool { return s.alone }

// Close waits for the writes under way and lets go of the database. It may be repeated.
func (s *Store) Close() error { return s.close() }

// Ping tells why nothing can be written, nil if something can: it writes. Concurrent calls share
// one write.
func (s *Store) Ping(ctx context.Context) error {
	probe := s.probes.DoChan("", func() (any, error) {
		return nil, s.engine.update(context.WithoutCancel(ctx), func(ctx context.Context, tx tx) error {
			_, err := tx.exec(ctx, `INSERT INTO probe (id, at) VALUES (1, $1)
				ON CONFLICT (id) DO UPDATE SET at = excluded.at`, micros(s.now()))
			return err
		})
	})
	select {
	case r := <-probe:
		return r.Err
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
}

// Exclusive runs f while no other process runs f under the same name on this database. f's context
// ends when that can no longer be promised.
func (s *Store) Exclusive(
	ctx context.Context, name string, f func(ctx context.Context) error,
) error {
	return s.engine.exclusive(ctx, name, f)
}
