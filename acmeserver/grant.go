package acmeserver

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

// Grant lets an account, or every account that an EAB key bound, have names without a challenge: the
// authorizations of its orders for them are valid from the start.
type Grant struct {
	ID      string `json:"-"`
	Account string `json:"-"` // the holder: an account's id, or
	EABKey  string `json:"-"` // an EAB key's
	Owner   string `json:"-"` // the holder's
	// Names are canonical: a DNS name, which may be a wildcard; what is below one (".team.internal"); an
	// IP address, or a network in CIDR form.
	Names     []string  `json:"names"`
	Wildcards bool      `json:"wildcards,omitempty"` // what is below a name includes wildcards
	Reason    string    `json:"reason,omitempty"`    // for people
	CreatedBy string    `json:"created_by"`          // the Caller's ID
	CreatedAt time.Time `json:"-"`
	ExpiresAt time.Time `json:"-"`
}

// parseGranted gives the canonical form of one of a grant's names.
func parseGranted(text string) (string, error) {
	below, isBelow := strings.CutPrefix(text, ".")
	switch {
	case strings.Contains(text, "/"):
		network, err := netip.ParsePrefix(text)
		if err != nil || network != network.Masked() || network.Addr().Is4In6() {
			return "", fault.Field("granted names", "%.100q is not a network in CIDR form without host "+
				"bits, such as 10.1.0.0/16", text)
		}
		return network.String(), nil
	case isBelow && strings.HasPrefix(below, "*"):
		return "", fault.Field("granted names", "%.100q is below a wildcard", text)
	}
	kind := identity.DNS
	if _, err := netip.ParseAddr(text); err == nil {
		kind = identity.IP
	}
	name, err := identity.ParseName(kind, below)
	if err != nil {
		return "", fault.Field("granted names", "%s", sentenceOf(err))
	}
	if isBelow {
		return "." + name.Value, nil
	}
	return name.Value, nil
}

// covers tells whether the grant is for the name. The labels of a suffix are whole ones.
func (g *Grant) covers(name identity.Name) bool {
	addr, _ := netip.ParseAddr(name.Value) // the zero Addr, which is in no network, for a DNS name
	return slices.ContainsFunc(g.Names, func(granted string) bool {
		if network, err := netip.ParsePrefix(granted); err == nil {
			return name.Type == identity.IP && network.Contains(addr)
		}
		if strings.HasPrefix(granted, ".") {
			return name.Type == identity.DNS && (g.Wildcards || !name.IsWildcard()) &&
				strings.HasSuffix(name.Value, granted)
		}
		return granted == name.Value && (name.Type == identity.DNS || name.Type == identity.IP)
	})
}

// preauthorize makes the authorizations valid that the account has grants for, and says so for the
// record.
func (s *Server) preauthorize(ctx context.Context, a Account, o *Order) ([]audit.Entry, error) {
	if !a.Granted {
		return nil, nil
	}
	grants, err := s.store.GrantsOf(ctx, a, o.CreatedAt)
	if err != nil {
		return nil, err
	}
	used := make(map[string][]string)
	for i := range o.Authorizations {
		z := &o.Authorizations[i]
		name := z.identifier()
		at := slices.IndexFunc(grants, func(g Grant) bool { return g.covers(name) })
		if at < 0 {
			continue
		}
		g := grants[at]
		z.Grant, z.Status, z.Challenges = g.ID, StatusValid, nil
		if end := g.ExpiresAt.Truncate(time.Second); end.Before(z.Expires) {
			z.Expires = end
		}
		used[g.ID] = append(used[g.ID], name.Value)
	}
	var entries []audit.Entry
	for id, names := range used {
		entries = append(entries, audit.New(o.CreatedAt, audit.GrantUsed, a.caller(nil).ID, id,
			map[string]string{
				"order": o.ID, "names": strings.Join(names, " "), "owner": a.caller(nil).Owner,
			}))
	}
	return entries, nil
}

// checkGrants ends an order without a certificate if one of its grants has been withdrawn.
func (s *Server) checkGrants(ctx context.Context, a Account, o Order) (Order, error) {
	now := s.now()
	if !o.restsOnGrants(now) {
		return o, nil
	}
	grants, err := s.store.GrantsOf(ctx, a, now)
	if err != nil {
		return o, err
	}
	return s.change(ctx, o, func(o *Order) (_ []audit.Entry, changed bool) {
		if !o.restsOnGrants(now) {
			return nil, false
		}
		for i := range o.Authorizations {
			z := &o.Authorizations[i]
			if !z.restsOnGrant(now) ||
				slices.ContainsFunc(grants, func(g Grant) bool { return g.ID == z.Grant }) {
				continue
			}
			z.Status, changed = StatusRevoked, true
			o.fail(z, refuse(unauthorized, "the leave to have this name without a challenge has been "+
				"withdrawn; make a new order").Problem, now)
		}
		return nil, changed
	})
}

// restsOnGrants tells whether something could still come of the order by a grant.
func (o *Order) restsOnGrants(now time.Time) bool {
	return o.Certificate == nil && o.Error == nil &&
		slices.ContainsFunc(o.Authorizations, func(z Authorization) bool { return z.restsOnGrant(now) })
}

func (a *Authorization) restsOnGrant(now time.Time) bool {
	return a.Grant != "" && a.statusAt(now) == StatusValid
}
