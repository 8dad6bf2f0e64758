package acmeserver

import (
	"context"
	"net/http"

	"github.com/go-chi/chi/v5"
)

// NewWith makes a door that proves challenges with the checker.
var NewWith = newServer

// ParseKey gives the thumbprint of a JWK and the algorithm that its key signs with.
func ParseKey(jwk []byte) (thumbprint, algorithm string, err error) {
	k, err := parseKey(jwk)
	return k.thumbprint, k.algorithm, err
}

// Clean is what Run does every few minutes.
var Clean = func(ctx context.Context, s *Server) error { return s.clean(ctx) }

// SignedRoutes are the patterns of all that takes signed requests.
func SignedRoutes(s *Server) map[string]bool {
	patterns := make(map[string]bool)
	for _, route := range s.handler.(chi.Routes).Routes() {
		if _, ok := route.Handlers[http.MethodPost]; ok {
			patterns[route.Pattern] = true
		}
	}
	return patterns
}

// RouteOf is the pattern that a signed request for the path meets.
func RouteOf(s *Server, path string) string {
	found := chi.NewRouteContext()
	s.handler.(chi.Routes).Match(found, http.MethodPost, path)
	return found.RoutePattern()
}
