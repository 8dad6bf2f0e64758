package store

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/migrations"
)

// schema is what this binary knows of the migrations for one engine.
type schema struct {
	dialect goose.Dialect
	exists  string // SQL: how many version tables are there?
	skip    []string
	newest  int64
}

func newSchema(dialect goose.Dialect, exists string) (schema, error) {
	s := schema{dialect: dialect, exists: exists}
	names, err := fs.Glob(migrations.Files, "*.sql")
	if err != nil {
		return s, fmt.Errorf("listing migrations: %w", err)
	}
	for _, name := range names {
		if dialect == goose.DialectSQLite3 && strings.HasSuffix(name, "_postgres.sql") {
			s.skip = append(s.skip, name)
			continue
		}
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return s, fmt.Errorf("reading the number of migration %s: %w", name, err)
		}
		s.newest = max(s.newest, version)
	}
	return s, nil
}

// version is the newest migration that db has, 0 for an empty database.
func (s schema) version(ctx context.Context, db *sql.DB) (version int64, err error) {
	var tables int64
	if err := db.QueryRowContext(ctx, s.exists).Scan(&tables); err != nil || tables == 0 {
		return 0, err
	}
	err = db.QueryRowContext(ctx,
		`SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&version)
	return version, err
}

// update brings db to this binary's schema, if c allows it and unless it is there already.
func (s schema) update(ctx context.Context, db *sql.DB, c Config, o ...goose.ProviderOption) error {
	version, err := s.version(ctx, db)
	switch {
	case err != nil:
		return unavailable(fmt.Errorf("reading the schema's version: %w", oneLine{err}))
	case version > s.newest:
		return fault.New(fault.Conflict, "the database has schema %d, but this mayfly knows only "+
			"schemas up to %d; start the newer mayfly that made it", version, s.newest)
	case version == s.newest:
		return nil
	case !c.Migrate:
		return fault.New(fault.NotReady, "the database has schema %d and this mayfly needs %d; "+
			"start once without --no-migrate to update it", version, s.newest)
	}
	provider, err := goose.NewProvider(s.dialect, db, migrations.Files, append(o,
		goose.WithExcludeNames(s.skip), goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()))...)
	if err != nil {
		return fault.Wrap(fault.Internal, oneLine{err}, "reading the migrations")
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return fault.Wrap(fault.Unavailable, oneLine{err}, fmt.Sprintf(
			"cannot update the database from schema %d to %d", version, s.newest))
	}
	if len(results) > 0 {
		c.Log.Info("database schema updated", slog.Int64("from", version), slog.Int64("to", s.newest))
	}
	return nil
}

func migrateSQLite(ctx context.Context, db *sql.DB, c Config) error {
	s, err := newSchema(goose.DialectSQLite3,
		`SELECT count(*) FROM sqlite_master WHERE name = 'goose_db_version'`)
	if err != nil {
		return err
	}
	return s.update(ctx, db, c)
}

// migratePostgres may run in many processes at once: goose takes an advisory lock, asked for every
// second (by default it is every five), and then finds what the first of them did.
func migratePostgres(ctx context.Context, db *sql.DB, c Config) error {
	s, err := newSchema(goose.DialectPostgres,
		`SELECT count(*) FROM pg_class WHERE oid = to_regclass('goose_db_version')`)
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return fault.Wrap(fault.Internal, err, "making the migration lock")
	}
	return s.update(ctx, db, c, goose.WithSessionLocker(locker))
}
