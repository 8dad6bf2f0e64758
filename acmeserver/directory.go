package acmeserver

import (
	"context"
	"net/http"
	"slices"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
)

// directory tells clients where everything is (RFC 8555 section 7.1.1).
type directory struct {
	NewNonce   string `json:"newNonce"`
	NewAccount string `json:"newAccount"`
	NewOrder   string `json:"newOrder"`
	RevokeCert string `json:"revokeCert"`
	KeyChange  string `json:"keyChange"`
	Renewal    string `json:"renewalInfo"` // RFC 9773 section 3
	Meta       meta   `json:"meta"`
}

type meta struct {
	TermsOfService          string            `json:"termsOfService,omitempty"`
	Website                 string            `json:"website"`
	Profiles                map[string]string `json:"profiles"` // draft-ietf-acme-profiles
	ExternalAccountRequired bool              `json:"externalAccountRequired,omitempty"`
	CAAIdentities           []string          `json:"caaIdentities,omitempty"`

	// draft-ietf-acme-dns-persist-02 sections 3.2 and 4.1
	IssuerDomainNames []string `json:"issuerDomainNames,omitempty"`
	AccountHashPrefix string   `json:"accountHashPrefix,omitempty"`
}

func (s *Server) newDirectory() directory {
	profiles := make(map[string]string)
	for _, p := range s.ca.Profiles() {
		profiles[p.Name] = p.Description
	}
	d := directory{
		NewNonce:   s.url("new-nonce"),
		NewAccount: s.url("new-account"),
		NewOrder:   s.url("new-order"),
		RevokeCert: s.url("revoke-cert"),
		KeyChange:  s.url("key-change"),
		Renewal:    s.url("renewal-info"),
		Meta: meta{
			TermsOfService: s.terms, Website: s.origin, Profiles: profiles,
			ExternalAccountRequired: s.eabRequired,
		},
	}
	if s.honoursCAA {
		d.Meta.CAAIdentities = s.issuers
	}
	if slices.Contains(s.challenges, validate.DNSPersist01) {
		d.Meta.IssuerDomainNames, d.Meta.AccountHashPrefix = s.issuers, s.url(accountHashes)
	}
	return d
}

func (s *Server) getDirectory(*http.Request) (*answer, error) {
	return &answer{body: s.directory}, nil
}

func (s *Server) postDirectory(_ context.Context, r *request) (*answer, error) {
	return s.getDirectory(r.http)
}

// newNonce gives out a nonce (RFC 8555 section 7.2).
func (s *Server) newNonce(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		nonce, err := s.nonces.mint(r.Context())
		if err == nil {
			w.Header().Set("Replay-Nonce", nonce)
		}
		s.answer(w, r, "newNonce", &answer{status: status}, err)
	}
}

func (s *Server) postNewNonce(context.Context, *request) (*answer, error) {
	return &answer{status: http.StatusNoContent}, nil
}
