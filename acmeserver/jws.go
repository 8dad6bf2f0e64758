package acmeserver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // for RS256 and ES256
	_ "crypto/sha512" // for ES384 and ES512
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
)

// base64url is the only base64 in ACME (RFC 8555 section 6.1).
var base64url = base64.RawURLEncoding.Strict()

// decodeBase64 is stricter than the standard library, which skips line ends.
func decodeBase64(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("line ends in base64url")
	}
	return base64url.DecodeString(text)
}

// jws is a JSON Web Signature in flattened JSON form (RFC 7515 section 7.2.2), read but not verified.
type jws struct {
	header    header
	payload   []byte
	input     []byte // what was signed
	signature []byte
}

// header is the protected header (RFC 8555 section 6.2). There is no other.
type header struct {
	Algorithm string          `json:"alg"`
	Nonce     string          `json:"nonce"`
	URL       string          `json:"url"`
	KeyID     string          `json:"kid"`
	JWK       json.RawMessage `json:"jwk"`
	Critical  json.RawMessage `json:"crit"`
}

// parseJWS reads what a client sent, and demands of the header what section 6.2 demands of each.
func parseJWS(body []byte) (*jws, error) {
	j, err := splitJWS(body)
	if err != nil {
		return nil, err
	}
	return j, j.header.check()
}

// splitJWS takes a JWS apart.
func splitJWS(body []byte) (*jws, error) {
	var raw struct {
		Protected  string          `json:"protected"`
		Payload    *string         `json:"payload"`
		Signature  string          `json:"signature"`
		Header     json.RawMessage `json:"header"`
		Signatures json.RawMessage `json:"signatures"`
	}
	switch err := json.Unmarshal(body, &raw); {
	case err != nil:
		return nil, refuse(malformed, "the body is not a JWS in flattened JSON form")
	case raw.Header != nil || raw.Signatures != nil:
		return nil, refuse(malformed, "the JWS must have one signature and no unprotected header")
	case raw.Protected == "" || raw.Payload == nil || raw.Signature == "":
		return nil, refuse(malformed, `the JWS needs "protected", "payload" and "signature"`)
	}
	protected, err1 := decodeBase64(raw.Protected)
	payload, err2 := decodeBase64(*raw.Payload)
	signature, err3 := decodeBase64(raw.Signature)
	if errors.Join(err1, err2, err3) != nil {
		return nil, refuse(malformed, "a part of the JWS is not base64url without padding")
	}
	j := &jws{payload: payload, signature: signature, input: []byte(raw.Protected + "." + *raw.Payload)}
	if err := json.Unmarshal(protected, &j.header); err != nil {
		return nil, refuse(malformed, "the protected header is not a JSON object of the right form")
	}
	return j, nil
}

func (h *header) check() error {
	if h.Critical != nil {
		return refuse(malformed, `the header demands extensions ("crit") that are not known here`)
	}
	if _, ok := algorithms[h.Algorithm]; !ok {
		return badAlgorithm("the algorithm %.20q is not accepted", h.Algorithm)
	}
	if (h.KeyID == "") == (h.JWK == nil) {
		return refuse(malformed, `the header needs either "jwk" or "kid"`)
	}
	return nil
}

// algorithms are those we verify, with their hashes (RFC 7518 section 3.1, RFC 8037). RFC 8555
// section 6.2 rules out "none" and MACs; nothing that speaks ACME needs RSA-PSS.
var algorithms = map[string]crypto.Hash{
	"ES256": crypto.SHA256, "ES384": crypto.SHA384, "ES512": crypto.SHA512,
	"RS256": crypto.SHA256, "EdDSA": 0,
}

func badAlgorithm(format string, args ...any) error {
	r := refuse(badSignatureAlgorithm, format, args...)
	r.Algorithms = []string{"ES256", "ES384", "ES512", "RS256", "EdDSA"}
	return r
}

// verify checks the signature with the key; its algorithm must be the key's.
func (j *jws) verify(k key) error {
	if k.algorithm != j.header.Algorithm {
		return badAlgorithm("the key signs with %s, not with %s", k.algorithm, j.header.Algorithm)
	}
	digest := j.input
	hash := algorithms[k.algorithm]
	if hash != 0 {
		h := hash.New()
		h.Write(j.input)
		digest = h.Sum(nil)
	}
	ok := false
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		size := (public.Params().BitSize + 7) / 8 // RFC 7518 section 3.4
		ok = len(j.signature) == 2*size && ecdsa.Verify(public, digest,
			new(big.Int).SetBytes(j.signature[:size]), new(big.Int).SetBytes(j.signature[size:]))
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(public, hash, digest, j.signature) == nil
	case ed25519.PublicKey:
		ok = ed25519.Verify(public, digest, j.signature)
	}
	if !ok {
		return refuse(unauthorized, "the signature is not by this key")
	}
	return nil
}
