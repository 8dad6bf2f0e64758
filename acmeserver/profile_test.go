package acmeserver_test

import (
	"testing"

	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/store/storetest"
)

// draft-ietf-acme-profiles sections 3 and 4.
func TestProfiles(t *testing.T) {
	s := storetest.SQLite(t)
	config := catest.Config(t, s)
	config.Profiles[1].NameTypes = []identity.NameType{identity.DNS}
	authority := catest.Open(t, config)
	h := houseOf(t, s, authority, always(proven))
	c := h.customer(t)
	wish := func(profile string, names ...string) reply {
		t.Helper()
		payload := identifiers(names...)
		payload["profile"] = profile
		return c.post("/acme/new-order", payload)
	}
	d := decode[struct {
		Meta struct{ Profiles map[string]string }
	}](t, h.do("GET", baseURL+"/acme/directory", "", nil))
	for _, p := range authority.Profiles() {
		if d.Meta.Profiles[p.Name] != p.Description {
			t.Errorf("of %s it says %q", p.Name, d.Meta.Profiles[p.Name])
		}
		r := wish(p.Name, "a.example.com").ok(t, 201)
		if o := decode[order](t, r); o.Profile != p.Name || c.order(r.header.Get("Location")).Profile != p.Name {
			t.Errorf("the order is %s", r.body)
		}
	}
	if o := c.newOrder("a.example.com"); o.Profile != authority.Profiles()[0].Name {
		t.Errorf("without a wish the profile is %q", o.Profile)
	}
	wish("other", "a.example.com").refused(t, 400, "invalidProfile")
	wish("SERVER", "a.example.com").refused(t, 400, "invalidProfile")
	wish("client", "a.example.com", "10.0.0.1").refused(t, 400, "invalidProfile")
	c.post("/acme/new-order", `{"identifiers":[{"type":"dns","value":"a.example.com"}],"profile":1}`).
		refused(t, 400, "malformed")
	// A profile that is gone when the order is finalized; what was issued stays.
	ready := c.order(wish("peer", "a.example.com").header.Get("Location"))
	c.post(c.authorization(ready.Authorizations[0]).Challenges[0].URL, `{}`).ok(t, 200)
	done, key := c.order(wish("peer", "a.example.com").header.Get("Location")), newKey(t)
	c.post(c.authorization(done.Authorizations[0]).Challenges[0].URL, `{}`).ok(t, 200)
	c.finalize(done, key, "a.example.com").ok(t, 200)
	config.Profiles = config.Profiles[:2]
	h.config.CA = catest.Open(t, config)
	h.reopen(t, always(proven))
	c.finalize(ready, newKey(t), "a.example.com").refused(t, 400, "invalidProfile")
	if got := c.order(done.url); got.Status != "valid" {
		t.Errorf("the finished order is %s", got.Status)
	}
}
