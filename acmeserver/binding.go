package acmeserver

import (
	"context"
	"crypto"
	"crypto/hmac"
	"encoding/json"

	"github.com/mayflyca/mayfly/fault"
)

// maxBinding bounds an external account binding, which stays in the account. One of an RSA key of
// 4096 bits has 1.3 KB.
const maxBinding = 8 << 10

// macs are the algorithms of bindings (RFC 7518 section 3.2).
var macs = map[string]crypto.Hash{
	"HS256": crypto.SHA256, "HS384": crypto.SHA384, "HS512": crypto.SHA512,
}

// bind gives the account its owner, if the request binds it to a key of ours (RFC 8555 section
// 7.3.4). Where a binding is required, one must.
func (s *Server) bind(ctx context.Context, r *request, binding json.RawMessage, a *Account) error {
	if len(binding) == 0 || string(binding) == "null" {
		if s.eabRequired {
			return refuse(externalAccountRequired, "a new account needs an external account binding: ask "+
				"whoever runs this CA for a key")
		}
		return nil
	}
	inner, err := parseBinding(binding, r.url)
	if err != nil {
		return err
	}
	k, err := s.findEABKey(ctx, inner.header.KeyID)
	if fault.Is(err, fault.NotFound) {
		return refuse(unauthorized, "externalAccountBinding: the key %.100q (kid) is not known here",
			inner.header.KeyID)
	}
	if err != nil {
		return err
	}
	macKey, err := s.macKey(ctx, k.ID)
	if err != nil {
		return err
	}
	if !inner.verifyMAC(macKey) {
		return refuse(unauthorized, "externalAccountBinding: the MAC is not by the key %q; copy its MAC "+
			"key once more", k.ID)
	}
	bound, err := parseKey(inner.payload)
	if err != nil || bound.thumbprint != r.key.thumbprint {
		return refuse(unauthorized, "externalAccountBinding: the payload is not the account's key")
	}
	if err := k.usable(s.now()); err != nil {
		return err
	}
	a.EABKey, a.Owner, a.Binding = k.ID, k.Owner, binding
	return nil
}

// parseBinding reads the inner JWS, and demands of its header what section 7.3.4 demands.
func parseBinding(binding []byte, url string) (*jws, error) {
	if len(binding) > maxBinding {
		return nil, refuse(malformed, "externalAccountBinding: it is larger than %d octets", maxBinding)
	}
	inner, err := splitJWS(binding)
	if err != nil {
		refused := refusalOf(err)
		return nil, refuse(refused.Type, "externalAccountBinding: %s", refused.Detail)
	}
	h := inner.header
	switch _, known := macs[h.Algorithm]; {
	case !known:
		r := refuse(badSignatureAlgorithm, "externalAccountBinding: the algorithm %.20q is not accepted; "+
			"take HS256, HS384 or HS512", h.Algorithm)
		r.Algorithms = []string{"HS256", "HS384", "HS512"}
		return nil, r
	case h.Critical != nil:
		return nil, refuse(malformed, `externalAccountBinding: it demands extensions ("crit") that are `+
			"not known here")
	case h.KeyID == "" || h.JWK != nil:
		return nil, refuse(malformed, `externalAccountBinding: it must name its key in "kid"`)
	case h.Nonce != "":
		return nil, refuse(malformed, "externalAccountBinding: it must have no nonce")
	case h.URL != url:
		return nil, refuse(malformed, "externalAccountBinding: it is for the URL %.200q, but this is %.200q",
			h.URL, url)
	}
	return inner, nil
}

// verifyMAC checks the signature of a JWS whose algorithm is one of macs.
func (j *jws) verifyMAC(key []byte) bool {
	h := hmac.New(macs[j.header.Algorithm].New, key)
	h.Write(j.input)
	return hmac.Equal(j.signature, h.Sum(nil))
}
