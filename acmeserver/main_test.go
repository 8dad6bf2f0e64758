package acmeserver_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/store"
)

// shared is a store and a CA for all tests that need none of their own: making a CA takes longer
// than what most tests do with it.
var shared struct {
	store *store.Store
	ca    *ca.CA
	once  sync.Once
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "acmeserver")
	if err == nil {
		shared.store, err = store.Open(context.Background(), store.Config{DataDir: dir, Migrate: true})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "opening the store:", err)
		os.Exit(1)
	}
	code := m.Run()
	_ = shared.store.Close()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// open opens a door where every challenge is proven.
func open(t testing.TB) *house { return openWith(t, always(proven)) }

// openWith opens a door whose challenges are judged by check.
func openWith(t testing.TB, check checkFunc) *house {
	t.Helper()
	shared.once.Do(func() { shared.ca = catest.New(t, shared.store) })
	return houseOf(t, shared.store, shared.ca, check)
}

// openOn opens a door and a CA on a store of the test's own.
func openOn(t testing.TB, s *store.Store, check checkFunc) *house {
	t.Helper()
	return houseOf(t, s, catest.New(t, s), check)
}
