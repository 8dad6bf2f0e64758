package identity

import "strings"

// NameType is the kind of a Name, spelled as ACME identifier types are where they exist (RFC 8555
// section 9.7.7, RFC 8738, draft-ietf-acme-device-attest).
type NameType string

// The types of name.
const (
	DNS   NameType = "dns"
	IP    NameType = "ip"
	URI   NameType = "uri"
	Email NameType = "email"
	// PermanentIdentifier is what a maker calls one device for all its life, as a serial number
	// (RFC 4043). Nobody says here who assigned it.
	PermanentIdentifier NameType = "permanent-identifier"
)

// Name is one subject alternative name in canonical form: what ParseName returns. Names compare
// with ==.
type Name struct {
	Type  NameType `json:"type"`
	Value string   `json:"value"`
}

// IsWildcard tells whether n is a DNS name that stands for all names one label below its parent
// (RFC 6125 section 6.4.3).
func (n Name) IsWildcard() bool {
	return n.Type == DNS && strings.HasPrefix(n.Value, "*.")
}
