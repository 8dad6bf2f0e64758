package acmeserver_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// RFC 8555 section 7.5.1: the answer to an accepted challenge is the outcome, if that is quick. The
// checker is given the right things to prove (section 8.1).
func TestChallengeIsProven(t *testing.T) {
	var asked []validate.Challenge
	h := openWith(t, func(_ context.Context, c validate.Challenge) validate.Result {
		asked = append(asked, c)
		return proven
	})
	c := h.customer(t)
	o := c.newOrder("*.a.example.com")
	before := c.authorization(o.Authorizations[0]).Challenges[0]
	ch := decode[challenge](t, c.post(before.URL, `{"keyAuthorization":"old clients send it"}`).ok(t, 200))
	if ch.Status != "valid" || ch.Validated.IsZero() || ch.Error != nil || ch.Token != before.Token {
		t.Errorf("the challenge is %+v", ch)
	}
	thumbprint, _, err := acmeserver.ParseKey(text(jwk(c.key)))
	if err != nil {
		t.Fatal(err)
	}
	if len(asked) != 1 || asked[0].Type != "dns-01" || asked[0].Name.Value != "a.example.com" ||
		!asked[0].Wildcard || asked[0].KeyAuthorization != ch.Token+"."+thumbprint ||
		asked[0].AccountURI != c.account || !slices.Equal(asked[0].Thumbprints, []string{thumbprint}) {
		t.Errorf("the checker was asked %+v", asked)
	}
	z := c.authorization(o.Authorizations[0])
	if z.Status != "valid" || len(z.Challenges) != 1 || c.order(o.url).Status != "ready" {
		t.Errorf("the authorization is %+v", z)
	}
	// What is settled stays so, and nobody is asked again.
	c.post(ch.URL, `{}`).ok(t, 200)
	c.post(ch.URL, `[]`).refused(t, 400, "malformed")
	if len(asked) != 1 {
		t.Errorf("the checker was asked %d times", len(asked))
	}
	// Section 7.1.4: a settled authorization shows the challenge that settled it.
	two := c.newOrder("b.example.com")
	c.post(c.authorization(two.Authorizations[0]).Challenges[1].URL, `{}`).ok(t, 200)
	if z := c.authorization(two.Authorizations[0]); len(z.Challenges) != 1 || z.Challenges[0].Type != "dns-01" {
		t.Errorf("the valid authorization shows %+v", z.Challenges)
	}
}

// draft-ietf-acme-dns-persist-02 section 4.1: an authorization ends with the record that proved it.
func TestProofThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
		h := openOn(t, storetest.SQLite(t), always(validate.Result{OK: true, Until: until}))
		c := h.customer(t)
		o := c.newOrder("a.example.com")
		c.post(c.authorization(o.Authorizations[0]).Challenges[0].URL, `{}`).ok(t, 200)
		z := c.authorization(o.Authorizations[0])
		if z.Status != "valid" || !z.Expires.Equal(until) || c.order(o.url).Status != "ready" {
			t.Errorf("the authorization is %+v", z)
		}
		<-time.After(time.Hour)
		if status := c.authorization(o.Authorizations[0]).Status; status != "expired" {
			t.Errorf("the authorization is %s", status)
		}
		c.finalize(o, newKey(t), "a.example.com").refused(t, 403, "orderNotReady")
	})
}

// RFC 8555 sections 7.1.6 and 8.2: a wrong answer ends the challenge, its authorization and the
// order, and everybody is told why: the client, and the record.
func TestChallengeIsNotProven(t *testing.T) {
	h := openWith(t, always(wrong))
	c := h.customer(t)
	o := c.newOrder("a.example.com", "b.example.com")
	r := c.post(c.authorization(o.Authorizations[1]).Challenges[0].URL, `{}`).ok(t, 200)
	ch := decode[challenge](t, r)
	if ch.Status != "invalid" || ch.Error == nil || ch.Error.Detail != wrong.Detail ||
		ch.Error.Type != "urn:ietf:params:acme:error:unauthorized" || strings.Join(ch.Trace, "") != "got 200" {
		t.Errorf("the challenge is %s", r.body)
	}
	z := c.authorization(o.Authorizations[1])
	if z.Status != "invalid" || len(z.Challenges) != 1 || z.Challenges[0].Error == nil {
		t.Errorf("the authorization is %+v", z)
	}
	got := c.order(o.url)
	if got.Status != "invalid" || got.Error == nil || !strings.Contains(got.Error.Detail, "b.example.com") ||
		got.Error.Subproblems[0].Identifier.Value != "b.example.com" {
		t.Errorf("the order is %+v", got)
	}
	failed := h.store.of(audit.ChallengeFailed)
	if len(failed) != 1 || failed[0].Data["name"] != "b.example.com" || failed[0].Data["trace"] != "got 200" ||
		failed[0].Data["detail"] != wrong.Detail || !strings.HasSuffix(o.url, strings.TrimPrefix(failed[0].Subject, "acme/order/")) {
		t.Errorf("the record has %+v", failed)
	}
	c.finalize(o, newKey(t), "a.example.com", "b.example.com").refused(t, 403, "orderNotReady")
	// The other authorization is as it was, and can be worked with (some clients poll all of them).
	if z := c.authorization(o.Authorizations[0]); z.Status != "pending" {
		t.Errorf("the other authorization is %s", z.Status)
	}
}

// RFC 8555 section 8.2: while nobody answers, the server tries again, says so, and gives up in the end.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		var result atomic.Pointer[validate.Result]
		result.Store(&unreachable)
		h := openOn(t, storetest.SQLite(t), func(context.Context, validate.Challenge) validate.Result {
			asked.Add(1)
			return *result.Load()
		})
		c := h.customer(t)
		accept := func() (url string) {
			t.Helper()
			url = c.authorization(c.newOrder("a.example.com").Authorizations[0]).Challenges[0].URL
			begun := time.Now()
			r := c.post(url, `{}`).ok(t, 200)
			if waited := time.Since(begun); waited != 100*time.Millisecond {
				t.Errorf("the answer took %s", waited)
			}
			ch := decode[challenge](t, r)
			if ch.Status != "processing" || ch.Error == nil || ch.Error.Detail != unreachable.Detail ||
				r.header.Get("Retry-After") == "" {
				t.Errorf("the challenge is %s, %v", r.body, r.header)
			}
			return url
		}
		url := accept()
		time.Sleep(500 * time.Millisecond) //nolint:forbidigo // the bubble's clock
		c.post(url, `{}`).ok(t, 200)       // does not start a second validation
		time.Sleep(10 * time.Second)       //nolint:forbidigo // the bubble's clock
		if ch := decode[challenge](t, c.post(url, nil)); ch.Status != "invalid" || asked.Load() != 3 {
			t.Errorf("after %d attempts the challenge is %s", asked.Load(), ch.Status)
		}
		if got := h.store.of(audit.ChallengeFailed); len(got) != 1 {
			t.Errorf("the record has %v", got)
		}
		// The responder comes up in between.
		url = accept()
		result.Store(&proven)
		time.Sleep(2 * time.Second) //nolint:forbidigo // the bubble's clock
		if ch := decode[challenge](t, c.post(url, nil)); ch.Status != "valid" || ch.Error != nil {
			t.Errorf("the challenge is %+v", ch)
		}
		// The client gives up in between: no more attempts.
		result.Store(&unreachable)
		url = accept()
		z := strings.Replace(strings.TrimSuffix(url, "/http-01"), "/chall/", "/authz/", 1)
		c.post(z, `{"status":"deactivated"}`).ok(t, 200)
		before := asked.Load()
		time.Sleep(10 * time.Second) //nolint:forbidigo // the bubble's clock
		if after := asked.Load(); after > before+1 {
			t.Errorf("after the client gave up there were %d attempts", after-before)
		}
		if got := c.authorization(z); got.Status != "deactivated" {
			t.Errorf("the authorization is %s", got.Status)
		}
	})
}

// Twenty at once start one validation (issue 3), and all hear its outcome.
func TestOneChallengeOftenAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var asked atomic.Int32
		h := openOn(t, s, func(context.Context, validate.Challenge) validate.Result {
			asked.Add(1)
			return proven
		})
		c := h.customer(t)
		url := c.authorization(c.newOrder("a.example.com").Authorizations[0]).Challenges[0].URL
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if ch := decode[challenge](t, c.post(url, `{}`)); ch.Status != "valid" {
					t.Errorf("the challenge is %s", ch.Status)
				}
			})
		}
		all.Wait()
		if asked.Load() > 2 || h.store.count("UpdateOrder") > 2 {
			t.Errorf("it took %d validations and %d writes", asked.Load(), h.store.count("UpdateOrder"))
		}
	})
}

// Many challenges of one order settle at the same time, and no outcome is lost (never #19).
func TestManyChallengesOfOneOrder(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	var names []string
	for i := range 40 {
		names = append(names, "n"+string(rune('a'+i%26))+string(rune('a'+i/26))+".example.com")
	}
	o := c.newOrder(names...)
	var all sync.WaitGroup
	for _, url := range o.Authorizations {
		all.Go(func() { c.post(strings.Replace(url, "/authz/", "/chall/", 1)+"/http-01", `{}`).ok(t, 200) })
	}
	all.Wait()
	for _, url := range o.Authorizations {
		c.settled(strings.Replace(url, "/authz/", "/chall/", 1) + "/http-01") // we may be slow
	}
	if got := c.order(o.url); got.Status != "ready" {
		t.Errorf("the order is %s", got.Status)
	}
}

// RFC 8555 section 8.2: a validation outlives the process that accepted it.
func TestCrashDuringValidation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context, _ validate.Challenge) validate.Result {
			<-ctx.Done()
			return unreachable
		}
		h := openOn(t, storetest.SQLite(t), hang)
		c := h.customer(t)
		o := c.newOrder("a.example.com")
		url := c.authorization(o.Authorizations[0]).Challenges[0].URL
		if ch := decode[challenge](t, c.post(url, `{}`).ok(t, 200)); ch.Status != "processing" {
			t.Fatalf("the challenge is %s", ch.Status)
		}
		// The process goes down; what it cut short is no verdict.
		writes := h.store.count("UpdateOrder")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := h.door.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
		if got := h.store.count("UpdateOrder"); got != writes {
			t.Errorf("while the process went down there were %d writes", got-writes)
		}
		other := c.authorization(c.newOrder("b.example.com").Authorizations[0]).Challenges[0].URL
		r := c.post(other, `{}`)
		r.refused(t, 503, "serverInternal") // and it takes nothing new
		if r.header.Get("Retry-After") == "" {
			t.Error("there is no Retry-After")
		}
		// The next process leaves it alone for a while, for it might be another's.
		h.reopen(t, always(proven))
		if ch := decode[challenge](t, c.post(url, nil)); ch.Status != "processing" || ch.Error != nil {
			t.Errorf("the challenge is %+v", ch)
		}
		h.pass(31 * time.Second)
		c.post(o.url, nil).ok(t, 200) // whoever looks at the order has it taken up
		synctest.Wait()
		for range 100 {
			if c.order(o.url).Status == "ready" {
				return
			}
			time.Sleep(time.Millisecond) //nolint:forbidigo // the bubble's clock
		}
		t.Errorf("the order is %s", c.order(o.url).Status)
	})
}

// A write that another process overtakes is redone on what that one wrote.
func TestStaleOrder(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	o := c.newOrder("a.example.com", "b.example.com")
	stale := 3
	h.store.before = func(acmeserver.Order) error {
		if stale--; stale >= 0 {
			return acmeserver.ErrStale
		}
		return nil
	}
	for _, z := range o.Authorizations {
		c.post(c.authorization(z).Challenges[0].URL, `{}`).ok(t, 200)
	}
	if got := c.order(o.url); got.Status != "ready" {
		t.Errorf("the order is %s", got.Status)
	}
	h.store.before = func(acmeserver.Order) error { return acmeserver.ErrStale }
	z := c.newOrder("c.example.com").Authorizations[0]
	c.post(c.authorization(z).Challenges[0].URL, `{}`).refused(t, 503, "serverInternal")
	h.store.before = func(acmeserver.Order) error { return errors.New("a bug with a secret") }
	if p := c.post(c.authorization(z).Challenges[0].URL, `{}`).refused(t, 500, "serverInternal"); strings.Contains(p.Detail, "secret") {
		t.Errorf("internal text leaves the house: %s", p.Detail)
	}
	h.store.before = nil
	c.post(c.authorization(z).Challenges[0].URL, `{}`).ok(t, 200)
	if z := c.authorization(z); z.Status != "valid" {
		t.Errorf("the authorization is %s", z.Status)
	}
}

// never #4: what panics on a stranger's bytes ends one attempt.
func TestValidationPanics(t *testing.T) {
	var asked atomic.Int32
	h := openWith(t, func(context.Context, validate.Challenge) validate.Result {
		if asked.Add(1) == 1 {
			panic("a bug")
		}
		return proven
	})
	c := h.customer(t)
	url := c.authorization(c.newOrder("a.example.com").Authorizations[0]).Challenges[0].URL
	c.post(url, `{}`).refused(t, 500, "serverInternal")
	if ch := decode[challenge](t, c.post(url, `{}`).ok(t, 200)); ch.Status != "valid" {
		t.Errorf("the challenge is %s", ch.Status)
	}
}
