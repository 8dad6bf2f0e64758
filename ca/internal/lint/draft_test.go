package lint_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/ca/internal/lint"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/policy"
)

// template says what a draft of ours holds; the zero fields of good are filled in by der.
type template struct {
	profile    policy.Profile
	key        any // public
	commonName string
	names      []identity.Name
	begin      time.Time
	shard      string
	issuer     pkix.Name
}

var today = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func good(t testing.TB) template {
	return template{
		profile: policy.Builtin()[0],
		key:     newKey(t, "P-256"),
		names:   []identity.Name{{Type: identity.DNS, Value: "web.example.internal"}},
		begin:   today,
		shard:   "0",
		issuer:  pkix.Name{CommonName: "Mayfly Issuing CA 1"},
	}
}

// keys are made once per sort; drafts that need fresh ones ask newKey.
var keys sync.Map

func key(t testing.TB, sort string) crypto.PublicKey {
	if k, ok := keys.Load(sort); ok {
		return k
	}
	k, _ := keys.LoadOrStore(sort, newKey(t, sort))
	return k
}

func newKey(t testing.TB, sort string) crypto.PublicKey {
	t.Helper()
	switch sort {
	case "P-256", "P-384", "P-521":
		curve := map[string]elliptic.Curve{
			"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521(),
		}[sort]
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k.Public()
	case "Ed25519":
		public, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return public
	}
	bits := map[string]int{"RSA-2048": 2048, "RSA-3072": 3072}[sort]
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k.Public()
}

var throwaway = sync.OnceValue(func() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
})

// der makes the draft as the road does (design: 24 h, 16 octets of serial, critical names only
// without a subject).
func (d template) der(t testing.TB) []byte {
	t.Helper()
	serial := make([]byte, 16)
	rand.Read(serial)
	serial[0] = serial[0]&0x7f | 0x40
	ku := x509.KeyUsageDigitalSignature
	if _, ok := d.key.(*rsa.PublicKey); ok &&
		slices.Contains(d.profile.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		ku |= x509.KeyUsageKeyEncipherment
	}
	c := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject:      pkix.Name{CommonName: d.commonName},
		NotBefore:    d.begin, NotAfter: d.begin.Add(d.profile.Lifetime - time.Second),
		KeyUsage: ku, ExtKeyUsage: d.profile.ExtKeyUsage,
		BasicConstraintsValid: true,
		SubjectKeyId:          keyID(t, d.key),
		IssuingCertificateURL: []string{"http://ca.example.internal:8080/issuers/00f1e2d3c4b5a697.cer"},
		CRLDistributionPoints: []string{
			"http://ca.example.internal:8080/crl/00f1e2d3c4b5a697/" + d.shard + ".crl",
		},
		ExtraExtensions: []pkix.Extension{{
			Id: oidSAN, Critical: d.commonName == "", Value: names(t, d.names...),
		}},
	}
	issuer := &x509.Certificate{Subject: d.issuer, SubjectKeyId: keyID(t, throwaway().Public())}
	der, err := x509.CreateCertificate(rand.Reader, c, issuer, d.key, throwaway())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func keyID(t testing.TB, public any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(info.Key.Bytes)
	return sum[:20]
}

var (
	oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidSKI = asn1.ObjectIdentifier{2, 5, 29, 14}
)

// names writes a subjectAltName, right or wrong: the octets go in as they are.
func names(t testing.TB, list ...identity.Name) []byte {
	t.Helper()
	tags := map[identity.NameType]int{identity.Email: 1, identity.DNS: 2, identity.URI: 6, identity.IP: 7}
	raw := make([]asn1.RawValue, len(list))
	for i, n := range list {
		octets := []byte(n.Value)
		if n.Type == identity.IP && net.ParseIP(n.Value) != nil {
			octets = net.ParseIP(n.Value)
			if v4 := net.ParseIP(n.Value).To4(); v4 != nil {
				octets = v4
			}
		}
		raw[i] = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tags[n.Type], Bytes: octets}
		if n.Type == identity.PermanentIdentifier {
			raw[i].IsCompound = true
			raw[i].Bytes = otherName(t, permanentIdentifier, []asn1.RawValue{{Tag: asn1.TagUTF8String, Bytes: octets}})
		}
	}
	return marshal(t, raw)
}

var permanentIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 3}

// otherName is the inside of one (RFC 5280 section 4.2.1.6).
func otherName(t testing.TB, oid asn1.ObjectIdentifier, value any) []byte {
	t.Helper()
	explicit := asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: marshal(t, value)}
	return append(marshal(t, oid), marshal(t, explicit)...)
}

func marshal(t testing.TB, value any) []byte {
	t.Helper()
	der, err := asn1.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// tbs is a certificate's inside, for putting something wrong into it.
type tbs struct {
	Version, Serial, Algorithm, Issuer asn1.RawValue
	Validity                           struct{ NotBefore, NotAfter asn1.RawValue }
	Subject, SPKI                      asn1.RawValue
	Extensions                         []pkix.Extension `asn1:"explicit,tag:3"`
}

// forge changes a draft; its signature, which no lint looks at, stays.
func forge(t testing.TB, der []byte, change func(*tbs)) []byte {
	t.Helper()
	var c struct {
		TBS       tbs
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &c); err != nil {
		t.Fatal(err)
	}
	change(&c.TBS)
	return marshal(t, c)
}

func (c *tbs) extension(oid asn1.ObjectIdentifier) *pkix.Extension {
	i := slices.IndexFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oid) })
	return &c.Extensions[i]
}

// setKey puts in a SubjectPublicKeyInfo with the identifier that belongs to it.
func (c *tbs) setKey(t testing.TB, spki []byte) {
	t.Helper()
	c.SPKI = asn1.RawValue{FullBytes: spki}
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &info); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(info.Key.Bytes)
	c.extension(oidSKI).Value = marshal(t, sum[:20])
}

func newLinter(t testing.TB) *lint.Linter {
	t.Helper()
	l, err := lint.New(policy.Builtin())
	if err != nil {
		t.Fatal(err)
	}
	return l
}
