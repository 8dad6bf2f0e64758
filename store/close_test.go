package store_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/identity/signin"
	"github.com/mayflyca/mayfly/store"
)

// After a clean end, everything is in the one file that people copy.
func TestCloseLeavesNoJournal(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Config{DataDir: dir, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	token := signin.Token{ID: "1", Role: identity.RoleAdmin, CreatedAt: time.Now()}
	if err := s.AddToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if _, err := s.HasToken(t.Context(), identity.RoleAdmin); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "mayfly.db-wal")); !os.IsNotExist(err) {
		t.Errorf("the journal is still there (%v)", err)
	}
}
