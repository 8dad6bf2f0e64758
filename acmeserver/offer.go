package acmeserver

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
	"github.com/mayflyca/mayfly/identity"
)

// proves says which names each type of challenge can prove.
var proves = map[string]struct {
	types     []identity.NameType
	wildcards bool // who answers at one name below does not speak for all (never #17)
}{
	validate.HTTP01:       {types: []identity.NameType{identity.DNS, identity.IP}},
	validate.TLSALPN01:    {types: []identity.NameType{identity.DNS, identity.IP}},
	validate.DNS01:        {types: []identity.NameType{identity.DNS}, wildcards: true}, // RFC 8738 section 7
	validate.DNSAccount01: {types: []identity.NameType{identity.DNS}, wildcards: true},
	validate.DNSPersist01: {types: []identity.NameType{identity.DNS}, wildcards: true},
	deviceAttest01:        {types: []identity.NameType{identity.PermanentIdentifier}},
}

// offered checks the types of challenge that are configured, and gives those of RFC 8555 and RFC 8737
// for none: they alone break no client.
func offered(v Validation) ([]string, error) {
	if len(v.Challenges) == 0 {
		return []string{validate.HTTP01, validate.DNS01, validate.TLSALPN01}, nil
	}
	for i, kind := range v.Challenges {
		if _, ok := proves[kind]; !ok || slices.Contains(v.Challenges[:i], kind) {
			return nil, fmt.Errorf("acme.challenges: %q is not a type of challenge that can be offered, or "+
				"stands there twice", kind)
		}
	}
	if slices.Contains(v.Challenges, validate.DNSPersist01) && len(v.CAAIdentities) == 0 {
		return nil, errors.New("dns-persist-01 in acme.challenges needs acme.caa_identities, the domain " +
			"names of this CA: external_url has none")
	}
	return v.Challenges, nil
}

// issuerNames are our domain names in DNS records: those configured, or else the host of BaseURL, if
// that is a name. Clients must see them in canonical form (draft-ietf-acme-dns-persist-02 section 3.1).
func issuerNames(c Config) ([]string, error) {
	if len(c.Validation.CAAIdentities) == 0 {
		u, err := url.Parse(c.BaseURL)
		if err != nil {
			return nil, fmt.Errorf("reading the base URL: %w", err)
		}
		host, err := identity.ParseName(identity.DNS, u.Hostname())
		if err != nil {
			return nil, nil // an address
		}
		return []string{host.Value}, nil
	}
	var names []string
	for _, text := range c.Validation.CAAIdentities {
		name, err := identity.ParseName(identity.DNS, strings.TrimSuffix(text, "."))
		if err != nil || name.IsWildcard() {
			return nil, fmt.Errorf("acme.caa_identities: %q is not a domain name, like ca.example", text)
		}
		names = append(names, name.Value)
	}
	return names, nil
}

// offer gives the name its challenges.
func (s *Server) offer(name identity.Name) (offer []Challenge) {
	for _, kind := range s.challenges {
		p := proves[kind]
		if !slices.Contains(p.types, name.Type) || name.IsWildcard() && !p.wildcards {
			continue
		}
		c := Challenge{Type: kind, Status: StatusPending}
		if kind != validate.DNSPersist01 { // which has no token: the record names the account
			c.Token = newToken()
		}
		offer = append(offer, c)
	}
	return offer
}

// checkOffer refuses names that nothing offered here can prove.
func (s *Server) checkOffer(o *Order) error {
	var problems []Problem
	for i := range o.Authorizations {
		z := &o.Authorizations[i]
		if name := z.identifier(); z.Status == StatusPending && len(z.Challenges) == 0 {
			problems = append(problems, refuse(rejectedIdentifier, "%s: no challenge that this CA offers "+
				"(%s) can prove it; ask its operator to add one to acme.challenges, or to grant the name",
				name.Value, strings.Join(s.challenges, ", ")).about(name))
		}
	}
	return together(problems)
}

// byGrant is how a name is proven that was granted, in the language of CAA records: labels like this
// are each CA's own (RFC 8657 section 4).
const byGrant = "ca-grant"

// checkCAA refuses granted names for which we may not issue, where CAA is honoured. The others' records
// are looked at when they are proven.
func (s *Server) checkCAA(ctx context.Context, a Account, o *Order) error {
	if !s.honoursCAA {
		return nil
	}
	problems := make([]*Problem, len(o.Authorizations))
	errs := make([]error, len(o.Authorizations))
	var all sync.WaitGroup
	for i := range o.Authorizations { // all of them, never the first again and again (never #7)
		z := &o.Authorizations[i]
		if z.Grant == "" || z.Name.Type != identity.DNS {
			continue
		}
		all.Go(func() {
			result, err := s.attempt(ctx, validate.Challenge{
				Type: byGrant, Name: z.Name, Wildcard: z.Wildcard, AccountURI: s.url("acct", a.ID),
			}, s.validations.checker.CAA)
			if errs[i] = err; err == nil && !result.OK {
				p := refuse(result.ProblemType, "%s", result.Detail).about(z.identifier())
				problems[i] = &p
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var found []Problem
	for _, p := range problems {
		if p != nil {
			found = append(found, *p)
		}
	}
	return together(found)
}
