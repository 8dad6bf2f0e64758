package store_test

import (
	"testing"
	"time"

	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// eachConfig runs f with the configuration of an empty database, on SQLite and on Postgres.
func eachConfig(t *testing.T, f func(t *testing.T, c store.Config)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		f(t, store.Config{DataDir: t.TempDir(), Migrate: true})
	})
	t.Run("Postgres", func(t *testing.T) {
		f(t, store.Config{DatabaseURL: storetest.PostgresURL(t), Migrate: true})
	})
}

// eachPair gives what shares a database: one Store twice on SQLite, and two on Postgres.
func eachPair(t *testing.T, f func(t *testing.T, stores [2]*store.Store)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		s := storetest.SQLite(t)
		f(t, [2]*store.Store{s, s})
	})
	t.Run("Postgres", func(t *testing.T) {
		f(t, postgresPair(t))
	})
}

func postgresPair(t *testing.T) [2]*store.Store {
	t.Helper()
	c := store.Config{DatabaseURL: storetest.PostgresURL(t), Migrate: true}
	return [2]*store.Store{storetest.Open(t, c), storetest.Open(t, c)}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("in vain waited until %s", what)
		}
	}
}
