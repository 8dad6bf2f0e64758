package validate_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
)

func TestTLSALPN01(t *testing.T) {
	for name, change := range map[string]func(c *x509.Certificate){
		"plain":         func(*x509.Certificate) {},
		"upper case":    func(c *x509.Certificate) { c.DNSNames = []string{"APP.LocalHost"} },
		"expired":       func(c *x509.Certificate) { c.NotAfter = time.Unix(1, 0) },
		"not yet valid": func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) },
		"SHA-1":         func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 },
		"no subject":    func(c *x509.Certificate) { c.Subject = pkix.Name{} },
		"more extensions": func(c *x509.Certificate) {
			c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := template()
			change(c)
			config := certificate(t, c)
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				config.MaxVersion = version
				r := checkTLS(t, "127.0.0.1:0", "app.localhost", config.Clone())
				wantOK(t, r)
				wantTrace(t, r, tls.VersionName(version)+" with 127.0.0.1:", `protocol "acme-tls/1"`,
					"right name and digest")
			}
		})
	}
}

// RFC 8738 section 6: the address is asked for by its reverse name and stands as an iPAddress.
func TestTLSALPN01Address(t *testing.T) {
	for _, test := range []struct{ addr, listen, asked string }{
		{"127.0.0.1", "127.0.0.1:0", "1.0.0.127.in-addr.arpa"},
		{"::1", "[::1]:0", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa"},
	} {
		c := template()
		c.DNSNames, c.IPAddresses = nil, []net.IP{net.ParseIP(test.addr)}
		config := certificate(t, c)
		var hello *tls.ClientHelloInfo
		config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			hello = h
			return nil, nil
		}
		wantOK(t, checkTLS(t, test.listen, test.addr, config))
		if hello.ServerName != test.asked || len(hello.SupportedProtos) != 1 {
			t.Errorf("asked for %q with %q", hello.ServerName, hello.SupportedProtos)
		}
		for _, version := range hello.SupportedVersions {
			if version < tls.VersionTLS12 {
				t.Errorf("offered %s", tls.VersionName(version))
			}
		}
		c.DNSNames, c.IPAddresses = []string{test.asked}, nil
		wantProblem(t, checkTLS(t, test.listen, test.addr, certificate(t, c)), "unauthorized",
			"as its only subjectAltName")
	}
}

// never #8: RFC 8737 exactly.
func TestTLSALPN01BadCertificates(t *testing.T) {
	digest := sha256.Sum256([]byte(keyAuthorization))
	other := sha256.Sum256([]byte(keyAuthorization + "x"))
	spiffe, err := url.Parse("spiffe://test/app")
	if err != nil {
		t.Fatal(err)
	}
	extensions := func(all ...pkix.Extension) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtraExtensions = all }
	}
	sans := func(entries ...asn1.RawValue) func(*x509.Certificate) {
		return extensions(identifier(proof()), san(entries...))
	}
	right := entry(2, "app.localhost")
	for name, test := range map[string]struct {
		change func(c *x509.Certificate)
		kind   string
		part   string
	}{
		"no identifier": {extensions(), "unauthorized", "no acmeIdentifier"},
		"old identifier": {
			extensions(pkix.Extension{Id: oidOld, Critical: true, Value: proof()}),
			"unauthorized", "acmeIdentifier of a draft",
		},
		"not critical": {
			extensions(pkix.Extension{Id: oidIdentifier, Value: proof()}), "unauthorized", "not critical",
		},
		"two identifiers": {extensions(identifier(proof()), identifier(proof())), "tls", "duplicate"},
		"right, then wrong": {
			extensions(identifier(proof()), identifier(octets(other[:]))), "tls", "duplicate",
		},
		"two SANs":     {extensions(identifier(proof()), san(right), san(right)), "tls", "duplicate"},
		"wrong digest": {extensions(identifier(octets(other[:]))), "unauthorized", fmt.Sprintf("%x", other)},
		"bare digest":  {extensions(identifier(digest[:])), "unauthorized", "OCTET STRING of 32"},
		"short digest": {extensions(identifier(octets(digest[:31]))), "unauthorized", "OCTET STRING of 32"},
		"long digest": {
			extensions(identifier(octets(append(digest[:], 0)))), "unauthorized", "OCTET STRING of 32",
		},
		"bytes behind": {
			extensions(identifier(append(proof(), 0))), "unauthorized", "OCTET STRING of 32",
		},
		"bit string": {
			extensions(identifier(append([]byte{3, 33, 0}, digest[:]...))), "unauthorized", "OCTET STRING of 32",
		},
		"long length": {
			extensions(identifier(append([]byte{4, 0x81, 32}, digest[:]...))), "unauthorized", "OCTET STRING of 32",
		},
		"empty": {extensions(identifier(nil)), "unauthorized", "OCTET STRING of 32"},
		"name only in CN": {
			func(c *x509.Certificate) { c.Subject.CommonName, c.DNSNames = "app.localhost", nil },
			"unauthorized", "0 subjectAltName",
		},
		"other name": {
			func(c *x509.Certificate) { c.DNSNames = []string{"web.localhost"} },
			"unauthorized", `"app.localhost" as its only`,
		},
		"two names": {
			func(c *x509.Certificate) { c.DNSNames = []string{"app.localhost", "web.localhost"} },
			"unauthorized", "only subjectAltName",
		},
		"the name twice": {
			func(c *x509.Certificate) { c.DNSNames = []string{"app.localhost", "app.localhost"} },
			"unauthorized", "only subjectAltName",
		},
		"address too": {
			func(c *x509.Certificate) { c.IPAddresses = []net.IP{{127, 0, 0, 1}} },
			"unauthorized", "only subjectAltName",
		},
		"mailbox too": {
			func(c *x509.Certificate) { c.EmailAddresses = []string{"a@app.localhost"} },
			"unauthorized", "only subjectAltName",
		},
		"URI too": {
			func(c *x509.Certificate) { c.URIs = []*url.URL{spiffe} }, "unauthorized", "only subjectAltName",
		},
		"unknown kind too": {sans(right, entry(8, "\x2a\x03")), "unauthorized", "only subjectAltName"},
		"as mailbox":       {sans(entry(1, "app.localhost")), "unauthorized", "only subjectAltName"},
		"as URI":           {sans(entry(6, "app.localhost")), "unauthorized", "only subjectAltName"},
		"wildcard":         {sans(entry(2, "*.localhost")), "unauthorized", "only subjectAltName"},
		"with dot":         {sans(entry(2, "app.localhost.")), "unauthorized", "only subjectAltName"},
		"below":            {sans(entry(2, "x.app.localhost")), "unauthorized", "only subjectAltName"},
		"above":            {sans(entry(2, "localhost")), "unauthorized", "only subjectAltName"},
		"no entry":         {sans(), "unauthorized", "only subjectAltName"},
	} {
		t.Run(name, func(t *testing.T) {
			c := template()
			test.change(c)
			r := checkTLS(t, "127.0.0.1:0", "app.localhost", certificate(t, c))
			wantProblem(t, r, test.kind, test.part, "127.0.0.1:")
		})
	}
}

// Algorithms that nobody can check any more, or yet, are no obstacle: the handshake shows the key.
func TestTLSALPN01OddSignature(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template(), template(), key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1} // the arc of PKCS #1 signatures
	for name, algorithm := range map[string]byte{"MD5": 4, "unknown": 127} {
		t.Run(name, func(t *testing.T) {
			odd := bytes.ReplaceAll(der, append(pkcs1[:8:8], 11), append(pkcs1[:8:8], algorithm))
			wantOK(t, checkTLS(t, "127.0.0.1:0", "app.localhost", &tls.Config{
				Certificates: []tls.Certificate{{Certificate: [][]byte{odd}, PrivateKey: key}},
				NextProtos:   []string{"acme-tls/1"},
			}))
		})
	}
}

func TestTLSALPN01NotSelfSigned(t *testing.T) {
	caKey, leafKey := newKey(t), newKey(t)
	for name, test := range map[string]struct {
		issuer string
		signer crypto.Signer
	}{
		"issued by a CA":  {"a CA", caKey},
		"by another key":  {template().Subject.CommonName, caKey},
		"in another name": {"a CA", leafKey},
	} {
		t.Run(name, func(t *testing.T) {
			parent := &x509.Certificate{
				SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: test.issuer},
			}
			der, err := x509.CreateCertificate(rand.Reader, template(), parent, leafKey.Public(), test.signer)
			if err != nil {
				t.Fatal(err)
			}
			r := checkTLS(t, "127.0.0.1:0", "app.localhost", &tls.Config{
				Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: leafKey}},
				NextProtos:   []string{"acme-tls/1"},
			})
			wantProblem(t, r, "unauthorized", "not self-signed")
		})
	}
}

// never #8: the handshake must be right as well.
func TestTLSALPN01BadHandshakes(t *testing.T) {
	for name, test := range map[string]struct {
		change func(c *tls.Config)
		part   string
	}{
		"TLS 1.1": {func(c *tls.Config) {
			c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		}, "version"},
		"other protocol":    {func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }, "no application protocol"},
		"older protocol":    {func(c *tls.Config) { c.NextProtos = []string{"acme-tls/0"} }, "no application protocol"},
		"no protocol":       {func(c *tls.Config) { c.NextProtos = nil }, `"acme-tls/1"`},
		"no certificate":    {func(c *tls.Config) { c.Certificates = nil }, "handshake"},
		"foreign key":       {func(c *tls.Config) { c.Certificates[0].PrivateKey = newKey(t) }, "invalid signature"},
		"broken":            {func(c *tls.Config) { c.Certificates[0].Certificate[0] = []byte{0x30, 0x80} }, "certificate"},
		"hostile":           {func(c *tls.Config) { c.Certificates[0].Certificate[0] = []byte("\x1b[31m") }, "certificate"},
		"client cert asked": {func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert; c.MaxVersion = tls.VersionTLS12 }, "handshake failure"},
	} {
		t.Run(name, func(t *testing.T) {
			config := certificate(t, template())
			test.change(config)
			r := checkTLS(t, "127.0.0.1:0", "app.localhost", config)
			wantProblem(t, r, "tls", test.part, "127.0.0.1:")
		})
	}
	port := serveHTTP(t, "127.0.0.1:0", serveKey)
	v := newValidator(t, validate.Config{TLSALPN01Port: port, AllowLoopback: true})
	wantProblem(t, check(t, v, challenge("tls-alpn-01", "app.localhost")), "tls", "handshake")
}
