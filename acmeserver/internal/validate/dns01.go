package validate

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

// dns01 looks for the digest of the key authorization in a TXT record (RFC 8555 section 8.4).
func (v *Validator) dns01(ctx context.Context, c Challenge, t *trace) *problem {
	name := "_acme-challenge." + c.Name.Value
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
