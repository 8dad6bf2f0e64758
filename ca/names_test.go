package ca_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
	"testing"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/ca/internal/lint"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

// serialA1 is a subjectAltName with the permanent identifier "A1" (RFC 4043 section 2), octet by
// octet.
const serialA1 = "\x30\x14\xa0\x12\x06\x08\x2b\x06\x01\x05\x05\x07\x08\x03\xa0\x06\x30\x04\x0c\x02A1"

// rename gives serialA1 with other octets at the end, and the lengths around them right.
func rename(identifier string) string {
	value := "\xa0" + string(rune(len(identifier))) + identifier
	name := "\x06\x08\x2b\x06\x01\x05\x05\x07\x08\x03" + value
	return "\x30" + string(rune(len(name)+2)) + "\xa0" + string(rune(len(name))) + name
}

func device(value string) identity.Name {
	return identity.Name{Type: identity.PermanentIdentifier, Value: value}
}

func TestPermanentIdentifierDER(t *testing.T) {
	if rename("\x30\x04\x0c\x02A1") != serialA1 {
		t.Fatalf("the test builds %x", rename("\x30\x04\x0c\x02A1"))
	}
	names, err := ca.ReadNames([]byte(serialA1))
	if err != nil || !slices.Equal(names, []identity.Name{device("A1")}) {
		t.Errorf("read %v: %v", names, err)
	}
	der, err := ca.WriteNames([]identity.Name{device("A1")})
	if err != nil || string(der) != serialA1 {
		t.Errorf("wrote %x: %v", der, err)
	}
	for _, bad := range []string{
		rename("\x30\x00"),                           // no value
		rename("\x0c\x02A1"),                         // no list
		rename("\x30\x04\x16\x02A1"),                 // an IA5String
		rename("\x30\x08\x0c\x02A1\x06\x02\x2a\x03"), // an assigner
		rename("\x30\x04\x06\x02\x2a\x03"),           // an assigner alone
		rename("\x30\x04\x0c\x02A1\x05\x00"),         // something behind
		rename("\x30\x02\x0c\x00"),                   // an empty value
		rename("\x30\x04\x0c\x02A/"),
		rename("\x30\x04\x0c\x02A\x00"),
		strings.Replace(serialA1, "\x08\x03", "\x08\x04", 1), // a hardware module's name
		"\x30\x02\xa0\x00",
		"\x30\x16\xa0\x14" + serialA1[4:] + "\x05\x00", // something behind the value
		rename("\x30\x04\x0c\x02A1\x05\x00"),
		serialA1[:len(serialA1)-1],
	} {
		if names, err := ca.ReadNames([]byte(bad)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%x: read %v: %v", bad, names, err)
		}
	}
}

// What can be read is written the same way again, and reads the same.
func FuzzNames(f *testing.F) {
	f.Add([]byte(serialA1))
	f.Add([]byte("\x30\x0e\x82\x06a.b.cd\x87\x04\x0a\x01\x02\x03"))
	f.Add([]byte("\x30\x0a\x86\x03a:b\x81\x03a@b"))
	f.Fuzz(func(t *testing.T, der []byte) {
		names, err := ca.ReadNames(der)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("got %v, want it to be invalid", err)
			}
			return
		}
		written, err := ca.WriteNames(names)
		if err != nil {
			t.Fatalf("%v: %v", names, err)
		}
		again, err := ca.ReadNames(written)
		if err != nil || !slices.Equal(again, names) {
			t.Errorf("%v became %v: %v", names, again, err)
		}
	})
}

// A device's certificate is for its identifier whether the CSR repeats it or not, and has it for a
// common name, so that the names need not be critical: verifiers who read no otherName, such as Go's,
// take the certificate all the same.
func TestPermanentIdentifier(t *testing.T) {
	c, _, clock := newCA(t)
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(parse(t, c.Issuers()[0].Certificate))
	between.AddCert(parse(t, c.Issuers()[1].Certificate))
	key := catest.Key(t)
	csr := func(commonName string, san string, dns ...string) []byte {
		template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName}, DNSNames: dns}
		if san != "" {
			template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte(san)}}
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
		must(t, err)
		return der
	}
	mine := []identity.Name{device("A1")}
	caller := identity.Caller{ID: "test/device", Names: mine}
	for name, der := range map[string][]byte{
		"bare": csr("", ""), "common name": csr("A1", ""), "name": csr("", serialA1), "both": csr("A1", serialA1),
	} {
		issued := issue(t, c, ca.Request{Caller: caller, Profile: "client", CSR: der, Names: mine})
		got := parse(t, issued.DER)
		must(t, lint.Full(issued.DER))
		if got.Subject.CommonName != "A1" || !bytes.Contains(issued.DER, []byte(serialA1)) ||
			!slices.Equal(issued.Names, mine) {
			t.Errorf("%s: subject %q, names %v", name, got.Subject, issued.Names)
		}
		_, err := got.Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: between, CurrentTime: clock.Now(),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		must(t, err)
	}
	for name, bad := range map[string]ca.Request{
		"another in the CSR":    {Caller: caller, CSR: csr("", rename("\x30\x04\x0c\x02A2")), Names: mine},
		"another common name":   {Caller: caller, CSR: csr("A2", ""), Names: mine},
		"other case":            {Caller: caller, CSR: csr("a1", ""), Names: mine},
		"a DNS name beside":     {Caller: caller, CSR: csr("", "", "a.internal"), Names: mine},
		"not the caller's":      {Caller: caller, CSR: csr("", ""), Names: []identity.Name{device("A2")}},
		"one more than proven":  {Caller: caller, CSR: csr("", serialA1), Names: []identity.Name{device("A2")}},
		"neither of them there": {Caller: caller, CSR: csr("", "")},
		"profile":               {Caller: caller, CSR: csr("", ""), Names: mine, Profile: "server"},
	} {
		if bad.Profile == "" {
			bad.Profile = "client"
		}
		if _, err := c.Issue(t.Context(), bad); !fault.Is(err, fault.Denied) && !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Beside other names the subject stays as the CSR has it; so does one that no subject can hold.
	long := device(strings.Repeat("7", 65))
	for _, names := range [][]identity.Name{{device("A1"), {Type: identity.DNS, Value: "a.internal"}}, {long}} {
		issued := issue(t, c, ca.Request{
			Caller: identity.Caller{ID: "test", Names: names}, Profile: "client", CSR: csr("", ""), Names: names,
		})
		if got := parse(t, issued.DER); got.Subject.CommonName != "" {
			t.Errorf("%v: subject %q", names, got.Subject)
		}
	}
	// The first identifier that fits.
	two := []identity.Name{long, device("A1"), device("A2")}
	issued := issue(t, c, ca.Request{
		Caller: identity.Caller{ID: "test", Names: two}, Profile: "client", CSR: csr("", ""), Names: two,
	})
	if got := parse(t, issued.DER); got.Subject.CommonName != "A1" {
		t.Errorf("%v: subject %q", two, got.Subject)
	}
}
