package acmeserver_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// maker is a maker of Apple devices and its CA.
type maker struct {
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newMaker(t testing.TB) *maker {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Attestation Root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &maker{root, key}
}

// attest makes the payload with which a device answers the challenge (package attest has all that a
// device may say wrong).
func (m *maker) attest(t testing.TB, serial, token string, key crypto.PublicKey) map[string]string {
	t.Helper()
	freshness := sha256.Sum256([]byte(token))
	apple := func(value []byte, last ...int) pkix.Extension {
		return pkix.Extension{Id: append(asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 8}, last...), Value: value}
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "device"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{
			apple([]byte(serial), 9, 1), apple([]byte("UDID-"+serial), 9, 2), apple(freshness[:], 11, 1),
		},
	}, m.root, key, m.key)
	if err != nil {
		t.Fatal(err)
	}
	object, err := cbor.Marshal(map[string]any{"fmt": "apple", "attStmt": map[string]any{"x5c": [][]byte{der}}})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"attObj": b64(object)}
}

// offerAttestation opens the door anew, where the maker's devices can be attested.
func (h *house) offerAttestation(t testing.TB, m *maker) {
	t.Helper()
	h.config.Validation.Challenges = []string{"http-01", "dns-01", "tls-alpn-01", "device-attest-01"}
	h.config.Validation.AttestationRoots = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.root.Raw})
	h.reopen(t, always(proven))
}

func devices(values ...string) map[string]any {
	list := []map[string]string{}
	for _, v := range values {
		list = append(list, map[string]string{"type": "permanent-identifier", "value": v})
	}
	return map[string]any{"identifiers": list}
}

func (c *client) deviceOrder(values ...string) order {
	c.t.Helper()
	r := c.post("/acme/new-order", devices(values...)).ok(c.t, 201)
	o := decode[order](c.t, r)
	o.url = r.header.Get("Location")
	return o
}

// only is the one challenge of the order's authorization.
func (c *client) only(o order, index int) challenge {
	c.t.Helper()
	z := c.authorization(o.Authorizations[index])
	if len(z.Challenges) != 1 || z.Challenges[0].Type != "device-attest-01" || z.Challenges[0].Token == "" {
		c.t.Fatalf("the challenges are %+v", z.Challenges)
	}
	return z.Challenges[0]
}

// deviceCSR is what a device sends: its serial number for a common name, and no other names.
func deviceCSR(t testing.TB, key crypto.Signer, commonName string, dns ...string) map[string]string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: commonName, Organization: []string{"Widgits"}}, DNSNames: dns,
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"csr": b64(der)}
}

// draft-ietf-acme-device-attest-09 section 5: a device enrols, without choosing a profile, and only
// with the key that its hardware attested.
func TestDevice(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h, m := openOn(t, s, always(proven)), newMaker(t)
		h.offerAttestation(t, m)
		c := h.customer(t)
		o := c.deviceOrder("C02XK1ZZJG5J")
		if o.Profile != "client" || o.Identifiers[0].Type != "permanent-identifier" || o.Identifiers[0].Value != "C02XK1ZZJG5J" {
			t.Errorf("the order is %+v", o)
		}
		key, ch := newKey(t), c.only(o, 0)
		answer := m.attest(t, "C02XK1ZZJG5J", ch.Token, key.Public())
		answer["extra"] = "ignored"
		done := decode[challenge](t, c.post(ch.URL, answer).ok(t, 200))
		if done.Status != "valid" || done.Validated.IsZero() || c.order(o.url).Status != "ready" {
			t.Errorf("the challenge is %+v", done)
		}
		h.offerAttestation(t, m) // a restart forgets nothing
		other := newKey(t)
		p := c.post(o.Finalize, deviceCSR(t, other, "C02XK1ZZJG5J")).refused(t, 400, "badCSR")
		if !strings.Contains(p.Detail, "not the one that the device C02XK1ZZJG5J attested") {
			t.Errorf("the detail is %q", p.Detail)
		}
		c.post(o.Finalize, map[string]string{"csr": b64([]byte("garbage"))}).refused(t, 400, "badCSR")
		c.post(o.Finalize, deviceCSR(t, key, "C02XK1ZZJG5K")).refused(t, 400, "badCSR")
		c.post(o.Finalize, deviceCSR(t, key, "", "a.example.com")).refused(t, 400, "badCSR")
		r := c.post(o.Finalize, deviceCSR(t, key, "C02XK1ZZJG5J")).ok(t, 200)
		chain := c.post(decode[order](t, r).Certificate, nil).ok(t, 200)
		leaf := parseChain(t, chain.body)[0]
		if leaf.Subject.String() != "CN=C02XK1ZZJG5J" || !key.PublicKey.Equal(leaf.PublicKey) {
			t.Errorf("the certificate is for %q", leaf.Subject)
		}
		found, err := h.ca.Certificate(t.Context(), serialOf(t, leaf))
		if err != nil || len(found.Names) != 1 || found.Names[0].Value != "C02XK1ZZJG5J" {
			t.Errorf("the record has %+v: %v", found.Names, err)
		}
		c.post(o.Finalize, deviceCSR(t, other, "C02XK1ZZJG5J")).refused(t, 400, "badCSR")
	})
}

// An attestation that proves nothing, or something else, ends the order, and everybody is told why.
func TestDeviceIsAnother(t *testing.T) {
	h, m := open(t), newMaker(t)
	h.offerAttestation(t, m)
	c := h.customer(t)
	for what, bad := range map[string]struct {
		answer func(token string) map[string]string
		says   string
	}{
		"another device": {func(token string) map[string]string {
			return m.attest(t, "OTHER", token, newKey(t).Public())
		}, "it is of the device OTHER, UDID-OTHER, and not of MINE"},
		"another challenge": {func(string) map[string]string {
			return m.attest(t, "MINE", "token", newKey(t).Public())
		}, "freshness code"},
		"another maker": {func(token string) map[string]string {
			return newMaker(t).attest(t, "MINE", token, newKey(t).Public())
		}, "acme.attestation_roots"},
		"garbage": {func(string) map[string]string {
			return map[string]string{"attObj": b64([]byte("garbage"))}
		}, "not a WebAuthn attestation object"},
	} {
		o := c.deviceOrder("MINE")
		ch := decode[challenge](t, c.post(c.only(o, 0).URL, bad.answer(c.only(o, 0).Token)).ok(t, 200))
		if ch.Status != "invalid" || ch.Error == nil || !strings.HasSuffix(ch.Error.Type, ":badAttestationStatement") ||
			!strings.Contains(ch.Error.Detail, bad.says) || ch.Error.Status != 400 {
			t.Errorf("%s: the challenge is %+v, %+v", what, ch, ch.Error)
		}
		if got := c.order(o.url); got.Status != "invalid" || len(got.Error.Subproblems) != 1 {
			t.Errorf("%s: the order is %+v", what, got)
		}
		entries := h.store.of(audit.ChallengeFailed)
		if last := entries[len(entries)-1]; !strings.Contains(last.Data["detail"], bad.says) ||
			last.Data["challenge"] != "device-attest-01" {
			t.Errorf("%s: the record says %+v", what, last)
		}
		// It is over: a good answer comes too late.
		again := decode[challenge](t, c.post(ch.URL, m.attest(t, "MINE", ch.Token, newKey(t).Public())).ok(t, 200))
		if again.Status != "invalid" {
			t.Errorf("%s: afterwards the challenge is %s", what, again.Status)
		}
	}
}

// What is no answer at all changes nothing.
func TestDeviceSaysNothing(t *testing.T) {
	h, m := open(t), newMaker(t)
	h.offerAttestation(t, m)
	c := h.customer(t)
	o := c.deviceOrder("MINE")
	ch := c.only(o, 0)
	for _, payload := range []any{`{}`, `[]`, `{"attObj": 1}`, `{"attObj": ""}`, `{"attObj": "MA=="}`, `{"attObj": "+/+/"}`} {
		c.post(ch.URL, payload).refused(t, 400, "malformed")
	}
	// never #18: nor does what a stranger says.
	h.customer(t).post(ch.URL, m.attest(t, "MINE", ch.Token, newKey(t).Public())).refused(t, 404, "malformed")
	if got := c.only(o, 0); got.Status != "pending" {
		t.Errorf("the challenge is %s", got.Status)
	}
	c.post(o.Finalize, deviceCSR(t, newKey(t), "MINE")).refused(t, 403, "orderNotReady")
	// Where attestations are offered no more, the order goes on waiting.
	h.config.Validation.Challenges = nil
	h.reopen(t, always(proven))
	c.post(ch.URL, m.attest(t, "MINE", ch.Token, newKey(t).Public())).refused(t, 403, "unauthorized")
	if got := c.only(o, 0); got.Status != "pending" {
		t.Errorf("the challenge is %s", got.Status)
	}
}

// All that an order proves is bound together: one key for a device's two identifiers, and names that
// are proven otherwise beside them.
func TestDeviceWithSeveralNames(t *testing.T) {
	h, m := open(t), newMaker(t)
	h.offerAttestation(t, m)
	c := h.customer(t)
	answer := func(o order, index int, key crypto.PublicKey) {
		t.Helper()
		ch := c.only(o, index)
		if got := decode[challenge](t, c.post(ch.URL, m.attest(t, "MINE", ch.Token, key)).ok(t, 200)); got.Status != "valid" {
			t.Fatalf("the challenge is %+v", got.Error)
		}
	}
	one, two := newKey(t), newKey(t)
	o := c.deviceOrder("MINE", "UDID-MINE")
	answer(o, 0, one.Public())
	answer(o, 1, two.Public())
	for _, key := range []crypto.Signer{one, two} {
		c.post(o.Finalize, deviceCSR(t, key, "")).refused(t, 400, "badCSR")
	}
	o = c.deviceOrder("MINE", "UDID-MINE")
	answer(o, 0, one.Public())
	answer(o, 1, one.Public())
	c.post(o.Finalize, deviceCSR(t, one, "UDID-MINE")).ok(t, 200)

	mixed := devices("MINE")
	mixed["identifiers"] = append(mixed["identifiers"].([]map[string]string), map[string]string{"type": "dns", "value": "a.example.com"})
	r := c.post("/acme/new-order", mixed).ok(t, 201)
	o = decode[order](t, r)
	answer(o, 0, one.Public())
	c.post(o.Finalize, deviceCSR(t, one, "", "a.example.com")).refused(t, 403, "orderNotReady")
	c.post(c.authorization(o.Authorizations[1]).Challenges[0].URL, `{}`).ok(t, 200)
	c.post(o.Finalize, deviceCSR(t, two, "", "a.example.com")).refused(t, 400, "badCSR")
	c.post(o.Finalize, deviceCSR(t, one, "")).refused(t, 400, "badCSR")
	done := decode[order](t, c.post(o.Finalize, deviceCSR(t, one, "", "a.example.com")).ok(t, 200))
	leaf := parseChain(t, c.post(done.Certificate, nil).ok(t, 200).body)[0]
	if !slices.Equal(leaf.DNSNames, []string{"a.example.com"}) {
		t.Errorf("the certificate is for %v", leaf.DNSNames)
	}
}

// Attestations are off unless an operator switches them on, and says whose word counts.
func TestAttestationIsSwitchedOn(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	p := c.post("/acme/new-order", devices("MINE")).refused(t, 400, "unsupportedIdentifier")
	if !strings.Contains(p.Detail, "[dns ip]") {
		t.Errorf("the detail is %q", p.Detail)
	}
	h.config.Validation.Challenges = []string{"device-attest-01"}
	for _, roots := range []string{"", "garbage"} {
		h.config.Validation.AttestationRoots = []byte(roots)
		if door, err := acmeserver.New(h.config); door != nil || err == nil ||
			!strings.Contains(err.Error(), "acme.attestation_roots") {
			t.Errorf("roots %q: %v", roots, err)
		}
	}
	h.offerAttestation(t, newMaker(t))
	for _, bad := range []string{"", "A/1.2.3", "A\n", "ä", strings.Repeat("A", 129)} {
		c.post("/acme/new-order", devices(bad)).refused(t, 400, "malformed")
	}
	order := devices("MINE")
	order["profile"] = "server"
	c.post("/acme/new-order", order).refused(t, 400, "invalidProfile")
	if o := c.newOrder("a.example.com"); o.Profile != "server" {
		t.Errorf("the profile is %s", o.Profile)
	}
}

// Wrong attestations are counted as every validation is.
func TestFailedAttestationsAreLimited(t *testing.T) {
	h, m := limited(t, always(proven), "failures_per_name=*=2/1h"), newMaker(t)
	h.offerAttestation(t, m)
	c := h.customer(t)
	early := c.deviceOrder("MINE")
	for range 2 {
		ch := c.only(c.deviceOrder("MINE"), 0)
		c.post(ch.URL, m.attest(t, "OTHER", ch.Token, newKey(t).Public())).ok(t, 200)
	}
	c.post("/acme/new-order", devices("MINE")).refused(t, 429, "rateLimited")
	ch := c.only(early, 0)
	good := m.attest(t, "MINE", ch.Token, newKey(t).Public())
	c.post(ch.URL, good).refused(t, 429, "rateLimited")
	if got := c.only(early, 0); got.Status != "pending" {
		t.Errorf("the challenge is %s", got.Status)
	}
	h.pass(time.Hour)
	if got := decode[challenge](t, c.post(ch.URL, good).ok(t, 200)); got.Status != "valid" {
		t.Errorf("the challenge is %+v", got.Error)
	}
}
