package acmeserver

import (
	"slices"
	"strings"

	"github.com/mayflyca/mayfly/identity"
)

// profile finds the profile of a new order; without a wish it is the default. One that was wished
// for must fit the identifiers (draft-ietf-acme-profiles section 4).
func (s *Server) profile(wish string, names []identity.Name) (string, error) {
	profiles := s.ca.Profiles()
	if wish == "" {
		return defaultProfile(profiles, names), nil
	}
	known := make([]string, len(profiles))
	for i, p := range profiles {
		known[i] = p.Name
		if p.Name != wish {
			continue
		}
		for _, n := range names {
			if !slices.Contains(p.NameTypes, n.Type) {
				return "", refuse(invalidProfile, "profile: %s does not allow identifiers of type %s, and "+
					"%.100q is one", p.Name, n.Type, n.Value)
			}
		}
		return p.Name, nil
	}
	return "", refuse(invalidProfile, "profile: %.100q is none of %s", wish, strings.Join(known, ", "))
}
