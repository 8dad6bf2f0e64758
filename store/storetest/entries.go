package storetest

import (
	"database/sql"
	"path/filepath"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/store"
)

// CountEntries tells how many entries of the kind are on disk, seen by a stranger to the store.
func CountEntries(t testing.TB, s *store.Store, kind audit.Kind) (n int) {
	t.Helper()
	config, ok := configs.Load(s)
	if !ok {
		t.Fatal("storetest.CountEntries: not a store that storetest opened")
	}
	c := config.(store.Config)
	driver, source := "pgx", c.DatabaseURL
	if source == "" {
		driver, source = "sqlite", "file:"+filepath.Join(c.DataDir, "mayfly.db")+"?mode=ro"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	// The kinds are constants of ours, and the engines' placeholders differ.
	text := "SELECT count(*) FROM audit_entries WHERE kind = '" + string(kind) + "'"
	if err := db.QueryRowContext(t.Context(), text).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
