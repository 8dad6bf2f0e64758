package attest_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver/internal/attest"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

// values are the identifiers of a device.
func values(d *attest.Device) (all []string) {
	for _, n := range d.Names {
		if n.Type != identity.PermanentIdentifier {
			return nil
		}
		all = append(all, n.Value)
	}
	return all
}

// proves demands that an object is good for the format, the key and the identifiers.
func proves(t *testing.T, object []byte, format string, key crypto.PublicKey, names ...string) {
	t.Helper()
	d, err := newVerifier(t).Verify(object, keyAuthorization, now)
	if err != nil {
		t.Errorf("%s: %v", format, err)
		return
	}
	if d.Format != format || !same(d.Key, key) || !slices.Equal(values(d), names) {
		t.Errorf("%s proves %q, %T for %v; want %q", format, d.Format, d.Key, d.Names, names)
	}
}

// refuses demands that an object is refused with a detail that says so.
func refuses(t *testing.T, what string, object []byte, says string) {
	t.Helper()
	d, err := newVerifier(t).Verify(object, keyAuthorization, now)
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || d != nil || f.Kind != fault.Invalid || f.Field != "attObj" || !strings.Contains(f.Detail, says) {
		t.Errorf("%s: %v, %v; want a refusal that says %q", what, d, err, says)
	}
	if ok && (strings.Contains(f.Detail, "%!") || len(f.Detail) > 300) {
		t.Errorf("%s: the detail is %q", what, f.Detail)
	}
}

func TestApple(t *testing.T) {
	a := newApple(t)
	proves(t, a.object(t), "apple", a.key, serial, udid)
	ofBoth := sha256.Sum256([]byte(keyAuthorization))
	a.freshness = ofBoth[:]
	proves(t, a.object(t), "apple", a.key, serial, udid)
	a.udid = nil
	proves(t, a.object(t), "apple", a.key, serial)
	a.serial, a.udid = nil, []byte(udid)
	proves(t, a.object(t), "apple", a.key, udid)
	a.serial, a.key = []byte("\x00\xff"), rsaKey(t, 2048).Public()
	proves(t, a.object(t), "apple", a.key, udid)

	other := sha256.Sum256([]byte(token + "x"))
	for _, bad := range []struct {
		what   string
		change func(*apple)
		says   string
	}{
		{"another challenge", func(a *apple) { a.freshness = other[:] }, "freshness code"},
		{"no freshness code", func(a *apple) { a.freshness = nil }, "freshness code"},
		{"empty freshness code", func(a *apple) { a.freshness = []byte{} }, "freshness code"},
		{"short freshness code", func(a *apple) { a.freshness = a.freshness[:16] }, "freshness code"},
		{"the token itself", func(a *apple) { a.freshness = []byte(token) }, "freshness code"},
		{"nobody", func(a *apple) { a.serial, a.udid = nil, nil }, "names no device"},
		{"an empty serial number", func(a *apple) { a.serial, a.udid = []byte{}, nil }, "names no device"},
		{"as another format", func(a *apple) { a.format = "step" }, "sig is not"},
	} {
		a := newApple(t)
		bad.change(a)
		refuses(t, bad.what, a.object(t), bad.says)
	}
}

func TestStep(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := newStep(t)
	for _, s.key = range []crypto.Signer{
		ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384()), rsaKey(t, 2048), ed,
	} {
		proves(t, s.object(t), "step", s.key.Public(), "12345678")
	}
	flip := func(raw []byte) []byte { raw[len(raw)-1] ^= 1; return toCBOR(t, raw) }
	for _, bad := range []struct {
		what   string
		change func(*step)
		says   string
	}{
		{"another challenge", func(s *step) { s.signs = "x" + keyAuthorization }, "not the attested key's"},
		{"the token alone", func(s *step) { s.signs = token }, "not the attested key's"},
		{"another account", func(s *step) { s.signs = token + ".x" }, "not the attested key's"},
		{"a wrong signature", func(s *step) { s.signature = flip }, "not the attested key's"},
		{"an empty signature", func(s *step) { s.signature = func([]byte) []byte { return nil } }, "sig is not"},
		{"a signature bare of CBOR", func(s *step) { s.signature = slices.Clone[[]byte] }, "sig is not"},
		{"a signature that is text", func(s *step) {
			s.signature = func([]byte) []byte { return toCBOR(t, "text") }
		}, "sig is not"},
		{"no serial number", func(s *step) { s.serial = nil }, "names no device"},
		{"a negative serial number", func(s *step) { s.serial = toDER(t, -1) }, "serial number"},
		{"a serial number that is text", func(s *step) { s.serial = toDER(t, "1") }, "serial number"},
		{"a serial number and more", func(s *step) { s.serial = append(s.serial, 5, 0) }, "serial number"},
		{"a huge serial number", func(s *step) { s.serial = []byte("\x02\x09\x01\x00\x00\x00\x00\x00\x00\x00\x00") }, "serial number"},
	} {
		s := newStep(t)
		bad.change(s)
		refuses(t, bad.what, s.object(t), bad.says)
	}
	// Another key's signature under the attested key's chain.
	s = newStep(t)
	object := encode(t, "step", map[string]any{
		"x5c": s.maker.chain(t, leaf(), ecKey(t, elliptic.P256()).Public()),
		"sig": toCBOR(t, sign(t, s.key, keyAuthorization)),
	})
	refuses(t, "another key", object, "not the attested key's")
}

// What the three formats have in common is refused in each.
func TestChains(t *testing.T) {
	trusted, stranger := makers(t)
	type change struct {
		template func(*x509.Certificate)
		chain    func([][]byte) [][]byte
		maker    *maker
	}
	objects := map[string]func(change) []byte{
		"apple": func(c change) []byte {
			a := newApple(t)
			a.change, a.chain, a.maker = c.template, c.chain, c.maker
			return a.object(t)
		},
		"step": func(c change) []byte {
			s := newStep(t)
			s.change, s.chain, s.maker = c.template, c.chain, c.maker
			return s.object(t)
		},
		"tpm": func(c change) []byte {
			f := newTPM(t)
			f.change, f.chain, f.maker = c.template, c.chain, c.maker
			return f.object(t)
		},
	}
	spare := certificate(t, leaf(), trusted.root, &rsaKey(t, 2048).PublicKey, trusted.rootKey)
	for what, bad := range map[string]struct {
		change
		says string
	}{
		"of another maker": {change{maker: stranger}, "does not lead"},
		"without the CA between": {change{maker: trusted, chain: func(c [][]byte) [][]byte {
			return c[:1]
		}}, "does not lead"},
		"with another CA between": {change{maker: trusted, chain: func(c [][]byte) [][]byte {
			return [][]byte{c[0], stranger.between.Raw, stranger.root.Raw}
		}}, "does not lead"},
		"the wrong way round": {change{maker: trusted, chain: func(c [][]byte) [][]byte {
			return [][]byte{c[1], c[0]}
		}}, ""},
		"that is over": {change{maker: trusted, template: func(c *x509.Certificate) {
			c.NotAfter = now.Add(-time.Second)
		}}, "not valid at 2026-11-24T12:00:00Z"},
		"that has not begun": {change{maker: trusted, template: func(c *x509.Certificate) {
			c.NotBefore = now.Add(time.Second)
		}}, "not valid at"},
		"of a CA": {change{maker: trusted, template: func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid = true, true
		}}, "CA's"},
		"with a critical extension": {change{maker: trusted, template: func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
				Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0},
			})
		}}, "does not lead"},
		"that is empty":   {change{maker: trusted, chain: func([][]byte) [][]byte { return nil }}, "0 certificates"},
		"that is garbage": {change{maker: trusted, chain: func([][]byte) [][]byte { return [][]byte{{0x30, 0x80}} }}, "cannot be read"},
		"with garbage": {change{maker: trusted, chain: func(c [][]byte) [][]byte {
			return append(c, []byte("garbage"))
		}}, "certificate 3 of its x5c cannot be read"},
		"that is long": {change{maker: trusted, chain: func(c [][]byte) [][]byte {
			return append(c, slices.Repeat([][]byte{spare.Raw}, 7)...)
		}}, "9 certificates"},
	} {
		for format, object := range objects {
			refuses(t, format+" with a chain "+what, object(bad.change), bad.says)
		}
	}
	// The root may come along.
	for format, object := range objects {
		withRoot := object(change{maker: trusted, chain: func(c [][]byte) [][]byte {
			return append(c, trusted.root.Raw)
		}})
		if _, err := newVerifier(t).Verify(withRoot, keyAuthorization, now); err != nil {
			t.Errorf("%s with the root in its chain: %v", format, err)
		}
	}
}

// never #29: nobody makes us verify under a key of any size.
func TestHugeKey(t *testing.T) {
	trusted, _ := makers(t)
	a := newApple(t)
	key := rsaKey(t, 2048).PublicKey
	key.N = new(big.Int).Lsh(key.N, 8192-2048+1)
	key.N.SetBit(key.N, 0, 1)
	a.chain = func(c [][]byte) [][]byte {
		return append(c, certificate(t, leaf(), trusted.root, &key, trusted.rootKey).Raw)
	}
	refuses(t, "an RSA key of 8193 bits", a.object(t), "more than 8192 bits")
}

// The clock decides, also about the CAs.
func TestTime(t *testing.T) {
	for _, at := range []time.Time{now.AddDate(30, 0, 0), now.AddDate(-30, 0, 0)} {
		if _, err := newVerifier(t).Verify(newApple(t).object(t), keyAuthorization, at); !fault.Is(err, fault.Invalid) {
			t.Errorf("at %s: %v", at, err)
		}
	}
}

func TestRoots(t *testing.T) {
	trusted, stranger := makers(t)
	v, err := attest.New(append([]byte("# Apple, Yubico\n"), rootsOf(stranger, trusted)...))
	if err != nil {
		t.Fatal(err)
	}
	a := newApple(t)
	for _, a.maker = range []*maker{trusted, stranger} {
		if _, err := v.Verify(a.object(t), keyAuthorization, now); err != nil {
			t.Error(err)
		}
	}
	good := string(rootsOf(trusted))
	noCA := certificate(t, leaf(), trusted.root, trusted.betweenKey.Public(), trusted.rootKey)
	for text, says := range map[string]string{
		"": "no PEM certificate", "roots": "no PEM certificate",
		good + good[:len(good)/2]:                              "block 2 is not complete",
		strings.Replace(good, "MII", "AAA", 1) + good:          "certificate 1",
		strings.ReplaceAll(good, "CERTIFICATE", "PRIVATE KEY"): `"PRIVATE KEY"`,
		string(rootsOf(trusted, &maker{root: noCA})):           "certificate 2 (CN=device) is not a CA's",
	} {
		if v, err := attest.New([]byte(text)); v != nil || err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60q…: %v; want it to say %q", text, err, says)
		}
	}
}

// One object can be read in one way only.
func TestObjects(t *testing.T) {
	good := newApple(t).object(t)
	statement := map[string]any{"x5c": [][]byte{}}
	many := map[string]any{}
	for i := range 17 {
		many[strconv.Itoa(i)] = i
	}
	for what, object := range map[string][]byte{
		"nothing": nil, "garbage": []byte("garbage"), "JSON": []byte("{}"), "a number": {1},
		"an array": toCBOR(t, []string{"fmt"}), "rubbish behind": append(slices.Clone(good), 0),
		"a tag":                append([]byte{0xd9, 0xd9, 0xf7}, good...),
		"an indefinite map":    slices.Concat([]byte{0xbf}, good[1:], []byte{0xff}),
		"fmt as a number":      toCBOR(t, map[string]any{"fmt": 1, "attStmt": statement}),
		"attStmt as text":      toCBOR(t, map[string]any{"fmt": "apple", "attStmt": "x"}),
		"x5c as text":          encode(t, "apple", map[string]any{"x5c": "x"}),
		"x5c of texts":         encode(t, "apple", map[string]any{"x5c": []string{"x"}}),
		"sig as text":          encode(t, "step", map[string]any{"x5c": [][]byte{}, "sig": "x"}),
		"alg as text":          encode(t, "tpm", map[string]any{"alg": "RS256"}),
		"a great number":       encode(t, "tpm", map[string]any{"alg": uint64(1 << 63)}),
		"fmt twice":            slices.Concat([]byte{0xa3}, toCBOR(t, "fmt"), toCBOR(t, "apple"), good[1:]),
		"an unknown key twice": slices.Concat([]byte{0xa4, 0x61, 'x', 1, 0x61, 'x', 2}, good[1:]),
		"deep":                 toCBOR(t, map[string]any{"fmt": "apple", "attStmt": statement, "x": [][][][]int{{{{1}}}}}),
		"many members":         encode(t, "apple", many),
	} {
		refuses(t, what, object, "not a WebAuthn attestation object")
	}
	for what, object := range map[string][]byte{
		"no format":              toCBOR(t, map[string]any{"attStmt": statement}),
		"the format in capitals": toCBOR(t, map[string]any{"FMT": "apple", "attStmt": statement}),
		"another format":         encode(t, "packed", statement),
		"a long format":          encode(t, strings.Repeat("x\n", 5000), statement),
	} {
		refuses(t, what, object, "is not supported")
	}
	refuses(t, "an empty map", []byte{0xa0}, "is not supported")
	refuses(t, "null", []byte{0xf6}, "is not supported")
	refuses(t, "no statement", toCBOR(t, map[string]any{"fmt": "apple"}), "0 certificates")
	large := toCBOR(t, map[string]any{"fmt": "apple", "attStmt": statement, "authData": make([]byte, 64<<10)})
	refuses(t, "a large object", large, "at most 65536")
	// The draft: authData means nothing, and what is not known is ignored.
	a := newApple(t)
	chain := a.maker.chain(t, leaf(
		pkix.Extension{Id: appleSerial, Value: a.serial},
		pkix.Extension{Id: appleFreshness, Value: a.freshness},
	), a.key)
	proves(t, toCBOR(t, map[string]any{
		"fmt": "apple", "authData": []byte("x"), "extra": 1,
		"attStmt": map[string]any{"x5c": chain, "receipt": "y"},
	}), "apple", a.key, serial)
}

// No part of an attestation is idle: cut short or with one bit turned it is refused, or proves the
// same (an ECDSA signature or a length may be written in another way).
func TestEveryPartCounts(t *testing.T) {
	v := newVerifier(t)
	f := newTPM(t)
	f.ak = ecKey(t, elliptic.P256())
	f.alg = -7
	for format, object := range map[string][]byte{
		"apple": newApple(t).object(t), "step": newStep(t).object(t), "tpm": f.object(t),
	} {
		want, err := v.Verify(object, keyAuthorization, now)
		if err != nil {
			t.Fatal(err)
		}
		for i := range object {
			if d, err := v.Verify(object[:i], keyAuthorization, now); d != nil || !fault.Is(err, fault.Invalid) {
				t.Errorf("%s cut at %d: %v, %v", format, i, d, err)
			}
			if i%3 != 0 {
				continue // a third of them are enough, and each costs a verification
			}
			turned := slices.Clone(object)
			turned[i] ^= 1 << (i / 3 % 8)
			d, err := v.Verify(turned, keyAuthorization, now)
			if err == nil && (!same(d.Key, want.Key) || !slices.Equal(d.Names, want.Names)) {
				t.Errorf("%s with octet %d turned proves %v", format, i, d)
			}
			if err != nil && !fault.Is(err, fault.Invalid) {
				t.Errorf("%s with octet %d turned: %v", format, i, err)
			}
		}
	}
}

// never #4: hostile attestations are refused, and nothing else.
func FuzzVerify(f *testing.F) {
	v := newVerifier(f)
	ec := newTPM(f)
	ec.ak, ec.alg, ec.key = ecKey(f, elliptic.P384()), -35, rsaKey(f, 2048).Public()
	ec.extraData = hash(crypto.SHA384, []byte(keyAuthorization))
	for _, object := range [][]byte{
		newApple(f).object(f), newStep(f).object(f), newTPM(f).object(f), ec.object(f), {0xa0}, nil,
	} {
		f.Add(object)
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		d, err := v.Verify(object, keyAuthorization, now)
		if err != nil && (d != nil || !fault.Is(err, fault.Invalid)) {
			t.Errorf("%v, %v", d, err)
		}
		if err == nil && (d.Key == nil || len(d.Names) == 0) {
			t.Errorf("it proves %v", d)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	v := newVerifier(b)
	for format, object := range map[string][]byte{
		"apple": newApple(b).object(b), "step": newStep(b).object(b), "tpm": newTPM(b).object(b),
	} {
		b.Run(format, func(b *testing.B) {
			for b.Loop() {
				if _, err := v.Verify(object, keyAuthorization, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
