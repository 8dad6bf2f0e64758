package validate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/mayflyca/mayfly/identity"
)

// maxClimb bounds the lookups for one name; a name of more labels gets no certificate where CAA is
// honoured.
const maxClimb = 32

// maxIdentities is how many a challenge may name (draft-ietf-acme-dns-persist-02 section 3.1).
const maxIdentities = 10

// newIdentities gives this CA's domain names in the form in which they are compared.
func newIdentities(c Config) ([]string, error) {
	var names []string
	for _, text := range c.CAAIdentities {
		name, err := identity.ParseName(identity.DNS, text)
		if err != nil || name.IsWildcard() {
			return nil, fmt.Errorf("acme.caa_identities: %q is not a domain name, like ca.example", text)
		}
		names = append(names, name.Value)
	}
	if len(names) > maxIdentities || c.CAA && len(names) == 0 {
		return nil, fmt.Errorf("acme.caa_identities needs 1 to %d domain names where acme.caa is on; "+
			"it has %d", maxIdentities, len(names))
	}
	return names, nil
}

// CAA says whether the CAA records that govern c's name let this CA issue for it, to c's account,
// proven in c's way (RFC 8659, RFC 8657), in 10 s at most. A lookup that fails forbids. It looks
// whether Config.CAA says so or not; Check includes it where it does. Each name of an order has to be
// asked for (never #7).
func (v *Validator) CAA(ctx context.Context, c Challenge) Result {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var t trace
	return result(v.caa(ctx, c, &t), &t)
}

// caa climbs from the name towards the root to the first that has CAA records (RFC 8659 section 3).
// Addresses have none, and localhost is nobody's to publish.
func (v *Validator) caa(ctx context.Context, c Challenge, t *trace) *problem {
	if c.Name.Type != identity.DNS || isLocalhost(c.Name.Value) {
		return nil
	}
	name := c.Name.Value
	for range maxClimb {
		records, p := v.resolver.lookup(ctx, name, dns.TypeCAA, t)
		if p != nil && !p.absent {
			return p
		}
		if len(records) > 0 {
			return v.caaPermits(records, name, c, t)
		}
		_, parent, more := strings.Cut(name, ".")
		if !more {
			t.add("no CAA record restricts %s", c.Name.Value)
			return nil
		}
		name = parent
	}
	return failed(caaProblem, "%s has more than %d labels, too many to look for CAA records at each; "+
		"use a shorter name", c.Name.Value, maxClimb)
}

// caaPermits judges the records found at a name (RFC 8659 sections 4.1 to 4.3).
func (v *Validator) caaPermits(records []dns.RR, at string, c Challenge, t *trace) *problem {
	var issue, issueWild []string
	for _, rr := range records {
		record, ok := rr.(*dns.CAA)
		if !ok {
			return failed(caaProblem, "a CAA record at %s cannot be read", at)
		}
		switch tag := strings.ToLower(record.Tag); {
		case tag == "issue":
			issue = append(issue, record.Value)
		case tag == "issuewild":
			issueWild = append(issueWild, record.Value)
		case record.Flag&128 != 0 && tag != "iodef" && tag != "issuemail":
			return failed(caaProblem, "a CAA record at %s has the critical tag %s, which this CA "+
				"does not know", at, excerpt(record.Tag))
		}
	}
	tag, values := "issue", issue
	if c.Wildcard && len(issueWild) > 0 {
		tag, values = "issuewild", issueWild
	}
	var why []string
	for _, value := range values {
		wrong := v.caaForbids(value, c)
		if wrong == "" {
			t.add("CAA at %s permits: %s %s", at, tag, excerpt(value))
			return nil
		}
		why = append(why, excerpt(value)+" "+wrong)
	}
	if len(values) == 0 {
		t.add("CAA at %s restricts nobody", at)
		return nil
	}
	t.add("CAA at %s forbids: %s", at, strings.Join(why, "; "))
	return failed(caaProblem, "the CAA records at %s do not let this CA issue for %s (%s); add one: "+
		"0 %s %s", at, c.Name.Value, strings.Join(why[:min(len(why), 3)], "; "), tag,
		strings.Join(v.identities, ", or "))
}

// caaForbids says why a property does not let this CA issue; "" means that it does. One that cannot
// be read names nobody.
func (v *Validator) caaForbids(value string, c Challenge) string {
	parsed, err := parseIssueValue(value)
	if err != nil {
		return fmt.Sprintf("cannot be read: %s", err)
	}
	account, accounts := parsed.one("accounturi")
	methods, restricted := parsed.one("validationmethods")
	switch {
	case !slices.Contains(v.identities, parsed.issuer):
		return "is not for this CA"
	case accounts > 1 || restricted > 1:
		return "has a parameter twice"
	case accounts == 1 && (account == "" || account != c.AccountURI):
		return "is for another account"
	case restricted == 1 && !slices.Contains(strings.Split(methods, ","), c.Type):
		return fmt.Sprintf("does not allow %q", c.Type)
	}
	return ""
}
