package store_test

import (
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

func account(thumbprint string) acmeserver.Account {
	return acmeserver.Account{
		ID: rand.Text(), Thumbprint: thumbprint, Status: acmeserver.StatusValid,
		JWK: []byte(`{"kty":"EC"}`), Contact: []string{"mailto:a@example.internal"}, Agreed: true,
		CreatedAt: noon,
	}
}

func accountEntry(kind audit.Kind, a acmeserver.Account) audit.Entry {
	return audit.New(noon, kind, "acme/"+a.ID, a.ID, nil)
}

func wantAccount(t testing.TB, s *store.Store, want acmeserver.Account) {
	t.Helper()
	byID, err := s.Account(t.Context(), want.ID)
	must(t, err)
	byKey, err := s.AccountByThumbprint(t.Context(), want.Thumbprint)
	must(t, err)
	for _, got := range []acmeserver.Account{byID, byKey} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAccount(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		a := account("key a")
		_, err := s.Account(ctx, a.ID)
		wantKind(t, "by id", err, fault.NotFound)
		_, err = s.AccountByThumbprint(ctx, a.Thumbprint)
		wantKind(t, "by key", err, fault.NotFound)

		made := accountEntry(audit.AccountCreated, a)
		kept, created, err := s.CreateAccount(ctx, a, made)
		must(t, err)
		a.Version = 1
		if diff := cmp.Diff(a, kept); !created || diff != "" {
			t.Errorf("created %v: %s", created, diff)
		}
		same := account("key a")
		kept, created, err = s.CreateAccount(ctx, same, accountEntry(audit.AccountCreated, same))
		must(t, err)
		if diff := cmp.Diff(a, kept); created || diff != "" {
			t.Errorf("created again %v: %s", created, diff)
		}
		s = storetest.Reopen(t, s)
		wantAccount(t, s, a)
		if diff := cmp.Diff([]audit.Entry{made}, storetest.Entries(t, s)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestUpdateAccount(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		a, _, err := s.CreateAccount(ctx, account("key a"))
		must(t, err)
		b, _, err := s.CreateAccount(ctx, account("key b"))
		must(t, err)
		change := accountEntry(audit.AccountChanged, a)

		unknown := account("key c")
		unknown.Version = 1
		wantErr(t, "unknown", s.UpdateAccount(ctx, unknown, change), acmeserver.ErrStale)
		a.Thumbprint = b.Thumbprint
		wantErr(t, "b's key", s.UpdateAccount(ctx, a, change), acmeserver.ErrAccountKey)
		if got := storetest.Entries(t, s); len(got) > 0 {
			t.Errorf("refused updates left %v", got)
		}

		a.Thumbprint, a.Contact, a.Status = "key a2", nil, acmeserver.StatusDeactivated
		must(t, s.UpdateAccount(ctx, a, change))
		wantErr(t, "stale", s.UpdateAccount(ctx, a, accountEntry(audit.AccountChanged, a)),
			acmeserver.ErrStale)
		a.Version++
		s = storetest.Reopen(t, s)
		wantAccount(t, s, a)
		wantAccount(t, s, b)
		_, err = s.AccountByThumbprint(ctx, "key a")
		wantKind(t, "the old key", err, fault.NotFound)
		if diff := cmp.Diff([]audit.Entry{change}, storetest.Entries(t, s)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOneAccountPerKey(t *testing.T) {
	eachPair(t, func(t *testing.T, stores [2]*store.Store) {
		var won atomic.Int32
		var ids sync.Map
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				a := account("the key")
				kept, created, err := stores[i%2].CreateAccount(t.Context(), a,
					accountEntry(audit.AccountCreated, a))
				if err != nil {
					t.Error(err)
				}
				if created {
					won.Add(1)
				}
				ids.Store(kept.ID, true)
			})
		}
		wg.Wait()
		different := 0
		ids.Range(func(any, any) bool { different++; return true })
		if won.Load() != 1 || different != 1 {
			t.Errorf("got %d creators and %d accounts, want 1 and 1", won.Load(), different)
		}
		if got := storetest.Entries(t, stores[0]); len(got) != 1 {
			t.Errorf("got %d entries, want 1", len(got))
		}
	})
}

func TestOneUpdateWins(t *testing.T) {
	eachPair(t, func(t *testing.T, stores [2]*store.Store) {
		a, _, err := stores[0].CreateAccount(t.Context(), account("the key"))
		must(t, err)
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				mine := a
				mine.Contact = []string{rand.Text()}
				err := stores[i%2].UpdateAccount(t.Context(), mine)
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, acmeserver.ErrStale):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("got %d winners, want 1", won.Load())
		}
	})
}
