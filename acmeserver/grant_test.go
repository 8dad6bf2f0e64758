package acmeserver_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/store/storetest"
)

func (h *house) grant(t testing.TB, g acmeserver.Grant) acmeserver.Grant {
	t.Helper()
	if g.ExpiresAt.IsZero() {
		g.ExpiresAt = time.Now().Add(30 * 24 * time.Hour)
	}
	made, err := h.door.Operator().CreateGrant(t.Context(), admin, g, "")
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (h *house) withdraw(t testing.TB, g acmeserver.Grant) {
	t.Helper()
	if err := h.door.Operator().WithdrawGrant(t.Context(), admin, g.ID); err != nil {
		t.Fatal(err)
	}
}

// A granted name needs no challenge, and all others need theirs.
func TestGrant(t *testing.T) {
	h := openWith(t, always(wrong))
	k := h.eabKey(t, acmeserver.EABKey{})
	c, second := h.boundCustomer(t, k), h.boundCustomer(t, k)
	before := c.newOrder("a.internal")
	g := h.grant(t, acmeserver.Grant{EABKey: k.ID, Names: []string{"a.internal", ".team.internal", "10.1.0.0/16"}})
	if got := c.order(before.url).Status; got != "pending" {
		t.Errorf("an order from before the grant is %s", got)
	}
	for _, holder := range []*client{c, second} {
		names := []string{"a.internal", "x.y.team.internal", "10.1.2.3"}
		o := holder.newOrder(names...)
		if o.Status != "ready" || len(o.Authorizations) != 3 {
			t.Fatalf("the order is %+v", o)
		}
		for _, url := range o.Authorizations {
			r := holder.post(url, nil).ok(t, 200)
			z := decode[authorization](t, r)
			// Clients read the list; for some, null is not one.
			if z.Status != "valid" || len(z.Challenges) != 0 || !strings.Contains(string(r.body), `"challenges":[]`) {
				t.Errorf("the authorization is %s", r.body)
			}
		}
		done := decode[order](t, holder.finalize(o, newKey(t), names...).ok(t, 200))
		if done.Status != "valid" {
			t.Errorf("the order is %+v", done)
		}
	}
	used := h.store.of(audit.GrantUsed)
	if len(used) != 2 || used[0].Subject != g.ID || used[0].Actor != "acme/account/"+c.id() || used[0].Data["owner"] != "team a" ||
		used[0].Data["names"] != "a.internal x.y.team.internal 10.1.2.3" || used[1].Actor != "acme/account/"+second.id() {
		t.Errorf("the record has %v", used)
	}
	// One name among others.
	mixed := c.newOrder("a.internal", "b.internal")
	if mixed.Status != "pending" {
		t.Errorf("the order is %+v", mixed)
	}
	z := c.authorization(mixed.Authorizations[1])
	if first := c.authorization(mixed.Authorizations[0]); first.Status != "valid" || z.Status != "pending" || len(z.Challenges) == 0 {
		t.Errorf("the authorizations are %+v and %+v", first, z)
	}
	c.finalize(mixed, newKey(t), "a.internal", "b.internal").refused(t, 403, "orderNotReady")
	c.post(z.Challenges[0].URL, `{}`)
	if got := c.order(mixed.url); got.Status != "invalid" {
		t.Errorf("an order whose other name failed is %s", got.Status)
	}
	// Strangers, bound by another key or by none, have nothing of it.
	for _, stranger := range []*client{h.customer(t), h.boundCustomer(t, h.eabKey(t, acmeserver.EABKey{}))} {
		if o := stranger.newOrder("a.internal"); o.Status != "pending" {
			t.Errorf("a stranger's order is %s", o.Status)
		}
	}
}

// What a grant covers, name by name.
func TestGrantedNames(t *testing.T) {
	h := open(t)
	for _, test := range []struct {
		names     string
		wildcards bool
		covered   string
		not       string
	}{
		{"a.internal", false, "a.internal A.INTERNAL", "b.internal x.a.internal *.a.internal aa.internal internal"},
		{"a.internal", true, "a.internal", "*.a.internal"},
		{"*.a.internal", false, "*.a.internal", "a.internal x.a.internal *.x.a.internal"},
		{".a.internal", false, "x.a.internal x.y.a.internal", "a.internal *.a.internal *.x.a.internal xa.internal a.internal.b"},
		{".a.internal", true, "x.a.internal *.a.internal *.x.a.internal", "a.internal *.internal *.xa.internal"},
		{"10.1.2.3", false, "10.1.2.3", "10.1.2.4 ::ffff"},
		{"10.1.0.0/16 fd00::/8", false, "10.1.0.0 10.1.255.255 fd12::1", "10.2.0.0 fe80::1"},
		{"0.0.0.0/0", false, "10.1.0.0", "::1 a.internal"},
		{".internal", false, "a.internal x.a.internal", "internal a.example a.internal.example"},
	} {
		c := h.customer(t)
		h.grant(t, acmeserver.Grant{Account: c.id(), Names: strings.Fields(test.names), Wildcards: test.wildcards})
		for _, name := range strings.Fields(test.covered) {
			if o := c.newOrder(name); o.Status != "ready" {
				t.Errorf("%s (wildcards %v): %s is %s", test.names, test.wildcards, name, o.Status)
			}
		}
		for _, name := range strings.Fields(test.not) {
			if r := c.post("/acme/new-order", identifiers(name)); r.status == http.StatusCreated && decode[order](t, r).Status != "pending" {
				t.Errorf("%s (wildcards %v): %s is %s", test.names, test.wildcards, name, r.body)
			}
		}
	}
}

// A grant that is withdrawn or expired lets no order through that has no certificate yet, and takes
// nothing back of those that have.
func TestGrantEnds(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *house, acmeserver.Grant){
		"withdrawn": func(t *testing.T, h *house, g acmeserver.Grant) { h.withdraw(t, g) },
		"expired":   func(t *testing.T, h *house, g acmeserver.Grant) { h.pass(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			h := openOn(t, storetest.SQLite(t), always(proven))
			c := h.customer(t)
			g := h.grant(t, acmeserver.Grant{Account: c.id(), Names: []string{"a.internal"}, ExpiresAt: time.Now().Add(time.Hour)})
			h.grant(t, acmeserver.Grant{Account: c.id(), Names: []string{"other.internal"}}) // this one stays
			o, looked := c.newOrder("a.internal"), c.newOrder("a.internal")
			mixed := c.newOrder("a.internal", "b.internal")
			done := decode[order](t, c.finalize(c.newOrder("a.internal"), newKey(t), "a.internal").ok(t, 200))
			key := newKey(t)
			end(t, h, g)
			c.finalize(o, key, "a.internal").refused(t, 403, "orderNotReady")
			if got := c.order(looked.url); got.Status != "invalid" {
				t.Errorf("the order is %s", got.Status)
			}
			want := map[string]string{"withdrawn": "revoked", "expired": "expired"}[name]
			if got := c.authorization(looked.Authorizations[0]); got.Status != want {
				t.Errorf("the authorization is %s, want %s", got.Status, want)
			}
			if got := c.order(mixed.url); got.Status != "invalid" {
				t.Errorf("the mixed order is %s", got.Status)
			}
			c.post(done.Certificate, nil).ok(t, 200)
			if fresh := c.newOrder("a.internal"); fresh.Status != "pending" {
				t.Errorf("a new order is %s", fresh.Status)
			}
			if name == "withdrawn" {
				p := decode[struct{ Error problem }](t, c.post(o.Finalize[:len(o.Finalize)-len("/finalize")], nil).ok(t, 200))
				if !strings.Contains(p.Error.Detail, "withdrawn") || len(h.recorded(t, audit.GrantWithdrawn)) != 1 {
					t.Errorf("the order tells %+v", p)
				}
			}
		})
	}
}

// A grant is leave to have a name, and no proof that would let its holder revoke what others have.
func TestGrantRevokesNothing(t *testing.T) {
	h := open(t)
	owner, c := h.customer(t), h.customer(t)
	der, _ := owner.issue(newKey(t), "a.internal")
	h.grant(t, acmeserver.Grant{Account: c.id(), Names: []string{"a.internal"}})
	if o := c.newOrder("a.internal"); o.Status != "ready" {
		t.Fatalf("the order is %s", o.Status)
	}
	payload := map[string]any{"certificate": b64(der)}
	c.post("/acme/revoke-cert", payload).refused(t, 403, "unauthorized")
	c.withoutGrant(t, "a.internal")
	c.post("/acme/revoke-cert", payload).ok(t, 200)
}

// withoutGrant proves the name with a challenge.
func (c *client) withoutGrant(t *testing.T, name string) {
	t.Helper()
	grants, err := c.h.door.Operator().Grants(t.Context(), acmeserver.GrantQuery{Account: c.id(), Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range grants {
		c.h.withdraw(t, g)
	}
	c.readyOrder(name)
}

// The policy stands above any grant.
func TestGrantAndPolicy(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	h.grant(t, acmeserver.Grant{Account: c.id(), Names: []string{".internal"}})
	c.post("/acme/new-order", identifiers("a_b.internal")).refused(t, 400, "malformed")
	o := c.newOrder("a.internal")
	c.finalize(o, newKey(t), "a.internal", "b.internal").refused(t, 400, "badCSR")
}

// A client that gives up an authorization by grant gives up the order.
func TestDeactivateGranted(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	h.grant(t, acmeserver.Grant{Account: c.id(), Names: []string{"a.internal"}})
	o := c.newOrder("a.internal")
	c.post(o.Authorizations[0], `{"status":"deactivated"}`).ok(t, 200)
	if got := c.order(o.url); got.Status != "invalid" {
		t.Errorf("the order is %s", got.Status)
	}
}

// A foreign implementation takes an authorization that is valid from the start.
func TestForeignGrant(t *testing.T) {
	h, url := serve(t)
	c := &acme.Client{Key: catest.Key(t), DirectoryURL: url + "/acme/directory"}
	a, err := c.Register(t.Context(), &acme.Account{}, acme.AcceptTOS)
	if err != nil {
		t.Fatal(err)
	}
	id := a.URI[strings.LastIndexByte(a.URI, '/')+1:]
	h.grant(t, acmeserver.Grant{Account: id, Names: []string{"a.internal"}})
	o, err := c.AuthorizeOrder(t.Context(), acme.DomainIDs("a.internal"))
	if err != nil || o.Status != acme.StatusReady {
		t.Fatalf("%+v: %v", o, err)
	}
	if z, err := c.WaitAuthorization(t.Context(), o.AuthzURLs[0]); err != nil || z.Status != acme.StatusValid {
		t.Errorf("%+v: %v", z, err)
	}
	chain, _, err := c.CreateOrderCert(t.Context(), o.FinalizeURL, catest.CSR(t, catest.Key(t), "a.internal"), true)
	if err != nil || len(chain) != 2 {
		t.Errorf("%d certificates: %v", len(chain), err)
	}
}

func TestGrantLimit(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	g := acmeserver.Grant{Account: c.id(), Names: []string{"a.internal"}, ExpiresAt: time.Now().Add(time.Hour)}
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() { // not through the operator: one commit for many
			kept := g
			kept.ID = fmt.Sprint(i)
			if _, err := h.store.AddGrant(t.Context(), kept); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := h.door.Operator().CreateGrant(t.Context(), admin, g, ""); !fault.Is(err, fault.Conflict) {
		t.Errorf("grant 1001: %v", err)
	}
	if o := c.newOrder("a.internal"); o.Status != "ready" {
		t.Errorf("the order is %s", o.Status)
	}
}

// Grants are gone a week after they expired, and their accounts' orders cost no look at grants if
// they never had one.
func TestGrantCleaning(t *testing.T) {
	h := openOn(t, storetest.SQLite(t), always(proven))
	c := h.customer(t)
	op := h.door.Operator()
	h.grant(t, acmeserver.Grant{Account: c.id(), Names: []string{"a.internal"}, ExpiresAt: time.Now().Add(time.Hour)})
	h.grant(t, acmeserver.Grant{Account: c.id(), Names: []string{"a.internal"}, ExpiresAt: time.Now().Add(2 * time.Hour)})
	for _, want := range []int{2, 1, 0} {
		if want < 2 {
			h.pass(7*24*time.Hour + time.Hour + time.Minute)
		}
		if want == 1 {
			h.pass(-time.Minute / 2)
		}
		if err := acmeserver.Clean(t.Context(), h.door); err != nil {
			t.Fatal(err)
		}
		left, err := op.Grants(t.Context(), acmeserver.GrantQuery{Limit: 10})
		if err != nil || len(left) != want {
			t.Errorf("%d grants are left, want %d: %v", len(left), want, err)
		}
	}
}

func FuzzGrantedName(f *testing.F) {
	h := open(f)
	c := h.customer(f)
	for _, seed := range []string{"a.internal", ".a", "*.a.b", ".*.a", "10.0.0.0/8", "::1", ".", "/", "", "a/b", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		made, err := h.door.Operator().CreateGrant(t.Context(), admin, acmeserver.Grant{
			Account: c.id(), Names: []string{text}, ExpiresAt: time.Now().Add(time.Hour),
		}, "")
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		// What is kept is canonical: it reads as itself.
		again := h.grant(t, acmeserver.Grant{Account: c.id(), Names: made.Names})
		if again.Names[0] != made.Names[0] {
			t.Errorf("%q became %q, and that %q", text, made.Names[0], again.Names[0])
		}
		h.withdraw(t, made)
		h.withdraw(t, again)
	})
}

// The operator's view of orders has what the document does not: the statuses of now.
func TestOperatorsOrder(t *testing.T) {
	h := openOn(t, storetest.SQLite(t), always(wrong))
	c := h.customer(t)
	o := c.newOrder("a.internal")
	c.post(c.authorization(o.Authorizations[0]).Challenges[0].URL, `{}`)
	pending := c.newOrder("b.internal")
	op := h.door.Operator()
	found, next, err := op.Orders(t.Context(), acmeserver.OrderQuery{
		Status: acmeserver.StatusInvalid, Name: identity.Name{Type: identity.DNS, Value: "a.internal"}, Limit: 10,
	})
	if err != nil || next != nil || len(found) != 1 || found[0].Authorizations[0].Challenges[0].Trace[0] != "got 200" {
		t.Fatalf("%+v, %v, %v", found, next, err)
	}
	h.pass(25 * time.Hour)
	expired, err := op.Order(t.Context(), pending.url[strings.LastIndexByte(pending.url, '/')+1:])
	if err != nil || expired.Status != acmeserver.StatusInvalid || expired.Authorizations[0].Status != acmeserver.StatusExpired {
		t.Errorf("%+v: %v", expired, err)
	}
}

// An operator's deactivation ends an account for good, and waits for no client.
func TestOperatorDeactivates(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	ended, err := h.door.Operator().Deactivate(t.Context(), admin, c.id())
	if err != nil || ended.Status != acmeserver.StatusRevoked {
		t.Fatalf("%+v: %v", ended, err)
	}
	// RFC 8555 section 7.1.2: "revoked" is for what the server initiated.
	p := c.post("/acme/new-order", identifiers("a.internal")).refused(t, 401, "unauthorized")
	if !strings.Contains(p.Detail, "revoked") {
		t.Errorf("%q", p.Detail)
	}
	entries := h.store.of(audit.AccountChanged)
	if len(entries) != 1 || entries[0].Actor != admin.ID || entries[0].Subject != c.id() {
		t.Errorf("the record has %v", entries)
	}
	if _, err := h.door.Operator().Deactivate(t.Context(), admin, c.id()); !fault.Is(err, fault.Conflict) {
		t.Errorf("again: %v", err)
	}
}
