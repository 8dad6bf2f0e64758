package ca

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"

	"github.com/mayflyca/mayfly/fault"
)

// checked is a shape that was read back as a certificate, and linted.
type checked struct{ shaped }

// check makes a draft: the certificate as it will be, to the octet, but for the signature, in whose
// place stands one that a throwaway key made of something else. Nobody relies on it, and signing
// each draft anew would tell us nothing more.
func (c *CA) check(s shaped) (k checked, err error) {
	draft, err := assembleCertificate(s.tbs, s.model.algorithm, s.model.signature)
	if err != nil {
		return k, fault.Wrap(fault.Internal, err, "drafting the certificate")
	}
	if err := s.isWhatWasDecided(draft); err != nil {
		return k, err
	}
	return checked{s}, c.linter.Check(draft)
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
