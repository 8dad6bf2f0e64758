package ca_test

import (
	"context"
	"crypto/x509"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// anyone may ask for any name; an administrator may do everything else too.
var (
	anyone = identity.Caller{ID: "token/1", Owner: "tests", AnyName: true}
	admin  = identity.Caller{ID: "token/2", Owner: "tests", AnyName: true, Role: identity.RoleAdmin}
)

// clock is a fake one. Safe for concurrent use.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newCA opens a CA on SQLite with a fake clock.
func newCA(t testing.TB) (*ca.CA, *store.Store, *clock) {
	t.Helper()
	s, clock := storetest.SQLite(t), newClock()
	config := catest.Config(t, s)
	config.Now = clock.Now
	return catest.Open(t, config), s, clock
}

func request(t testing.TB, ref string, names ...string) ca.Request {
	t.Helper()
	return ca.Request{Ref: ref, Caller: anyone, CSR: catest.CSR(t, catest.Key(t), names...)}
}

func issue(t testing.TB, c *ca.CA, req ca.Request) *ca.Certificate {
	t.Helper()
	issued, err := c.Issue(t.Context(), req)
	if err != nil {
		t.Fatalf("issuing: %v", err)
	}
	return issued
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t testing.TB, what string, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("%s: got %v, want it to be %s", what, err, kind)
	}
}

func TestSecondStartFindsEverything(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		config := catest.Fresh(t, s)
		first := catest.Open(t, config)
		issued := issue(t, first, request(t, "api/1", "a.internal"))
		config.Store = storetest.Reopen(t, s)
		second := catest.Open(t, config)
		if got, want := len(second.Issuers()), 2; got != want {
			t.Fatalf("%d issuers, want %d", got, want)
		}
		for i, row := range second.Issuers() {
			if row.ID != first.Issuers()[i].ID {
				t.Errorf("issuer %d is %s, was %s", i, row.ID, first.Issuers()[i].ID)
			}
		}
		found, err := second.Certificate(t.Context(), issued.Serial)
		must(t, err)
		if string(found.DER) != string(issued.DER) {
			t.Error("another certificate is in the record")
		}
		parse(t, issue(t, second, request(t, "api/2", "b.internal")).DER)
	})
}

// Replicas that start at once on one empty database and one key directory agree on one root.
func TestFirstStartOfManyReplicas(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		config := catest.Fresh(t, s)
		config.Alone = false
		var wg sync.WaitGroup
		roots := make([]string, 4)
		for i := range roots {
			wg.Go(func() {
				c, err := ca.New(t.Context(), config)
				if err != nil {
					t.Error(err)
					return
				}
				roots[i] = c.Issuers()[0].ID
			})
		}
		wg.Wait()
		for _, root := range roots {
			if root != roots[0] || root == "" {
				t.Fatalf("roots %v", roots)
			}
		}
	})
}

// never #34: a clock that was set back is noticed at start and while running.
func TestClockSetBack(t *testing.T) {
	s, clock := storetest.SQLite(t), newClock()
	config := catest.Config(t, s)
	config.Now = clock.Now
	c := catest.Open(t, config)
	issue(t, c, request(t, "", "a.internal"))
	clock.Advance(-4 * time.Minute)
	issue(t, c, request(t, "", "a.internal")) // replicas may differ a little
	clock.Advance(-24 * time.Hour)
	_, err := c.Issue(t.Context(), request(t, "", "a.internal"))
	wantKind(t, "a day back", err, fault.Unavailable)
	wantKind(t, "ready", c.Ready(t.Context()), fault.Unavailable)
	_, err = ca.New(t.Context(), config)
	wantKind(t, "start a day back", err, fault.Unavailable)
	clock.Advance(24*time.Hour + 5*time.Minute)
	must(t, c.Ready(t.Context()))
	issue(t, c, request(t, "", "a.internal"))
}

// never #10: at the end of the issuing CA's life nothing is issued that outlives it.
func TestNothingOutlivesItsIssuer(t *testing.T) {
	c, _, clock := newCA(t)
	end := parse(t, c.Issuers()[1].Certificate).NotAfter
	clock.Advance(end.Sub(clock.Now()) - 24*time.Hour)
	last := issue(t, c, request(t, "", "a.internal"))
	if last.NotAfter.After(end) {
		t.Errorf("the leaf ends at %s, its issuer at %s", last.NotAfter, end)
	}
	clock.Advance(2 * time.Hour)
	_, err := c.Issue(t.Context(), request(t, "", "a.internal"))
	wantKind(t, "outliving leaf", err, fault.Unavailable)
	wantKind(t, "ready", c.Ready(t.Context()), fault.Unavailable)
}

// What an earlier process promised and never recorded is voided, its reference is free, and a CRL
// lists it (never #11).
func TestPromisesOfADeadProcess(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx, clock := t.Context(), newClock()
		config := catest.Config(t, s)
		config.Now = clock.Now
		first := catest.Open(t, config)
		fails := &storetest.Faulty{Store: s, Fault: func(method string) (error, error) {
			if method == "Record" {
				return context.Canceled, nil
			}
			return nil, nil
		}}
		config.Store = fails
		_, err := catest.Open(t, config).Issue(ctx, request(t, "acme/order/1", "a.internal"))
		if err == nil {
			t.Fatal("an unrecorded certificate was answered")
		}
		open, err := s.Unsettled(ctx, clock.Now().Add(time.Hour), 10)
		must(t, err)
		if len(open) != 1 {
			t.Fatalf("%d promises are open, want 1", len(open))
		}
		config.Store = s
		clock.Advance(20 * time.Second)
		next := catest.Open(t, config)
		if !s.Alone() { // another replica may still be at it; later it cannot
			got, err := s.CertificateBySerial(ctx, open[0].Serial)
			must(t, err)
			if got.State != ca.Promised {
				t.Fatalf("a replica's fresh promise was taken away: %s", got.State)
			}
			clock.Advance(20 * time.Second)
			must(t, ca.Settle(next, ctx, clock.Now().Add(-30*time.Second)))
			must(t, ca.RefreshCRLs(next, ctx))
		}
		got, err := s.CertificateBySerial(ctx, open[0].Serial)
		must(t, err)
		if got.State != ca.Void {
			t.Errorf("the promise is %s, want void", got.State)
		}
		_, err = next.Certificate(ctx, open[0].Serial)
		wantKind(t, "a void certificate", err, fault.NotFound)
		if !crlSerials(t, first, got)[got.Serial] {
			t.Error("no CRL lists the certificate that might exist")
		}
		issue(t, next, request(t, "acme/order/1", "a.internal"))
	})
}

// A request that failed half-way can be tried again as soon as Run has looked.
func TestAbandonedPromiseFreesItsReference(t *testing.T) {
	s := storetest.SQLite(t)
	config := catest.Config(t, s)
	broken := true
	config.Store = &storetest.Faulty{Store: s, Fault: func(method string) (error, error) {
		if method == "Record" && broken {
			return errors.New("disk on fire"), nil
		}
		return nil, nil
	}}
	c := catest.Open(t, config)
	if _, err := c.Issue(t.Context(), request(t, "api/1", "a.internal")); err == nil {
		t.Fatal("an unrecorded certificate was answered")
	}
	broken = false
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	for {
		_, err := s.CertificateByRef(t.Context(), "api/1")
		if fault.Is(err, fault.NotFound) {
			break
		}
		must(t, err)
	}
	issue(t, c, request(t, "api/1", "a.internal"))
	cancel()
	must(t, <-done)
}
