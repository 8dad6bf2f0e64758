package acmeserver

import (
	"context"
	"errors"
	"slices"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/identity"
)

// predecessor finds the certificate that a new order is to replace, and sees that the account may do
// so (RFC 9773 section 5). It may have expired, or be revoked.
func (s *Server) predecessor(
	ctx context.Context, a Account, names []identity.Name, text string,
) (*ca.Certificate, error) {
	id, err := parseCertID(text)
	if err != nil {
		return nil, refuse(malformed, "replaces: %s", err)
	}
	c, err := s.certificateOf(ctx, id)
	if err != nil {
		return nil, err
	}
	if c.Caller != a.caller(nil).ID {
		return nil, refuse(unauthorized, "replaces: the certificate was not issued to this account")
	}
	if !slices.ContainsFunc(c.Names, func(n identity.Name) bool { return slices.Contains(names, n) }) {
		return nil, refuse(malformed, "replaces: the certificate has none of the order's identifiers")
	}
	replaced, err := s.isReplaced(ctx, c)
	if err != nil {
		return nil, err
	}
	if replaced {
		return nil, refuseReplaced()
	}
	return c, nil
}

// create keeps a new order. Of several that replace one certificate, at whichever process they
// arrive, the store lets one through.
func (s *Server) create(
	ctx context.Context, o Order, predecessor *ca.Certificate, entries ...audit.Entry,
) error {
	if predecessor == nil {
		return s.store.CreateOrder(ctx, o, entries...)
	}
	err := s.store.CreateReplacement(ctx, o, predecessor.Serial, predecessor.Successor, entries...)
	if errors.Is(err, ErrReplaced) {
		return refuseReplaced()
	}
	return err
}

func refuseReplaced() *refusal {
	return refuse(alreadyReplaced, "replaces: another order replaces the certificate already; leave the "+
		"member out to get one more")
}
