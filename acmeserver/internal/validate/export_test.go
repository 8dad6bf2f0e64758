package validate

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"github.com/mayflyca/mayfly/identity"
)

// The limits that tests hold us to.
const (
	MaxHeader = maxHeader
	MaxLines  = maxLines
	MaxLine   = maxLine
	MaxDetail = maxDetail
	MaxAtOnce = maxAtOnce
	MaxQueue  = maxWaiting
	MaxClimb  = maxClimb
)

// Permit gives the rule that forbids to dial.
func (v *Validator) Permit(at netip.AddrPort) error {
	if _, no := v.policy.permit(at.Addr(), at.Port()); no != nil {
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

// ParseIssueValue reads a stranger's CAA or dns-persist-01 value: its issuer, then tag=value each.
func ParseIssueValue(text string) (parts []string, err error) {
	v, err := parseIssueValue(text)
	parts = append(parts, v.issuer)
	for _, p := range v.params {
		parts = append(parts, p.tag+"="+p.value)
	}
	return parts, err
}

// Persists tells whether a stranger's dns-persist-01 record proves c.
func (v *Validator) Persists(text string, c Challenge) bool {
	value, err := parseIssueValue(text)
	if err != nil || !slices.Contains(v.identities, value.issuer) {
		return false
	}
	_, p := v.persists(value, c.Wildcard, v.accountURIs(c))
	return p == nil
}

// CAAForbids says why a stranger's CAA value does not let us issue.
func (v *Validator) CAAForbids(value string, c Challenge) string { return v.caaForbids(value, c) }

// Turns are the turns at one target.
type Turns struct{ turns *turns[string] }

func NewTurns() Turns { return Turns{newTurns[string]()} }

func (t Turns) Enter(ctx context.Context, key string) (func(), error) { return t.turns.enter(ctx, key) }

// Busy counts the targets that are remembered.
func (t Turns) Busy() int { return len(t.turns.rooms) }

// Busy counts the names and addresses that are remembered.
func (v *Validator) Busy() int { return len(v.names.rooms) + len(v.addresses.rooms) }
