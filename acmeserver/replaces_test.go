package acmeserver_test

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// replacing is the payload of an order that replaces a certificate.
func replacing(id string, names ...string) map[string]any {
	payload := maps.Clone(identifiers(names...))
	payload["replaces"] = id
	return payload
}

func (c *client) replace(id string, names ...string) order {
	c.t.Helper()
	r := c.post("/acme/new-order", replacing(id, names...)).ok(c.t, http.StatusCreated)
	o := decode[order](c.t, r)
	if o.url = r.header.Get("Location"); o.Replaces != id {
		c.t.Errorf("the new order replaces %q", o.Replaces)
	}
	return o
}

// RFC 9773 section 5: the order shows what it replaces, and a certificate is replaced once, by an
// order that is not invalid. Meanwhile its window is in the past.
func TestReplace(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		result := proven
		h := openOn(t, s, func(_ context.Context, _ validate.Challenge) validate.Result { return result })
		c := h.customer(t)
		der, _ := c.issue(newKey(t), "a.example.com", "b.example.com")
		id := certIDOf(t, der)
		again := func() {
			t.Helper()
			c.post("/acme/new-order", replacing(id, "a.example.com")).refused(t, http.StatusConflict, "alreadyReplaced")
			h.isUrgent(t, id, "replacement")
			c.newOrder("a.example.com") // without the member it is an order like any other
		}
		free := func(what string) {
			t.Helper()
			if info, _ := h.renewal(t, id); info.ExplanationURL != "" {
				t.Errorf("%s: the certificate still counts as replaced", what)
			}
		}
		accept := func(o order) {
			t.Helper()
			c.post(c.authorization(o.Authorizations[0]).Challenges[0].URL, `{}`).ok(t, 200)
		}
		// One that fails frees the certificate; so does one that is given up, or expires.
		free("before")
		failing := c.replace(id, "a.example.com")
		again()
		result = wrong
		accept(failing)
		result = proven
		free("failed")
		given := c.replace(id, "a.example.com", "c.example.com") // one identifier in common is enough
		again()
		c.post(given.Authorizations[1], `{"status":"deactivated"}`).ok(t, 200)
		free("given up")
		expiring := c.replace(id, "a.example.com")
		accept(expiring)
		again()
		h.pass(25 * time.Hour)
		free("expired")
		// The certificate has expired too by now, and can be replaced all the same.
		o := c.replace(id, "b.example.com")
		accept(o)
		done := decode[order](t, c.finalize(o, newKey(t), "b.example.com").ok(t, 200))
		if done.Status != "valid" || done.Replaces != id || c.order(o.url).Replaces != id {
			t.Errorf("the order is %+v", done)
		}
		c.post("/acme/new-order", replacing(id, "a.example.com")).refused(t, 409, "alreadyReplaced")
		// It stays replaced when the order has been cleaned away.
		h.pass(30 * 24 * time.Hour)
		clean(t, h)
		c.post(o.url, nil).refused(t, 404, "malformed")
		c.post("/acme/new-order", replacing(id, "a.example.com")).refused(t, 409, "alreadyReplaced")
		if body := c.post(c.newOrder("a.example.com").url, nil).body; strings.Contains(string(body), "replaces") {
			t.Errorf("an order that replaces nothing is %s", body)
		}
	})
}

// RFC 9773 section 5: what an order cannot replace.
func TestBadReplaces(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	der, _ := c.issue(newKey(t), "a.example.com")
	id := certIDOf(t, der)
	key, serial, _ := strings.Cut(id, ".")
	c.post("/acme/new-order", replacing("x", "a.example.com")).refused(t, 400, "malformed")
	c.post("/acme/new-order", replacing(id+"=", "a.example.com")).refused(t, 400, "malformed")
	c.post("/acme/new-order", `{"identifiers":[{"type":"dns","value":"a.example.com"}],"replaces":1}`).
		refused(t, 400, "malformed")
	c.post("/acme/new-order", replacing(key+".AQ", "a.example.com")).refused(t, 404, "malformed")
	c.post("/acme/new-order", replacing("AQ."+serial, "a.example.com")).refused(t, 404, "malformed")
	c.post("/acme/new-order", replacing(id, "*.a.example.com", "b.example.com")).refused(t, 400, "malformed")
	h.customer(t).post("/acme/new-order", replacing(id, "a.example.com")).refused(t, 403, "unauthorized")
	anyone := identity.Caller{ID: "token/1", Owner: "tests", AnyName: true}
	other, err := h.ca.Issue(t.Context(), ca.Request{
		Ref: "api/1", Caller: anyone, CSR: catest.CSR(t, newKey(t), "a.example.com"),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.post("/acme/new-order", replacing(certIDOf(t, other.DER), "a.example.com")).refused(t, 403, "unauthorized")
	// None of these has replaced it, nor has an order that was refused for another reason.
	c.post("/acme/new-order", replacing(id, "a.example.com", "a_b")).refused(t, 400, "malformed")
	if info, _ := h.renewal(t, id); info.ExplanationURL != "" {
		t.Error("the certificate counts as replaced")
	}
	// One that was revoked wants a replacement more than any.
	c.post("/acme/revoke-cert", map[string]any{"certificate": b64(der)}).ok(t, 200)
	c.replace(id, "a.example.com")
}

// Of twenty orders at once, on two doors of one database, one replaces the certificate.
func TestReplaceAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := openOn(t, s, always(proven))
		replica := houseOf(t, s, h.ca, always(proven))
		c := h.customer(t)
		der, _ := c.issue(newKey(t), "a.example.com")
		id := certIDOf(t, der)
		var won atomic.Int32
		var all sync.WaitGroup
		for i := range 20 {
			asks := *c
			if i%2 == 1 {
				asks.h = replica
			}
			all.Go(func() {
				r := asks.post("/acme/new-order", replacing(id, "a.example.com"))
				if r.status == http.StatusCreated {
					won.Add(1)
					return
				}
				r.refused(t, http.StatusConflict, "alreadyReplaced")
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Errorf("%d orders replace it", won.Load())
		}
	})
}
