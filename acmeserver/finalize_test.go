package acmeserver_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// RFC 8555 sections 7.4 and 7.4.2: the answer to finalize is the valid order; the certificate comes
// with its chain, and for the names of the order.
func TestFinalize(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	names := []string{"b.example.com", "*.a.example.com", "10.0.0.1"}
	o, key := c.readyOrder(names...), newKey(t)
	if o.Status != "ready" || o.Certificate != "" {
		t.Fatalf("the order is %+v", o)
	}
	r := c.finalize(o, key, names...).ok(t, 200)
	done := decode[order](t, r)
	if done.Status != "valid" || r.header.Get("Location") != o.url || done.Certificate == "" || done.Error != nil {
		t.Errorf("the order is %s, %v", r.body, r.header)
	}
	if again := c.post(o.url, nil); string(again.body) != string(r.body) {
		t.Errorf("the order reads %s, not %s", again.body, r.body)
	}
	chain := c.post(done.Certificate, nil).ok(t, 200)
	if got := chain.header.Get("Content-Type"); got != "application/pem-certificate-chain" {
		t.Errorf("the chain is %s", got)
	}
	certificates := parseChain(t, chain.body)
	leaf := certificates[0]
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	root, err := x509.ParseCertificate(h.ca.Issuers()[0].Certificate)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(root)
	for _, i := range certificates[1:] {
		between.AddCert(i)
	}
	for _, name := range []string{"b.example.com", "x.a.example.com", "10.0.0.1"} {
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between}); err != nil {
			t.Errorf("verifying %s: %v", name, err)
		}
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses) != len(names) {
		t.Errorf("the certificate is for %v %v", leaf.DNSNames, leaf.IPAddresses)
	}
	found, err := h.ca.Certificate(t.Context(), serialOf(t, leaf))
	if err != nil || found.Ref != "acme/order/"+strings.TrimPrefix(o.url, baseURL+"/acme/order/") ||
		found.Caller != "acme/account/"+strings.TrimPrefix(c.account, baseURL+"/acme/acct/") {
		t.Errorf("the record has %+v: %v", found, err)
	}
	// The same request gets the same answer; another key is too late.
	if again := c.finalize(o, key, names...).ok(t, 200); string(again.body) != string(r.body) {
		t.Errorf("again it is %s", again.body)
	}
	c.finalize(o, newKey(t), names...).refused(t, 403, "orderNotReady")
}

func parseChain(t testing.TB, text []byte) (chain []*x509.Certificate) {
	t.Helper()
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, parsed)
	}
	if len(chain) < 2 {
		t.Fatalf("the chain has %d certificates", len(chain))
	}
	return chain
}

func serialOf(t testing.TB, c *x509.Certificate) ca.Serial {
	t.Helper()
	serial, err := ca.SerialFromBig(c.SerialNumber)
	if err != nil {
		t.Fatal(err)
	}
	return serial
}

// RFC 8555 section 7.4: the CSR must ask for the order's names, all of them and no others. never #7:
// whichever of them it is. never #26: and not for the account's key.
func TestBadCSR(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	names := []string{"a.example.com", "b.example.com", "c.example.com"}
	o := c.readyOrder(names...)
	refuse := func(what, hint string, csr []byte) {
		t.Helper()
		p := c.post(o.Finalize, map[string]string{"csr": b64(csr)}).refused(t, 400, "badCSR")
		if !strings.Contains(p.Detail, hint) {
			t.Errorf("%s: the detail %q says nothing of %q", what, p.Detail, hint)
		}
	}
	for k, name := range names {
		others := slices.Delete(slices.Clone(names), k, k+1)
		refuse("one is missing", name, catest.CSR(t, newKey(t), others...))
		refuse("one is another", "other.example.com", catest.CSR(t, newKey(t), append(others, "other.example.com")...))
	}
	refuse("one more", "d.example.com", catest.CSR(t, newKey(t), append(names, "d.example.com")...))
	refuse("a wildcard more", "*.a.example.com", catest.CSR(t, newKey(t), append(names, "*.a.example.com")...))
	refuse("an address more", "10.0.0.1", catest.CSR(t, newKey(t), append(names, "10.0.0.1")...))
	refuse("none", "", catest.CSR(t, newKey(t)))
	refuse("the account's key", "account's key", catest.CSR(t, c.key, names...))
	refuse("garbage", "csr", []byte("garbage"))
	refuse("nothing", "csr", nil)
	forged := catest.CSR(t, newKey(t), names...)
	forged[len(forged)-1] ^= 1
	refuse("forged", "csr", forged)
	email, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		DNSNames: names, EmailAddresses: []string{"a@example.com"},
	}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	refuse("an e-mail address more", "email", email)
	c.post(o.Finalize, map[string]string{"csr": "MA=="}).refused(t, 400, "badCSR")
	c.post(o.Finalize, map[string]int{"csr": 1}).refused(t, 400, "malformed")
	c.post(o.Finalize, nil).refused(t, 400, "malformed")
	if got := c.order(o.url); got.Status != "ready" {
		t.Errorf("the order is %s", got.Status)
	}
	c.finalize(o, newKey(t), names...).ok(t, 200)
	// Section 7.4: an order that is not ready says so.
	pending := c.newOrder("a.example.com")
	c.finalize(pending, newKey(t), "a.example.com").refused(t, http.StatusForbidden, "orderNotReady")
}

// Twenty at once, on two doors of one database, make one certificate.
func TestFinalizeAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := openOn(t, s, always(proven))
		replica := houseOf(t, s, h.ca, always(proven))
		c := h.customer(t)
		o, key := c.readyOrder("a.example.com"), newKey(t)
		csr := map[string]string{"csr": b64(catest.CSR(t, key, "a.example.com"))}
		var all sync.WaitGroup
		for i := range 20 {
			asks := *c
			if i%2 == 1 {
				asks.h = replica
			}
			all.Go(func() {
				got := decode[order](t, asks.post(o.Finalize, csr).ok(t, 200))
				if got.Status != "valid" && got.Status != "processing" {
					t.Errorf("the order is %s", got.Status)
				}
			})
		}
		all.Wait()
		if got := c.order(o.url); got.Status != "valid" {
			t.Errorf("the order is %s", got.Status)
		}
		issued, err := h.ca.Certificates(t.Context(), ca.Query{Limit: 100})
		if err != nil || len(issued) != 1 {
			t.Errorf("there are %d certificates: %v", len(issued), err)
		}
	})
}

// never #19: nothing of an account is a list that orders made at once could overwrite.
func TestOrdersAtOnce(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	var mu sync.Mutex
	made := make(map[string]bool)
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			o := c.newOrder("a.example.com")
			mu.Lock()
			defer mu.Unlock()
			made[o.url] = true
		})
	}
	all.Wait()
	url := c.account + "/orders"
	for url != "" {
		r := c.post(url, nil).ok(t, 200)
		url = ""
		for _, l := range r.header.Values("Link") {
			if next, ok := strings.CutSuffix(l, `>;rel="next"`); ok {
				url = strings.TrimPrefix(next, "<")
			}
		}
		for _, o := range decode[map[string][]string](t, r)["orders"] {
			delete(made, o)
		}
	}
	if len(made) != 0 {
		t.Errorf("%d of 200 orders are not in the list", len(made))
	}
}

// The whole way costs four row writes and no more reads than requests (design.md section 2).
func TestFlowIsFrugal(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	before := make(map[string]int)
	for _, call := range []string{"Account", "Order", "CreateOrder", "UpdateOrder"} {
		before[call] = h.store.count(call)
	}
	c.issue(newKey(t), "a.example.com")
	for call, most := range map[string]int{"Account": 6, "Order": 4, "CreateOrder": 1, "UpdateOrder": 1} {
		if got := h.store.count(call) - before[call]; got > most {
			t.Errorf("%s was called %d times, at most %d were expected", call, got, most)
		}
	}
}

// RFC 8555 section 7.6.
func TestRevoke(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	key := newKey(t)
	der, _ := c.issue(key, "a.example.com")
	request := func(der []byte, reason any) map[string]any {
		m := map[string]any{"certificate": b64(der)}
		if reason != nil {
			m["reason"] = reason
		}
		return m
	}
	url := "/acme/revoke-cert"
	// Reasons that no leaf can have, and things that are no reasons.
	for _, reason := range []int{-1, 2, 6, 7, 8, 10, 11, 1 << 40} {
		c.post(url, request(der, reason)).refused(t, 400, "badRevocationReason")
	}
	c.post(url, request(der, "keyCompromise")).refused(t, 400, "malformed")
	// Certificates that are not ours, whatever their serial says.
	c.post(url, request(nil, nil)).refused(t, 400, "malformed")
	c.post(url, request([]byte("garbage"), nil)).refused(t, 400, "malformed")
	c.post(url, `{"certificate":"MA=="}`).refused(t, 400, "malformed")
	foreign := foreignTwin(t, der)
	c.post(url, request(foreign, nil)).refused(t, 404, "malformed")
	forged := bytes.Clone(der)
	forged[len(forged)-1] ^= 1
	c.post(url, request(forged, nil)).refused(t, 404, "malformed")
	c.post(url, request(h.ca.Issuers()[0].Certificate, nil)).refused(t, 404, "malformed")
	// Strangers: another account, another key.
	h.customer(t).post(url, request(der, nil)).refused(t, 403, "unauthorized")
	h.stranger(t).post(url, request(der, nil)).refused(t, 403, "unauthorized")
	asKey := *c
	asKey.account = "" // the account's key, but not as an account
	asKey.post(url, request(der, nil)).refused(t, 403, "unauthorized")
	revoked(t, h, der, -1)

	c.post(url, request(der, 4)).ok(t, 200)
	revoked(t, h, der, 4)
	c.post(url, request(der, nil)).refused(t, 400, "alreadyRevoked")

	// By the certificate's key.
	der, certificate := c.issue(key, "a.example.com")
	holder := client{t: t, h: h, key: key}
	holder.post(url, request(der, 1)).ok(t, 200)
	revoked(t, h, der, 1)
	c.post(certificate, nil).ok(t, 200) // it can still be fetched

	// By an account that has proven all the names, and not by one that has proven some.
	der, _ = c.issue(key, "a.example.com", "b.example.com", "*.b.example.com")
	other := h.customer(t)
	other.readyOrder("a.example.com", "b.example.com")
	other.post(url, request(der, nil)).refused(t, 403, "unauthorized")
	other.newOrder("*.b.example.com")
	other.post(url, request(der, nil)).refused(t, 403, "unauthorized")
	other.readyOrder("*.b.example.com")
	other.post(url, request(der, nil)).ok(t, 200)
	revoked(t, h, der, 0)
}

// foreignTwin is another CA's certificate with the same serial.
func foreignTwin(t *testing.T, der []byte) []byte {
	t.Helper()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: parsed.SerialNumber, NotAfter: parsed.NotAfter}
	key := newKey(t)
	twin, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return twin
}

// revoked demands a reason, or good standing for -1.
func revoked(t *testing.T, h *house, der []byte, want int) {
	t.Helper()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	found, err := h.ca.Certificate(t.Context(), serialOf(t, parsed))
	if err != nil {
		t.Fatal(err)
	}
	got := -1
	if found.Revocation != nil {
		got = int(found.Revocation.Reason)
	}
	if got != want {
		t.Errorf("the certificate's reason is %d, want %d", got, want)
	}
}

// What does not need the network or a second client: one flow with everything that is signed and
// written, as a client makes it (eight requests).
func BenchmarkFlow(b *testing.B) {
	for name, open := range map[string]func(testing.TB) *store.Store{
		"SQLite": storetest.SQLite, "Postgres": storetest.Postgres,
	} {
		b.Run(name, func(b *testing.B) {
			h := openOn(b, open(b), always(proven))
			b.RunParallel(func(pb *testing.PB) {
				c := h.customer(b)
				for pb.Next() {
					c.issue(newKey(b), "a.example.com")
				}
			})
		})
	}
}
