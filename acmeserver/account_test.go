package acmeserver_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/store/storetest"
)

type account struct {
	Status, Orders string
	Contact        []string
}

// RFC 8555 sections 7.3 and 7.3.1.
func TestNewAccount(t *testing.T) {
	h := open(t)
	c := h.stranger(t)
	c.post("/acme/new-account", `{"onlyReturnExisting":true}`).refused(t, 400, "accountDoesNotExist")
	made := c.post("/acme/new-account",
		`{"contact":["mailto:ops@example.com"],"termsOfServiceAgreed":true}`).ok(t, http.StatusCreated)
	a := decode[account](t, made)
	url := made.header.Get("Location")
	if a.Status != "valid" || a.Orders != url+"/orders" || !slices.Equal(a.Contact, []string{"mailto:ops@example.com"}) {
		t.Errorf("the account is %s", made.body)
	}
	if got := h.store.of(audit.AccountCreated); len(got) != 1 || !strings.HasSuffix(url, got[0].Subject) {
		t.Errorf("the record has %v", got)
	}
	// The same key finds the account as it is, whatever else the request says.
	for _, payload := range []string{
		`{}`, `{"onlyReturnExisting":true}`, `{"onlyReturnExisting":true,"contact":["mailto:x@example.com"]}`,
		`{"contact":["tel:1"]}`,
	} {
		found := c.post("/acme/new-account", payload).ok(t, 200)
		if found.header.Get("Location") != url || string(found.body) != string(made.body) {
			t.Errorf("%s finds %s at %s", payload, found.body, found.header.Get("Location"))
		}
	}
	c.post("/acme/new-account", `[]`).refused(t, 400, "malformed")
	c.post("/acme/new-account", nil).refused(t, 400, "malformed")
	// Section 6.2: newAccount is signed by jwk.
	c.account = url
	c.post("/acme/new-account", `{}`).refused(t, 400, "malformed")
}

// RFC 8555 section 7.3: contacts.
func TestContacts(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	for contact, kind := range map[string]string{
		"mailto:a@example.com": "", "mailto:a+b%2Fc@example.com": "", "MAILTO:a@example.com": "",
		"tel:+49123": "unsupportedContact", "a@example.com": "unsupportedContact", "": "unsupportedContact",
		"mailto:": "invalidContact", "mailto:a": "invalidContact", "mailto:a@b..c": "invalidContact",
		"mailto:a@example.com,b@example.com": "invalidContact", "mailto:a@example.com?subject=x": "invalidContact",
		"mailto:a%zz@example.com": "invalidContact", "mailto:a?to=b@example.com": "invalidContact", "mailto:\"a b\"@example.com": "invalidContact",
	} {
		payload := map[string]any{"contact": []string{contact}}
		if kind == "" {
			c.post(c.account, payload).ok(t, 200)
			h.stranger(t).post("/acme/new-account", payload).ok(t, 201)
			continue
		}
		c.post(c.account, payload).refused(t, 400, kind)
		h.stranger(t).post("/acme/new-account", payload).refused(t, 400, kind)
	}
	many := map[string]any{"contact": slices.Repeat([]string{"mailto:a@example.com"}, 11)}
	c.post(c.account, many).refused(t, 400, "invalidContact")
}

// RFC 8555 sections 7.3.2 and 7.3.6.
func TestUpdateAndDeactivate(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	a := decode[account](t, c.post(c.account, `{"contact":["mailto:a@example.com"],"status":"valid","x":1}`).ok(t, 200))
	if !slices.Equal(a.Contact, []string{"mailto:a@example.com"}) {
		t.Errorf("the contact is %v", a.Contact)
	}
	if read := decode[account](t, c.post(c.account, nil).ok(t, 200)); !slices.Equal(read.Contact, a.Contact) {
		t.Errorf("the contact reads %v", read.Contact)
	}
	c.post(c.account, `{}`).ok(t, 200)
	c.post(c.account, `{"status":"revoked"}`).refused(t, 400, "malformed")
	c.post(c.account, `{"contact":"mailto:a@example.com"}`).refused(t, 400, "malformed")
	if a := decode[account](t, c.post(c.account, `{"contact":[]}`).ok(t, 200)); len(a.Contact) != 0 {
		t.Errorf("the contact is still %v", a.Contact)
	}
	o := c.newOrder("a.example.com")
	if a := decode[account](t, c.post(c.account, `{"status":"deactivated"}`).ok(t, 200)); a.Status != "deactivated" {
		t.Errorf("the account is %s", a.Status)
	}
	if got := h.store.of(audit.AccountChanged); len(got) != 3 {
		t.Errorf("the record has %d changes: %v", len(got), got)
	}
	for _, url := range []string{c.account, o.url, o.Authorizations[0], c.account + "/orders"} {
		c.post(url, nil).refused(t, http.StatusUnauthorized, "unauthorized")
	}
	c.post("/acme/new-order", identifiers("a.example.com")).refused(t, 401, "unauthorized")
	c.post(c.account, `{"status":"valid"}`).refused(t, 401, "unauthorized")
	c.account = ""
	c.post("/acme/new-account", `{}`).refused(t, 401, "unauthorized")
	c.post("/acme/new-account", `{"onlyReturnExisting":true}`).refused(t, 401, "unauthorized")
}

// RFC 8555 section 7.3.4.
func TestExternalAccountRequired(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	h.config.EABRequired = true
	h.reopen(t, always(proven))
	d := decode[struct{ Meta map[string]any }](t, h.do("GET", baseURL+"/acme/directory", "", nil))
	if d.Meta["externalAccountRequired"] != true {
		t.Errorf("meta is %v", d.Meta)
	}
	h.stranger(t).post("/acme/new-account", `{}`).refused(t, 403, "externalAccountRequired")
	c.account = ""
	c.post("/acme/new-account", `{}`).ok(t, 200)
}

// RFC 8555 section 7.3.5, check by check.
func TestKeyChange(t *testing.T) {
	h := open(t)
	c, other := h.customer(t), h.customer(t)
	fresh := newKey(t)
	url := baseURL + "/acme/key-change"
	header := func() map[string]any { return map[string]any{"alg": "ES256", "url": url, "jwk": jwk(fresh)} }
	payload := func() map[string]any { return map[string]any{"account": c.account, "oldKey": jwk(c.key)} }
	for name, test := range map[string]struct {
		inner  func() []byte
		status int
		kind   string
	}{
		"no JWS": {func() []byte { return []byte(`{}`) }, 400, "malformed"},
		"empty":  {func() []byte { return nil }, 400, "malformed"},
		"kid": {func() []byte {
			h := header()
			delete(h, "jwk")
			h["kid"] = c.account
			return sign(fresh, h, text(payload()))
		}, 400, "malformed"},
		"nonce":         {func() []byte { h := header(); h["nonce"] = "AAAA"; return sign(fresh, h, text(payload())) }, 400, "malformed"},
		"other url":     {func() []byte { h := header(); h["url"] = c.account; return sign(fresh, h, text(payload())) }, 400, "malformed"},
		"signed by old": {func() []byte { return sign(c.key, header(), text(payload())) }, 403, "unauthorized"},
		"bad key": {func() []byte {
			h := header()
			h["jwk"] = map[string]any{"kty": "oct"}
			return sign(fresh, h, text(payload()))
		}, 400, "badPublicKey"},
		"other account": {func() []byte { p := payload(); p["account"] = other.account; return sign(fresh, header(), text(p)) }, 400, "malformed"},
		"no account":    {func() []byte { p := payload(); delete(p, "account"); return sign(fresh, header(), text(p)) }, 400, "malformed"},
		"other oldKey":  {func() []byte { p := payload(); p["oldKey"] = jwk(other.key); return sign(fresh, header(), text(p)) }, 400, "malformed"},
		"no oldKey":     {func() []byte { p := payload(); delete(p, "oldKey"); return sign(fresh, header(), text(p)) }, 400, "malformed"},
		"no payload":    {func() []byte { return sign(fresh, header(), nil) }, 400, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			c.t = t
			c.post(url, test.inner()).refused(t, test.status, test.kind)
		})
	}
	c.t = t
	// A key that is an account's: 409, and where that account is.
	for _, taken := range []*client{other, c} {
		h := header()
		h["jwk"] = jwk(taken.key)
		r := c.post(url, sign(taken.key, h, text(payload())))
		r.refused(t, http.StatusConflict, "malformed")
		if r.header.Get("Location") != taken.account {
			t.Errorf("Location is %q, want %q", r.header.Get("Location"), taken.account)
		}
	}
	c.post(c.account, nil).ok(t, 200) // nothing has changed so far
	r := c.post(url, sign(fresh, header(), text(payload()))).ok(t, 200)
	if decode[account](t, r).Status != "valid" {
		t.Errorf("the account is %s", r.body)
	}
	c.post(c.account, nil).refused(t, 403, "unauthorized") // the old key is out
	c.key = fresh
	c.post(c.account, nil).ok(t, 200)
	if got := h.store.of(audit.AccountChanged); len(got) != 1 {
		t.Errorf("the record has %v", got)
	}
}

// never #18: a stranger gets the same answer for what is another's and for what does not exist, at
// every resource and for reading and writing alike.
func TestStranger(t *testing.T) {
	h := open(t)
	owner, stranger := h.customer(t), h.customer(t)
	o := owner.readyOrder("a.example.com")
	z := owner.authorization(o.Authorizations[0])
	pending := owner.newOrder("b.example.com")
	_, certificate := owner.issue(newKey(t), "c.example.com")
	nobody := strings.Repeat("A", 26)
	id := func(url string) string { return strings.Split(strings.TrimPrefix(url, baseURL+"/acme/"), "/")[1] }
	for _, url := range []string{
		owner.account, owner.account + "/orders", o.url, o.Finalize, o.Authorizations[0], z.Challenges[0].URL,
		pending.url, pending.Finalize, pending.Authorizations[0],
		owner.authorization(pending.Authorizations[0]).Challenges[0].URL, certificate,
	} {
		missing := strings.Replace(url, id(url), nobody, 1)
		for _, payload := range []any{nil, `{}`, `{"status":"deactivated"}`, `{"csr":"MAA"}`} {
			if payload != nil && (url == certificate || url == o.url || url == pending.url || strings.HasSuffix(url, "/orders")) {
				continue // section 6.3: refused before anybody looks
			}
			got, want := stranger.post(url, payload), stranger.post(missing, payload)
			want.refused(t, 404, "malformed")
			if got.status != want.status || string(got.body) != string(want.body) {
				t.Errorf("%s with %v: another's is %d %s, a missing one %d %s", url, payload,
					got.status, got.body, want.status, want.body)
			}
		}
	}
	if got := owner.order(pending.url); got.Status != "pending" {
		t.Errorf("the owner's order is %s", got.Status)
	}
	if got := owner.order(o.url); got.Status != "ready" {
		t.Errorf("the owner's order is %s", got.Status)
	}
	// What lies below an order is found there only, at one spelling of its URL.
	for _, url := range []string{
		o.Authorizations[0] + "1", o.Authorizations[0] + "0", strings.TrimSuffix(o.Authorizations[0], "0") + "-1",
		strings.TrimSuffix(o.Authorizations[0], "0") + "+0", z.Challenges[0].URL + "x",
		baseURL + "/acme/cert/" + strings.ToUpper(id(certificate)),
	} {
		owner.post(url, nil).refused(t, 404, "malformed")
	}
}

// A database that is away is 503 with Retry-After, and nothing half-done.
func TestDatabaseAway(t *testing.T) {
	h := openOn(t, storetest.SQLite(t), always(proven))
	c := h.customer(t)
	header := c.header(baseURL + "/acme/new-order")
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	r := c.send(baseURL+"/acme/new-order", sign(c.key, header, text(identifiers("a.example.com"))))
	r.refused(t, http.StatusServiceUnavailable, "serverInternal")
	if r.header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
}
