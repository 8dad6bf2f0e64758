package store_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

func order(account string) acmeserver.Order {
	return acmeserver.Order{
		ID: rand.Text(), Account: account, CreatedAt: noon, ExpiresAt: noon.Add(time.Hour),
		Profile: "server",
		Authorizations: []acmeserver.Authorization{{
			Name:     identity.Name{Type: identity.DNS, Value: "a.internal"},
			Wildcard: true, Status: acmeserver.StatusPending, Expires: noon.Add(time.Hour),
			Challenges: []acmeserver.Challenge{{
				Type: "dns-01", Token: "token", Status: acmeserver.StatusInvalid,
				Error: &acmeserver.Problem{Type: "dns", Detail: "no such name", Status: 400},
				Trace: []string{"asked 10.0.0.53"},
			}},
		}},
	}
}

func wantOrder(t testing.TB, s *store.Store, want acmeserver.Order) {
	t.Helper()
	got, err := s.Order(t.Context(), want.ID)
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		o := order("account")
		_, err := s.Order(ctx, o.ID)
		wantKind(t, "none yet", err, fault.NotFound)
		wantErr(t, "none yet", s.UpdateOrder(ctx, o), acmeserver.ErrStale)

		made := audit.New(noon, "made", "acme/1", o.ID, nil)
		must(t, s.CreateOrder(ctx, o, made))
		again := o
		again.Profile = "other"
		must(t, s.CreateOrder(ctx, again, audit.New(noon, "again", "acme/1", o.ID, nil)))
		o.Version = 1
		wantOrder(t, s, o)

		o.ExpiresAt = noon.Add(2 * time.Hour)
		o.Authorizations[0].Status = acmeserver.StatusValid
		changed := audit.New(noon.Add(1000), "changed", "acme/1", o.ID, nil)
		must(t, s.UpdateOrder(ctx, o, changed))
		stale := o
		stale.Profile = "stale"
		wantErr(t, "stale", s.UpdateOrder(ctx, stale, audit.New(noon, "stale", "", o.ID, nil)),
			acmeserver.ErrStale)
		o.Version = 2
		s = storetest.Reopen(t, s)
		wantOrder(t, s, o)
		if diff := cmp.Diff([]audit.Entry{made, changed}, storetest.Entries(t, s)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOrderAndItsCertificate(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		o, other := order("account"), order("account")
		must(t, s.CreateOrder(ctx, o))
		must(t, s.CreateOrder(ctx, other))
		o.Version, other.Version = 1, 1
		wantOrder(t, s, o)

		p := promise(t, o.Ref(), "a.internal")
		must(t, s.Promise(ctx, p))
		o.Certificate = &ca.Certificate{Promise: p, State: ca.Promised}
		wantOrder(t, s, o)

		must(t, s.Void(ctx, p.Serial, noon)) // which frees the reference, for another try
		o.Certificate = nil
		wantOrder(t, s, o)

		p = promise(t, o.Ref(), "a.internal")
		issue(t, s, p)
		o.Certificate = &ca.Certificate{
			Promise: p, State: ca.Issued, DER: []byte("DER"), IssuedAt: noon,
		}
		wantOrder(t, s, o)

		r := ca.Revocation{At: noon.Add(time.Minute), Reason: 1}
		must(t, s.Revoke(ctx, p.Serial, r))
		o.Certificate.Revocation = &r
		wantOrder(t, s, o)
		wantOrder(t, s, other)
	})
}

func TestOrdersNewestFirst(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		var want []string // newest first; by id where two are of one age
		for i := range 9 {
			o := order("account")
			o.ID = fmt.Sprint(i)
			o.CreatedAt = noon.Add(time.Duration(i/3) * time.Microsecond)
			must(t, s.CreateOrder(ctx, o))
			want = append([]string{o.ID}, want...)
			foreign := order("another")
			must(t, s.CreateOrder(ctx, foreign))
		}
		gone := order("account")
		gone.ExpiresAt = noon.Add(time.Minute)
		must(t, s.CreateOrder(ctx, gone))
		now := gone.ExpiresAt.Add(1) // never #22: a nanosecond is enough
		for limit := 1; limit <= 10; limit++ {
			var got []string
			after := ""
			for {
				page, err := s.Orders(ctx, "account", after, now, limit)
				must(t, err)
				if len(page) > limit {
					t.Fatalf("got %d, limit %d", len(page), limit)
				}
				if len(page) == 0 {
					break
				}
				got = append(got, page...)
				after = page[len(page)-1]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("by %d: %s", limit, diff)
			}
		}
		all, err := s.Orders(ctx, "account", "", gone.ExpiresAt, 100)
		must(t, err)
		if len(all) != 10 {
			t.Errorf("got %d at the very end of one, want 10", len(all))
		}
	})
}

// never #19: no list inside an account that orders could knock each other out of.
func TestParallelOrdersOfOneAccount(t *testing.T) {
	eachPair(t, func(t *testing.T, stores [2]*store.Store) {
		ctx := t.Context()
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				o := order("account")
				err := stores[i%2].CreateOrder(ctx, o)
				o.Version = 1
				if err := errors.Join(err, stores[(i+1)%2].UpdateOrder(ctx, o)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		all, err := stores[0].Orders(ctx, "account", "", noon, 1000)
		must(t, err)
		if len(all) != 200 {
			t.Errorf("got %d orders, want 200", len(all))
		}
	})
}

func TestOneOrderUpdateWins(t *testing.T) {
	eachPair(t, func(t *testing.T, stores [2]*store.Store) {
		o := order("account")
		must(t, stores[0].CreateOrder(t.Context(), o))
		o.Version = 1
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				mine := o
				mine.Profile = fmt.Sprint(i)
				err := stores[i%2].UpdateOrder(t.Context(), mine)
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

// never #36: cleaning is bounded, and ends.
func TestCleanOrders(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		var live []acmeserver.Order
		for i := range 10 {
			o := order("account")
			o.ExpiresAt = noon.Add(time.Duration(i-7) * time.Microsecond)
			must(t, s.CreateOrder(ctx, o))
			if i >= 7 {
				o.Version = 1
				live = append(live, o)
			}
		}
		kept := promise(t, live[0].Ref(), "a.internal")
		issue(t, s, kept)
		live[0].Certificate = &ca.Certificate{
			Promise: kept, State: ca.Issued, DER: []byte("DER"), IssuedAt: noon,
		}
		for _, want := range []int{3, 3, 1, 0} {
			got, err := s.CleanOrders(ctx, noon, 3)
			must(t, err)
			if got != want {
				t.Errorf("cleaned %d, want %d", got, want)
			}
		}
		for _, o := range live {
			wantOrder(t, s, o)
		}
	})
}

// An order that another replica prolongs while this one cleans is not expired.
func TestCleaningSparesAProlongedOrder(t *testing.T) {
	s := storetest.Postgres(t)
	ctx := t.Context()
	o := order("account")
	must(t, s.CreateOrder(ctx, o))
	db := storetest.DB(t, s)
	replica, err := db.BeginTx(ctx, nil)
	must(t, err)
	_, err = replica.Exec(`UPDATE acme_orders SET expires_at = $1`, noon.Add(9*time.Hour).UnixMicro())
	must(t, err)
	cleaned := make(chan error, 1)
	go func() {
		n, err := s.CleanOrders(ctx, noon.Add(2*time.Hour), 10)
		if n != 0 {
			err = errors.Join(err, fmt.Errorf("cleaned %d", n))
		}
		cleaned <- err
	}()
	eventually(t, "the cleaning waits for the update", func() bool {
		var waiting int
		must(t, db.QueryRow(`SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting))
		return waiting > 0
	})
	must(t, replica.Commit())
	must(t, <-cleaned)
	_, err = s.Order(ctx, o.ID)
	must(t, err)
}
