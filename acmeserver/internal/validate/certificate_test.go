package validate_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
)

var (
	oidIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}
	oidOld        = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 30, 1}
	oidSAN        = asn1.ObjectIdentifier{2, 5, 29, 17}
)

func octets(content []byte) []byte {
	der, err := asn1.Marshal(content)
	if err != nil {
		panic(err)
	}
	return der
}

func proof() []byte {
	digest := sha256.Sum256([]byte(keyAuthorization))
	return octets(digest[:])
}

func identifier(value []byte) pkix.Extension {
	return pkix.Extension{Id: oidIdentifier, Critical: true, Value: value}
}

// san is a subjectAltName of the given entries.
func san(entries ...asn1.RawValue) pkix.Extension {
	der, err := asn1.Marshal(entries)
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: oidSAN, Value: der}
}

func entry(tag int, value string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(value)}
}

// template is the certificate that a healthy responder for app.localhost presents.
func template() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:    big.NewInt(1),
		Subject:         pkix.Name{CommonName: "ACME challenge"},
		NotAfter:        time.Now().Add(time.Hour),
		DNSNames:        []string{"app.localhost"},
		ExtraExtensions: []pkix.Extension{identifier(proof())},
	}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func certificate(t testing.TB, c *x509.Certificate) *tls.Config {
	t.Helper()
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		NextProtos:   []string{"acme-tls/1"},
	}
}

// serveTLS makes handshakes on addr and gives the port.
func serveTLS(t testing.TB, addr string, config *tls.Config) int {
	t.Helper()
	l, port := listen(t, addr)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				_ = tls.Server(conn, config).HandshakeContext(t.Context())
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return port
}

func checkTLS(t testing.TB, addr, name string, config *tls.Config) validate.Result {
	t.Helper()
	port := serveTLS(t, addr, config)
	v := newValidator(t, validate.Config{TLSALPN01Port: port, AllowLoopback: true})
	return check(t, v, challenge("tls-alpn-01", name))
}
