package policy

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"sync/atomic"

	"filippo.io/edwards25519"

	"github.com/mayflyca/mayfly/fault"
)

// CheckKey tells whether a certificate may be for the public key: RSA of 2048 to 4096 bits, ECDSA
// on P-256, P-384 or P-521, or Ed25519, and none that is known to be weak or published. The error is
// fault.Invalid on the field "csr". It runs on every issuance and costs microseconds.
func CheckKey(public any) error {
	var problem string
	switch key := public.(type) {
	case *rsa.PublicKey:
		problem = rsaProblem(key)
	case *ecdsa.PublicKey:
		problem = ecdsaProblem(key)
	case ed25519.PublicKey:
		problem = ed25519Problem(key)
	case nil:
		problem = "is of an algorithm that is not known here; " + acceptedKeys
	default:
		return fault.Field("csr", "a key of type %T is not accepted; %s", public, acceptedKeys)
	}
	if problem == "" {
		problem = publishedProblem(public)
	}
	if problem != "" {
		return fault.Field("csr", "the key %s", problem)
	}
	return nil
}

const acceptedKeys = "take ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 4096 bits"

func ecdsaProblem(key *ecdsa.PublicKey) string {
	switch key.Curve {
	case elliptic.P256(), elliptic.P384(), elliptic.P521():
	case nil:
		return "has no curve; " + acceptedKeys
	default:
		return "is on the curve " + key.Curve.Params().Name + "; " + acceptedKeys
	}
	if key.X == nil || key.Y == nil { //nolint:staticcheck // see if there is a point before asking where
		return "has no point"
	}
	octets, err := key.Bytes() // uncompressed: 4, x, y
	if err != nil {
		return "is a point that is not on its curve"
	}
	// One road asks about the same key several times, and the search costs more than all the rest.
	place := &largeScalars[octets[len(octets)-1]]
	if known := place.Load(); known != nil && *known == string(octets) {
		return ""
	}
	if hasSmallScalar(key.Curve, octets) {
		return "has a private key so small that anybody can find it; make one with other software"
	}
	known := string(octets)
	place.Store(&known)
	return ""
}

// largeScalars are some keys for which hasSmallScalar has said no lately, by their last octet. Points
// of different curves differ in length.
var largeScalars [256]atomic.Pointer[string]

// ed25519Problem refuses the few points of small order, under which anybody can sign.
func ed25519Problem(key ed25519.PublicKey) string {
	point, err := new(edwards25519.Point).SetBytes(key)
	if err != nil {
		return "is not a point on its curve"
	}
	if point.MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return "is a point of small order, under which anybody can sign"
	}
	return ""
}

// publishedProblem refuses keys whose private half anybody can read.
func publishedProblem(public any) string {
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "cannot be encoded"
	}
	hash := sha256.Sum256(spki)
	if where, ok := published[hex.EncodeToString(hash[:])]; ok {
		return "is the published one of " + where + "; make one of your own"
	}
	return ""
}
