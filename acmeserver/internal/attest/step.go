package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"strconv"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// yubiKeySerial is the extension with a YubiKey's serial number, an INTEGER (Yubico, "PIV
// attestation").
var yubiKeySerial = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, 7}

// step verifies the format of the step tools, which no standard describes: a YubiKey's certificate of
// the key, and the key's signature over the key authorization, in CBOR once more.
func (v *Verifier) step(s *statement, keyAuthorization string, now time.Time) (*Device, error) {
	chain, err := readChain(s.Chain)
	if err != nil {
		return nil, err
	}
	if err := v.trust(chain, now); err != nil {
		return nil, err
	}
	var signature []byte
	if err := strict.Unmarshal(s.Signature, &signature); err != nil {
		return nil, refuse(err, "its sig is not a CBOR byte string with a signature in it")
	}
	algorithm := signatureAlgorithm(chain[0].PublicKey)
	if err := chain[0].CheckSignature(algorithm, []byte(keyAuthorization), signature); err != nil {
		return nil, refuse(err, "its sig is not the attested key's over this challenge's key authorization")
	}
	d := &Device{Key: chain[0].PublicKey}
	for _, e := range chain[0].Extensions {
		if !e.Id.Equal(yubiKeySerial) {
			continue
		}
		value := cryptobyte.String(e.Value)
		var serial uint64
		if !value.ReadASN1Integer(&serial) || !value.Empty() {
			return nil, refuse(nil, "the YubiKey's serial number is not a positive INTEGER")
		}
		d.add(strconv.FormatUint(serial, 10))
	}
	return d, nil
}

// signatureAlgorithm is the one with which the step tools use a key.
func signatureAlgorithm(key crypto.PublicKey) x509.SignatureAlgorithm {
	switch key.(type) {
	case *ecdsa.PublicKey:
		return x509.ECDSAWithSHA256
	case *rsa.PublicKey:
		return x509.SHA256WithRSA
	case ed25519.PublicKey:
		return x509.PureEd25519
	}
	return x509.UnknownSignatureAlgorithm
}
