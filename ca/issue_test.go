package ca_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/ca/internal/lint"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

func someKeys(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	keys := map[string]crypto.Signer{}
	for name, curve := range map[string]elliptic.Curve{
		"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521(),
	} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		must(t, err)
		keys[name] = key
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	keys["RSA-2048"] = r
	_, e, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	keys["Ed25519"] = e
	return keys
}

// Every profile and kind of key gives a certificate as design and RFC 5280 want it.
func TestCertificates(t *testing.T) {
	c, _, clock := newCA(t)
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(parse(t, c.Issuers()[0].Certificate))
	intermediates.AddCert(parse(t, c.Issuers()[1].Certificate))
	usages := map[string][]x509.ExtKeyUsage{
		"server": {x509.ExtKeyUsageServerAuth}, "client": {x509.ExtKeyUsageClientAuth},
		"peer": {x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for kind, key := range someKeys(t) {
		for profile, usage := range usages {
			t.Run(profile+"/"+kind, func(t *testing.T) {
				issued := issue(t, c, ca.Request{
					Caller: anyone, Profile: profile, CSR: catest.CSR(t, key, "WWW.a.internal", "10.0.0.1", "::1"),
				})
				got := parse(t, issued.DER)
				must(t, lint.Full(issued.DER))
				_, err := got.Verify(x509.VerifyOptions{
					Roots: roots, Intermediates: intermediates, KeyUsages: usage[:1],
					CurrentTime: clock.Now(), DNSName: "www.a.internal",
				})
				must(t, err)
				if !slices.Equal(got.ExtKeyUsage, usage) {
					t.Errorf("extended key usage %v, want %v", got.ExtKeyUsage, usage)
				}
				// NSS does not take an RSA server key that may not encipher keys.
				rsaServer := strings.HasPrefix(kind, "RSA") && profile != "client"
				if (got.KeyUsage&x509.KeyUsageKeyEncipherment != 0) != rsaServer {
					t.Errorf("key usage %b", got.KeyUsage)
				}
				if life := got.NotAfter.Sub(got.NotBefore) + time.Second; life != 24*time.Hour {
					t.Errorf("it lives %s", life) // never #9
				}
				if got.NotBefore.After(clock.Now()) || clock.Now().Sub(got.NotBefore) > time.Hour {
					t.Errorf("it begins at %s", got.NotBefore)
				}
				if got.Subject.String() != "" || got.IsCA || len(got.SerialNumber.Bytes()) != 16 {
					t.Errorf("subject %q, CA %v, serial %x", got.Subject, got.IsCA, got.SerialNumber)
				}
				if issued.State != ca.Issued || issued.StatusAt(clock.Now()) != ca.StatusValid {
					t.Errorf("state %s, status %s", issued.State, issued.StatusAt(clock.Now()))
				}
			})
		}
	}
}

func TestCommonName(t *testing.T) {
	c, _, _ := newCA(t)
	key := catest.Key(t)
	csr := func(subject pkix.Name, names ...string) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader,
			&x509.CertificateRequest{Subject: subject, DNSNames: names}, key)
		must(t, err)
		return der
	}
	for _, tc := range []struct {
		subject  pkix.Name
		names    []string
		wantName string
		want     []string
	}{
		{pkix.Name{CommonName: "A.internal"}, nil, "a.internal", []string{"a.internal"}},
		{
			pkix.Name{CommonName: "b.internal", Organization: []string{"Widgits"}},
			[]string{"a.internal"},
			"b.internal",
			[]string{"a.internal", "b.internal"},
		},
		{pkix.Name{Organization: []string{"Widgits"}}, []string{"a.internal"}, "", []string{"a.internal"}},
	} {
		got := parse(t, issue(t, c, ca.Request{Caller: anyone, CSR: csr(tc.subject, tc.names...)}).DER)
		if got.Subject.CommonName != tc.wantName || !slices.Equal(got.DNSNames, tc.want) ||
			len(got.Subject.Organization) > 0 {
			t.Errorf("%v: subject %q, names %q", tc.subject, got.Subject, got.DNSNames)
		}
	}
	for _, bad := range []string{"Jane Doe", "jane@a.internal", "a.internal\x00.b", strings.Repeat("a.", 40) + "internal"} {
		_, err := c.Issue(t.Context(), ca.Request{Caller: anyone, CSR: csr(pkix.Name{CommonName: bad})})
		wantKind(t, bad, err, fault.Invalid)
	}
}

// never #15: what is decided about is what is signed, for every form of name.
func TestNamesOfARequest(t *testing.T) {
	c, _, _ := newCA(t)
	key := catest.Key(t)
	spiffe, _ := url.Parse("spiffe://a.internal/db")
	template := &x509.CertificateRequest{
		DNSNames: []string{"a.internal", "*.b.internal"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)},
		URIs: []*url.URL{spiffe}, EmailAddresses: []string{"jane@a.internal"},
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	must(t, err)
	issued := issue(t, c, ca.Request{Caller: anyone, Profile: "client", CSR: der})
	got := parse(t, issued.DER)
	if len(got.DNSNames) != 2 || len(got.IPAddresses) != 1 || len(got.URIs) != 1 ||
		len(got.EmailAddresses) != 1 || len(issued.Names) != 5 {
		t.Errorf("names %v %v %v %v", got.DNSNames, got.IPAddresses, got.URIs, got.EmailAddresses)
	}
	_, err = c.Issue(t.Context(), ca.Request{Caller: anyone, Profile: "server", CSR: der})
	if err == nil {
		t.Error("a server certificate holds URI and e-mail names")
	}
	for what, raw := range map[string][]byte{
		"otherName":       {0x30, 0x0e, 0xa0, 0x0c, 0x06, 0x03, 0x2a, 0x03, 0x04, 0xa0, 0x05, 0x0c, 0x03, 'f', 'o', 'o'},
		"5-octet address": {0x30, 0x07, 0x87, 0x05, 1, 2, 3, 4, 5},
		"no names":        {0x30, 0x00},
		"not DER":         {0x30, 0x80, 0x00, 0x00},
	} {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: raw}},
		}, key)
		must(t, err)
		_, err = c.Issue(t.Context(), ca.Request{Caller: anyone, CSR: der})
		wantKind(t, what, err, fault.Invalid)
	}
}

func TestRefusals(t *testing.T) {
	c, s, _ := newCA(t)
	key := catest.Key(t)
	proven := identity.Caller{ID: "acme/account/1", Names: []identity.Name{{Type: identity.DNS, Value: "a.internal"}}}
	sound := catest.CSR(t, key, "a.internal")
	forged := slices.Clone(sound)
	forged[len(forged)-1] ^= 1
	extended := func(id asn1.ObjectIdentifier, value []byte) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			DNSNames: []string{"a.internal"}, ExtraExtensions: []pkix.Extension{{Id: id, Value: value}},
		}, key)
		must(t, err)
		return der
	}
	for what, tc := range map[string]struct {
		req  ca.Request
		kind fault.Kind
	}{
		"no CSR":          {ca.Request{Caller: anyone}, fault.Invalid},
		"garbage":         {ca.Request{Caller: anyone, CSR: []byte("garbage")}, fault.Invalid},
		"too large":       {ca.Request{Caller: anyone, CSR: make([]byte, ca.MaxCSR+1)}, fault.Invalid},
		"forged":          {ca.Request{Caller: anyone, CSR: forged}, fault.Invalid},
		"unknown profile": {ca.Request{Caller: anyone, CSR: sound, Profile: "vpn"}, fault.Invalid},
		"nobody":          {ca.Request{CSR: sound}, fault.Denied},
		"another's name":  {ca.Request{Caller: proven, CSR: catest.CSR(t, key, "a.internal", "b.internal")}, fault.Denied},
		"CA certificate":  {ca.Request{Caller: anyone, CSR: extended([]int{2, 5, 29, 19}, []byte{0x30, 3, 1, 1, 0xff})}, fault.Invalid},
		"must-staple":     {ca.Request{Caller: anyone, CSR: extended([]int{1, 3, 6, 1, 5, 5, 7, 1, 24}, []byte{0x30, 3, 2, 1, 5})}, fault.Invalid},
		"no name":         {ca.Request{Caller: anyone, CSR: catest.CSR(t, key)}, fault.Invalid},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := c.Issue(t.Context(), tc.req)
			wantKind(t, what, err, tc.kind)
		})
	}
	all, err := s.Certificates(t.Context(), ca.Query{}, time.Now())
	must(t, err)
	if len(all) > 0 {
		t.Errorf("%d rows of refused certificates", len(all))
	}
	if refused := storetest.CountEntries(t, s, audit.Refused); refused != 10 {
		t.Errorf("%d refusals are on the record, want 10", refused)
	}
	must(t, c.Check(t.Context(), ca.Request{Caller: proven, Names: proven.Names}))
	wantKind(t, "check", c.Check(t.Context(), ca.Request{Caller: proven, Names: nil}), fault.Invalid)
}

// Twenty concurrent requests with one reference get one certificate (never #19).
func TestOneReferenceOneCertificate(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		c := catest.New(t, s)
		req := request(t, "acme/order/1", "a.internal")
		serials := make([]ca.Serial, 20)
		var wg sync.WaitGroup
		for i := range serials {
			wg.Go(func() {
				issued, err := c.Issue(t.Context(), req)
				if err != nil {
					t.Error(err)
					return
				}
				serials[i] = issued.Serial
			})
		}
		wg.Wait()
		for _, serial := range serials {
			if serial != serials[0] {
				t.Fatalf("serials %v", serials)
			}
		}
		all, err := c.Certificates(t.Context(), ca.Query{})
		must(t, err)
		if len(all) != 1 {
			t.Errorf("%d certificates, want 1", len(all))
		}
		_, err = c.Issue(t.Context(), request(t, "acme/order/1", "a.internal"))
		wantKind(t, "another key", err, fault.Conflict)
	})
}

// constant is a broken source of randomness.
type constant struct{}

func (constant) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 7
	}
	return len(p), nil
}

// never #12: a serial is never used twice, even when the randomness is broken.
func TestSerialsNeverRepeat(t *testing.T) {
	s := storetest.SQLite(t)
	config := catest.Config(t, s)
	catest.Open(t, config)
	config.Random = constant{}
	c := catest.Open(t, config)
	issue(t, c, request(t, "api/1", "a.internal"))
	_, err := c.Issue(t.Context(), request(t, "api/2", "b.internal"))
	wantKind(t, "a serial twice", err, fault.Unavailable)
}

// never #26: a key of the CA cannot become a subject's. (Its private half is in the key directory:
// whoever can sign the CSR has stolen it.)
func TestOwnKeyIsRefused(t *testing.T) {
	c, _, _ := newCA(t)
	der := catest.CSR(t, ca.ActiveKey(c), "a.internal")
	_, err := c.Issue(t.Context(), ca.Request{Caller: anyone, CSR: der})
	wantKind(t, "the issuing key", err, fault.Invalid)
}

// never #9, never #34: whatever the day, validity is exact, and zlint and Go agree with it.
func TestValidityOnAnyDay(t *testing.T) {
	for _, start := range []string{
		"2028-02-28T23:59:59.999999999Z", "2049-12-31T23:30:00Z", "2050-01-01T00:10:00Z",
		"2032-03-28T01:59:59.5+01:00", "2100-02-28T12:00:00Z",
	} {
		t.Run(start, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339Nano, start)
			must(t, err)
			config := catest.Fresh(t, storetest.SQLite(t))
			config.Now = func() time.Time { return at }
			c := catest.Open(t, config)
			rapid.Check(t, func(r *rapid.T) {
				label := rapid.StringMatching(`[a-z][a-z0-9]{0,20}`).Draw(r, "label")
				issued := issue(t, c, request(t, "", label+".internal"))
				got := parse(t, issued.DER)
				if got.NotAfter.Sub(got.NotBefore) != 24*time.Hour-time.Second ||
					!got.NotAfter.Equal(issued.NotAfter) || at.Before(got.NotBefore) {
					r.Fatalf("from %s to %s", got.NotBefore, got.NotAfter)
				}
				if err := lint.Full(issued.DER); err != nil {
					r.Fatal(err)
				}
			})
		})
	}
}

func FuzzCSR(f *testing.F) {
	key := catest.Key(f)
	for _, names := range [][]string{{"a.internal"}, {"10.0.0.1", "::1"}, {"*.a.internal", "b"}, {}} {
		f.Add(catest.CSR(f, key, names...))
	}
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, der []byte) {
		if err := ca.ReadCSR(der); err != nil && !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Denied) {
			t.Errorf("got %v, want it to be invalid", err)
		}
	})
}
