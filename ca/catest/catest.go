// Package catest gives tests a real CA on a real store.
package catest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/policy"
	"github.com/mayflyca/mayfly/store"
)

const publishURL = "http://ca.test:8080"

// Fresh is what a CA is made with that has no issuers yet.
func Fresh(t testing.TB, s *store.Store) ca.Config {
	t.Helper()
	return ca.Config{
		Store: s, KeyDir: t.TempDir(), Passphrase: testPassphrase,
		Profiles: policy.Builtin(), PublishURL: publishURL, Now: time.Now,
		Random: rand.Reader, Log: slog.New(slog.DiscardHandler), Alone: s.Alone(),
	}
}

// Config is what New opens a CA with, for tests that change a part of it. The issuers are there: the
// same for all tests of a program.
func Config(t testing.TB, s *store.Store) ca.Config {
	t.Helper()
	config := Fresh(t, s)
	giveIssuers(t, s, config.KeyDir)
	return config
}

// New opens a fresh CA on the store.
func New(t testing.TB, s *store.Store) *ca.CA {
	t.Helper()
	return Open(t, Config(t, s))
}

// Open opens a CA.
func Open(t testing.TB, config ca.Config) *ca.CA {
	t.Helper()
	c, err := ca.New(t.Context(), config)
	if err != nil {
		t.Fatalf("opening the CA: %v", err)
	}
	return c
}

// Key makes a P-256 key.
func Key(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// CSR makes a request in DER for DNS names and IP addresses.
func CSR(t testing.TB, key crypto.Signer, names ...string) []byte {
	t.Helper()
	var template x509.CertificateRequest
	for _, name := range names {
		if _, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, net.ParseIP(name))
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatalf("making a CSR: %v", err)
	}
	return der
}
