// Package attest verifies what a device's hardware says of the device and of a key that it holds: the
// attestation objects of the ACME challenge device-attest-01 (draft-ietf-acme-device-attest-09
// section 5), whose forms are WebAuthn's (section 6.5.4 there).
//
// An attestation is believed for three things together: a chain to a configured root, the challenge's
// token in what the hardware signed, and identifiers that the hardware or its maker's CA put there.
package attest

import (
	"crypto"
	"crypto/x509"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

// Device is what an attestation proves.
type Device struct {
	Format string // "apple", "step" or "tpm"
	// Names are the device's permanent identifiers, one at least. Who assigned them is left out of
	// account: the choice of roots says whose word counts.
	Names []identity.Name
	// Key is held by the device's hardware. A certificate for the device must be for this key.
	Key crypto.PublicKey
}

// Verifier verifies attestations. Nobody changes it after New; safe for concurrent use.
type Verifier struct {
	roots *x509.CertPool
}

// maxObject bounds an attestation object, in octets. The largest, of a TPM with a long chain under
// RSA-4096 keys, has about 12 KB.
const maxObject = 64 << 10

// object is an attestation object (WebAuthn section 6.5.4). What else is in there, such as authData,
// means nothing here and is ignored, as the draft demands.
type object struct {
	Format    string    `cbor:"fmt"`
	Statement statement `cbor:"attStmt"`
}

// statement has the members of all the formats: x5c is in each of them.
type statement struct {
	Chain     [][]byte `cbor:"x5c"` // DER, the attesting certificate first
	Signature []byte   `cbor:"sig"` // step, tpm
	Version   string   `cbor:"ver"` // tpm, as the rest
	Algorithm int64    `cbor:"alg"` // COSE (RFC 9053)
	CertInfo  []byte   `cbor:"certInfo"`
	PubArea   []byte   `cbor:"pubArea"`
}

// strict reads CBOR that means one thing only, and little of it. Its limits are the library's least.
var strict = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden,
		TagsMd: cbor.TagsForbidden, FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		MaxNestedLevels: 4, MaxArrayElements: 16, MaxMapPairs: 16,
	}.DecMode()
	if err != nil {
		panic(err) // the options contradict each other
	}
	return mode
}()

// Verify verifies an attestation object that answers the challenge with this key authorization (RFC
// 8555 section 8.1). An error is fault.Invalid on the field "attObj": an ACME
// badAttestationStatement, whose detail tells who looks after the devices or the roots what to mend.
func (v *Verifier) Verify(attObj []byte, keyAuthorization string, now time.Time) (*Device, error) {
	if len(attObj) > maxObject {
		return nil, refuse(nil, "it has %d octets; at most %d are read", len(attObj), maxObject)
	}
	var o object
	if err := strict.Unmarshal(attObj, &o); err != nil {
		return nil, refuse(err, "it is not a WebAuthn attestation object, a CBOR map with \"fmt\" and "+
			"\"attStmt\"")
	}
	var d *Device
	var err error
	switch o.Format {
	case "apple":
		d, err = v.apple(&o.Statement, keyAuthorization, now)
	case "step":
		d, err = v.step(&o.Statement, keyAuthorization, now)
	case "tpm":
		d, err = v.tpm(&o.Statement, keyAuthorization, now)
	default:
		return nil, refuse(nil, "its format %.20q is not supported; apple, step and tpm are", o.Format)
	}
	if err != nil {
		return nil, err
	}
	d.Format = o.Format
	if len(d.Names) == 0 {
		return nil, refuse(nil, "it names no device: the attesting certificate has no serial number or "+
			"other permanent identifier of letters, digits and common marks")
	}
	return d, nil
}

// add takes an identifier, unless it is of a kind that no order can be for.
func (d *Device) add(identifier string) {
	if name, err := identity.ParseName(identity.PermanentIdentifier, identifier); err == nil {
		d.Names = append(d.Names, name)
	}
}

func refuse(cause error, format string, args ...any) error {
	e := fault.Field("attObj", format, args...)
	e.Err = cause
	return e
}
