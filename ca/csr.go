package ca

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"net/netip"
	"slices"

	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/policy"
)

// MaxCSR bounds a certificate signing request in DER: 100 of the longest names under an RSA-4096
// key are 27 KB.
const MaxCSR = 32 << 10

// maxProofBits bounds the RSA key whose signature is verified. Which keys are fit for a certificate
// is the policy's affair; this one keeps a stranger from choosing what a verification costs.
const maxProofBits = 8192

// requested is what a CSR asks for. Its key is proven: the CSR was signed with it.
type requested struct {
	names      []identity.Name // in the CSR's order, each once
	commonName string          // empty, or one of names
	publicKey  any
}

var (
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidTLSFeature       = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}
	oidCommonName       = asn1.ObjectIdentifier{2, 5, 4, 3}
)

// proofs are the signature algorithms with which a CSR may prove its key (never #27).
var proofs = []x509.SignatureAlgorithm{
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
	x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519,
}

// readCSR reads a PKCS#10 request (RFC 2986) in DER for a certificate that will also hold the given
// names. Of the subject it takes the common name, of the extensions the names; key usages are the
// profile's affair. Errors are fault.Invalid.
func readCSR(der []byte, names []identity.Name) (*requested, error) {
	if len(der) == 0 {
		return nil, fault.Field("csr", "is missing")
	}
	if len(der) > MaxCSR {
		return nil, fault.Field("csr", "has %d octets; at most %d are read", len(der), MaxCSR)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, &fault.Error{
			Kind: fault.Invalid, Field: "csr", Err: err,
			Detail: "is not a PKCS#10 certificate signing request that can be read",
		}
	}
	if key, ok := csr.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxProofBits {
		return nil, fault.Field("csr", "holds an RSA key of %d bits; more than %d are not even verified",
			key.N.BitLen(), maxProofBits)
	}
	if !slices.Contains(proofs, csr.SignatureAlgorithm) {
		return nil, fault.Field("csr", "is signed with %s; sign it with SHA-256 or better",
			csr.SignatureAlgorithm)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fault.Field("csr", "is not signed by the key that it names")
	}
	r := &requested{names: slices.Clone(names), publicKey: csr.PublicKey}
	if err := r.readExtensions(csr); err != nil {
		return nil, err
	}
	return r, r.readCommonName(csr)
}

func (r *requested) readExtensions(csr *x509.CertificateRequest) error {
	seen := 0
	for _, e := range csr.Extensions {
		switch {
		case e.Id.Equal(oidSubjectAltName):
			if seen++; seen > 1 {
				return fault.Field("csr", "holds two subjectAltName extensions")
			}
			names, err := readNames(e.Value)
			if err != nil {
				return err
			}
			for _, name := range names {
				r.add(name)
			}
		case e.Id.Equal(oidBasicConstraints):
			var constraints struct {
				CA  bool `asn1:"optional"`
				Len int  `asn1:"optional,default:-1"`
			}
			if _, err := asn1.Unmarshal(e.Value, &constraints); err != nil || constraints.CA {
				return fault.Field("csr", "asks for a CA certificate, which is never issued here")
			}
		case e.Id.Equal(oidTLSFeature):
			return fault.Field("csr", "asks for a TLS feature (must-staple), which is not issued: "+
				"make the request without it")
		}
	}
	return nil
}

func (r *requested) add(name identity.Name) {
	if !slices.Contains(r.names, name) {
		r.names = append(r.names, name)
	}
}

// readCommonName takes the common name as one more name, as clients older than RFC 6125 mean it,
// unless it repeats a permanent identifier, as devices put it there.
func (r *requested) readCommonName(csr *x509.CertificateRequest) error {
	var text string
	for _, attribute := range csr.Subject.Names {
		if !attribute.Type.Equal(oidCommonName) {
			continue
		}
		if text != "" {
			return fault.Field("csr", "holds two common names")
		}
		value, ok := attribute.Value.(string)
		if !ok || value == "" {
			return fault.Field("csr", "holds a common name that is no text")
		}
		text = value
	}
	if text == "" {
		return nil
	}
	if slices.Contains(r.names, identity.Name{Type: identity.PermanentIdentifier, Value: text}) {
		r.commonName = text
		return nil
	}
	kind := identity.DNS
	if _, err := netip.ParseAddr(text); err == nil {
		kind = identity.IP
	}
	name, err := identity.ParseName(kind, text)
	if err != nil {
		return fault.Field("csr", "holds a common name that is no DNS name or IP address: leave the "+
			"subject empty, or put one of the names there (%v)", err)
	}
	r.add(name)
	r.commonName = name.Value
	return nil
}

// addCommonName gives a certificate that would have none and holds permanent identifiers only the
// first that fits. An empty subject makes the names critical (RFC 5280 section 4.1.2.6), and who
// reads no otherName, as Go's TLS servers do not, must then refuse the certificate.
func (r *requested) addCommonName() {
	if r.commonName != "" {
		return
	}
	var first string
	for _, name := range r.names {
		if name.Type != identity.PermanentIdentifier {
			return
		}
		if first == "" && len(name.Value) <= policy.MaxCommonName {
			first = name.Value
		}
	}
	r.commonName = first
}
