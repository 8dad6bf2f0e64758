package storetest

import (
	"database/sql"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/store"
)

// DB opens the database of s once more, for what a test does behind the store's back.
func DB(t testing.TB, s *store.Store) *sql.DB {
	t.Helper()
	c, ok := configs.Load(s)
	if !ok {
		t.Fatal("storetest.DB: not a store that storetest opened")
	}
	driver, source := "pgx", c.(store.Config).DatabaseURL
	if source == "" {
		path := filepath.Join(c.(store.Config).DataDir, "mayfly.db")
		driver, source = "sqlite", "file:"+path+"?_pragma=busy_timeout(10000)&_txlock=immediate"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatalf("opening the database of a store: %v", err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// Entries lists all audit entries of s, oldest first.
func Entries(t testing.TB, s *store.Store) []audit.Entry {
	t.Helper()
	rows, err := DB(t, s).QueryContext(t.Context(),
		`SELECT id, at, kind, actor, subject, data FROM audit_entries ORDER BY at, id`)
	if err != nil {
		t.Fatalf("listing audit entries: %v", err)
	}
	defer rows.Close()
	var entries []audit.Entry
	for rows.Next() {
		var e audit.Entry
		var at int64
		var data []byte
		if err := rows.Scan(&e.ID, &at, &e.Kind, &e.Actor, &e.Subject, &data); err != nil {
			t.Fatalf("reading an audit entry: %v", err)
		}
		e.At = time.UnixMicro(at).UTC()
		if err := json.Unmarshal(data, &e.Data); err != nil {
			t.Fatalf("reading the data of audit entry %s: %v", e.ID, err)
		}
		entries = append(entries, e)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("listing audit entries: %v", err)
	}
	return entries
}
