package acmeserver_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	xacme "golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/store/storetest"
)

// RoundTrip makes the house a client's network.
func (h *house) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.door.ServeHTTP(w, r)
	return w.Result(), nil
}

// solver has nothing to do: the checker says what is proven.
type solver struct{}

func (solver) Present(context.Context, acme.Challenge) error { return nil }
func (solver) CleanUp(context.Context, acme.Challenge) error { return nil }

// acmezClient is the library behind Caddy and certmagic, with an account.
func (h *house) acmezClient(t *testing.T) (*acmez.Client, acme.Account) {
	t.Helper()
	c := &acmez.Client{
		Client: &acme.Client{
			Directory: baseURL + "/acme/directory", HTTPClient: &http.Client{Transport: h},
			Logger: slog.New(slog.DiscardHandler), PollInterval: time.Millisecond,
		},
		ChallengeSolvers: map[string]acmez.Solver{"http-01": solver{}, "tls-alpn-01": solver{}},
	}
	a, err := c.NewAccount(t.Context(), acme.Account{
		Contact: []string{"mailto:ops@example.com"}, TermsOfServiceAgreed: true, PrivateKey: newKey(t),
	})
	if err != nil {
		t.Fatalf("registering: %v", err)
	}
	return c, a
}

// acmez, as certmagic uses it: profiles, renewal information, and replacements, one of which fails at
// the first challenge and is tried with another.
func TestAcmez(t *testing.T) {
	failing := ""
	h := open(t)
	h.config.TermsOfService = "https://wiki.test/terms"
	h.reopen(t, func(_ context.Context, c validate.Challenge) validate.Result {
		if failing == "first" {
			failing = c.Type // whichever it takes
		}
		if c.Type == failing {
			return wrong
		}
		return proven
	})
	c, account := h.acmezClient(t)
	obtain := func(profile string, replaces *x509.Certificate) (*x509.Certificate, error) {
		t.Helper()
		csr, err := acmez.NewCSR(newKey(t), []string{"a.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		params, err := acmez.OrderParametersFromCSR(account, csr)
		if err != nil {
			t.Fatal(err)
		}
		params.Profile, params.Replaces = profile, replaces
		chains, err := c.ObtainCertificate(t.Context(), params)
		if err != nil {
			return nil, err
		}
		return parseChain(t, chains[0].ChainPEM)[0], nil
	}
	first, err := obtain("peer", nil)
	if err != nil || len(first.ExtKeyUsage) != 2 {
		t.Fatalf("obtaining a certificate of profile peer: %v", err)
	}
	if _, err := obtain("other", nil); err == nil {
		t.Error("there is a profile that is not there")
	}
	ari, err := c.GetRenewalInfo(t.Context(), first)
	if err != nil || ari.UniqueIdentifier != certIDOf(t, first.Raw) || time.Until(*ari.RetryAfter) > time.Hour ||
		ari.SelectedTime.Before(first.NotBefore.Add(14*time.Hour)) || ari.SelectedTime.After(first.NotAfter) {
		t.Errorf("the renewal information is %+v: %v", ari, err)
	}
	failing = "first"
	second, err := obtain("server", first)
	if err != nil || failing == "first" {
		t.Fatalf("replacing it, with one challenge that fails: %v", err)
	}
	found, err := h.ca.Certificate(t.Context(), serialOf(t, first))
	replacement, err2 := h.ca.Certificate(t.Context(), serialOf(t, second))
	if err != nil || err2 != nil || found.Successor != replacement.Ref {
		t.Errorf("the first one's successor is %q, not %q: %v %v", found.Successor, replacement.Ref, err, err2)
	}
	if ari, err = c.GetRenewalInfo(t.Context(), first); err != nil || ari.SelectedTime.After(time.Now()) ||
		ari.ExplanationURL == "" {
		t.Errorf("once replaced, the renewal information is %+v: %v", ari, err)
	}
	failing = ""
	// acmez drops the member when it hears alreadyReplaced (RFC 9773 section 7.4).
	if _, err := obtain("", first); err != nil {
		t.Errorf("replacing it again: %v", err)
	}
	// It updates contact and status in one request.
	account.Contact, account.Status = []string{"mailto:other@example.com"}, acme.StatusDeactivated
	if account, err = c.UpdateAccount(t.Context(), account); err != nil || account.Status != "deactivated" ||
		!slices.Equal(account.Contact, []string{"mailto:other@example.com"}) {
		t.Errorf("the account is %+v: %v", account, err)
	}
}

// autocert tries tls-alpn-01, and http-01 in a new order only when the authorization has become
// invalid. Whoever connects waits for that: it must be soon, though nobody is given up at once (RFC
// 8555 section 8.2).
func TestAutocertFallsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openOn(t, storetest.SQLite(t), func(_ context.Context, c validate.Challenge) validate.Result {
			if c.Type == "tls-alpn-01" {
				return unreachable
			}
			return proven
		})
		m := &autocert.Manager{
			Prompt: autocert.AcceptTOS, HostPolicy: autocert.HostWhitelist("a.example.com"),
			Client: &xacme.Client{DirectoryURL: baseURL + "/acme/directory", HTTPClient: &http.Client{Transport: h}},
		}
		m.HTTPHandler(nil)
		begun := time.Now()
		got, err := m.GetCertificate(&tls.ClientHelloInfo{
			ServerName: "a.example.com", SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
			SupportedCurves: []tls.CurveID{tls.CurveP256}, CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256},
		})
		if err != nil || got.Leaf.VerifyHostname("a.example.com") != nil {
			t.Fatalf("obtaining a certificate: %v", err)
		}
		if took := time.Since(begun); took < 4*time.Second || took > 7*time.Second {
			t.Errorf("falling back took %s", took)
		}
	})
}

// uacme and Ruby's client cannot read a challenge without a token.
func TestChallengesHaveTokens(t *testing.T) {
	c := open(t).customer(t)
	for _, url := range c.newOrder("a.example.com", "*.b.example.com", "10.0.0.1").Authorizations {
		z := decode[struct{ Challenges []map[string]any }](t, c.post(url, nil).ok(t, 200))
		for _, ch := range z.Challenges {
			if token, ok := ch["token"].(string); !ok || token == "" {
				t.Errorf("a challenge is %v", ch)
			}
		}
	}
}

// @root/acme posts finalize again and again until the order is valid; x/crypto/acme wants the order's
// Location on every answer; Caddy 2.6 cannot read a date in Retry-After.
func TestFinalizeWhileProcessing(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	o, key := c.readyOrder("a.example.com"), newKey(t)
	// Another replica is half-way.
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	account := "acme/account/" + strings.TrimPrefix(c.account, baseURL+"/acme/acct/")
	promise := ca.Promise{
		Ref: "acme/order/" + strings.TrimPrefix(o.url, baseURL+"/acme/order/"), Profile: "server", Caller: account,
		Owner: account, Names: []identity.Name{{Type: identity.DNS, Value: "a.example.com"}},
		Issuer: h.ca.Issuers()[1].ID, SPKISHA256: sha256.Sum256(spki), NotBefore: time.Now(),
		NotAfter: time.Now().Add(time.Hour), PromisedAt: time.Now(),
	}
	promise.Serial, err = ca.NewSerial(rand.Reader)
	if err == nil {
		err = h.store.Promise(t.Context(), promise)
	}
	if err != nil {
		t.Fatal(err)
	}
	is := func(r reply, status, retryAfter string) {
		t.Helper()
		r.ok(t, 200)
		if got := decode[order](t, r); got.Status != status || r.header.Get("Location") != o.url ||
			r.header.Get("Retry-After") != retryAfter {
			t.Errorf("the order is %s, %v", r.body, r.header)
		}
	}
	is(c.post(o.url, nil), "processing", "1")
	is(c.finalize(o, key, "a.example.com"), "processing", "1")
	c.finalize(o, newKey(t), "a.example.com").refused(t, 403, "orderNotReady")
	if err := h.store.Void(t.Context(), promise.Serial, time.Now()); err != nil {
		t.Fatal(err)
	}
	is(c.post(o.url, nil), "ready", "")
	is(c.finalize(o, key, "a.example.com"), "valid", "")
	is(c.finalize(o, key, "a.example.com"), "valid", "") // signed anew, so that the CSR's octets differ
	is(c.post(o.url, nil), "valid", "")
}

// What a client is told to wait is a number of seconds, wherever it is told.
func TestRetryAfterIsSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openOn(t, storetest.SQLite(t), always(unreachable))
		c := h.customer(t)
		z := c.newOrder("a.example.com").Authorizations[0]
		url := c.authorization(z).Challenges[0].URL
		for _, r := range []reply{c.post(url, `{}`), c.post(url, nil), c.post(z, nil)} {
			if seconds, err := strconv.Atoi(r.ok(t, 200).header.Get("Retry-After")); err != nil || seconds != 3 {
				t.Errorf("Retry-After is %q: %s", r.header.Get("Retry-After"), r.body)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := h.door.Run(ctx); err != nil { // which waits for the attempts
			t.Error(err)
		}
	})
}

// Several clients give up on badNonce. A nonce is good in whatever order they are used, and for as
// long as a client needs for one certificate.
func TestUnusedNoncesAreGood(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	url := baseURL + "/acme/directory"
	var kept []map[string]any
	for range 200 {
		kept = append(kept, c.header(url))
	}
	slices.Reverse(kept)
	h.pass(55 * time.Minute)
	for i, header := range kept {
		if i%2 == 0 {
			c.send(url, sign(c.key, header, nil)).ok(t, 200)
		}
	}
	for i, header := range kept {
		r := c.send(url, sign(c.key, header, nil))
		if i%2 == 1 {
			r.ok(t, 200)
		} else {
			r.refused(t, 400, "badNonce")
		}
	}
}
