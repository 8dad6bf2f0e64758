package validate

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"strings"
)

// acmeChallenge is the label below which dns-01 and dns-account-01 look.
const acmeChallenge = "_acme-challenge."

// dnsDigest looks for the digest of the key authorization in a TXT record at name: dns-01 (RFC 8555
// section 8.4), and dns-account-01 at its own name.
func (v *Validator) dnsDigest(ctx context.Context, name string, c Challenge, t *trace) *problem {
	digest := sha256.Sum256([]byte(c.KeyAuthorization))
	expected := base64.RawURLEncoding.EncodeToString(digest[:])
	values, p := v.resolver.texts(ctx, name, t)
	if p != nil {
		return p
	}
	var seen []string
	for _, value := range values {
		if subtle.ConstantTimeCompare([]byte(value), []byte(expected)) == 1 {
			return nil
		}
		if len(seen) < 3 {
			seen = append(seen, excerpt(value))
		}
	}
	if len(seen) == 0 {
		return failed(unauthorized, "%s exists but has no TXT record; create one with the value %q",
			name, expected)
	}
	return failed(unauthorized, "none of the %d TXT records at %s has the expected value %q; seen: %s; "+
		"if the right one was added, it has not reached the DNS servers that this CA asks",
		len(values), name, expected, strings.Join(seen, ", "))
}

// accountLabel is the label, with its dot, that dns-account-01 puts before dns-01's, so that several
// accounts can prove one name (draft-ietf-acme-dns-account-label-03).
func accountLabel(accountURI string) string {
	digest := sha256.Sum256([]byte(accountURI))
	return "_" + strings.ToLower(base32.StdEncoding.EncodeToString(digest[:10])) + "."
}
