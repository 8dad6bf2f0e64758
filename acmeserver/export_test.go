package acmeserver

import (
	"context"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/mayflyca/mayfly/ca"
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

// ParseCertID gives the parts of a certificate's id.
func ParseCertID(text string) (keyID string, serial ca.Serial, err error) {
	id, err := parseCertID(text)
	return id.keyID, id.serial, err
}

// PlannedWindow is when a certificate in good standing is to be renewed.
func PlannedWindow(c *ca.Certificate) (start, end time.Time) {
	w := plannedWindow(c)
	return w.Start, w.End
}

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
