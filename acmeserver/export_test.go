package acmeserver

import "context"

// NewWith makes a door that proves challenges with the checker.
var NewWith = newServer

// ParseKey gives the thumbprint of a JWK and the algorithm that its key signs with.
func ParseKey(jwk []byte) (thumbprint, algorithm string, err error) {
	k, err := parseKey(jwk)
	return k.thumbprint, k.algorithm, err
}

// Clean is what Run does every few minutes.
var Clean = func(ctx context.Context, s *Server) error { return s.clean(ctx) }
