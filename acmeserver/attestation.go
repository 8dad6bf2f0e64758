package acmeserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"github.com/mayflyca/mayfly/acmeserver/internal/attest"
	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/policy"
)

// deviceAttest01 proves that a key lies in a certain device (draft-ietf-acme-device-attest-09).
const deviceAttest01 = "device-attest-01"

// newVerifier makes the verifier of attestations; nil where they are not offered.
func newVerifier(v Validation) (*attest.Verifier, error) {
	if !slices.Contains(v.Challenges, deviceAttest01) {
		return nil, nil
	}
	verifier, err := attest.New(v.AttestationRoots)
	if err != nil {
		return nil, fmt.Errorf("device-attest-01 in acme.challenges needs acme.attestation_roots, PEM "+
			"certificates of those who make the devices: %w", err)
	}
	return verifier, nil
}

// identifierTypes are the types that an order may be for.
func (s *Server) identifierTypes() []identity.NameType {
	types := []identity.NameType{identity.DNS, identity.IP}
	if s.verifier != nil {
		types = append(types, identity.PermanentIdentifier)
	}
	return types
}

// defaultProfile is the first of all; for devices, whose clients cannot wish for one, the first that
// allows such names.
func defaultProfile(profiles []policy.Profile, names []identity.Name) string {
	isDevice := func(n identity.Name) bool { return n.Type == identity.PermanentIdentifier }
	if !slices.ContainsFunc(names, isDevice) {
		return profiles[0].Name
	}
	i := slices.IndexFunc(profiles, func(p policy.Profile) bool {
		return slices.Contains(p.NameTypes, identity.PermanentIdentifier)
	})
	return profiles[max(i, 0)].Name
}

// attest answers a device's attestation: it is verified at once, since nobody has to be asked. One
// that proves nothing ends the challenge, and the order with it (section 5 of the draft).
func (s *Server) attest(ctx context.Context, r *request, o Order, index int) (Order, error) {
	var p struct {
		AttObj string `json:"attObj"`
	}
	if err := r.decode(&p); err != nil {
		return o, err
	}
	object, err := decodeBase64(p.AttObj)
	if err != nil || len(object) == 0 {
		return o, refuse(malformed, "attObj: it must be a WebAuthn attestation object in base64url without "+
			"padding")
	}
	a := &o.Authorizations[index]
	if a.statusAt(s.now()) != StatusPending {
		return o, nil
	}
	if s.verifier == nil {
		return o, refuse(unauthorized, "device-attest-01 is not offered any more")
	}
	if err := s.peek(failuresPerName, failuresKey(r.account.ID, a.Name)); err != nil {
		return o, err
	}
	begun := s.now()
	keyAuthorization := a.challenge(deviceAttest01).Token + "." + r.account.Thumbprint
	result, err := s.judge(object, keyAuthorization, a.Name)
	if err != nil {
		return o, err
	}
	outcome := result.ProblemType
	if result.OK {
		outcome = "valid"
	}
	s.metrics.validation.WithLabelValues(deviceAttest01, outcome).Observe(s.now().Sub(begun).Seconds())
	at := place{o.ID, index, deviceAttest01}
	if o, err = s.keep(ctx, o, at, result, false); err == nil {
		s.count(ctx, r.account, &o, at)
	}
	return o, err
}

// judge gives what the attestation object proves about the device of that name.
func (s *Server) judge(
	object []byte, keyAuthorization string, name identity.Name,
) (validate.Result, error) {
	wrong := validate.Result{ProblemType: badAttestationStatement}
	device, err := s.verifier.Verify(object, keyAuthorization, s.now())
	if err != nil {
		wrong.Detail, wrong.Trace = detailOf(err), []string{err.Error()}
		return wrong, nil
	}
	proven := make([]string, len(device.Names))
	for i, n := range device.Names {
		proven[i] = n.Value
	}
	if !slices.Contains(device.Names, name) {
		wrong.Detail = fmt.Sprintf("attObj: it is of the device %s, and not of %s, which the order is for",
			strings.Join(proven, ", "), name.Value)
		return wrong, nil
	}
	key, err := keyHash(device.Key)
	if err != nil {
		return wrong, err
	}
	return validate.Result{OK: true, Key: key, Trace: []string{
		fmt.Sprintf("format %s, device %s, key SHA-256 %x", device.Format, strings.Join(proven, ", "), key),
	}}, nil
}

// keyHash is the SHA-256 of a public key's SubjectPublicKeyInfo.
func keyHash(public any) ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encoding a public key: %w", err)
	}
	sum := sha256.Sum256(spki)
	return sum[:], nil
}

// checkKey holds a CSR to the keys that the order's proofs are bound to.
func (o *Order) checkKey(csr []byte) error {
	for i := range o.Authorizations {
		a := &o.Authorizations[i]
		if a.Key == nil {
			continue
		}
		read, err := x509.ParseCertificateRequest(csr)
		if err != nil {
			return refuse(badCSR, "csr: it is not a PKCS#10 request that can be read")
		}
		hash, err := keyHash(read.PublicKey)
		if err != nil {
			return refuse(badCSR, "csr: its key is of a kind that is not known here")
		}
		if !bytes.Equal(hash, a.Key) {
			return refuse(badCSR, "csr: its key is not the one that the device %s attested", a.Name.Value)
		}
	}
	return nil
}

// devices are the order's permanent identifiers. A CSR need not repeat them: an attestation says what
// the device is, and many a device's software cannot write this form of name (section 3.2 of the
// draft).
func (o *Order) devices() []identity.Name {
	return slices.DeleteFunc(o.names(), func(n identity.Name) bool {
		return n.Type != identity.PermanentIdentifier
	})
}
