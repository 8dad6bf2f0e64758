package attest

import (
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"strings"
	"time"
)

// The extensions of an Apple attestation certificate (Apple Platform Security, "Managed Device
// Attestation"). Their values are bare text or octets, without ASN.1 around them.
var (
	appleSerial    = asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 8, 9, 1}
	appleUDID      = asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 8, 9, 2}
	appleFreshness = asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 8, 11, 1}
)

// apple verifies a managed device attestation: Apple's CA itself certifies the key, the device and
// the freshness code. The statement has no signature of its own; who has the key shows in the CSR.
func (v *Verifier) apple(s *statement, keyAuthorization string, now time.Time) (*Device, error) {
	chain, err := readChain(s.Chain)
	if err != nil {
		return nil, err
	}
	if err := v.trust(chain, now); err != nil {
		return nil, err
	}
	d := &Device{Key: chain[0].PublicKey}
	isFresh := false
	for _, e := range chain[0].Extensions {
		switch {
		case e.Id.Equal(appleSerial), e.Id.Equal(appleUDID):
			d.add(string(e.Value))
		case e.Id.Equal(appleFreshness):
			isFresh = isFreshnessCode(e.Value, keyAuthorization)
		}
	}
	if !isFresh {
		return nil, refuse(nil, "its freshness code is not the SHA-256 of this challenge's token: the "+
			"attestation answers another challenge, or none")
	}
	return d, nil
}

// isFreshnessCode tells whether code was made for the challenge. Apple's CA attests before there is
// an account, so that devices have it sign the token alone; one that binds the account as well, as
// the draft's other formats do, is as good.
func isFreshnessCode(code []byte, keyAuthorization string) bool {
	token, _, _ := strings.Cut(keyAuthorization, ".")
	ofToken, ofBoth := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(keyAuthorization))
	return bytes.Equal(code, ofToken[:]) || bytes.Equal(code, ofBoth[:])
}
