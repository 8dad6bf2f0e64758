package catest

import (
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/internal/keys"
)

// CrossSign adds another root to the record, and a certificate by it for the issuer's key. A CA that
// is opened afterwards knows of both.
func CrossSign(t testing.TB, config ca.Config, i ca.Issuer) (root, cross ca.Issuer) {
	t.Helper()
	ring, err := keys.Open(config.KeyDir, config.Passphrase)
	if err != nil {
		t.Fatal(err)
	}
	key, uri, err := ring.Create("root", elliptic.P384())
	if err != nil {
		t.Fatal(err)
	}
	twin, err := x509.ParseCertificate(i.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	now := config.Now().UTC().Truncate(time.Microsecond)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixMicro()), Subject: pkix.Name{CommonName: "Other Root " + uri},
		NotBefore: twin.NotBefore, NotAfter: twin.NotAfter, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	sign := func(template, parent *x509.Certificate, public any) ca.Issuer {
		der, err := x509.CreateCertificate(config.Random, template, parent, public, key)
		if err != nil {
			t.Fatalf("cross-signing: %v", err)
		}
		sum := sha256.Sum256(der)
		return ca.Issuer{ID: hex.EncodeToString(sum[:8]), Certificate: der, CreatedAt: now}
	}
	root = sign(template, template, key.Public())
	root.Kind, root.Parent, root.KeyURI, root.Shards = ca.Root, root.ID, uri, 1
	parent, err := x509.ParseCertificate(root.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	// Nothing is issued under the cross-signed certificate, so that it has no CRLs.
	cross = sign(twin, parent, twin.PublicKey)
	cross.Kind, cross.Parent, cross.KeyURI = ca.Issuing, root.ID, i.KeyURI
	if err := config.Store.AddIssuers(t.Context(), []ca.Issuer{root, cross}); err != nil {
		t.Fatal(err)
	}
	return root, cross
}
