package publish_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/store"
)

const crlType = "application/pkix-crl"

// A certificate says where its CRL is; there it is, it is signed, and it says so when the
// certificate is revoked.
func testRevocation(t *testing.T, h *house) {
	admin := identity.Caller{ID: "token/test", Role: identity.RoleAdmin, AnyName: true}
	issued, err := h.ca.Issue(t.Context(), ca.Request{
		Ref: "test", Caller: admin, CSR: catest.CSR(t, catest.Key(t), "crl.test"),
	})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(issued.DER)
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimPrefix(cert.CRLDistributionPoints[0], "http://ca.test:8080")
	issuer, err := x509.ParseCertificate(h.issuer(t, ca.Issuing).Certificate)
	if err != nil {
		t.Fatal(err)
	}
	listed := func() bool {
		crl, err := x509.ParseRevocationList(h.get(t, path, crlType).Body.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if err := crl.CheckSignatureFrom(issuer); err != nil {
			t.Fatal(err)
		}
		for _, entry := range crl.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
				return true
			}
		}
		return false
	}
	if listed() {
		t.Error("a certificate in good standing is listed")
	}
	if err := h.ca.Revoke(t.Context(), admin, issued.Serial, 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- h.ca.Run(ctx) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !listed() && ctx.Err() == nil {
		<-tick.C
	}
	if ctx.Err() != nil {
		t.Error("a revoked certificate is not listed")
	}
	cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A cache keeps a CRL for a minute, and never beyond its end.
func testFreshness(t *testing.T, h *house) {
	issuer := h.issuer(t, ca.Issuing)
	path := "/crl/" + issuer.ID + "/0.crl"
	crl, err := h.ca.CRL(t.Context(), ca.Shard{Issuer: issuer.ID})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		now  time.Time
		want int
	}{
		{crl.ThisUpdate.Add(time.Second), 60},
		{crl.NextUpdate.Add(-time.Minute), 60},
		{crl.NextUpdate.Add(-2500 * time.Millisecond), 2},
		{crl.NextUpdate, 0},
		{crl.NextUpdate.Add(time.Hour), 0},
	} {
		h.now = tc.now
		header := h.get(t, path, crlType).Header()
		want := "public, max-age=" + strconv.Itoa(tc.want) + ", no-transform, must-revalidate"
		if got := header.Get("Cache-Control"); got != want {
			t.Errorf("at %s: Cache-Control: %s, want %s", tc.now, got, want)
		}
		expires, err := http.ParseTime(header.Get("Expires"))
		if err != nil || expires.After(crl.NextUpdate) && expires.After(tc.now) {
			t.Errorf("at %s: Expires: %s, %v", tc.now, header.Get("Expires"), err)
		}
		if got := header.Get("Last-Modified"); got != crl.ThisUpdate.Format(http.TimeFormat) {
			t.Errorf("Last-Modified: %q", got)
		}
	}
}

// Who has the newest CRL is told so without its text; who has an older one gets the new one, even if
// both were made within one second.
func testConditions(t *testing.T, h *house) {
	shard := ca.Shard{Issuer: h.issuer(t, ca.Issuing).ID}
	path := "/crl/" + shard.Issuer + "/0.crl"
	old, err := h.ca.CRL(t.Context(), shard)
	if err != nil {
		t.Fatal(err)
	}
	h.now = old.ThisUpdate.Add(time.Second - time.Nanosecond)
	early := h.get(t, path, crlType).Header()
	if date := early.Get("Last-Modified"); date != "" {
		t.Errorf("a CRL whose second is not over has Last-Modified %s", date)
	}
	h.now = old.ThisUpdate.Add(time.Second)
	header := h.get(t, path, crlType).Header()
	etag, date := header.Get("ETag"), header.Get("Last-Modified")
	for _, condition := range [][]string{
		{"If-None-Match", etag},
		{"If-None-Match", `"another", W/` + etag},
		{"If-Modified-Since", date},
		{"If-None-Match", etag, "If-Modified-Since", "Mon, 02 Jan 2006 15:04:05 GMT"},
	} {
		if w := h.do(http.MethodGet, path, condition...); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
			t.Errorf("%v: %d, %d bytes", condition, w.Code, w.Body.Len())
		}
	}

	newer := *old
	newer.Number++
	newer.DER = bytes.Clone(h.issuer(t, ca.Root).Certificate) // other bytes; the door does not read them
	if err := h.store.PublishCRL(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	for _, condition := range [][]string{
		{}, {"If-None-Match", etag}, {"If-None-Match", etag, "If-Modified-Since", date},
	} {
		w := h.do(http.MethodGet, path, condition...)
		if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), newer.DER) {
			t.Errorf("%v: %d, not the newer CRL", condition, w.Code)
		}
	}
}

// fragile is a store whose CRLs cannot be read while err says why.
type fragile struct {
	*store.Store
	err error
}

func (f *fragile) CRL(ctx context.Context, shard ca.Shard) (*ca.CRL, error) {
	if f.err != nil {
		return nil, f.err
	}
	return f.Store.CRL(ctx, shard)
}

func testStoreAway(t *testing.T, h *house) {
	path := "/crl/" + h.issuer(t, ca.Issuing).ID + "/0.crl"
	defer func() { h.store.err = nil }()

	h.store.err = fault.Wrap(fault.Unavailable, errors.New("secret address"), "the database is away")
	w := h.do(http.MethodGet, path)
	wantProblem(t, w, http.StatusServiceUnavailable, "the database is away")
	if w.Header().Get("Retry-After") != "5" {
		t.Errorf("Retry-After: %q", w.Header().Get("Retry-After"))
	}
	if strings.Contains(w.Body.String(), "secret") || !strings.Contains(h.log.String(), "secret address") {
		t.Errorf("the cause belongs into the log and nowhere else: %s\n%s", w.Body, h.log)
	}

	h.store.err = errors.New("secret bug")
	w = h.do(http.MethodGet, path)
	wantProblem(t, w, http.StatusInternalServerError, "the log says what")
	if strings.Contains(w.Body.String(), "secret") || !strings.Contains(h.log.String(), "secret bug") {
		t.Errorf("the cause belongs into the log and nowhere else: %s\n%s", w.Body, h.log)
	}
}
