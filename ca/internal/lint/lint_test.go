package lint_test

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	zx509 "github.com/zmap/zcrypto/x509"
	zlint "github.com/zmap/zlint/v3/lint"

	"github.com/mayflyca/mayfly/ca/internal/lint"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/policy"
)

// TestEveryKind goes through profile × kind of key × with and without common name, and through the
// types of name.
func TestEveryKind(t *testing.T) {
	l := newLinter(t)
	for _, p := range policy.Builtin() {
		for _, sort := range []string{"P-256", "P-384", "P-521", "Ed25519", "RSA-2048", "RSA-3072"} {
			for _, commonName := range []string{"", "web.example.internal"} {
				d := good(t)
				d.profile, d.key, d.commonName = p, key(t, sort), commonName
				for range 2 { // as a first draft, as a later one
					der := d.der(t)
					if err := l.Check(der); err != nil {
						t.Errorf("%s, %s, CN %q: %v", p.Name, sort, commonName, err)
					}
					if err := lint.Full(der); err != nil {
						t.Errorf("%s, %s, CN %q: Full: %v", p.Name, sort, commonName, err)
					}
				}
			}
		}
	}
	if got := l.Proven(); got != 3*6*2 {
		t.Errorf("%d shapes, want 36", got)
	}
	d := good(t)
	d.profile = policy.Builtin()[1]
	d.names = []identity.Name{
		{Type: identity.DNS, Value: "*.example.internal"},
		{Type: identity.DNS, Value: "localhost"},
		{Type: identity.DNS, Value: "xn--bcher-kva.example"},
		{Type: identity.DNS, Value: "internal"},
		{Type: identity.IP, Value: "10.1.2.3"},
		{Type: identity.IP, Value: "2001:db8::1"},
		{Type: identity.URI, Value: "spiffe://example.internal/ns/a"},
		{Type: identity.URI, Value: "urn:a:b"},
		{Type: identity.Email, Value: "Ann.O'Hara@example.internal"},
		{Type: identity.PermanentIdentifier, Value: "C02XK1ZZJG5J"},
	}
	for range 2 {
		if err := l.Check(d.der(t)); err != nil {
			t.Error(err)
		}
	}
}

// TestRefusals has the mistakes that must never reach the key, as a first draft and as one of a
// shape that is proven.
func TestRefusals(t *testing.T) {
	kuOID, bcOID := asn1.ObjectIdentifier{2, 5, 29, 15}, asn1.ObjectIdentifier{2, 5, 29, 19}
	akiOID, ekuOID := asn1.ObjectIdentifier{2, 5, 29, 35}, asn1.ObjectIdentifier{2, 5, 29, 37}
	aiaOID, crlOID := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 1}, asn1.ObjectIdentifier{2, 5, 29, 31}
	value := func(oid asn1.ObjectIdentifier, der string) func(*tbs) {
		return func(c *tbs) { c.extension(oid).Value = []byte(der) }
	}
	critical := func(oid asn1.ObjectIdentifier) func(*tbs) {
		return func(c *tbs) { c.extension(oid).Critical = !c.extension(oid).Critical }
	}
	dns := func(name string) func(*tbs) {
		return func(c *tbs) {
			c.extension(oidSAN).Value = names(t, identity.Name{Type: identity.DNS, Value: name})
		}
	}
	other := func(oid asn1.ObjectIdentifier, behind string, value ...asn1.RawValue) func(*tbs) {
		return func(c *tbs) {
			c.extension(oidSAN).Value = marshal(t, []asn1.RawValue{{
				Class: asn1.ClassContextSpecific, IsCompound: true,
				Bytes: append(otherName(t, oid, value), behind...),
			}})
		}
	}
	serial := raw(utf8String, "A1")
	cases := []struct {
		change func(*tbs)
		says   string
	}{
		{other(asn1.ObjectIdentifier{1, 2, 3}, "", serial), "not one permanent identifier"},
		{other(permanentIdentifier, "", serial, raw(6, "\x2a\x03")), "not one permanent identifier"},
		{other(permanentIdentifier, "\x05\x00", serial), "not one permanent identifier"},
		{other(permanentIdentifier, ""), "not one permanent identifier"},
		{other(permanentIdentifier, "", raw(ia5, "A1")), "not one permanent identifier"},
		{other(permanentIdentifier, "", raw(utf8String, "A/1")), "assigner"},
		{other(permanentIdentifier, "", serial), "does not allow names of type"},
		{dns("web.example.internal."), "ends in a dot"},
		{dns("web..internal"), "empty label"},
		{dns("web.example.internal\x00.evil.example"), "character other than"},
		{dns("w\xffb.internal"), "ASCII"},
		{dns("*.*.internal"), "\"*\""},
		{dns("other.internal"), "not among the subject alternative names"}, // the common name is not in it
		{value(oidSAN, "\x30\x07\x87\x05\x0a\x01\x02\x03\x04"), "5 octets"},
		{func(c *tbs) { c.Extensions = append(c.Extensions, *c.extension(kuOID)) }, "e_ext_duplicate_extension"},
		{func(c *tbs) { c.Extensions = append(c.Extensions, *c.extension(oidSAN)) }, "duplicate"},
		{func(c *tbs) { c.Serial = raw(2, "\x81"+strings.Repeat("\x02", 15)) }, "serial number"},
		{func(c *tbs) { c.Serial = raw(2, "\x00") }, "serial number"},
		{func(c *tbs) { c.Serial = raw(2, "\x01"+strings.Repeat("\x02", 20)) }, "serial number"},
		{value(bcOID, "\x30\x03\x01\x01\xff"), "CA"},
		{value(bcOID, "\x30\x06\x01\x01\xff\x02\x01\x00"), "CA"},
		{func(c *tbs) { c.Extensions = c.Extensions[1:] }, "2.5.29.15 is missing"},
		{value(kuOID, "\x03\x02\x02\x04"), "e_ext_key_usage_cert_sign_without_ca"},
		{value(kuOID, "\x03\x02\x03\x08"), "sage"},
		{critical(kuOID), "w_ext_key_usage_not_critical"},
		{critical(ekuOID), "2.5.29.37 should be critical: false"},
		{critical(oidSAN), "2.5.29.17 should be critical: false"},
		{value(ekuOID, "\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x09"), ""}, // OCSP signing
		{value(ekuOID, "\x30\x14\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01"), "of no profile"},
		{value(ekuOID, "\x30\x0e\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01\x06\x02\x2a\x03"), "of no profile"},
		{value(aiaOID, "\x30\x18\x30\x16\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x01\x86\x0ahttp://a.b"), "caIssuers"},
		{value(crlOID, "\x30\x24"+strings.Repeat("\x30\x10\xa0\x0e\xa0\x0c\x86\x0ahttp://a.b", 2)), "one URL"},
		{value(akiOID, "\x30\x03\x82\x01\x05"), "authority_key_identifier"},
		{value(akiOID, "\x30\x06\x80\x01\x05\x82\x01\x05"), "authorityKeyIdentifier"},
		{func(c *tbs) { c.Validity.NotBefore, c.Validity.NotAfter = c.Validity.NotAfter, c.Validity.NotBefore }, "e_validity_time_not_positive"},
		{func(c *tbs) { c.Validity.NotAfter = raw(utc, "261125120000Z") }, "gives 24h0m0s"}, // never #9
		{func(c *tbs) { c.Subject = asn1.RawValue{FullBytes: []byte{0x30, 0}} }, "not_critical_without_subject"},
		{func(c *tbs) { c.Version.FullBytes = []byte{0xa0, 3, 2, 1, 1} }, "version"},
		{func(c *tbs) {
			c.Algorithm = asn1.RawValue{FullBytes: []byte("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03")}
		}, "sig_alg"},
		{func(c *tbs) { c.extension(oidSKI).Value = marshal(t, make([]byte, 20)) }, "subjectKeyIdentifier"},
		{func(c *tbs) {
			c.Extensions = append(c.Extensions, pkix.Extension{Id: []int{1, 2, 3}, Value: []byte{5, 0}})
		}, "1 too many"},
	}
	for _, m := range badKeys(t) {
		cases = append(cases, struct {
			change func(*tbs)
			says   string
		}{m.change, ""})
	}
	for _, sort := range kinds {
		d := good(t)
		d.key, d.commonName = key(t, sort), "web.example.internal"
		base := d.der(t)
		warm := newLinter(t)
		if err := warm.Check(base); err != nil {
			t.Fatal(err)
		}
		for i, c := range cases {
			der := forge(t, base, c.change)
			first, later := newLinter(t).Check(der), warm.Check(der)
			if !fault.Is(first, fault.Internal) || !fault.Is(later, fault.Internal) ||
				!strings.Contains(first.Error()+later.Error(), c.says) {
				t.Errorf("%s, case %d: %v; later: %v; want %q", sort, i, first, later, c.says)
			}
		}
		if err := warm.Check(base); err != nil || warm.Proven() != 1 {
			t.Errorf("afterwards: %v, %d shapes", err, warm.Proven())
		}
	}
}

// never #27: an issuer signs with no other algorithm than ours, here ECDSA with SHA-512 and SHA-1.
func TestSignatureAlgorithm(t *testing.T) {
	der := good(t).der(t)
	for _, oid := range []string{"\x2a\x86\x48\xce\x3d\x04\x03\x04", "\x2a\x86\x48\xce\x3d\x04\x03\x01"} {
		other := bytes.ReplaceAll(der, []byte("\x2a\x86\x48\xce\x3d\x04\x03\x02"), []byte(oid))
		if err := newLinter(t).Check(other); !fault.Is(err, fault.Internal) ||
			!strings.Contains(err.Error(), "signature algorithm") {
			t.Errorf("%x: %v", oid, err)
		}
	}
}

// TestLeftOut shows that the lint of a URI's host is wrong both ways, and that we are not.
func TestLeftOut(t *testing.T) {
	original := zlint.GlobalRegistry().CertificateLints().ByName("e_ext_san_uri_host_not_fqdn_or_ip")
	d := good(t)
	d.profile = policy.Builtin()[1]
	for uri, c := range map[string]struct {
		isGood bool
		says   zlint.LintStatus
	}{"http://a.b/": {true, zlint.Error}, "http://localhost:80/": {false, zlint.Pass}} {
		d.names = []identity.Name{{Type: identity.URI, Value: uri}}
		der := d.der(t)
		parsed, err := zx509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if got := original.Execute(parsed, zlint.NewEmptyConfig()).Status; got != c.says {
			t.Errorf("%s: the lint says %s: put it back in", uri, got)
		}
		if err := newLinter(t).Check(der); (err == nil) != c.isGood {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

// never #4: what panics on hostile content gives an error.
func TestPanic(t *testing.T) {
	for name, broken := range map[string]zlint.CertificateLintInterface{"panics": panics{}, "says nothing": silence{}} {
		l := lint.Add(policy.Builtin(), &zlint.CertificateLint{
			LintMetadata: zlint.LintMetadata{Name: "e_broken"},
			Lint:         func() zlint.CertificateLintInterface { return broken },
		})
		if err := l.Check(good(t).der(t)); !fault.Is(err, fault.Internal) || !strings.Contains(err.Error(), "panic") {
			t.Errorf("a lint that %s: %v", name, err)
		}
	}
}

type panics struct{}

func (panics) CheckApplies(*zx509.Certificate) bool { return true }
func (panics) Execute(c *zx509.Certificate) *zlint.LintResult {
	return &zlint.LintResult{Details: c.DNSNames[9]}
}

type silence struct{}

func (silence) CheckApplies(*zx509.Certificate) bool         { return true }
func (silence) Execute(*zx509.Certificate) *zlint.LintResult { return nil }

// TestEra proves a shape anew when a lint has come into force since: it is the draft's own notBefore
// that counts, not the clock.
func TestEra(t *testing.T) {
	l := lint.Add(policy.Builtin(), &zlint.CertificateLint{
		LintMetadata: zlint.LintMetadata{Name: "e_future", EffectiveDate: today.AddDate(0, 1, 0)},
		Lint:         func() zlint.CertificateLintInterface { return objects{} },
	})
	d := good(t)
	for _, c := range []struct {
		begin time.Time
		want  bool
	}{
		{today, true}, {today.AddDate(0, 1, 0).Add(-time.Second), true}, {today.AddDate(0, 1, 0), false}, {today, true},
	} {
		d.begin = c.begin
		if err := l.Check(d.der(t)); (err == nil) != c.want {
			t.Errorf("from %s: %v", c.begin, err)
		}
	}
}

type objects struct{}

func (objects) CheckApplies(*zx509.Certificate) bool { return true }
func (objects) Execute(*zx509.Certificate) *zlint.LintResult {
	return &zlint.LintResult{Status: zlint.Error}
}

// TestHarmless has a draft for every lint that may warn.
func TestHarmless(t *testing.T) {
	d := good(t)
	d.names = []identity.Name{{Type: identity.DNS, Value: "com"}}
	d.issuer = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
		{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: " CA "},
	}}
	der := forge(t, d.der(t), func(c *tbs) {
		attribute := pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: " CA "}
		c.Issuer = asn1.RawValue{FullBytes: marshal(t, pkix.RDNSequence{{attribute, attribute}})}
	})
	says, _, err := lint.Verdicts(der)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range lint.Harmless {
		if says[name] != zlint.Notice && says[name] != zlint.Warn {
			t.Errorf("%s says %s: the test has no case for it", name, says[name])
		}
	}
	if err := newLinter(t).Check(der); err != nil {
		t.Error(err)
	}
}

// TestBound proves more shapes than are remembered.
func TestBound(t *testing.T) {
	l := newLinter(t)
	d := good(t)
	for i := range 3 {
		l.Fill(lint.MaxShapes - l.Proven())
		d.shard = strconv.Itoa(i)
		if err := l.Check(d.der(t)); err != nil {
			t.Fatal(err)
		}
		if got := l.Proven(); got != 1 {
			t.Errorf("%d shapes after the bound was reached", got)
		}
	}
}

func TestConcurrent(t *testing.T) {
	l := newLinter(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			d := good(t)
			for j := range 20 {
				d.shard = strconv.Itoa(i % 2 * j)
				if err := l.Check(d.der(t)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
