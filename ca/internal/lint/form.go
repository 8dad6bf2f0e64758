package lint

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/mayflyca/mayfly/policy"
)

var (
	subjectKeyID   = asn1.ObjectIdentifier{2, 5, 29, 14}
	keyUsage       = asn1.ObjectIdentifier{2, 5, 29, 15}
	subjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	constraints    = asn1.ObjectIdentifier{2, 5, 29, 19}
	distribution   = asn1.ObjectIdentifier{2, 5, 29, 31}
	authorityKeyID = asn1.ObjectIdentifier{2, 5, 29, 35}
	extKeyUsage    = asn1.ObjectIdentifier{2, 5, 29, 37}
	authorityInfo  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 1}
)

// form is the list of extensions of every certificate of ours: each once, and no other.
var form = []struct {
	oid        asn1.ObjectIdentifier
	isCritical bool // of subjectAltName: when the subject is empty
}{
	{keyUsage, true},
	{extKeyUsage, false},
	{constraints, true},
	{subjectKeyID, false},
	{authorityKeyID, false},
	{authorityInfo, false},
	{subjectAltName, true},
	{distribution, false},
}

// signatures are the algorithms with which an issuer may sign (never #27).
var signatures = []x509.SignatureAlgorithm{x509.ECDSAWithSHA256, x509.ECDSAWithSHA384}

// checkForm holds the shape of a draft against the rules that are ours rather than RFC 5280's, and
// gives the profiles that issue such certificates.
func (l *Linter) checkForm(der []byte) ([]policy.Profile, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	if err := checkExtensions(c); err != nil {
		return nil, err
	}
	_, isRSA := c.PublicKey.(*rsa.PublicKey)
	switch {
	case !slices.Contains(signatures, c.SignatureAlgorithm):
		return nil, fmt.Errorf("signature algorithm %s is not one of ours", c.SignatureAlgorithm)
	case c.IsCA || c.MaxPathLen != -1:
		return nil, errors.New("basicConstraints are those of a CA")
	case c.KeyUsage != x509.KeyUsageDigitalSignature &&
		(!isRSA || c.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment):
		return nil, fmt.Errorf("keyUsage %#b is not digitalSignature, with keyEncipherment for RSA",
			c.KeyUsage)
	case len(c.IssuingCertificateURL) != 1 || len(c.OCSPServer) != 0:
		return nil, errors.New("authorityInfoAccess is not one caIssuers URL")
	case len(c.CRLDistributionPoints) != 1:
		return nil, errors.New("cRLDistributionPoints is not one URL")
	}
	var profiles []policy.Profile
	for _, p := range l.profiles {
		if slices.Equal(p.ExtKeyUsage, c.ExtKeyUsage) && len(c.UnknownExtKeyUsage) == 0 {
			profiles = append(profiles, p)
		}
	}
	if len(profiles) == 0 {
		return nil, errors.New("extKeyUsage is that of no profile")
	}
	return profiles, nil
}

func checkExtensions(c *x509.Certificate) error {
	for _, want := range form {
		i := slices.IndexFunc(c.Extensions, func(e pkix.Extension) bool {
			return e.Id.Equal(want.oid)
		})
		if i < 0 {
			return fmt.Errorf("extension %s is missing", want.oid)
		}
		isCritical := want.isCritical
		if want.oid.Equal(subjectAltName) {
			isCritical = c.Subject.CommonName == ""
		}
		if c.Extensions[i].Critical != isCritical {
			return fmt.Errorf("extension %s should be critical: %t", want.oid, isCritical)
		}
		if want.oid.Equal(authorityKeyID) && !isKeyIDOnly(c.Extensions[i].Value, c.AuthorityKeyId) {
			return errors.New("authorityKeyIdentifier is not a key identifier alone")
		}
	}
	if len(c.Extensions) > len(form) {
		return fmt.Errorf("there are %d extensions, %d too many", len(c.Extensions),
			len(c.Extensions)-len(form))
	}
	return nil
}

// isKeyIDOnly tells whether the AuthorityKeyIdentifier in value holds id and neither the issuer's
// name nor its serial (RFC 5280 section 4.2.1.1).
func isKeyIDOnly(value, id []byte) bool {
	want, err := asn1.Marshal(struct {
		KeyID []byte `asn1:"tag:0"`
	}{id})
	return err == nil && len(id) > 0 && bytes.Equal(value, want)
}
