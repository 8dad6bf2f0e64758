package acmeserver

import (
	"errors"
	"strings"

	"github.com/mayflyca/mayfly/ca"
)

// certID names a certificate in renewal information (RFC 9773 section 4.1): its authority key
// identifier and its serial.
type certID struct {
	keyID  string // the octets
	serial ca.Serial
}

// maxCertID is above what any certificate can have: a key identifier of 64 octets, a serial of 20.
const maxCertID = 128

var (
	errCertIDForm = errors.New("it is not base64url(authority key identifier), a period, and " +
		"base64url(serial number), both without padding")
	errCertIDSerial = errors.New("its serial number is not the content of a positive INTEGER in DER of " +
		"at most 20 octets: where the first bit would be set, a zero octet comes first")
)

// parseCertID takes the one spelling that each certificate has.
func parseCertID(text string) (id certID, err error) {
	if len(text) > maxCertID {
		return id, errCertIDForm
	}
	keyText, serialText, _ := strings.Cut(text, ".")
	keyID, err1 := decodeBase64(keyText)
	serial, err2 := decodeBase64(serialText)
	if err1 != nil || err2 != nil || len(keyID) == 0 || len(serial) == 0 {
		return id, errCertIDForm
	}
	padded := serial[0] == 0 && (len(serial) == 1 || serial[1] < 0x80)
	if id.serial, err = ca.SerialFromBytes(serial); err != nil || serial[0] >= 0x80 || padded {
		return certID{}, errCertIDSerial
	}
	id.keyID = string(keyID)
	return id, nil
}
