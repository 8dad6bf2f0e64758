package acmeserver

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strconv"
	"time"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

func (s *Server) newAuthorization(name identity.Name, expires time.Time) Authorization {
	a := Authorization{Name: name, Status: StatusPending, Expires: expires, Challenges: s.offer(name)}
	if name.IsWildcard() {
		a.Wildcard = true
		a.Name.Value = name.Value[len("*."):]
	}
	return a
}

// ownOrder reads the order that the request's path names. A stranger learns nothing of it.
func (s *Server) ownOrder(ctx context.Context, r *request) (Order, error) {
	id := r.param("order")
	if !isID(id) {
		return Order{}, notFound("order")
	}
	o, err := s.store.Order(ctx, id)
	if fault.Is(err, fault.NotFound) || err == nil && o.Account != r.account.ID {
		return Order{}, notFound("order")
	}
	if err != nil {
		return Order{}, err
	}
	if o, err = s.checkGrants(ctx, r.account, o); err != nil {
		return o, err
	}
	return s.resume(ctx, r.account, o)
}

// ownAuthorization reads the order, and finds the authorization that the request's path names.
func (s *Server) ownAuthorization(ctx context.Context, r *request) (o Order, index int, err error) {
	if o, err = s.ownOrder(ctx, r); err != nil {
		return o, 0, err
	}
	index, err = strconv.Atoi(r.param("index"))
	if err != nil || index < 0 || index >= len(o.Authorizations) || strconv.Itoa(index) != r.param("index") {
		return o, 0, notFound("authorization")
	}
	return o, index, nil
}

// authorization reads or deactivates one (RFC 8555 sections 7.5 and 7.5.2).
func (s *Server) authorization(ctx context.Context, r *request) (*answer, error) {
	o, index, err := s.ownAuthorization(ctx, r)
	if err != nil {
		return nil, err
	}
	if !r.isGet() {
		var p struct {
			Status Status `json:"status"`
		}
		if err := r.decode(&p); err != nil {
			return nil, err
		}
		if p.Status != StatusDeactivated {
			return nil, refuse(malformed, "status can only become %q", StatusDeactivated)
		}
		if o, err = s.deactivate(ctx, o, index); err != nil {
			return nil, err
		}
	}
	return s.authorizationAnswer(&o, index), nil
}

// deactivate ends a pending or valid authorization, and with it the order, unless that has its
// certificate.
func (s *Server) deactivate(ctx context.Context, o Order, index int) (Order, error) {
	now := s.now()
	return s.change(ctx, o, func(o *Order) ([]audit.Entry, bool) {
		a := &o.Authorizations[index]
		if status := a.statusAt(now); status != StatusPending && status != StatusValid {
			return nil, false
		}
		a.Status = StatusDeactivated
		if o.Certificate == nil {
			o.fail(a, Problem{Type: unauthorized, Detail: "the authorization was deactivated"}, now)
		}
		return nil, true
	})
}

// challenge reads one, or accepts it: the client is ready to be asked (section 7.5.1).
func (s *Server) challenge(ctx context.Context, r *request) (*answer, error) {
	o, index, err := s.ownAuthorization(ctx, r)
	if err != nil {
		return nil, err
	}
	kind := r.param("type")
	if o.Authorizations[index].challenge(kind) == nil {
		return nil, notFound("challenge")
	}
	if !r.isGet() {
		if kind == deviceAttest01 {
			o, err = s.attest(ctx, r, o, index)
		} else if err = r.decode(&struct{}{}); err == nil {
			o, err = s.accept(ctx, r.account, o, index, kind)
		}
		if err != nil {
			return nil, err
		}
	}
	c := o.Authorizations[index].challenge(kind)
	return &answer{
		body: s.challengeView(&o, index, *c), up: s.authorizationURL(&o, index), retryAfter: c.pollAfter(),
	}, nil
}

// authorizationView is the authorization object (section 7.1.4).
type authorizationView struct {
	Identifier identity.Name   `json:"identifier"`
	Status     Status          `json:"status"`
	Expires    time.Time       `json:"expires"`
	Wildcard   bool            `json:"wildcard,omitempty"`
	Challenges []challengeView `json:"challenges"`
}

// challengeView is the challenge object (section 7.1.5). Trace is ours.
type challengeView struct {
	Type      string    `json:"type"`
	URL       string    `json:"url"`
	Status    Status    `json:"status"`
	Token     string    `json:"token,omitempty"`
	Validated time.Time `json:"validated,omitzero"`
	Error     *Problem  `json:"error,omitempty"`
	Trace     []string  `json:"trace,omitempty"`
	persistView
}

// persistView is what a dns-persist-01 challenge has more (draft-ietf-acme-dns-persist-02 section 3.1),
// the last two for clients of draft -01.
type persistView struct {
	IssuerDomainNames []string `json:"issuerDomainNames,omitempty"`
	IssuersUntil01    []string `json:"issuer-domain-names,omitempty"`
	AccountURI        string   `json:"accounturi,omitempty"`
}

func (s *Server) authorizationURL(o *Order, index int) string {
	return s.url("authz", o.ID, strconv.Itoa(index))
}

// authorizationAnswer shows, of an authorization that is settled, the challenge that settled it.
func (s *Server) authorizationAnswer(o *Order, index int) *answer {
	a := o.Authorizations[index]
	v := authorizationView{
		Identifier: a.Name, Status: a.statusAt(s.now()), Expires: a.Expires, Wildcard: a.Wildcard,
		Challenges: []challengeView{}, // stays so if a grant made it valid; clients choke on null
	}
	answer := &answer{}
	for _, c := range a.Challenges {
		if a.Status == StatusPending || a.Status == StatusDeactivated || a.Status == c.Status {
			v.Challenges = append(v.Challenges, s.challengeView(o, index, c))
		}
		answer.retryAfter = max(answer.retryAfter, c.pollAfter())
	}
	answer.body = v
	return answer
}

func (s *Server) challengeView(o *Order, index int, c Challenge) challengeView {
	v := challengeView{
		Type: c.Type, URL: s.url("chall", o.ID, strconv.Itoa(index), c.Type), Status: c.Status,
		Token: c.Token, Validated: c.Validated,
	}
	if c.Error != nil {
		p := c.Error.onWire()
		v.Error, v.Trace = &p, c.Trace
	}
	if c.Type == validate.DNSPersist01 {
		v.persistView = persistView{s.issuers, s.issuers, s.url("acct", o.Account)}
	}
	return v
}

// challenge finds the challenge of a type; nil if there is none.
func (a *Authorization) challenge(kind string) *Challenge {
	i := slices.IndexFunc(a.Challenges, func(c Challenge) bool { return c.Type == kind })
	if i < 0 {
		return nil
	}
	return &a.Challenges[i]
}

// newToken draws 192 bits. They are whole octets in base64url without padding: some clients decode
// the token and use what they encode again, which must be the same text (RFC 8555 section 8.3).
func newToken() string {
	var random [24]byte
	rand.Read(random[:])
	return base64.RawURLEncoding.EncodeToString(random[:])
}
