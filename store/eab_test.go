package store_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

func eabKey(id string) acmeserver.EABKey {
	return acmeserver.EABKey{
		ID: id, Owner: "team a", Label: "web", CreatedBy: "token/1", CreatedAt: noon,
		ExpiresAt: noon.Add(time.Hour),
	}
}

func bound(key acmeserver.EABKey) acmeserver.Account {
	a := account(rand.Text())
	a.EABKey, a.Owner = key.ID, key.Owner
	a.Binding = []byte(`{"protected":"x"}`)
	return a
}

func wantEABKey(t testing.TB, s *store.Store, want acmeserver.EABKey) {
	t.Helper()
	got, err := s.EABKey(t.Context(), want.ID)
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEABKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		k := eabKey("k")
		_, err := s.EABKey(ctx, k.ID)
		wantKind(t, "none yet", err, fault.NotFound)
		wantErr(t, "none yet", s.RevokeEABKey(ctx, k.ID, noon, audit.New(noon, "no", "", "k", nil)), acmeserver.ErrStale)

		made := audit.New(noon, audit.EABKeyCreated, "token/1", k.ID, nil)
		kept, err := s.AddEABKey(ctx, k, made)
		must(t, err)
		if diff := cmp.Diff(k, kept); diff != "" {
			t.Error(diff)
		}
		other := eabKey("k")
		other.Owner, other.Once, other.ExpiresAt = "team b", true, time.Time{}
		kept, err = s.AddEABKey(ctx, other, audit.New(noon, audit.EABKeyCreated, "token/2", k.ID, nil))
		must(t, err)
		if diff := cmp.Diff(k, kept); diff != "" {
			t.Error(diff)
		}
		forever := eabKey("forever")
		forever.ExpiresAt, forever.Once, forever.Label = time.Time{}, true, ""
		_, err = s.AddEABKey(ctx, forever)
		must(t, err)
		revoked := audit.New(noon.Add(time.Second), audit.EABKeyRevoked, "token/1", k.ID, nil)
		must(t, s.RevokeEABKey(ctx, k.ID, noon.Add(time.Minute), revoked))
		wantErr(t, "twice", s.RevokeEABKey(ctx, k.ID, noon, audit.New(noon, "twice", "", "k", nil)), acmeserver.ErrStale)
		k.RevokedAt = noon.Add(time.Minute)
		s = storetest.Reopen(t, s)
		wantEABKey(t, s, k)
		wantEABKey(t, s, forever)
		if diff := cmp.Diff([]audit.Entry{made, revoked}, storetest.Entries(t, s)); diff != "" {
			t.Error(diff)
		}
	})
}

// An account shows what became of its key, and no update changes whose it is.
func TestBoundAccount(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		k, err := s.AddEABKey(ctx, eabKey("k"))
		must(t, err)
		a, _, err := s.CreateAccount(ctx, bound(k))
		must(t, err)
		b, _, err := s.CreateAccount(ctx, bound(k))
		must(t, err)
		free, _, err := s.CreateAccount(ctx, account("free"))
		must(t, err)
		k.Accounts = 2
		wantEABKey(t, s, k)
		change := a
		change.Owner, change.EABKey, change.Contact = "team b", "", nil
		must(t, s.UpdateAccount(ctx, change))
		a.Version, a.Contact = 2, nil
		wantAccount(t, s, a)

		g := grantTo(k, "g")
		_, err = s.AddGrant(ctx, g)
		must(t, err)
		a.Granted, b.Granted = true, true
		wantAccount(t, s, a)
		wantAccount(t, s, b)
		g = acmeserver.Grant{ID: "h", Account: free.ID, Names: []string{"x"}, ExpiresAt: noon, CreatedAt: noon}
		_, err = s.AddGrant(ctx, g)
		must(t, err)
		free.Granted = true
		wantAccount(t, s, free)

		must(t, s.RevokeEABKey(ctx, k.ID, noon))
		a.Frozen, b.Frozen = true, true
		wantAccount(t, s, a)
		wantAccount(t, s, b)
		wantAccount(t, s, free)
	})
}

func TestOneAccountPerOnceKey(t *testing.T) {
	eachPair(t, func(t *testing.T, stores [2]*store.Store) {
		once := eabKey("once")
		once.Once = true
		many := eabKey("many")
		for _, k := range []acmeserver.EABKey{once, many} {
			_, err := stores[0].AddEABKey(t.Context(), k)
			must(t, err)
		}
		var won, lost, bindings atomic.Int32
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				a := bound(once)
				_, created, err := stores[i%2].CreateAccount(t.Context(), a, accountEntry(audit.AccountCreated, a))
				switch {
				case created && err == nil:
					won.Add(1)
				case errors.Is(err, acmeserver.ErrEABKeyUsed):
					lost.Add(1)
				default:
					t.Error(created, err)
				}
				_, created, err = stores[i%2].CreateAccount(t.Context(), bound(many))
				if created && err == nil {
					bindings.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || lost.Load() != 19 || bindings.Load() != 20 {
			t.Errorf("once: %d won and %d lost; many: %d", won.Load(), lost.Load(), bindings.Load())
		}
		if got := storetest.Entries(t, stores[0]); len(got) != 1 {
			t.Errorf("got %d entries, want 1", len(got))
		}
		// The one account is found by its key, whatever else is asked for.
		all, err := stores[1].ListAccounts(t.Context(), acmeserver.AccountQuery{EABKey: once.ID, Limit: 10})
		must(t, err)
		again := bound(once)
		again.Thumbprint = all[0].Thumbprint
		kept, created, err := stores[1].CreateAccount(t.Context(), again)
		must(t, err)
		if created || kept.ID != all[0].ID || len(all) != 1 {
			t.Errorf("created %v, kept %s of %d", created, kept.ID, len(all))
		}
	})
}

// The first secret is everybody's.
func TestSealedSecret(t *testing.T) {
	eachPair(t, func(t *testing.T, stores [2]*store.Store) {
		_, err := stores[0].SealedSecret(t.Context())
		wantKind(t, "none yet", err, fault.NotFound)
		var kept sync.Map
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				sealed, err := stores[i%2].KeepSealedSecret(t.Context(), []byte(rand.Text()))
				if err != nil {
					t.Error(err)
				}
				kept.Store(string(sealed), true)
			})
		}
		wg.Wait()
		sealed, err := stores[1].SealedSecret(t.Context())
		must(t, err)
		different := 0
		kept.Range(func(key, _ any) bool {
			different++
			return key == string(sealed)
		})
		if different != 1 {
			t.Errorf("%d different secrets, or another than %x", different, sealed)
		}
	})
}

func grantTo(k acmeserver.EABKey, id string) acmeserver.Grant {
	return acmeserver.Grant{
		ID: id, EABKey: k.ID, Owner: k.Owner, Names: []string{"a.internal", ".b"}, Wildcards: true,
		Reason: "why", CreatedBy: "token/1", CreatedAt: noon, ExpiresAt: noon.Add(time.Hour),
	}
}

func TestGrant(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		k, err := s.AddEABKey(ctx, eabKey("k"))
		must(t, err)
		a, _, err := s.CreateAccount(ctx, bound(k))
		must(t, err)
		no := audit.New(noon, "no", "", "", nil)
		_, err = s.AddGrant(ctx, grantTo(eabKey("nobody"), "g"), no)
		wantKind(t, "to no key", err, fault.NotFound)
		_, err = s.AddGrant(ctx, acmeserver.Grant{ID: "g", Account: "nobody", ExpiresAt: noon}, no)
		wantKind(t, "to no account", err, fault.NotFound)
		_, err = s.Grant(ctx, "g")
		wantKind(t, "none yet", err, fault.NotFound)
		wantErr(t, "none yet", s.RemoveGrant(ctx, "g", no), acmeserver.ErrStale)

		g, made := grantTo(k, "g"), audit.New(noon, audit.GrantCreated, "token/1", "g", nil)
		kept, err := s.AddGrant(ctx, g, made)
		must(t, err)
		if diff := cmp.Diff(g, kept); diff != "" {
			t.Error(diff)
		}
		other := grantTo(k, "g")
		other.Names = []string{"other"}
		kept, err = s.AddGrant(ctx, other, no)
		must(t, err)
		if diff := cmp.Diff(g, kept); diff != "" {
			t.Error(diff)
		}
		own := acmeserver.Grant{ID: "own", Account: a.ID, Owner: "team a", Names: []string{"c"}, CreatedAt: noon, ExpiresAt: noon.Add(2 * time.Hour)}
		_, err = s.AddGrant(ctx, own)
		must(t, err)
		for now, want := range map[time.Time][]acmeserver.Grant{
			noon:                                {own, g}, // the longest lived first
			g.ExpiresAt.Add(-time.Nanosecond):   {own, g}, // never #22
			g.ExpiresAt:                         {own},
			own.ExpiresAt:                       nil,
			own.ExpiresAt.Add(-time.Nanosecond): {own},
		} {
			got, err := s.GrantsOf(ctx, a, now)
			must(t, err)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("at %v: %s", now, diff)
			}
		}
		none, err := s.GrantsOf(ctx, account("stranger"), noon)
		must(t, err)
		if len(none) > 0 {
			t.Errorf("a stranger has %v", none)
		}
		removed := audit.New(noon.Add(time.Second), audit.GrantWithdrawn, "token/1", "g", nil)
		must(t, s.RemoveGrant(ctx, "g", removed))
		wantErr(t, "twice", s.RemoveGrant(ctx, "g", no), acmeserver.ErrStale)
		s = storetest.Reopen(t, s)
		if diff := cmp.Diff([]audit.Entry{made, removed}, storetest.Entries(t, s)); diff != "" {
			t.Error(diff)
		}
	})
}

// never #36: cleaning is bounded, and ends.
func TestCleanGrants(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		k, err := s.AddEABKey(t.Context(), eabKey("k"))
		must(t, err)
		for i := range 10 {
			g := grantTo(k, fmt.Sprint(i))
			g.ExpiresAt = noon.Add(time.Duration(i-7) * time.Microsecond)
			_, err := s.AddGrant(t.Context(), g)
			must(t, err)
		}
		for _, want := range []int{3, 3, 1, 0} {
			got, err := s.CleanGrants(t.Context(), noon, 3)
			must(t, err)
			if got != want {
				t.Errorf("cleaned %d, want %d", got, want)
			}
		}
		left, err := s.ListGrants(t.Context(), acmeserver.GrantQuery{Limit: 100})
		must(t, err)
		if len(left) != 3 {
			t.Errorf("%d are left, want 3", len(left))
		}
	})
}

// pageThrough lists everything by pages of each size, and wants the ids in order.
func pageThrough[T any](
	t *testing.T, what string, want []string, at func(T) acmeserver.Position,
	list func(after *acmeserver.Position, limit int) ([]T, error),
) {
	t.Helper()
	for limit := 1; limit <= len(want)+1; limit++ {
		var got []string
		var after *acmeserver.Position
		for {
			page, err := list(after, limit)
			must(t, err)
			if len(page) == 0 {
				break
			}
			if len(page) > limit {
				t.Fatalf("%s: %d on a page of %d", what, len(page), limit)
			}
			for _, item := range page {
				got = append(got, at(item).ID)
			}
			last := at(page[len(page)-1])
			after = &last
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s by %d: %v, want %v", what, limit, got, want)
		}
	}
}

func TestACMELists(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		var keys, accounts, ofKey, grants, orders, ofAccount []string
		newest := func(list *[]string, id string) { *list = append([]string{id}, *list...) }
		for i := range 9 { // by id where several are of one age
			at := noon.Add(time.Duration(i/3) * time.Microsecond)
			k := eabKey(fmt.Sprintf("k%d", i))
			k.CreatedAt, k.Owner = at, fmt.Sprint("owner ", i%2)
			_, err := s.AddEABKey(ctx, k)
			must(t, err)
			newest(&keys, k.ID)
			k.ID = "k0"
			a := bound(k)
			if i%2 == 1 {
				a.EABKey, a.Owner = "", ""
			}
			a.ID, a.CreatedAt = fmt.Sprintf("a%d", i), at
			_, _, err = s.CreateAccount(ctx, a)
			must(t, err)
			newest(&accounts, a.ID)
			g := grantTo(k, fmt.Sprintf("g%d", i))
			g.CreatedAt = at
			_, err = s.AddGrant(ctx, g)
			must(t, err)
			newest(&grants, g.ID)
			o := order(fmt.Sprint("account ", i%2))
			o.ID, o.CreatedAt = fmt.Sprintf("o%d", i), at
			must(t, s.CreateOrder(ctx, o))
			newest(&orders, o.ID)
			if i%2 == 0 {
				newest(&ofKey, a.ID)
				newest(&ofAccount, o.ID)
			}
		}
		keyAt := func(k acmeserver.EABKey) acmeserver.Position {
			return acmeserver.Position{CreatedAt: k.CreatedAt, ID: k.ID}
		}
		pageThrough(t, "keys", keys, keyAt, func(after *acmeserver.Position, limit int) ([]acmeserver.EABKey, error) {
			return s.ListEABKeys(ctx, "", after, limit)
		})
		pageThrough(t, "keys of an owner", slices.DeleteFunc(slices.Clone(keys), func(id string) bool { return id[1]%2 == 1 }),
			keyAt, func(after *acmeserver.Position, limit int) ([]acmeserver.EABKey, error) {
				return s.ListEABKeys(ctx, "owner 0", after, limit)
			})
		for what, test := range map[string]struct {
			want []string
			q    acmeserver.AccountQuery
		}{
			"accounts": {accounts, acmeserver.AccountQuery{}}, "accounts of a key": {ofKey, acmeserver.AccountQuery{EABKey: "k0"}},
			"accounts of an owner": {ofKey, acmeserver.AccountQuery{Owner: "owner 0"}},
			"valid accounts":       {accounts, acmeserver.AccountQuery{Status: acmeserver.StatusValid}},
			"revoked accounts":     {nil, acmeserver.AccountQuery{Status: acmeserver.StatusRevoked}},
		} {
			pageThrough(t, what, test.want,
				func(a acmeserver.Account) acmeserver.Position {
					return acmeserver.Position{CreatedAt: a.CreatedAt, ID: a.ID}
				},
				func(after *acmeserver.Position, limit int) ([]acmeserver.Account, error) {
					test.q.After, test.q.Limit = after, limit
					return s.ListAccounts(ctx, test.q)
				})
		}
		for what, test := range map[string]struct {
			want []string
			q    acmeserver.GrantQuery
		}{
			"grants": {grants, acmeserver.GrantQuery{}}, "grants of a key": {grants, acmeserver.GrantQuery{EABKey: "k0"}},
			"grants of an account": {nil, acmeserver.GrantQuery{Account: "k0"}},
			"grants of an owner": {
				slices.DeleteFunc(slices.Clone(grants), func(id string) bool { return id[1]%2 == 1 }),
				acmeserver.GrantQuery{Owner: "owner 0"},
			},
		} {
			pageThrough(t, what, test.want,
				func(g acmeserver.Grant) acmeserver.Position {
					return acmeserver.Position{CreatedAt: g.CreatedAt, ID: g.ID}
				},
				func(after *acmeserver.Position, limit int) ([]acmeserver.Grant, error) {
					test.q.After, test.q.Limit = after, limit
					return s.ListGrants(ctx, test.q)
				})
		}
		for account, want := range map[string][]string{"": orders, "account 0": ofAccount, "nobody": nil} {
			pageThrough(t, "orders of "+account, want,
				func(o acmeserver.Order) acmeserver.Position {
					return acmeserver.Position{CreatedAt: o.CreatedAt, ID: o.ID}
				},
				func(after *acmeserver.Position, limit int) ([]acmeserver.Order, error) {
					return s.ListOrders(ctx, account, after, limit)
				})
		}
	})
}

// A list shows each order with its own certificate.
func TestListedOrders(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		o, other := order("account"), order("account")
		other.CreatedAt = noon.Add(-time.Second)
		must(t, s.CreateOrder(ctx, o))
		must(t, s.CreateOrder(ctx, other))
		p := promise(t, o.Ref(), "a.internal")
		issue(t, s, p)
		o.Version, other.Version = 1, 1
		o.Certificate = &ca.Certificate{Promise: p, State: ca.Issued, DER: []byte("DER"), IssuedAt: noon}
		got, err := s.ListOrders(ctx, "account", nil, 10)
		must(t, err)
		if diff := cmp.Diff([]acmeserver.Order{o, other}, got); diff != "" {
			t.Error(diff)
		}
	})
}
