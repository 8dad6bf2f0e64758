package acmeserver

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net/http"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

// revokeCert ends a certificate at the wish of the account it was issued to, of one that has proven
// all of its names, or of whoever holds its key (RFC 8555 section 7.6).
func (s *Server) revokeCert(ctx context.Context, r *request) (*answer, error) {
	var p struct {
		Certificate string    `json:"certificate"`
		Reason      ca.Reason `json:"reason"`
	}
	if err := r.decode(&p); err != nil {
		return nil, err
	}
	if !p.Reason.Allowed() {
		return nil, refuse(badRevocationReason, "reason: %d is none of 0 (unspecified), 1 (keyCompromise), "+
			"3 (affiliationChanged), 4 (superseded), 5 (cessationOfOperation), 9 (privilegeWithdrawn)",
			p.Reason)
	}
	found, parsed, err := s.ownCertificate(ctx, p.Certificate)
	if err != nil {
		return nil, err
	}
	caller := ca.Holder(found.Serial)
	switch {
	case r.account.ID == "" && !r.key.is(parsed.PublicKey):
		return nil, refuse(unauthorized, "the request is signed by another key than the certificate's")
	case r.account.ID != "":
		if caller, err = s.revoker(ctx, r.account, found); err != nil {
			return nil, err
		}
	}
	err = s.ca.Revoke(ctx, caller, found.Serial, p.Reason)
	if errors.Is(err, ca.ErrRevoked) {
		return nil, refuse(alreadyRevoked, "%s", detailOf(err))
	}
	if err != nil {
		return nil, err
	}
	return &answer{}, nil
}

// ownCertificate finds the certificate in the record. It must be the very one: a serial alone can
// be another CA's.
func (s *Server) ownCertificate(
	ctx context.Context, text string,
) (*ca.Certificate, *x509.Certificate, error) {
	der, err := decodeBase64(text)
	if err != nil {
		return nil, nil, refuse(malformed, "certificate: it is not base64url without padding")
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, refuse(malformed, "certificate: it is not an X.509 certificate in DER")
	}
	unknown := refuse(malformed, "certificate: it was not issued here").withStatus(http.StatusNotFound)
	serial, err := ca.SerialFromBig(parsed.SerialNumber)
	if err != nil {
		return nil, nil, unknown
	}
	found, err := s.ca.Certificate(ctx, serial)
	if fault.Is(err, fault.NotFound) || err == nil && !bytes.Equal(found.DER, der) {
		return nil, nil, unknown
	}
	return found, parsed, err
}

// revoker is the account as a caller. If the certificate is another's, it brings the names that it
// has proven of late.
func (s *Server) revoker(ctx context.Context, a Account, c *ca.Certificate) (identity.Caller, error) {
	caller := a.caller(nil)
	if caller.ID == c.Caller {
		return caller, nil
	}
	now := s.now()
	ids, err := s.store.Orders(ctx, a.ID, "", now, ordersPerPage)
	if err != nil {
		return caller, err
	}
	for _, id := range ids {
		o, err := s.store.Order(ctx, id)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return caller, err
		}
		for _, authorization := range o.Authorizations {
			// A grant is leave to have a name, and no proof of having it.
			if authorization.statusAt(now) == StatusValid && authorization.Grant == "" {
				caller.Names = append(caller.Names, authorization.identifier())
			}
		}
	}
	return caller, nil
}
