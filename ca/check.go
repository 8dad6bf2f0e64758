package ca

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mayflyca/mayfly/fault"
)

// checked is a shape that became real DER, was read back and linted. tbs is what the key will sign,
// to the octet.
type checked struct {
	shaped
	tbs       []byte // TBSCertificate
	algorithm []byte // AlgorithmIdentifier of the signature
}

// check has a throwaway key sign a draft, whose to-be-signed part is the real certificate's: it
// names the real issuer. The draft's signature is forgotten.
func (c *CA) check(s shaped) (k checked, err error) {
	k.shaped = s
	draft, err := x509.CreateCertificate(c.random, s.template, s.issuer.twin, s.content.PublicKey,
		s.issuer.throwaway)
	if err != nil {
		return k, fault.Wrap(fault.Internal, err, "drafting the certificate")
	}
	if err := s.isWhatWasDecided(draft); err != nil {
		return k, err
	}
	if err := c.linter.Check(draft); err != nil {
		return k, err
	}
	input := cryptobyte.String(draft)
	var certificate, tbs, algorithm cryptobyte.String
	if !input.ReadASN1(&certificate, asn1.SEQUENCE) ||
		!certificate.ReadASN1Element(&tbs, asn1.SEQUENCE) ||
		!certificate.ReadASN1Element(&algorithm, asn1.SEQUENCE) {
		return k, fault.New(fault.Internal, "the draft is no certificate")
	}
	k.tbs, k.algorithm = tbs, algorithm
	return k, nil
}

// isWhatWasDecided reads the draft back, so that the verdict on the request holds for what will be
// signed (never #15).
func (s shaped) isWhatWasDecided(draft []byte) error {
	got, err := x509.ParseCertificate(draft)
	if err != nil {
		return fault.Wrap(fault.Internal, err, "reading the draft")
	}
	want := s.content
	alt := slices.IndexFunc(got.Extensions, func(e pkix.Extension) bool {
		return e.Id.Equal(oidSubjectAltName)
	})
	if alt < 0 {
		return fault.New(fault.Internal, "the draft holds no names")
	}
	names, err := readNames(got.Extensions[alt].Value)
	if err != nil {
		return fault.Wrap(fault.Internal, err, "reading the draft's names")
	}
	serial, err := SerialFromBig(got.SerialNumber)
	if err != nil || serial != s.serial || got.Subject.CommonName != want.CommonName ||
		!slices.Equal(names, want.Names) || !got.NotBefore.Equal(want.NotBefore) ||
		!got.NotAfter.Equal(want.NotAfter) || got.IsCA ||
		sha256.Sum256(got.RawSubjectPublicKeyInfo) != s.spki ||
		!bytes.Equal(got.RawIssuer, s.issuer.certificate.RawSubject) {
		return fault.New(fault.Internal, "the draft is not what was decided upon")
	}
	return nil
}
