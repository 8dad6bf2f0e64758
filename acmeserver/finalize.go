package acmeserver

import (
	"context"
	"crypto/x509"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
)

// finalize has the certificate issued (RFC 8555 section 7.4). The order's Ref makes it repeatable:
// however often and wherever it is asked for, there is one certificate, and the answer is the same.
func (s *Server) finalize(ctx context.Context, r *request) (*answer, error) {
	o, err := s.ownOrder(ctx, r)
	if err != nil {
		return nil, err
	}
	var p struct {
		CSR string `json:"csr"`
	}
	if err := r.decode(&p); err != nil {
		return nil, err
	}
	if status := o.statusAt(s.now()); status == StatusPending || status == StatusInvalid {
		return nil, refuse(orderNotReady, "the order is %s", status)
	}
	if o.Certificate == nil {
		// A profile that was taken away in the meantime (draft-ietf-acme-profiles section 4).
		if _, err := s.profile(o.Profile, o.names()); err != nil {
			return nil, err
		}
	}
	csr, err := decodeBase64(p.CSR)
	if err != nil {
		return nil, refuse(badCSR, "csr: it is not base64url without padding")
	}
	// The account's key lies on another machine than the service's, or should (section 11.1).
	if read, err := x509.ParseCertificateRequest(csr); err == nil && r.key.is(read.PublicKey) {
		return nil, refuse(badCSR, "csr: it names the account's key; make the certificate a key of its own")
	}
	if err := o.checkKey(csr); err != nil {
		return nil, err
	}
	if o.Certificate == nil {
		if err := s.take(certificatesPerNameSet, nameSetKey(o.names())); err != nil {
			return nil, err
		}
	}
	o.Certificate, err = s.ca.Issue(ctx, ca.Request{
		Ref: o.Ref(), Caller: r.account.caller(o.names()), Profile: o.Profile, CSR: csr,
		Names: o.devices(),
	})
	switch {
	case fault.Is(err, fault.NotReady):
		o.Certificate = &ca.Certificate{State: ca.Promised}
	case fault.Is(err, fault.Conflict):
		return nil, refuse(orderNotReady, "the order has a certificate already, for another key")
	case err != nil:
		// The names were found good when the order was made: it is the CSR that differs.
		return nil, refusedAs(badCSR, err, fault.Invalid, fault.Denied)
	}
	return s.orderAnswer(0, &o), nil
}
