package acmeserver_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/acme"

	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/store/storetest"
)

// RFC 8555 section 7.4.2: each chain of a cross-signed issuer can be had, and points to the others.
func TestAlternateChains(t *testing.T) {
	s := storetest.SQLite(t)
	config := catest.Config(t, s)
	h := houseOf(t, s, catest.Open(t, config), always(proven))
	c := h.customer(t)
	_, url := c.issue(newKey(t), "a.example.com")
	links := func(r reply) (found []string) {
		for _, l := range r.ok(t, 200).header.Values("Link") {
			if url, ok := strings.CutSuffix(l, `>;rel="alternate"`); ok {
				found = append(found, strings.TrimPrefix(url, "<"))
			}
		}
		return found
	}
	if got := links(c.post(url, nil)); got != nil {
		t.Errorf("an only chain points to %v", got)
	}
	_, cross := catest.CrossSign(t, config, h.ca.Issuers()[1])
	h.config.CA = catest.Open(t, config)
	h.reopen(t, always(proven))
	own, other := c.post(url, nil), c.post(url+"/1", nil)
	if got := links(own); !slices.Equal(got, []string{url + "/1"}) {
		t.Errorf("the first chain points to %v", got)
	}
	if got := links(other); !slices.Equal(got, []string{url}) {
		t.Errorf("the other chain points to %v", got)
	}
	first, second := parseChain(t, own.body), parseChain(t, other.body)
	if !first[0].Equal(second[0]) || first[1].Equal(second[1]) || string(second[1].Raw) != string(cross.Certificate) {
		t.Error("the other chain is not the cross-signed one")
	}
	for _, wrong := range []string{"/0", "/2", "/01", "/+1", "/x", "/-1", "/1/1"} {
		c.post(url+wrong, nil).refused(t, 404, "malformed")
	}
	h.customer(t).post(url+"/1", nil).refused(t, 404, "malformed") // never #18
	// A client that knows of alternates takes both.
	foreign := &acme.Client{
		Key: c.key, DirectoryURL: baseURL + "/acme/directory", HTTPClient: &http.Client{Transport: h},
	}
	if alternates, err := foreign.ListCertAlternates(t.Context(), url); err != nil || !slices.Equal(alternates, []string{url + "/1"}) {
		t.Errorf("a foreign client sees %v: %v", alternates, err)
	}
}
