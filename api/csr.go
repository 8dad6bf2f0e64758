package api

import (
	"encoding/pem"
	"strings"

	"github.com/mayflyca/mayfly/fault"
)

// maxCSR bounds a CSR's text, in characters; ca.MaxCSR bounds its content.
const maxCSR = 64 << 10

const (
	pemBegin = "-----BEGIN "
	pemEnd   = "-----END "
	pemDash  = "-----"
)

// decodeCSR reads the one certificate signing request in a PEM text (RFC 7468 section 7) and gives
// its DER. Text around it is passed over, as RFC 7468 section 2 wants; it takes time linear in the
// text's length whatever the text is (never #29). Errors are fault.Invalid.
func decodeCSR(text string) ([]byte, error) {
	if len(text) > maxCSR {
		return nil, fault.Field("csr", "is longer than 65536 characters")
	}
	if strings.Contains(text, "PRIVATE KEY-----") {
		return nil, fault.Field("csr", "holds a private key: never send one. Make a new key, and send "+
			"only the CERTIFICATE REQUEST for it")
	}
	var label string
	_, rest, found := strings.Cut(text, pemBegin)
	if found {
		label, _, found = strings.Cut(rest, pemDash)
	}
	switch {
	case !found:
		return nil, fault.Field("csr", "is not PEM: put the request with its lines %sCERTIFICATE "+
			"REQUEST%s and %sCERTIFICATE REQUEST%s here, not its DER or base64", pemBegin, pemDash,
			pemEnd, pemDash)
	case label == "CERTIFICATE":
		return nil, fault.Field("csr", "is a certificate, not a request for one; make the request with "+
			"\"openssl req -new -key <key file> -subj / -addext subjectAltName=DNS:<name>\"")
	case label != "CERTIFICATE REQUEST" && label != "NEW CERTIFICATE REQUEST":
		return nil, fault.Field("csr", "holds a %.40q, not a CERTIFICATE REQUEST", label)
	case strings.Contains(rest, pemBegin):
		return nil, fault.Field("csr", "holds more than one PEM block; send one CERTIFICATE REQUEST")
	}
	block, _ := pem.Decode([]byte(pemBegin + rest))
	if block == nil || len(block.Bytes) == 0 {
		return nil, fault.Field("csr", "is broken PEM: its base64 or its END line is damaged")
	}
	return block.Bytes, nil
}
