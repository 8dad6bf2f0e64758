package validate

import (
	"crypto/x509/pkix"
	"errors"
	"io"
	"net/netip"

	"github.com/miekg/dns"

	"github.com/mayflyca/mayfly/identity"
)

// The limits that tests hold us to.
const (
	MaxHeader = maxHeader
	MaxLines  = maxLines
	MaxLine   = maxLine
	MaxDetail = maxDetail
)

// Permit gives the rule that forbids to dial addr.
func (v *Validator) Permit(addr netip.Addr) error {
	if _, no := v.policy.permit(addr); no != nil {
		return errors.New(no.rule)
	}
	return nil
}

// Authority is what stands in the Host header.
func Authority(host string, port, standard uint16) string { return authority(host, port, standard) }

// ReadReply reads a stranger's HTTP response.
func ReadReply(r io.Reader, limit int) (body []byte, location string, err error) {
	got, err := readReply(r, limit)
	if err != nil {
		return nil, "", err
	}
	return got.body, got.location, nil
}

// CheckIdentifier and IsOnlyName read what a stranger's certificate says.
func CheckIdentifier(all []pkix.Extension, digest [32]byte) string {
	return checkIdentifier(all, digest)
}

func IsOnlyName(der []byte, name identity.Name) bool { return isOnlyName(der, name) }

// Follow walks the aliases in a stranger's DNS answer.
func Follow(answer []dns.RR, owner string, qtype uint16) ([]dns.RR, string) {
	return follow(answer, owner, qtype)
}
