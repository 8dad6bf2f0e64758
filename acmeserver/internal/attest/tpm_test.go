package attest_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"testing"

	"github.com/mayflyca/mayfly/acmeserver/internal/attest"
	"github.com/mayflyca/mayfly/fault"
)

func TestTPM(t *testing.T) {
	for alg, ak := range map[int64]crypto.Signer{
		-257: rsaKey(t, 2048), -7: ecKey(t, elliptic.P256()), -35: ecKey(t, elliptic.P384()),
	} {
		for _, key := range []crypto.PublicKey{
			rsaKey(t, 3072).Public(), ecKey(t, elliptic.P256()).Public(), ecKey(t, elliptic.P384()).Public(),
			ecKey(t, elliptic.P521()).Public(),
		} {
			for _, nameAlg := range []uint16{tpmSHA256, tpmSHA384, tpmSHA512} {
				f := newTPM(t)
				f.alg, f.ak, f.key, f.nameAlg = alg, ak, key, nameAlg
				f.extraData = hash(hashes[alg], []byte(keyAuthorization))
				proves(t, f.object(t), "tpm", key, "TPM-0001")
			}
		}
	}
}

func TestTPMNames(t *testing.T) {
	make := tpmName(t, manufacturer, model, version)
	for _, good := range []struct {
		names []asn1.RawValue
		want  []string
	}{
		{[]asn1.RawValue{hardwareModule(t, []byte("HW-1")), make}, []string{"HW-1"}},
		{[]asn1.RawValue{permanentIdentifier(t, "A1"), make, hardwareModule(t, []byte("B2"))}, []string{"A1", "B2"}},
		{[]asn1.RawValue{make, hardwareModule(t, []byte{0, 255}), permanentIdentifier(t, "A1")}, []string{"A1"}},
		{[]asn1.RawValue{make, permanentIdentifier(t, "a/1.2"), permanentIdentifier(t, "A1")}, []string{"A1"}},
		{[]asn1.RawValue{make, otherName(t, asn1.ObjectIdentifier{1, 2, 3}, "x"), permanentIdentifier(t, "A1")}, []string{"A1"}},
		{[]asn1.RawValue{make, otherName(t, permanentOID, struct {
			Value    string `asn1:"utf8"`
			Assigner asn1.ObjectIdentifier
		}{"A1", asn1.ObjectIdentifier{1, 2, 3}})}, []string{"A1"}},
		{[]asn1.RawValue{make, tpmName(t, model), permanentIdentifier(t, "A1")}, []string{"A1"}},
		{[]asn1.RawValue{make, {Class: 2, Tag: 2, Bytes: []byte("a.b")}, permanentIdentifier(t, "A1")}, []string{"A1"}},
	} {
		f := newTPM(t)
		f.names = good.names
		proves(t, f.object(t), "tpm", f.key, good.want...)
	}
	wrong := func(inner ...byte) asn1.RawValue { return general(0, inner) }
	behind := permanentIdentifier(t, "A1")
	behind.Bytes = append(behind.Bytes, 5, 0)
	for what, bad := range map[string]struct {
		names []asn1.RawValue
		says  string
	}{
		"no identifier":                 {[]asn1.RawValue{make}, "names no device"},
		"an assigner only":              {[]asn1.RawValue{make, otherName(t, permanentOID, []asn1.ObjectIdentifier{{1, 2, 3}})}, "names no device"},
		"an empty identifier":           {[]asn1.RawValue{make, permanentIdentifier(t, "")}, "names no device"},
		"no make":                       {[]asn1.RawValue{permanentIdentifier(t, "A1")}, "manufacturer"},
		"no manufacturer":               {[]asn1.RawValue{permanentIdentifier(t, "A1"), tpmName(t, model, version)}, "manufacturer"},
		"no model":                      {[]asn1.RawValue{permanentIdentifier(t, "A1"), tpmName(t, manufacturer, version)}, "manufacturer"},
		"no version":                    {[]asn1.RawValue{permanentIdentifier(t, "A1"), tpmName(t, manufacturer, model)}, "manufacturer"},
		"a make in two parts":           {[]asn1.RawValue{permanentIdentifier(t, "A1"), tpmName(t, manufacturer, model), tpmName(t, version)}, "manufacturer"},
		"a make of garbage":             {[]asn1.RawValue{permanentIdentifier(t, "A1"), general(4, []byte{4, 0})}, "manufacturer"},
		"an empty other name":           {[]asn1.RawValue{make, wrong()}, "cannot be read"},
		"an other name without a value": {[]asn1.RawValue{make, wrong(toDER(t, permanentOID)...)}, "cannot be read"},
		"an other name and more":        {[]asn1.RawValue{make, behind}, "cannot be read"},
		"an identifier in no list":      {[]asn1.RawValue{make, otherName(t, permanentOID, utf8String("A1"))}, "cannot be read"},
		"an identifier and more":        {[]asn1.RawValue{make, otherName(t, permanentOID, []asn1.RawValue{utf8String("A1"), utf8String("A2")})}, "cannot be read"},
		"a module without its type":     {[]asn1.RawValue{make, otherName(t, hardwareOID, [][]byte{[]byte("A1")})}, "cannot be read"},
	} {
		f := newTPM(t)
		f.names = bad.names
		refuses(t, what, f.object(t), bad.says)
	}
}

func TestTPMRefusals(t *testing.T) {
	replace := func(old, new []byte) func([]byte) []byte {
		return func(octets []byte) []byte {
			if !bytes.Contains(octets, old) {
				t.Errorf("%x is not in %x", old, octets)
			}
			return bytes.Replace(slices.Clone(octets), old, new, 1)
		}
	}
	cut := func(octets []byte) []byte { return octets[:len(octets)-1] }
	more := func(octets []byte) []byte { return append(slices.Clone(octets), 0) }
	elsewhere := newTPM(t)
	for _, bad := range []struct {
		what   string
		change func(*tpm)
		says   string
	}{
		{"TPM 1.2", func(f *tpm) { f.ver = "1.2" }, `ver is "1.2"`},
		{"no version", func(f *tpm) { f.ver = "" }, "ver is"},
		{"SHA-1", func(f *tpm) { f.alg = -65535 }, "alg -65535 is not accepted"}, // never #27
		{"no algorithm", func(f *tpm) { f.alg = 0 }, "alg 0 is not accepted"},
		{"another algorithm", func(f *tpm) { f.alg = -7 }, "not a TPMT_SIGNATURE"},
		{"another hash", func(f *tpm) { f.sig = replace(be(uint16(tpmSHA256)), be(uint16(tpmSHA384))) }, "not a TPMT_SIGNATURE"},
		{"another scheme", func(f *tpm) { f.sig = replace(be(uint16(tpmRSASSA)), be(uint16(0x0016))) }, "not a TPMT_SIGNATURE"},
		{"a bare signature", func(f *tpm) { f.sig = func(s []byte) []byte { return s[6:] } }, "not a TPMT_SIGNATURE"},
		{"a short signature", func(f *tpm) { f.sig = cut }, "not a TPMT_SIGNATURE"},
		{"a long signature", func(f *tpm) { f.sig = more }, "not a TPMT_SIGNATURE"},
		{"no signature", func(f *tpm) { f.sig = func([]byte) []byte { return nil } }, "not a TPMT_SIGNATURE"},
		{"a wrong signature", func(f *tpm) {
			f.sig = func(s []byte) []byte { s[len(s)-1] ^= 1; return s }
		}, "not the attestation key's"},
		{"another attestation key", func(f *tpm) {
			f.chain = func([][]byte) [][]byte { g := newTPM(t); g.ak = rsaKey(t, 3072); return g.x5c(t) }
		}, "not the attestation key's"},
		{"wrong magic", func(f *tpm) { f.magic = 0xFF544346 }, "TPM_GENERATED_VALUE"},
		{"a quote", func(f *tpm) { f.kind = 0x8018 }, "TPM_ST_ATTEST_CERTIFY"},
		{"empty certInfo", func(f *tpm) { f.info = func([]byte) []byte { return nil } }, "TPM_GENERATED_VALUE"},
		{"certInfo of a type only", func(f *tpm) { f.info = func(c []byte) []byte { return c[:6] } }, "whole TPMS_ATTEST"},
		{"short certInfo", func(f *tpm) { f.info = cut }, "whole TPMS_ATTEST"},
		{"long certInfo", func(f *tpm) { f.info = more }, "whole TPMS_ATTEST"},
		{"another challenge", func(f *tpm) { f.extraData = hash(crypto.SHA256, []byte("x")) }, "extraData"},
		{"the token alone", func(f *tpm) { f.extraData = hash(crypto.SHA256, []byte(token)) }, "extraData"},
		{"no challenge", func(f *tpm) { f.extraData = nil }, "extraData"},
		{"the challenge under another hash", func(f *tpm) {
			f.extraData = hash(crypto.SHA384, []byte(keyAuthorization))
		}, "extraData"},
		{"another key", func(f *tpm) { f.public = func([]byte) []byte { return elsewhere.pubArea() } }, "another key"},
		{"other attributes than certified", func(f *tpm) {
			f.attributes &^= fixedTPM
			f.public = replace(be(f.attributes), be(f.attributes|fixedTPM))
		}, "another key"},
		{"a name by SHA-1", func(f *tpm) { f.nameAlg = tpmSHA1 }, "nameAlg 0x0004"},
		{"a key that leaves", func(f *tpm) { f.attributes &^= fixedTPM }, "another TPM"},
		{"a key that leaves with its parent", func(f *tpm) { f.attributes &^= fixedParent }, "another TPM"},
		{"a key from outside", func(f *tpm) { f.attributes &^= dataOrigin }, "not made in the TPM"},
		{"a restricted key", func(f *tpm) { f.attributes |= restricted }, "restricted"},
		{"a storage key", func(f *tpm) { f.symmetric = tpmAES }, "not of an RSA or ECC key"},
		{"empty pubArea", func(f *tpm) { f.public = func([]byte) []byte { return nil } }, "whole TPMT_PUBLIC"},
		{"short pubArea", func(f *tpm) { f.public = cut }, "not of an RSA or ECC key"},
		{"long pubArea", func(f *tpm) { f.public = more }, "not of an RSA or ECC key"},
		{"a keyed hash", func(f *tpm) { f.public = replace(be(uint16(tpmECC)), be(uint16(0x0008))) }, "not of an RSA or ECC key"},
		{"P-224", func(f *tpm) { f.key = ecKey(t, elliptic.P224()).Public() }, "not of an RSA or ECC key"},
		{"a point beside the curve", func(f *tpm) {
			f.public = func(p []byte) []byte { p[len(p)-1] ^= 1; return p }
		}, "not of an RSA or ECC key"},
		{"a subject", func(f *tpm) {
			f.change = func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "x"} }
		}, "not an attestation key's"},
		{"another key usage", func(f *tpm) {
			f.change = func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }
		}, "not an attestation key's"},
		{"no key usage", func(f *tpm) {
			f.change = func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }
		}, "not an attestation key's"},
		{"no names", func(f *tpm) { f.nameless = true }, "no subjectAltName"},
	} {
		f := newTPM(t)
		bad.change(f)
		refuses(t, bad.what, f.object(t), bad.says)
	}
}

// The parts of a point and of a signature may lack their leading zeros.
func TestShortNumbers(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	for point, _ := key.PublicKey.Bytes(); point[1] != 0; point, _ = key.PublicKey.Bytes() {
		key = ecKey(t, elliptic.P256())
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	area := be(uint16(tpmECC), uint16(tpmSHA256), uint32(0), sized(nil), uint16(tpmNull), uint16(tpmECDSA), uint16(tpmSHA256),
		uint16(3), uint16(tpmNull), sized(bytes.TrimLeft(point[1:33], "\x00")), sized(point[33:]))
	got, err := attest.ReadPublic(area)
	if err != nil || !same(got, key.Public()) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := attest.ReadPublic(slices.Concat(area[:len(area)-34], sized(append([]byte{0}, point[33:]...)))); err == nil {
		t.Error("a coordinate of 33 octets is accepted")
	}
	long := bytes.Repeat([]byte{1}, 100)
	for what, area := range map[string][]byte{
		"coordinates of 100 octets": be(uint16(tpmECC), uint16(tpmSHA256), uint32(0), sized(nil), uint16(tpmNull),
			uint16(tpmNull), uint16(3), uint16(tpmNull), sized(long), sized(long)),
		"a key with a derivation": be(uint16(tpmECC), uint16(tpmSHA256), uint32(0), sized(nil), uint16(tpmNull),
			uint16(tpmNull), uint16(3), uint16(0x0020), sized(point[1:33]), sized(point[33:])),
		"an RSA key of another size": be(uint16(tpmRSA), uint16(tpmSHA256), uint32(0), sized(nil), uint16(tpmNull),
			uint16(tpmNull), uint16(2048), uint32(0), sized(small(12345))),
		"an RSA key of 16384 bits": be(uint16(tpmRSA), uint16(tpmSHA256), uint32(0), sized(nil), uint16(tpmNull),
			uint16(tpmNull), uint16(16384), uint32(0), sized(bytes.Repeat([]byte{255}, 2048))),
		"an RSA key of a great exponent": be(uint16(tpmRSA), uint16(tpmSHA256), uint32(0), sized(nil), uint16(tpmNull),
			uint16(tpmNull), uint16(14), uint32(1<<31), sized(small(12345))),
		"an RSA key with another scheme": be(uint16(tpmRSA), uint16(tpmSHA256), uint32(0), sized(nil), uint16(tpmNull),
			uint16(0x0017), uint16(tpmSHA256), uint16(14), uint32(0), sized(small(12345))),
	} {
		if key, err := attest.ReadPublic(area); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, %v", what, key, err)
		}
	}
}

// never #4: what pretends to be of a TPM is read or refused, and nothing else.
func FuzzStructures(f *testing.F) {
	for _, key := range []crypto.PublicKey{rsaKey(f, 2048).Public(), ecKey(f, elliptic.P521()).Public()} {
		tpm := newTPM(f)
		tpm.key = key
		f.Add(tpm.pubArea())
	}
	f.Add(newTPM(f).signature(f, []byte("x")))
	f.Add(be(uint32(0xFF544347), uint16(0x8017), sized([]byte("s")), sized([]byte("e")), make([]byte, 25), sized(nil), sized(nil)))
	f.Add(toDER(f, newTPM(f).names))
	f.Fuzz(func(t *testing.T, octets []byte) {
		for what, err := range attest.ReadAll(octets) {
			if err != nil && !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}
