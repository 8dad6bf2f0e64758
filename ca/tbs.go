package ca

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mayflyca/mayfly/policy"
)

// model is what all certificates of one issuer, profile and key usage have in common. The library
// encodes it, once; what is different in each (assemble) is a few octets, encoded here at a fraction
// of the cost. The result is read back and linted before anything is signed.
type model struct {
	algorithm  []byte // AlgorithmIdentifier of the issuer's signatures
	extensions []byte // key usages, basic constraints, authority key identifier and access
	signature  []byte // a throwaway key's; a draft carries it so that it can be read
}

// keyUsages are what keyUsage chooses from.
var keyUsages = []x509.KeyUsage{
	x509.KeyUsageDigitalSignature, x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
}

// keyUsage lets an RSA server key also decipher, which TLS 1.2 clients of old ask of it.
func keyUsage(p policy.Profile, public any) x509.KeyUsage {
	if _, ok := public.(*rsa.PublicKey); ok &&
		slices.Contains(p.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		return keyUsages[1]
	}
	return keyUsages[0]
}

type modelKey struct {
	profile string
	usage   x509.KeyUsage
}

// makeModels prepares the issuer's models for all profiles. The throwaway key is of the same kind as
// the issuer's.
func (c *CA) makeModels(i *issuer, throwaway crypto.Signer) error {
	i.models = make(map[modelKey]model)
	for _, profile := range c.profiles {
		for _, usage := range keyUsages {
			m, err := c.makeModel(i, throwaway, profile, usage)
			if err != nil {
				return fmt.Errorf("preparing certificates of profile %q: %w", profile.Name, err)
			}
			i.models[modelKey{profile.Name, usage}] = m
		}
	}
	return nil
}

// makeModel has the library make a certificate without names, under the issuer's name and a
// throwaway key, and takes from it what is fixed.
func (c *CA) makeModel(
	i *issuer, throwaway crypto.Signer, p policy.Profile, usage x509.KeyUsage,
) (m model, err error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), SignatureAlgorithm: i.algorithm,
		NotBefore: i.certificate.NotBefore, NotAfter: i.certificate.NotAfter,
		KeyUsage: usage, ExtKeyUsage: p.ExtKeyUsage, BasicConstraintsValid: true,
		IssuingCertificateURL: []string{c.issuerURL(i)},
	}
	twin := *i.certificate
	twin.PublicKey = throwaway.Public()
	made, err := x509.CreateCertificate(c.random, template, &twin, throwaway.Public(), throwaway)
	if err != nil {
		return m, err
	}
	parsed, err := x509.ParseCertificate(made)
	if err != nil {
		return m, err
	}
	for _, e := range parsed.Extensions {
		encoded, err := asn1.Marshal(e)
		if err != nil {
			return m, err
		}
		m.extensions = append(m.extensions, encoded...)
	}
	m.signature = parsed.Signature
	m.algorithm, err = asn1.Marshal(pkix.AlgorithmIdentifier{Algorithm: signatureOIDs[i.algorithm]})
	return m, err
}

// signatureOIDs are those of RFC 5758 section 3.2, which have no parameters.
var signatureOIDs = map[x509.SignatureAlgorithm]asn1.ObjectIdentifier{
	x509.ECDSAWithSHA256: {1, 2, 840, 10045, 4, 3, 2},
	x509.ECDSAWithSHA384: {1, 2, 840, 10045, 4, 3, 3},
}

var (
	oidSubjectKeyID      = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 31}
)

// assemble encodes the TBSCertificate (RFC 5280 section 4.1).
func (s shaped) assemble(m model, names []byte, crlURL string) ([]byte, error) {
	subject, err := encodeSubject(s.content.CommonName)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(tbs *cryptobyte.Builder) {
		tbs.AddASN1(der.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1Int64(2) // v3
		})
		tbs.AddASN1BigInt(s.serial.Big())
		tbs.AddBytes(m.algorithm)
		tbs.AddBytes(s.issuer.certificate.RawSubject)
		tbs.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			addTime(b, s.content.NotBefore)
			addTime(b, s.content.NotAfter)
		})
		tbs.AddBytes(subject)
		tbs.AddBytes(s.publicKey)
		tbs.AddASN1(der.Tag(3).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(m.extensions)
				addExtension(b, oidSubjectKeyID, false, func(b *cryptobyte.Builder) {
					b.AddASN1OctetString(s.keyID)
				})
				// Critical if the subject is empty (section 4.2.1.6).
				addExtension(b, oidSubjectAltName, s.content.CommonName == "",
					func(b *cryptobyte.Builder) { b.AddBytes(names) })
				addExtension(b, oidDistributionPoint, false, func(b *cryptobyte.Builder) {
					addDistributionPoint(b, crlURL)
				})
			})
		})
	})
	return b.Bytes()
}

func encodeSubject(commonName string) ([]byte, error) {
	return asn1.Marshal(pkix.Name{CommonName: commonName}.ToRDNSequence())
}

// addTime takes the form that section 4.1.2.5 prescribes for the year.
func addTime(b *cryptobyte.Builder, t time.Time) {
	if t = t.UTC(); t.Year() < 2050 {
		b.AddASN1UTCTime(t)
	} else {
		b.AddASN1GeneralizedTime(t)
	}
}

func addExtension(
	b *cryptobyte.Builder, id asn1.ObjectIdentifier, critical bool, value cryptobyte.BuilderContinuation,
) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(id)
		if critical {
			b.AddASN1Boolean(true)
		}
		b.AddASN1(der.OCTET_STRING, value)
	})
}

// addDistributionPoint adds CRLDistributionPoints of one fullName that is a URI (section 4.2.1.13).
func addDistributionPoint(b *cryptobyte.Builder, url string) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			tag := der.Tag(0).Constructed().ContextSpecific()
			b.AddASN1(tag, func(b *cryptobyte.Builder) {
				b.AddASN1(tag, func(b *cryptobyte.Builder) {
					b.AddASN1(der.Tag(6).ContextSpecific(), func(b *cryptobyte.Builder) {
						b.AddBytes([]byte(url))
					})
				})
			})
		})
	})
}

// assembleCertificate puts a signature to a TBSCertificate.
func assembleCertificate(tbs, algorithm, signature []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(certificate *cryptobyte.Builder) {
		certificate.AddBytes(tbs)
		certificate.AddBytes(algorithm)
		certificate.AddASN1BitString(signature)
	})
	return b.Bytes()
}
