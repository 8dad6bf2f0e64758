package store_test

import (
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/migrations"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// upTo brings an empty Postgres database to what an earlier release left behind.
func upTo(t *testing.T, db *sql.DB, version int64) {
	t.Helper()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.Files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	must(t, err)
	_, err = provider.UpTo(t.Context(), version)
	must(t, err)
}

// never #31: replicas that start together do not stand in each other's way.
func TestEightReplicasAtOnce(t *testing.T) {
	for _, version := range []int64{0, 1} {
		t.Run(fmt.Sprintf("from schema %d", version), func(t *testing.T) {
			c := store.Config{DatabaseURL: storetest.PostgresURL(t), Migrate: true}
			db, err := sql.Open("pgx", c.DatabaseURL)
			must(t, err)
			defer db.Close()
			if version > 0 {
				upTo(t, db, version)
			}
			// Nobody can make a table before all have come to the point of making it.
			tx, err := db.BeginTx(t.Context(), nil)
			must(t, err)
			_, err = tx.Exec(`LOCK TABLE pg_class IN SHARE MODE`)
			must(t, err)
			var stores [8]*store.Store
			var wg sync.WaitGroup
			for i := range stores {
				wg.Go(func() {
					var err error
					if stores[i], err = store.Open(t.Context(), c); err != nil {
						t.Error(err)
					}
				})
			}
			eventually(t, "eight have come", func() bool {
				var come int
				must(t, db.QueryRow(`SELECT count(*) FROM pg_stat_activity
					WHERE datname = current_database() AND application_name = 'mayfly'`).Scan(&come))
				return come == 8
			})
			must(t, tx.Rollback())
			wg.Wait()
			for _, s := range stores {
				if s != nil {
					must(t, s.Promise(t.Context(), promise(t, "")))
					must(t, s.Close())
				}
			}
		})
	}
}

// openError is the one line that somebody reads whose mayfly does not start.
func openError(t *testing.T, c store.Config, kind fault.Kind, parts ...string) {
	t.Helper()
	s, err := store.Open(t.Context(), c)
	if err == nil {
		s.Close()
		t.Fatal("it opened")
	}
	wantKind(t, "opening", err, kind)
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in: %v", part, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %v", err)
	}
}

func TestSchemaOfTheFuture(t *testing.T) {
	eachConfig(t, func(t *testing.T, c store.Config) {
		s := storetest.Open(t, c)
		_, err := storetest.DB(t, s).Exec(
			`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, $1)`, true)
		must(t, err)
		must(t, s.Close())
		openError(t, c, fault.Conflict, "has schema 99999", "start the newer mayfly")
		c.Migrate = false
		openError(t, c, fault.Conflict, "has schema 99999", "start the newer mayfly")
	})
}

func TestMigrationsForbidden(t *testing.T) {
	eachConfig(t, func(t *testing.T, c store.Config) {
		c.Migrate = false
		openError(t, c, fault.NotReady, "has schema 0", "without --no-migrate")
		c.Migrate = true
		must(t, storetest.Open(t, c).Close())
		c.Migrate = false
		must(t, storetest.Open(t, c).Promise(t.Context(), promise(t, "")))
	})
}

// never #31: an update of a database with many rows keeps them, and says how long it took.
func TestMigrationAtSize(t *testing.T) {
	const rows = 100_000
	url := storetest.PostgresURL(t)
	db, err := sql.Open("pgx", url)
	must(t, err)
	defer db.Close()
	upTo(t, db, 1)
	_, err = db.Exec(fmt.Sprintf(`INSERT INTO certificates (serial, ref, state, issuer, shard, profile,
			caller, owner, names, spki_sha256, tbs_sha256, not_before, not_after, promised_at,
			issued_at, der)
		SELECT decode(md5(n::text), 'hex'), 'api/' || n, 'issued', 'i', 0, 'server', 'token/1', '',
			'[]', sha256('spki'), sha256('tbs'), n, n + 86400000000, n, n, sha256('der')
		FROM generate_series(1, %d) AS g (n)`, rows))
	must(t, err)
	c := store.Config{DatabaseURL: url}
	openError(t, c, fault.NotReady, "has schema 1 ", "without --no-migrate")
	c.Migrate = true
	begun := time.Now()
	s := storetest.Open(t, c)
	t.Logf("%d rows migrated in %v", rows, time.Since(begun))
	var left int
	must(t, db.QueryRow(`SELECT count(*) FROM certificates WHERE state = 'issued'`).Scan(&left))
	if left != rows {
		t.Errorf("%d rows left of %d", left, rows)
	}
	got, err := s.CertificateByRef(t.Context(), fmt.Sprintf("api/%d", rows))
	must(t, err)
	if got.PromisedAt.UnixMicro() != rows {
		t.Errorf("got %+v", got)
	}
}
