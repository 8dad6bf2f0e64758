package validate

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"
)

// dnsPersist01 looks for a standing TXT record that names this CA and the account
// (draft-ietf-acme-dns-persist-02 section 4). until is when the proof ends; zero: it doesn't.
func (v *Validator) dnsPersist01(
	ctx context.Context, c Challenge, t *trace,
) (until time.Time, p *problem) {
	if len(v.identities) == 0 {
		return until, failed(malformed, "this CA has no domain name for dns-persist-01; have its "+
			"operator set acme.caa_identities")
	}
	name := "_validation-persist." + c.Name.Value
	texts, p := v.resolver.texts(ctx, name, t)
	if p != nil {
		return until, p
	}
	accounts := v.accountURIs(c)
	var first *problem
	for _, text := range texts {
		value, err := parseIssueValue(text)
		if !slices.Contains(v.identities, value.issuer) {
			continue // another CA's
		}
		if err != nil {
			p = failed(malformed, "%s", err)
		} else if until, p = v.persists(value, c.Wildcard, accounts); p == nil {
			return until, nil
		}
		t.add("the record %s does not do: %s", excerpt(text), p.detail)
		if first == nil {
			first = failed(p.kind, "the TXT record %s at %s does not do: %s",
				excerpt(text), name, p.detail)
		}
	}
	if first != nil {
		return time.Time{}, first
	}
	wanted := v.identities[0] + "; accounturi=" + accounts[0]
	if c.Wildcard {
		wanted += "; policy=wildcard"
	}
	return time.Time{}, failed(unauthorized, "none of the %d TXT records at %s names this CA; "+
		"create one with the value %q", len(texts), name, wanted)
}

// persists judges a record that names this CA (section 4.1; which error for what, section 9.3.1).
func (v *Validator) persists(
	value issueValue, wildcard bool, accounts []string,
) (until time.Time, p *problem) {
	account, count := value.one("accounturi")
	policy, policies := value.one("policy")
	last, lasts := value.one("persistuntil")
	if count != 1 || policies > 1 || lasts > 1 {
		return until, failed(malformed, "it must have one accounturi, and at most one policy and one "+
			"persistUntil")
	}
	if lasts == 1 {
		seconds, err := strconv.ParseUint(last, 10, 64)
		if err != nil {
			return until, failed(malformed, "its persistUntil is not a number of seconds since 1970")
		}
		until = time.Unix(int64(min(seconds, maxUnix)), 0).UTC()
	}
	switch {
	case !slices.Contains(accounts, account):
		return until, failed(unauthorized, "its accounturi is not this account's, %s", accounts[0])
	case wildcard && !strings.EqualFold(policy, "wildcard"):
		return until, failed(unauthorized, "it has no policy=wildcard")
	case lasts == 1 && v.now().After(until):
		return until, failed(unauthorized, "it ended at %s", until.Format(time.RFC3339))
	}
	return until, nil
}

// maxUnix is the end of the year 9999, behind which times cannot be written.
const maxUnix = 253402300799

// accountURIs are the texts that name the account, the best first: the hashed URI of each of its
// keys, for this name and for any, and the account's URL, which was the form until draft -01 and is
// what most clients write.
func (v *Validator) accountURIs(c Challenge) []string {
	var uris []string
	for _, thumbprint := range c.Thumbprints {
		for _, name := range []string{c.Name.Value, "*"} {
			digest := sha256.Sum256(slices.Concat([]byte{byte(len(name))},
				[]byte(name+thumbprint+c.AccountURI)))
			uris = append(uris, v.accountHashPrefix+"sha-256/"+
				base64.RawURLEncoding.EncodeToString(digest[:]))
		}
	}
	return append(uris, c.AccountURI)
}
