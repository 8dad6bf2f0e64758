package acmeserver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"

	"github.com/mayflyca/mayfly/policy"
)

// key is a public key that signs requests.
type key struct {
	public     crypto.PublicKey
	algorithm  string // the one it signs with
	canonical  []byte // JWK with the members that RFC 7638 demands, in its order
	thumbprint string // RFC 7638, base64url
}

// curves are the JWK curves (RFC 7518 section 6.2.1.1) and the algorithm of each.
var curves = map[string]struct {
	curve     elliptic.Curve
	algorithm string
}{
	"P-256": {elliptic.P256(), "ES256"},
	"P-384": {elliptic.P384(), "ES384"},
	"P-521": {elliptic.P521(), "ES512"},
}

// maxRSABits bounds what a verification costs us. Account keys are held to less by package policy;
// certificates are revoked by whatever key they have.
const maxRSABits = 8192

// parseKey reads a JWK (RFC 7517) of a stranger. It knows public keys only, and asks no library
// for it: those read private ones too, and check them at length.
func parseKey(jwk []byte) (key, error) {
	var raw struct {
		Type    string          `json:"kty"`
		Curve   string          `json:"crv"`
		X       string          `json:"x"`
		Y       string          `json:"y"`
		N       string          `json:"n"`
		E       string          `json:"e"`
		Private json.RawMessage `json:"d"`
	}
	if err := json.Unmarshal(jwk, &raw); err != nil {
		return key{}, refuse(malformed, "the jwk is not a JSON object of the right form")
	}
	if raw.Private != nil {
		return key{}, refuse(badPublicKey, "the jwk holds a private key, which everybody on the way "+
			"could read: make a new one")
	}
	switch raw.Type {
	case "EC":
		return parseECDSA(raw.Curve, raw.X, raw.Y)
	case "RSA":
		return parseRSA(raw.N, raw.E)
	case "OKP":
		return parseEd25519(raw.Curve, raw.X)
	}
	return key{}, refuse(badPublicKey, "the jwk's type %.20q is not accepted; take EC, RSA or OKP", raw.Type)
}

func parseECDSA(name, x, y string) (key, error) {
	known, ok := curves[name]
	if !ok {
		return key{}, refuse(badPublicKey, "the jwk's curve %.20q is not accepted; take P-256, P-384 or "+
			"P-521", name)
	}
	xRaw, err1 := decodeBase64(x)
	yRaw, err2 := decodeBase64(y)
	size := (known.curve.Params().BitSize + 7) / 8
	if err1 != nil || err2 != nil || len(xRaw) != size || len(yRaw) != size {
		return key{}, refuse(badPublicKey, "the jwk's x and y must have %d octets each", size)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(known.curve, slices.Concat([]byte{4}, xRaw, yRaw))
	if err != nil {
		return key{}, refuse(badPublicKey, "the jwk is not a point on its curve")
	}
	return newKey(public, known.algorithm, `{"crv":%q,"kty":"EC","x":%q,"y":%q}`, name, x, y), nil
}

func parseRSA(n, e string) (key, error) {
	nRaw, err1 := decodeBase64(n)
	eRaw, err2 := decodeBase64(e)
	if err1 != nil || err2 != nil || len(nRaw) == 0 || len(eRaw) == 0 || nRaw[0] == 0 || eRaw[0] == 0 {
		return key{}, refuse(badPublicKey, "the jwk's n and e must be numbers without leading zeros")
	}
	if len(nRaw) > maxRSABits/8 || len(eRaw) > 4 {
		return key{}, refuse(badPublicKey, "the jwk's n has more than %d bits, or its e more than 32",
			maxRSABits)
	}
	exponent := int(new(big.Int).SetBytes(eRaw).Int64())
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(nRaw), E: exponent}
	return newKey(public, "RS256", `{"e":%q,"kty":"RSA","n":%q}`, e, n), nil
}

func parseEd25519(name, x string) (key, error) {
	raw, err := decodeBase64(x)
	if name != "Ed25519" || err != nil || len(raw) != ed25519.PublicKeySize {
		return key{}, refuse(badPublicKey, "the jwk of type OKP must be an Ed25519 key of 32 octets")
	}
	return newKey(ed25519.PublicKey(raw), "EdDSA", `{"crv":"Ed25519","kty":"OKP","x":%q}`, x), nil
}

// newKey formats the canonical JWK. What goes into it is base64url: quoting changes nothing.
func newKey(public crypto.PublicKey, algorithm, format string, members ...any) key {
	canonical := fmt.Appendf(nil, format, members...)
	sum := sha256.Sum256(canonical)
	return key{public, algorithm, canonical, base64url.EncodeToString(sum[:])}
}

// checkAccountKey holds a key to what certificates' keys are held to.
func (k key) checkAccountKey() error {
	if err := policy.CheckKey(k.public); err != nil {
		return refuse(badPublicKey, "%s", sentenceOf(err))
	}
	return nil
}

// is reports whether k is the public key.
func (k key) is(public any) bool {
	same, ok := k.public.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && same.Equal(public)
}
