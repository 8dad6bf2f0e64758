package attest

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	encoding_asn1 "encoding/asn1"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// algorithms are the COSE algorithms (RFC 9053, RFC 8812) with which a TPM may attest, and what
// becomes of each in its structures. RSA with SHA-1 (-65535) is none of them (never #27).
var algorithms = map[int64]struct {
	certificate x509.SignatureAlgorithm
	hash        crypto.Hash
	scheme      uint16 // TPM_ALG_ID
	digest      uint16 // TPM_ALG_ID
}{
	-257: {x509.SHA256WithRSA, crypto.SHA256, algRSASSA, algSHA256},
	-7:   {x509.ECDSAWithSHA256, crypto.SHA256, algECDSA, algSHA256},
	-35:  {x509.ECDSAWithSHA384, crypto.SHA384, algECDSA, algSHA384},
}

// tpm verifies WebAuthn's TPM format (section 8.3 there): an attestation key, certified for the TPM
// of a device, certifies another key of that TPM.
func (v *Verifier) tpm(s *statement, keyAuthorization string, now time.Time) (*Device, error) {
	if s.Version != "2.0" {
		return nil, refuse(nil, "its ver is %.20q; a TPM 2.0 is needed", s.Version)
	}
	algorithm, ok := algorithms[s.Algorithm]
	if !ok {
		return nil, refuse(nil, "its alg %d is not accepted; take RS256 (-257), ES256 (-7) or ES384 (-35)",
			s.Algorithm)
	}
	chain, err := readChain(s.Chain)
	if err != nil {
		return nil, err
	}
	d := new(Device)
	if err := v.attestationKey(d, chain, now); err != nil {
		return nil, err
	}
	signature, err := readSignature(s.Signature, algorithm.scheme, algorithm.digest)
	if err != nil {
		return nil, err
	}
	if err := chain[0].CheckSignature(algorithm.certificate, s.CertInfo, signature); err != nil {
		return nil, refuse(err, "its sig is not the attestation key's over certInfo")
	}
	certified, err := readCertInfo(s.CertInfo)
	if err != nil {
		return nil, err
	}
	if want := digest(algorithm.hash, []byte(keyAuthorization)); !bytes.Equal(certified.extraData, want) {
		return nil, refuse(nil, "its certInfo has other extraData than the hash of this challenge's key "+
			"authorization: it answers another challenge, or another account's")
	}
	public, err := readPublic(s.PubArea)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(certified.name, public.name) {
		return nil, refuse(nil, "its certInfo certifies another key than the one in pubArea")
	}
	if problem := public.attributes.problem(); problem != "" {
		return nil, refuse(nil, "the attested key %s; make it one that never leaves this TPM", problem)
	}
	d.Key = public.key
	return d, nil
}

func digest(h crypto.Hash, octets []byte) []byte {
	sum := h.New()
	sum.Write(octets)
	return sum.Sum(nil)
}

var (
	subjectAltName  = encoding_asn1.ObjectIdentifier{2, 5, 29, 17}
	tcgAIK          = encoding_asn1.ObjectIdentifier{2, 23, 133, 8, 3} // tcg-kp-AIKCertificate
	tpmManufacturer = encoding_asn1.ObjectIdentifier{2, 23, 133, 2, 1}
	tpmModel        = encoding_asn1.ObjectIdentifier{2, 23, 133, 2, 2}
	tpmVersion      = encoding_asn1.ObjectIdentifier{2, 23, 133, 2, 3}
)

// attestationKey trusts the chain of an attestation key, holds its certificate to WebAuthn section
// 8.3.1, and takes the device's identifiers from it.
func (v *Verifier) attestationKey(d *Device, chain []*x509.Certificate, now time.Time) error {
	leaf := chain[0]
	// The subject is empty, so that the names are critical; crypto/x509 does not know their forms.
	// They are read below.
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(leaf.UnhandledCriticalExtensions,
		subjectAltName.Equal)
	if err := v.trust(chain, now); err != nil {
		return err
	}
	isAIK := slices.ContainsFunc(leaf.UnknownExtKeyUsage, tcgAIK.Equal)
	if leaf.Version != 3 || !bytes.Equal(leaf.RawSubject, []byte{0x30, 0}) || !isAIK {
		return refuse(nil, "its first certificate is not an attestation key's: version 3, an empty "+
			"subject, extended key usage %s", tcgAIK)
	}
	i := slices.IndexFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(subjectAltName) })
	if i < 0 {
		return refuse(nil, "its first certificate has no subjectAltName")
	}
	return d.readNames(leaf.Extensions[i].Value)
}

// readNames reads the subjectAltName of an attestation key: the TPM's make in a directoryName (TCG EK
// Credential Profile section 3.2.9), the device's identifiers in otherNames.
func (d *Device) readNames(value cryptobyte.String) error {
	bad := refuse(nil, "the subjectAltName of its first certificate cannot be read")
	var list cryptobyte.String
	if !value.ReadASN1(&list, asn1.SEQUENCE) || !value.Empty() {
		return bad
	}
	isTPM := false
	for !list.Empty() {
		var content cryptobyte.String
		var tag asn1.Tag
		if !list.ReadAnyASN1(&content, &tag) {
			return bad
		}
		switch tag {
		case explicit(0):
			identifier, ok := readOtherName(content)
			if !ok {
				return bad
			}
			d.add(identifier)
		case explicit(4):
			isTPM = isTPM || isTPMName(content)
		}
	}
	if !isTPM {
		return refuse(nil, "its first certificate does not say the TPM's manufacturer, model and version")
	}
	return nil
}

func explicit(tag asn1.Tag) asn1.Tag { return tag.ContextSpecific().Constructed() }

func isTPMName(der []byte) bool {
	var rdns pkix.RDNSequence
	if rest, err := encoding_asn1.Unmarshal(der, &rdns); err != nil || len(rest) > 0 {
		return false
	}
	var name pkix.Name
	name.FillFromRDNSequence(&rdns)
	for _, oid := range []encoding_asn1.ObjectIdentifier{tpmManufacturer, tpmModel, tpmVersion} {
		if !slices.ContainsFunc(name.Names, func(a pkix.AttributeTypeAndValue) bool {
			return a.Type.Equal(oid)
		}) {
			return false
		}
	}
	return true
}

var (
	permanentIdentifier = encoding_asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 3} // RFC 4043
	hardwareModule      = encoding_asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 4} // RFC 4108
)

// readOtherName gives the permanent identifier or the hardware module's serial number; "" where the
// otherName is of another kind, or has none.
func readOtherName(content cryptobyte.String) (identifier string, ok bool) {
	var oid encoding_asn1.ObjectIdentifier
	var inner, fields, value cryptobyte.String
	if !content.ReadASN1ObjectIdentifier(&oid) || !content.ReadASN1(&inner, explicit(0)) ||
		!content.Empty() {
		return "", false
	}
	hasValue := false
	switch {
	case oid.Equal(permanentIdentifier):
		ok = inner.ReadASN1(&fields, asn1.SEQUENCE) && inner.Empty() &&
			fields.ReadOptionalASN1(&value, &hasValue, asn1.UTF8String) &&
			fields.SkipOptionalASN1(asn1.OBJECT_IDENTIFIER) && fields.Empty()
	case oid.Equal(hardwareModule):
		ok = inner.ReadASN1(&fields, asn1.SEQUENCE) && inner.Empty() &&
			fields.SkipASN1(asn1.OBJECT_IDENTIFIER) &&
			fields.ReadASN1(&value, asn1.OCTET_STRING) && fields.Empty()
	default:
		return "", true
	}
	return string(value), ok
}
