package store_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

func TestExclusive(t *testing.T) {
	eachPair(t, func(t *testing.T, stores [2]*store.Store) {
		var inside, runs atomic.Int32
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				err := stores[i%2].Exclusive(t.Context(), "crl", func(ctx context.Context) error {
					if inside.Add(1) != 1 {
						t.Error("two at once")
					}
					err := stores[i%2].Ping(ctx) // takes a while
					inside.Add(-1)
					runs.Add(1)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if runs.Load() != 16 {
			t.Errorf("%d runs, want 16", runs.Load())
		}
	})
}

func TestExclusiveByName(t *testing.T) {
	eachPair(t, func(t *testing.T, stores [2]*store.Store) {
		ctx := t.Context()
		failed := errors.New("failed")
		err := stores[0].Exclusive(ctx, "a", func(ctx context.Context) error {
			must(t, stores[1].Exclusive(ctx, "b", func(context.Context) error { return nil }))

			impatient, cancel := context.WithCancel(ctx)
			waiting := make(chan error)
			go func() {
				waiting <- stores[1].Exclusive(impatient, "a", func(context.Context) error {
					t.Error("ran, although another did")
					return nil
				})
			}()
			cancel()
			wantKind(t, "left", <-waiting, fault.Unavailable)
			return failed
		})
		wantErr(t, "its own error", err, failed)
		must(t, stores[1].Exclusive(ctx, "a", func(context.Context) error { return nil }))
	})
}

// Who has lost the connection has lost the lock, and must hear of it.
func TestExclusiveEndsWithTheConnection(t *testing.T) {
	stores := postgresPair(t)
	ctx := t.Context()
	db := storetest.DB(t, stores[0])
	err := stores[0].Exclusive(ctx, "a", func(guarded context.Context) error {
		var ended bool
		must(t, db.QueryRow(`SELECT pg_terminate_backend(pid) FROM pg_locks
			WHERE locktype = 'advisory' AND granted
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).
			Scan(&ended))
		eventually(t, "the loss is noticed", func() bool { return guarded.Err() != nil })
		must(t, stores[1].Exclusive(ctx, "a", func(context.Context) error { return nil }))
		return guarded.Err()
	})
	wantKind(t, "lost", err, fault.Unavailable)
	must(t, stores[0].Exclusive(ctx, "a", func(context.Context) error { return nil }))
}
