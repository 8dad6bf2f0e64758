package acmeserver

import (
	"context"
	"encoding/pem"
	"net/http"
	"strconv"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
)

// certificate gives a certificate with one of its chains (RFC 8555 section 7.4.2) to the account it
// was issued to, and points to the others. The first chain's URL has no number.
func (s *Server) certificate(ctx context.Context, r *request) (*answer, error) {
	serial, err := ca.ParseSerial(r.param("serial"))
	if err != nil || serial.String() != r.param("serial") {
		return nil, notFound("certificate")
	}
	found, err := s.ca.Certificate(ctx, serial)
	if fault.Is(err, fault.NotFound) || err == nil && found.Caller != r.account.caller(nil).ID {
		return nil, notFound("certificate")
	}
	if err != nil {
		return nil, err
	}
	chains := s.ca.Chains(found.Issuer)
	a := &answer{status: http.StatusOK}
	for n, chain := range chains {
		path := []string{"cert", serial.String()}
		number := "" // of the first
		if n > 0 {
			number = strconv.Itoa(n)
			path = append(path, number)
		}
		if number == r.param("chain") {
			a.chain = pemChain(found.DER, chain)
		} else {
			a.alternates = append(a.alternates, s.url(path...))
		}
	}
	if a.chain == nil {
		return nil, notFound("certificate")
	}
	return a, nil
}

func pemChain(leaf []byte, chain [][]byte) []byte {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf})
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}
