package attest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/mayflyca/mayfly/acmeserver/internal/attest"
)

const (
	token            = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ"
	keyAuthorization = token + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// maker is the maker of a device, with its own two CAs.
type maker struct {
	root, between       *x509.Certificate
	rootKey, betweenKey *ecdsa.PrivateKey
}

func newMaker(t testing.TB) *maker {
	t.Helper()
	m := &maker{rootKey: ecKey(t, elliptic.P384()), betweenKey: ecKey(t, elliptic.P256())}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Attestation Root"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: now.AddDate(-5, 0, 0), NotAfter: now.AddDate(20, 0, 0),
		KeyUsage: x509.KeyUsageCertSign,
	}
	m.root = certificate(t, &template, &template, m.rootKey.Public(), m.rootKey)
	template.Subject.CommonName = "Attestation CA"
	m.between = certificate(t, &template, m.root, m.betweenKey.Public(), m.rootKey)
	return m
}

var made struct {
	sync.Once
	trusted, stranger *maker
}

// makers are made once: one that is trusted, and one of the same names that is not.
func makers(t testing.TB) (trusted, stranger *maker) {
	made.Do(func() { made.trusted, made.stranger = newMaker(t), newMaker(t) })
	return made.trusted, made.stranger
}

func certificate(
	t testing.TB, template, parent *x509.Certificate, key crypto.PublicKey, signer crypto.Signer,
) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// leaf is the template of an attesting certificate.
func leaf(extensions ...pkix.Extension) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "device"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), ExtraExtensions: extensions,
	}
}

// chain certifies the key as the template says.
func (m *maker) chain(t testing.TB, template *x509.Certificate, key crypto.PublicKey) [][]byte {
	t.Helper()
	return [][]byte{certificate(t, template, m.between, key, m.betweenKey).Raw, m.between.Raw}
}

func rootsOf(makers ...*maker) []byte {
	var all []byte
	for _, m := range makers {
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.root.Raw})...)
	}
	return all
}

func newVerifier(t testing.TB) *attest.Verifier {
	t.Helper()
	trusted, _ := makers(t)
	v, err := attest.New(rootsOf(trusted))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var rsaKeys sync.Map

// rsaKey makes one key of each size.
func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	if key, ok := rsaKeys.Load(bits); ok {
		return key.(*rsa.PrivateKey)
	}
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	rsaKeys.Store(bits, key)
	return key
}

// encode writes an attestation object.
func encode(t testing.TB, format string, statement map[string]any) []byte {
	t.Helper()
	return toCBOR(t, map[string]any{"fmt": format, "attStmt": statement})
}

func toCBOR(t testing.TB, value any) []byte {
	t.Helper()
	octets, err := cbor.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return octets
}

func toDER(t testing.TB, value any) []byte {
	t.Helper()
	der, err := asn1.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// same tells whether two public keys are one.
func same(a, b crypto.PublicKey) bool {
	return a.(interface{ Equal(x crypto.PublicKey) bool }).Equal(b)
}

var (
	appleSerial    = asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 8, 9, 1}
	appleUDID      = asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 8, 9, 2}
	appleFreshness = asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 8, 11, 1}
	yubiKeySerial  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, 7}
)

const (
	serial = "C02XK1ZZJG5J"
	udid   = "00008110-001A2B3C4D5E6F7A"
)

// apple makes what an Apple device answers. Nil values are left out.
type apple struct {
	maker                   *maker
	key                     crypto.PublicKey
	serial, udid, freshness []byte
	change                  func(*x509.Certificate)
	chain                   func([][]byte) [][]byte
	format                  string
}

func newApple(t testing.TB) *apple {
	trusted, _ := makers(t)
	sum := sha256.Sum256([]byte(token))
	return &apple{
		maker: trusted, key: ecKey(t, elliptic.P384()).Public(), format: "apple",
		serial: []byte(serial), udid: []byte(udid), freshness: sum[:],
	}
}

func (a *apple) object(t testing.TB) []byte {
	t.Helper()
	var extensions []pkix.Extension
	for _, e := range []pkix.Extension{
		{Id: appleSerial, Value: a.serial},
		{Id: appleUDID, Value: a.udid},
		{Id: appleFreshness, Value: a.freshness},
	} {
		if e.Value != nil {
			extensions = append(extensions, e)
		}
	}
	template := leaf(extensions...)
	if a.change != nil {
		a.change(template)
	}
	chain := a.maker.chain(t, template, a.key)
	if a.chain != nil {
		chain = a.chain(chain)
	}
	return encode(t, a.format, map[string]any{"x5c": chain})
}

// step makes what the step tools answer for a YubiKey.
type step struct {
	maker     *maker
	key       crypto.Signer
	serial    []byte // DER
	signs     string
	change    func(*x509.Certificate)
	signature func([]byte) []byte
	chain     func([][]byte) [][]byte
}

func newStep(t testing.TB) *step {
	trusted, _ := makers(t)
	return &step{
		maker: trusted, key: ecKey(t, elliptic.P256()), serial: toDER(t, 12345678), signs: keyAuthorization,
		signature: func(raw []byte) []byte { return toCBOR(t, raw) },
	}
}

func (s *step) object(t testing.TB) []byte {
	t.Helper()
	template := leaf()
	if s.serial != nil {
		template.ExtraExtensions = []pkix.Extension{{Id: yubiKeySerial, Value: s.serial}}
	}
	if s.change != nil {
		s.change(template)
	}
	chain := s.maker.chain(t, template, s.key.Public())
	if s.chain != nil {
		chain = s.chain(chain)
	}
	return encode(t, "step", map[string]any{"x5c": chain, "sig": s.signature(sign(t, s.key, s.signs))})
}

// sign signs text with SHA-256, or as Ed25519 does.
func sign(t testing.TB, key crypto.Signer, text string) []byte {
	t.Helper()
	raw, err := crypto.SignMessage(key, rand.Reader, []byte(text), hashFor(key))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func hashFor(key crypto.Signer) crypto.Hash {
	switch key.(type) {
	case *ecdsa.PrivateKey, *rsa.PrivateKey:
		return crypto.SHA256
	}
	return 0
}
