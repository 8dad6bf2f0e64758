package acmeserver_test

import (
	"slices"
	"strings"
	"testing"
)

// RFC 8555 section 7.3: whoever does not agree gets no account. An account that is there stays.
func TestTermsOfService(t *testing.T) {
	h := open(t)
	old := h.customer(t)
	d := decode[struct{ Meta map[string]any }](t, h.do("GET", baseURL+"/acme/directory", "", nil))
	if _, ok := d.Meta["termsOfService"]; ok || d.Meta["website"] != baseURL {
		t.Errorf("without terms, meta is %v", d.Meta)
	}
	h.config.TermsOfService = "https://wiki.test/terms"
	h.reopen(t, always(proven))
	d = decode[struct{ Meta map[string]any }](t, h.do("GET", baseURL+"/acme/directory", "", nil))
	if d.Meta["termsOfService"] != "https://wiki.test/terms" {
		t.Errorf("meta is %v", d.Meta)
	}
	for _, payload := range []string{`{}`, `{"termsOfServiceAgreed":false}`} {
		r := h.stranger(t).post("/acme/new-account", payload)
		r.refused(t, 403, "userActionRequired")
		if p := decode[struct{ Instance string }](t, r); p.Instance != "https://wiki.test/terms" ||
			!slices.Contains(r.header.Values("Link"), `<https://wiki.test/terms>;rel="terms-of-service"`) {
			t.Errorf("the refusal is %s, %v", r.body, r.header)
		}
	}
	h.stranger(t).post("/acme/new-account", `{"termsOfServiceAgreed":1}`).refused(t, 400, "malformed")
	h.stranger(t).post("/acme/new-account", `{"onlyReturnExisting":true}`).refused(t, 400, "accountDoesNotExist")
	h.stranger(t).post("/acme/new-account", `{"termsOfServiceAgreed":true}`).ok(t, 201)
	old.newOrder("a.example.com")
	// Section 7.1.2: a client cannot change the member later.
	old.post(old.account, `{"termsOfServiceAgreed":true}`).ok(t, 200)
	if r := old.post(old.account, nil); strings.Contains(string(r.body), "termsOfServiceAgreed") {
		t.Errorf("the account is %s", r.body)
	}
	old.account = ""
	old.post("/acme/new-account", `{}`).ok(t, 200)
}
