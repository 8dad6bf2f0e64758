package lint_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/mayflyca/mayfly/identity"
)

// mutation changes the content of a draft and leaves its shape, or makes it one that read refuses.
type mutation struct {
	name       string
	change     func(*tbs)
	isOtherEra bool // notBefore is at a time when other lints were in force
}

func raw(tag int, text string) asn1.RawValue { return asn1.RawValue{Tag: tag, Bytes: []byte(text)} }

const (
	utf8String, printable, teletex, ia5, bmp = 12, 19, 20, 22, 30
	utc, generalized                         = 23, 24
)

// mutations is every way we know of to get content wrong or unusual, field by field.
func mutations(t *testing.T) []mutation {
	var list []mutation
	add := func(name string, change func(*tbs)) { list = append(list, mutation{name: name, change: change}) }
	for name, octets := range map[string]string{
		"negative": "\x81\x02\x03\x04\x05\x06\x07\x08\x01\x02\x03\x04\x05\x06\x07\x08", "zero": "\x00",
		"of 21 octets": "\x01" + strings.Repeat("\x02", 20), "of 1 octet": "\x05",
		"of 20 octets": strings.Repeat("\x02", 20), "padded": "\x00" + strings.Repeat("\x02", 15),
	} {
		add("serial "+name, func(c *tbs) { c.Serial = raw(2, octets) })
	}
	for name, v := range map[string][2]asn1.RawValue{
		"reversed":              {raw(utc, "261125120000Z"), raw(utc, "261124120000Z")},
		"longer than 24 h":      {raw(utc, "261124120000Z"), raw(utc, "261125120000Z")},
		"without seconds":       {raw(utc, "2611241200Z"), raw(utc, "261125115959Z")},
		"until without seconds": {raw(utc, "261124120000Z"), raw(utc, "2611251159Z")},
		"with an offset":        {raw(utc, "261124120000+0100"), raw(utc, "261125115959Z")},
		"generalized 2026":      {raw(generalized, "20261124120000Z"), raw(generalized, "20261125115959Z")},
		"generalized fraction":  {raw(generalized, "20601124120000.5Z"), raw(generalized, "20601125115959Z")},
		"generalized .0":        {raw(generalized, "20601124120000.0Z"), raw(generalized, "20601125115959Z")},
		"generalized minutes":   {raw(generalized, "206011241200Z"), raw(generalized, "20601125115959Z")},
		"generalized offset":    {raw(generalized, "20601124120000+0100"), raw(generalized, "20601125115959Z")},
		"with a fraction":       {raw(utc, "261124120000.5Z"), raw(utc, "261125115959Z")},
		"utc 2049 into 2050":    {raw(utc, "491231120000Z"), raw(utc, "500101115959Z")},
		"no times":              {raw(ia5, "261124120000Z"), raw(ia5, "261125115959Z")},
		"30 February":           {raw(utc, "270230120000Z"), raw(utc, "270301115959Z")},
		"generalized 2060":      {raw(generalized, "20601124120000Z"), raw(generalized, "20601125115959Z")},
	} {
		add("validity "+name, func(c *tbs) { c.Validity.NotBefore, c.Validity.NotAfter = v[0], v[1] })
	}
	add("validity in 1988", func(c *tbs) {
		c.Validity.NotBefore, c.Validity.NotAfter = raw(utc, "880101000000Z"), raw(utc, "880101235959Z")
	})
	list[len(list)-1].isOtherEra = true
	list = append(list, subjects(t)...)
	list = append(list, badNames(t)...)
	return append(list, badKeys(t)...)
}

// subjects has common names that are none of ours, and every other attribute with a hostile value.
func subjects(t *testing.T) []mutation {
	subject := func(set ...pkix.AttributeTypeAndValue) func(*tbs) {
		return func(c *tbs) {
			c.Subject = asn1.RawValue{FullBytes: marshal(t, pkix.RDNSequence{set})}
		}
	}
	attribute := func(oid asn1.ObjectIdentifier, value asn1.RawValue) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: oid, Value: value}
	}
	cn := asn1.ObjectIdentifier{2, 5, 4, 3}
	var list []mutation
	for name, value := range map[string]asn1.RawValue{
		"that is no name": raw(utf8String, "other.example.internal"), "ending in a space": raw(utf8String, "a.b "),
		"starting with a space": raw(utf8String, " a.b"), "with HTML": raw(utf8String, "a&amp;b"),
		"with mixed-up umlaut": raw(utf8String, "Ã¤.b"), "with replacement character": raw(utf8String, "a\uFFFD"),
		"with control character": raw(utf8String, "a\x01"), "with NUL": raw(utf8String, "web.example.internal\x00"),
		"of 65 octets": raw(utf8String, strings.Repeat("a", 65)), "that is empty": raw(utf8String, ""),
		"not printable": raw(printable, "*.example.internal"), "not UTF-8": raw(utf8String, "a\xff\xfe"),
		"BMP": raw(bmp, "\x00a\x00b"), "teletex": raw(teletex, "web.example.internal"), "redacted": raw(utf8String, "?.b.c"),
	} {
		list = append(list, mutation{name: "common name " + name, change: subject(attribute(cn, value))})
	}
	list = append(list, mutation{name: "two common names at once", change: subject(
		attribute(cn, raw(utf8String, "web.example.internal")), attribute(cn, raw(utf8String, "a.b")))},
		mutation{name: "no subject", change: func(c *tbs) { c.Subject = asn1.RawValue{FullBytes: []byte{0x30, 0}} }},
		mutation{name: "subject that is no name", change: func(c *tbs) { c.Subject = raw(utf8String, "a") }})
	for _, last := range []int{4, 5, 6, 7, 8, 9, 10, 11, 12, 17, 42} {
		for name, value := range map[string]asn1.RawValue{
			"long": raw(utf8String, strings.Repeat("ß", 40_000)), "odd": raw(teletex, "a,b: (c) "),
			"short": raw(printable, "de"), "medium": raw(utf8String, strings.Repeat("a", 50)),
		} {
			oid := asn1.ObjectIdentifier{2, 5, 4, last}
			list = append(list, mutation{name: fmt.Sprintf("attribute %s, %s", oid, name), change: subject(attribute(oid, value))})
		}
	}
	email := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	for _, value := range []string{"ann@example.internal", strings.Repeat("a", 300) + "@b.c"} {
		list = append(list, mutation{name: "email attribute", change: subject(attribute(email, raw(ia5, value)))})
	}
	return list
}

func badNames(t *testing.T) []mutation {
	var list []mutation
	one := func(kind identity.NameType, values ...string) {
		for _, v := range values {
			list = append(list, mutation{name: fmt.Sprintf("%s %.40q", kind, v), change: func(c *tbs) {
				list := slices.Clone(everyType)
				list[slices.IndexFunc(list, func(n identity.Name) bool { return n.Type == kind })].Value = v
				c.extension(oidSAN).Value = names(t, list...)
			}})
		}
	}
	one(identity.DNS, "", " ", ".", "a..b", ".a.b", "a.b.", "*", "a.*", "a.*.b.c", "*a.b.c", "a_b.example.com",
		"x.a_b.com", "a.-b.com", "a.b-.com", "A.b.c", "a b.c", "web.example.internal\x00.evil", "ä.b", "com", "?.a.com",
		"xn--a.b", "xn--e-iga.com", "xn--e-xbb.b", "xn--\x80.b", "xn--abc-.com", "1.2.3.4", "a@b.c", "ab--c.d",
		"xn--fsqu00a.xn--99zzzz", strings.Repeat("a", 64)+".b", strings.Repeat("abcdefg.", 32)+"b")
	one(identity.Email, "", "<a@b.c>", "a b@c.d", "a@b.c (x)", "ä@b.c", "a", "a@B.c", "a\x00@b.c", "@b.c")
	one(identity.URI, "", "relative/path", "http:", "http:///p", "http://local/x", "spiffe://a_b/x", "http://ä.b/",
		"http://u@a.b.c/", "://", "http://a.b:x/", "http://[::1]/", "HTTP://a.b/", "http://a.b/%zz", "spiffe://td/ns", "http://1.2.3.4/x")
	one(identity.PermanentIdentifier, "", " ", "A/1.2.3", "a\x00b", "A\n", "ä", "\xff", "a&amp;b", "<b>", "*", "?.a",
		strings.Repeat("A", 129))
	one(identity.IP, "", "12345", "123456789012345678901234567890123", "::ffff:1.2.3.4")
	context := func(tag int, octets string) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(octets)}
	}
	other := func(oid asn1.ObjectIdentifier, value any) asn1.RawValue {
		return asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: otherName(t, oid, value)}
	}
	several := func(name string, values ...asn1.RawValue) {
		list = append(list, mutation{name: name, change: func(c *tbs) {
			c.extension(oidSAN).Value = marshal(t, append(values, context(7, "\x0a\x01\x02\x03"),
				context(6, "urn:a:b"), context(1, "ann@example.internal"),
				other(permanentIdentifier, []asn1.RawValue{raw(utf8String, "A0")})))
		}})
	}
	list = append(list, mutation{name: "no names", change: func(c *tbs) {
		c.extension(oidSAN).Value = []byte{0x30, 0}
	}})
	several("a name twice", context(2, "a.b.c"), context(2, "a.b.c"))
	several("a name twice in two cases", context(2, "a.b.c"), context(2, "A.b.c"))
	several("good and bad", context(2, "a.b.c"), context(2, "a_b.c.d"), context(2, "d.e.f"))
	several("registered ID", context(2, "a.b.c"), context(8, "\x2a\x03"))
	several("other name", asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: []byte("\x06\x02\x2a\x03\xa0\x02\x0c\x00")})
	utf8 := raw(utf8String, "A1")
	several("permanent identifier of another kind", other(asn1.ObjectIdentifier{1, 2, 3}, []asn1.RawValue{utf8}))
	several("permanent identifier in another string", other(permanentIdentifier, []asn1.RawValue{raw(ia5, "A1")}))
	several("permanent identifier without a list", other(permanentIdentifier, utf8))
	several("permanent identifier without a value", other(permanentIdentifier, []asn1.RawValue{}))
	several("permanent identifier with an assigner", other(permanentIdentifier,
		[]asn1.RawValue{utf8, raw(6, "\x2a\x03")}))
	rubbish := other(permanentIdentifier, []asn1.RawValue{utf8})
	rubbish.Bytes = append(rubbish.Bytes, 5, 0)
	several("permanent identifier with rubbish behind", rubbish)
	several("directory name", asn1.RawValue{Class: 2, Tag: 4, IsCompound: true, Bytes: []byte{0x30, 0}})
	list = append(list,
		mutation{name: "names that are no list", change: func(c *tbs) { c.extension(oidSAN).Value = []byte("\x04\x01a") }},
		mutation{name: "names with rubbish behind", change: func(c *tbs) {
			c.extension(oidSAN).Value = append(slices.Clone(c.extension(oidSAN).Value), 5, 0)
		}},
		mutation{name: "empty extension", change: func(c *tbs) { c.extension(oidSAN).Value = nil }},
	)
	return list
}

func badKeys(t *testing.T) []mutation {
	var list []mutation
	add := func(name string, spki []byte) {
		list = append(list, mutation{name: name, change: func(c *tbs) { c.setKey(t, spki) }})
	}
	spki := func(key any) []byte {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for _, d := range []int64{1, 2, 255, 8193, 16384, 65535, 65536} {
		for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
			scalar := big.NewInt(d).FillBytes(make([]byte, (curve.Params().N.BitLen()+7)/8))
			key, err := ecdsa.ParseRawPrivateKey(curve, scalar)
			if err != nil {
				t.Fatal(err)
			}
			add(fmt.Sprintf("%s private key %d", curve.Params().Name, d), spki(key.Public()))
		}
	}
	point := spki(newKey(t, "P-256"))
	point[len(point)-1] ^= 1
	add("point beside the curve", point)
	rsa := func(n *big.Int, e int64) []byte {
		return marshal(t, struct {
			Algorithm pkix.AlgorithmIdentifier
			Key       asn1.BitString
		}{
			pkix.AlgorithmIdentifier{
				Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, Parameters: asn1.NullRawValue,
			},
			asn1.BitString{Bytes: marshal(t, struct {
				N *big.Int
				E int64
			}{n, e})},
		})
	}
	modulus := func(bits uint) *big.Int { // of two primes next to each other
		p := new(big.Int).Lsh(big.NewInt(3), bits/2-2)
		p = nextPrime(p)
		return new(big.Int).Mul(p, nextPrime(new(big.Int).Add(p, big.NewInt(2))))
	}
	add("RSA with close primes", rsa(modulus(2048), 65537))
	n := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 2048), big.NewInt(1942289))
	add("RSA e=1", rsa(n, 1))
	add("RSA e<0", rsa(n, -3))
	add("RSA e even", rsa(n, 65536))
	add("RSA modulus even", rsa(new(big.Int).Lsh(big.NewInt(3), 2046), 65537))
	add("RSA modulus negative", rsa(new(big.Int).Neg(n), 65537))
	add("RSA-1024", rsa(new(big.Int).Rsh(n, 1024), 65537))
	add("RSA of no bits", rsa(new(big.Int), 65537))
	list = append(list,
		mutation{name: "no key", change: func(c *tbs) { c.SPKI = asn1.RawValue{FullBytes: []byte{0x30, 0}} }},
		mutation{name: "identifier of another key", change: func(c *tbs) {
			c.extension(oidSKI).Value = marshal(t, make([]byte, 20))
		}},
		mutation{name: "empty identifier", change: func(c *tbs) { c.extension(oidSKI).Value = marshal(t, []byte{}) }},
		mutation{name: "identifier that is no octets", change: func(c *tbs) { c.extension(oidSKI).Value = []byte{5, 0} }},
	)
	return list
}

func nextPrime(n *big.Int) *big.Int {
	n = new(big.Int).Or(n, big.NewInt(1))
	for !n.ProbablyPrime(20) {
		n.Add(n, big.NewInt(2))
	}
	return n
}
