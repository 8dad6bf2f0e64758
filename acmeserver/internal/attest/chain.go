package attest

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// New makes a Verifier that believes devices whose chains lead to one of the roots, which are PEM
// certificates: one at least, and nothing else.
func New(roots []byte) (*Verifier, error) {
	v := &Verifier{roots: x509.NewCertPool()}
	count := 0
	for {
		block, rest := pem.Decode(roots)
		if block == nil {
			break
		}
		count++
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("reading the attestation roots: block %d is a %.40q, not a CERTIFICATE",
				count, block.Type)
		}
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading the attestation roots: certificate %d: %w", count, err)
		}
		if !root.IsCA {
			return nil, fmt.Errorf("reading the attestation roots: certificate %d (%s) is not a CA's",
				count, root.Subject)
		}
		v.roots.AddCert(root)
		roots = rest
	}
	if bytes.Contains(roots, []byte("-----BEGIN")) {
		return nil, fmt.Errorf("reading the attestation roots: block %d is not complete PEM", count+1)
	}
	if count == 0 { // an empty pool would be the system's
		return nil, errors.New("reading the attestation roots: there is no PEM certificate in them")
	}
	return v, nil
}

const (
	maxChain = 8
	// maxRSABits bounds what one signature costs us: strangers choose the keys in a chain.
	maxRSABits = 8192
)

// readChain reads the certificates of a statement.
func readChain(x5c [][]byte) ([]*x509.Certificate, error) {
	if len(x5c) == 0 || len(x5c) > maxChain {
		return nil, refuse(nil, "its x5c has %d certificates; 1 to %d are right", len(x5c), maxChain)
	}
	chain := make([]*x509.Certificate, len(x5c))
	for i, der := range x5c {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, refuse(err, "certificate %d of its x5c cannot be read", i+1)
		}
		if key, ok := c.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSABits {
			return nil, refuse(nil, "certificate %d of its x5c has an RSA key of more than %d bits", i+1,
				maxRSABits)
		}
		chain[i] = c
	}
	return chain, nil
}

// trust tells whether the chain leads to a root.
func (v *Verifier) trust(chain []*x509.Certificate, now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: v.roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	invalid, _ := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case err != nil && invalid.Reason == x509.Expired:
		return refuse(err, "a certificate of its chain is not valid at %s", now.UTC().Format(time.RFC3339))
	case err != nil:
		return refuse(err, "its certificate chain (x5c) does not lead to one of the roots in "+
			"acme.attestation_roots")
	case chain[0].IsCA:
		return refuse(nil, "its first certificate is a CA's and not a device's")
	}
	return nil
}
