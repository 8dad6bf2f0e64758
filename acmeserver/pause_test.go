package acmeserver_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

func (s *spy) AddFailure(
	ctx context.Context, account, name string, at time.Time, rule acmeserver.PauseRule, entries ...audit.Entry,
) (bool, error) {
	paused, err := s.Store.AddFailure(ctx, account, name, at, rule, entries...)
	if !paused {
		entries = nil
	}
	s.kept("AddFailure", err, entries...)
	return paused, err
}

func (s *spy) EndStreak(ctx context.Context, account, name string) error {
	s.note("EndStreak")
	return s.Store.EndStreak(ctx, account, name)
}

func (s *spy) Paused(ctx context.Context, account string, names []string) ([]acmeserver.Streak, error) {
	s.note("Paused")
	return s.Store.Paused(ctx, account, names)
}

func (s *spy) Unpause(ctx context.Context, account, name string, entries ...audit.Entry) (int, error) {
	n, err := s.Store.Unpause(ctx, account, name, entries...)
	s.kept("Unpause", err, entries...)
	return n, err
}

// bad answers wrongly for names that begin with "bad".
func bad(_ context.Context, c validate.Challenge) validate.Result {
	if strings.HasPrefix(c.Name.Value, "bad") {
		return wrong
	}
	return proven
}

const manyFailures = "failures_per_name=*=1000/1h"

func idOf(c *client) string { return c.account[strings.LastIndex(c.account, "/")+1:] }

// A name whose validations fail for a day is paused for its account: by all replicas and after a
// restart, until an operator lifts it, who sees it.
func TestPause(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := openOn(t, s, bad).limit(t, bad, manyFailures)
		c, other := h.customer(t), h.customer(t)
		for range 99 {
			c.fail("bad.example.com")
			h.pass(15 * time.Minute)
		}
		c.newOrder("bad.example.com")
		h.reopen(t, bad) // the count survives
		c.fail("bad.example.com")
		h.reopen(t, bad)
		r := c.post("/acme/new-order", identifiers("a.example.com", "bad.example.com"))
		wait := r.tooMany(t, "bad.example.com is paused", "100 validations", "mayfly acme unpause "+idOf(c))
		if wait != 24*time.Hour {
			t.Errorf("the client is to wait %s", wait)
		}
		if p := decode[problem](t, r); len(p.Subproblems) != 1 ||
			p.Subproblems[0].Identifier.Value != "bad.example.com" {
			t.Errorf("the subproblems are %+v", p.Subproblems)
		}
		h.pass(48 * time.Hour)
		c.post("/acme/new-order", identifiers("bad.example.com")).tooMany(t)
		c.newOrder("a.example.com")
		c.newOrder("*.bad.example.com")
		other.newOrder("bad.example.com")
		if n := len(h.store.of(audit.NamePaused)); n != 1 {
			t.Errorf("%d entries tell of it", n)
		}

		op := h.door.Operator()
		paused, err := op.Pauses(t.Context(), acmeserver.PauseQuery{Limit: 10})
		if err != nil || len(paused) != 1 || paused[0].Account != idOf(c) || paused[0].Failures != 100 {
			t.Fatalf("the operator sees %+v, %v", paused, err)
		}
		if of, err := op.Pauses(t.Context(), acmeserver.PauseQuery{Account: idOf(other), Limit: 10}); err != nil || len(of) != 0 {
			t.Errorf("of another account he sees %+v, %v", of, err)
		}
		if _, err := op.Unpause(t.Context(), identity.Caller{ID: "x"}, idOf(c), ""); !fault.Is(err, fault.Denied) {
			t.Errorf("a stranger may lift it: %v", err)
		}
		if n, err := op.Unpause(t.Context(), admin, idOf(c), "a.example.com"); n != 0 || err != nil {
			t.Errorf("%d were lifted, %v", n, err)
		}
		for _, text := range []string{"\x00", "\xff"} { // Postgres chokes on them
			if _, err := op.Unpause(t.Context(), admin, idOf(c), text); !fault.Is(err, fault.Invalid) {
				t.Errorf("the name %q: %v", text, err)
			}
			if _, err := op.Unpause(t.Context(), admin, text, ""); !fault.Is(err, fault.Invalid) {
				t.Errorf("the account %q: %v", text, err)
			}
		}
		if n, err := op.Unpause(t.Context(), admin, idOf(c), "bad.example.com"); n != 1 || err != nil {
			t.Errorf("%d were lifted, %v", n, err)
		}
		if lifted := h.store.of(audit.NameUnpaused); len(lifted) == 0 || lifted[len(lifted)-1].Actor != admin.ID {
			t.Errorf("the record has %+v", lifted)
		}
		c.fail("bad.example.com") // and the count begins anew
		c.newOrder("bad.example.com")
	})
}

// A success ends the streak; so does a day without a failure.
func TestSuccessEndsStreak(t *testing.T) {
	result := wrong
	h := limited(t, func(context.Context, validate.Challenge) validate.Result { return result }, manyFailures)
	c := h.customer(t)
	for range 99 {
		c.fail("a.example.com")
		h.pass(15 * time.Minute)
	}
	result = proven
	c.issue(newKey(t), "a.example.com")
	result = wrong
	c.fail("a.example.com")
	c.newOrder("a.example.com")
	if n := h.store.count("EndStreak"); n != 1 {
		t.Errorf("%d streaks were ended", n)
	}
	for range 98 {
		c.fail("a.example.com")
		h.pass(15 * time.Minute)
	}
	h.pass(25 * time.Hour)
	c.fail("a.example.com")
	c.fail("a.example.com")
	c.newOrder("a.example.com")
}

// A loop that fails all day is slowed down first and paused then, and the metrics tell.
func TestLoopIsPaused(t *testing.T) {
	h := openOn(t, storetest.SQLite(t), bad).limit(t, bad)
	registry := prometheus.NewRegistry()
	h.config.Metrics = registry
	h.reopen(t, bad)
	c := h.customer(t)
	asked := 0
	var last reply
	for range 26 * 60 { // once a minute
		h.pass(time.Minute)
		last = c.post("/acme/new-order", identifiers("bad.example.com"))
		if last.status == 201 {
			asked++
			c.post(c.authorization(decode[order](t, last).Authorizations[0]).Challenges[0].URL, `{}`).ok(t, 200)
		}
	}
	last.tooMany(t, "is paused")
	if asked < 700 || asked > 30+30*24+2 {
		t.Errorf("the responder was asked %d times", asked)
	}
	if n := valueOf(t, registry, "mayfly_acme_paused", ""); n != 1 {
		t.Errorf("the gauge is %g", n)
	}
	if n := valueOf(t, registry, "mayfly_acme_rate_limited_total", "paused"); n < 100 {
		t.Errorf("the counter is %g", n)
	}
	if _, err := h.door.Operator().Unpause(t.Context(), admin, idOf(c), ""); err != nil {
		t.Fatal(err)
	}
	if n := valueOf(t, registry, "mayfly_acme_paused", ""); n != 0 {
		t.Errorf("the gauge is %g", n)
	}
}

// Who never fails costs no more than without limits; nor is anything counted if they are off.
func TestPausingIsFrugal(t *testing.T) {
	h := limited(t, bad)
	c := h.customer(t)
	c.issue(newKey(t), "a.example.com")
	c.issue(newKey(t), "a.example.com")
	for _, call := range []string{"AddFailure", "EndStreak", "Paused"} {
		if n := h.store.count(call); n != 0 {
			t.Errorf("%s was called %d times", call, n)
		}
	}
	h.config.RateLimits = false
	h.reopen(t, bad)
	c.fail("bad.example.com")
	if h.store.count("AddFailure") != 0 {
		t.Error("a failure was counted although limits are off")
	}
}

func TestPausesAreCleaned(t *testing.T) {
	h := openOn(t, storetest.SQLite(t), bad).limit(t, bad, manyFailures)
	c := h.customer(t)
	for range 100 {
		c.fail("bad.example.com")
		h.pass(15 * time.Minute)
	}
	c.fail("bad2.example.com")
	clean := func(wantFailing bool) {
		t.Helper()
		if err := acmeserver.Clean(t.Context(), h.door); err != nil {
			t.Fatal(err)
		}
		if a, err := h.store.Account(t.Context(), idOf(c)); err != nil || a.Failing != wantFailing {
			t.Errorf("failing is %v, %v", a.Failing, err)
		}
	}
	clean(true)
	h.pass(89 * 24 * time.Hour)
	clean(true)
	h.pass(2 * 24 * time.Hour)
	clean(false)
}
