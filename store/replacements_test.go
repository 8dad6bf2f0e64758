package store_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

func TestReplacement(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		old := promise(t, "acme/order/old", "a.internal")
		issue(t, s, old)
		successor := func(want string) {
			t.Helper()
			got, err := s.CertificateBySerial(ctx, old.Serial)
			must(t, err)
			if got.Successor != want {
				t.Errorf("the successor is %q, want %q", got.Successor, want)
			}
		}
		first, second := order("account"), order("account")
		first.Replaces, second.Replaces = "id", "id"
		made := audit.New(noon, "made", "acme/1", first.ID, nil)
		must(t, s.CreateReplacement(ctx, first, old.Serial, "", made))
		successor(first.Ref())
		// It may be repeated.
		must(t, s.CreateReplacement(ctx, first, old.Serial, "", made))
		first.Version = 1
		wantOrder(t, s, first)
		if diff := cmp.Diff([]audit.Entry{made}, storetest.Entries(t, s)); diff != "" {
			t.Error(diff)
		}
		// Whoever knows of no other, or of a wrong one, writes nothing.
		lost := audit.New(noon, "lost", "acme/1", second.ID, nil)
		for _, instead := range []string{"", "acme/order/other", second.Ref()} {
			wantErr(t, instead, s.CreateReplacement(ctx, second, old.Serial, instead, lost),
				acmeserver.ErrReplaced)
		}
		_, err := s.Order(ctx, second.ID)
		wantKind(t, "refused", err, fault.NotFound)
		successor(first.Ref())
		must(t, s.CreateReplacement(ctx, second, old.Serial, first.Ref()))
		successor(second.Ref())
		s = storetest.Reopen(t, s)
		successor(second.Ref())
		second.Version = 1
		wantOrder(t, s, second)
		if diff := cmp.Diff([]audit.Entry{made}, storetest.Entries(t, s)); diff != "" {
			t.Error(diff)
		}
		// A certificate that is not there has no successor.
		wantErr(t, "unknown", s.CreateReplacement(ctx, order("account"), promise(t, "x").Serial, ""),
			acmeserver.ErrReplaced)
	})
}

func TestOrderStands(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		o := order("account")
		stands := func(what string, at time.Time, want bool) {
			t.Helper()
			got, err := s.OrderStands(ctx, o.ID, at)
			must(t, err)
			if got != want {
				t.Errorf("%s: got %v", what, got)
			}
		}
		stands("not there", noon, false)
		must(t, s.CreateOrder(ctx, o))
		stands("young", o.ExpiresAt.Add(-time.Microsecond), true)
		stands("expired", o.ExpiresAt, false)
		p := promise(t, o.Ref(), "a.internal")
		must(t, s.Promise(ctx, p))
		stands("promised", o.ExpiresAt, true)
		must(t, s.Void(ctx, p.Serial, noon))
		stands("void", o.ExpiresAt, false)
		issue(t, s, promise(t, o.Ref(), "a.internal"))
		stands("issued", o.ExpiresAt, true)
		_, err := s.CleanOrders(ctx, o.ExpiresAt.Add(time.Hour), 10)
		must(t, err)
		stands("issued and cleaned away", o.ExpiresAt.Add(time.Hour), true)
	})
}

// Of many orders that replace one certificate, one is made, whichever process they arrive at.
func TestOneReplacementWins(t *testing.T) {
	eachPair(t, func(t *testing.T, stores [2]*store.Store) {
		ctx := t.Context()
		old := promise(t, "acme/order/old", "a.internal")
		issue(t, stores[0], old)
		var won, kept atomic.Int32
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				o := order("account")
				err := stores[i%2].CreateReplacement(ctx, o, old.Serial, "")
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, acmeserver.ErrReplaced):
					t.Error(err)
				}
				if _, err := stores[i%2].Order(ctx, o.ID); err == nil {
					kept.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || kept.Load() != 1 {
			t.Errorf("%d won and %d orders were kept, want one", won.Load(), kept.Load())
		}
	})
}
