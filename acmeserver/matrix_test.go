package acmeserver_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/ca/catest"
)

// TestMatrix asks for every resource, with every method, as everybody who might: its owner, another
// account, one that has ended, the account's key without its name, the certificate's key, a key that
// nobody knows, and a stranger who signs as the owner. Each cell has one right answer (never #1, #18),
// and a new resource without a row fails.
func TestMatrix(t *testing.T) {
	h := open(t)
	owner, stranger, ended := h.customer(t), h.customer(t), h.customer(t)
	ended.post(ended.account, `{"status":"deactivated"}`).ok(t, 200)
	key := newKey(t)
	der, certificate := owner.issue(key, "a.example.com")
	ready := owner.readyOrder("a.example.com")
	pending := owner.newOrder("a.example.com")
	settled := owner.authorization(ready.Authorizations[0]).Challenges[0].URL
	impostor := *owner
	impostor.key = newKey(t)
	nameless := client{t: t, h: h, key: owner.key}
	holder := client{t: t, h: h, key: key}
	nobody := h.stranger(t)

	// What each signer gets; a type of problem, or a status for a success.
	type row struct {
		url     string
		payload any
		owner   any
		other   any // another account
		byKey   any // any key in "jwk"
	}
	const malformed, notFound = "malformed", "not found"
	rows := []row{
		{"/acme/directory", nil, 200, 200, malformed},
		{"/acme/new-nonce", nil, 204, 204, malformed},
		{"/acme/new-account", `{"onlyReturnExisting":true}`, malformed, malformed, "any"},
		{"/acme/new-order", identifiers("m.example.com"), 201, 201, malformed},
		{"/acme/key-change", `{}`, malformed, malformed, malformed},
		{owner.account, nil, 200, notFound, malformed},
		{owner.account, `{}`, 200, notFound, malformed},
		{owner.account + "/orders", nil, 200, notFound, malformed},
		{ready.url, nil, 200, notFound, malformed},
		{ready.Authorizations[0], nil, 200, notFound, malformed},
		{settled, nil, 200, notFound, malformed},
		{settled, `{}`, 200, notFound, malformed},
		{pending.Finalize, map[string]string{"csr": b64(catest.CSR(t, key, "a.example.com"))}, "orderNotReady", notFound, malformed},
		{certificate, nil, 200, notFound, malformed},
		{certificate + "/1", nil, notFound, notFound, malformed}, // there is one chain; see TestAlternateChains
		{"/acme/revoke-cert", map[string]any{"certificate": b64(der), "reason": 2}, "badRevocationReason", "badRevocationReason", "badRevocationReason"},
	}
	for _, r := range rows {
		for _, cell := range []struct {
			who  string
			c    *client
			want any
		}{
			{"the owner", owner, r.owner},
			{"another account", stranger, r.other},
			{"an account that has ended", ended, "ended"},
			{"the owner's key alone", &nameless, r.byKey},
			{"the certificate's key", &holder, r.byKey},
			{"an unknown key", nobody, r.byKey},
			{"an impostor", &impostor, "forged"},
		} {
			if r.url == "/acme/new-account" && cell.c.account != "" {
				cell.want = malformed // whoever it is, it has to come with its key
			}
			got := cell.c.post(r.url, r.payload)
			if !cellIs(t, got, cell.want) {
				t.Errorf("%s as %s gives %d %s, want %v", r.url, cell.who, got.status, got.body, cell.want)
			}
		}
	}
	missing := acmeserver.SignedRoutes(h.door)
	for _, r := range rows {
		delete(missing, acmeserver.RouteOf(h.door, strings.TrimPrefix(r.url, baseURL)))
	}
	if len(missing) > 0 {
		t.Errorf("there are no rows for %v", missing)
	}
	// Every other method, by anybody: 405 (or 200 where reading is free).
	for _, r := range rows {
		url := r.url
		if strings.HasPrefix(url, "/") {
			url = baseURL + url
		}
		for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"} {
			got := h.do(method, url, "application/jose+json", []byte(`{}`))
			free := (r.url == "/acme/directory" || r.url == "/acme/new-nonce") && (method == "GET" || method == "HEAD")
			if !free && got.status != http.StatusMethodNotAllowed || free && got.status/100 != 2 {
				t.Errorf("%s %s gives %d", method, r.url, got.status)
			}
		}
	}
	// Nothing came of it.
	revoked(t, h, der, -1)
	for _, o := range []order{ready, pending} {
		if got := owner.order(o.url); got.Status != o.Status {
			t.Errorf("the %s order is %s", o.Status, got.Status)
		}
	}
}

// cellIs tells whether the door answered with the status, or the problem.
func cellIs(t testing.TB, r reply, want any) bool {
	t.Helper()
	if status, ok := want.(int); ok {
		return r.status == status
	}
	if want == "any" {
		return r.status == 200 || r.status == 400
	}
	kind := strings.TrimPrefix(decode[problem](t, r).Type, "urn:ietf:params:acme:error:")
	switch want {
	case "not found":
		return kind == "malformed" && r.status == 404
	case "ended":
		return kind == "unauthorized" && r.status == 401
	case "forged":
		return kind == "unauthorized" && r.status == 403
	case "malformed":
		return kind == "malformed" && r.status == 400
	}
	return kind == want && r.status/100 == 4
}
