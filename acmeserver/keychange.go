package acmeserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
)

// keyChange gives the account a new key (RFC 8555 section 7.3.5). The request is signed by the old
// key; its payload is a JWS by the new one.
func (s *Server) keyChange(ctx context.Context, r *request) (*answer, error) {
	fresh, payload, err := readInner(r)
	if err != nil {
		return nil, err
	}
	var p struct {
		Account string          `json:"account"`
		OldKey  json.RawMessage `json:"oldKey"`
	}
	if err := decodeObject(payload, &p); err != nil {
		return nil, err
	}
	if p.Account != s.url("acct", r.account.ID) {
		return nil, refuse(malformed, "account: it is not the one that signed the request")
	}
	if old, err := parseKey(p.OldKey); err != nil || old.thumbprint != r.account.Thumbprint {
		return nil, refuse(malformed, "oldKey: it is not the account's key")
	}
	if fresh.thumbprint == r.account.Thumbprint {
		return nil, s.keyConflict(r.account)
	}
	a := r.account
	a.EarlierThumbprints = slices.Insert(slices.Clone(a.EarlierThumbprints), 0, a.Thumbprint)
	a.EarlierThumbprints = a.EarlierThumbprints[:min(len(a.EarlierThumbprints), maxEarlierThumbprints)]
	a.JWK, a.Thumbprint = fresh.canonical, fresh.thumbprint
	err = s.updateAccount(ctx, a, map[string]string{"thumbprint": a.Thumbprint})
	if errors.Is(err, ErrAccountKey) {
		other, err := s.store.AccountByThumbprint(ctx, fresh.thumbprint)
		if err != nil {
			return nil, err
		}
		return nil, s.keyConflict(other)
	}
	if err != nil {
		return nil, err
	}
	return s.accountAnswer(0, a), nil
}

// readInner reads the inner JWS, and verifies it with the key it brings.
func readInner(r *request) (fresh key, payload []byte, err error) {
	inner, err := parseJWS(r.payload)
	if err != nil {
		return fresh, nil, err
	}
	switch h := inner.header; {
	case h.JWK == nil:
		return fresh, nil, refuse(malformed, `the inner JWS must name the new key in "jwk"`)
	case h.Nonce != "":
		return fresh, nil, refuse(malformed, "the inner JWS must have no nonce")
	case h.URL != r.url:
		return fresh, nil, refuse(malformed, "the inner JWS is for another URL than the outer one")
	}
	if fresh, err = parseKey(inner.header.JWK); err != nil {
		return fresh, nil, err
	}
	if err := fresh.checkAccountKey(); err != nil {
		return fresh, nil, err
	}
	return fresh, inner.payload, inner.verify(fresh)
}

// keyConflict says whose the key is: the client has proven that it holds it.
func (s *Server) keyConflict(whose Account) error {
	r := refuse(malformed, "the new key is an account's already").withStatus(http.StatusConflict)
	r.location = s.url("acct", whose.ID)
	return r
}
