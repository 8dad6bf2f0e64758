package acmeserver

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

const (
	maxIdentifiers = 100
	// orderLifetime is how long an order and its authorizations may be worked with.
	orderLifetime = 24 * time.Hour
)

// newOrder begins the way to a certificate (RFC 8555 section 7.4).
func (s *Server) newOrder(ctx context.Context, r *request) (*answer, error) {
	var p struct {
		Identifiers []identity.Name `json:"identifiers"`
		NotBefore   string          `json:"notBefore"`
		NotAfter    string          `json:"notAfter"`
		Profile     string          `json:"profile"`
		Replaces    string          `json:"replaces"`
	}
	if err := r.decode(&p); err != nil {
		return nil, err
	}
	if isTime(p.NotBefore) || isTime(p.NotAfter) {
		return nil, refuse(malformed, "notBefore and notAfter cannot be chosen here: the profile sets them")
	}
	names, err := s.readIdentifiers(p.Identifiers)
	if err != nil {
		return nil, err
	}
	profile, err := s.profile(p.Profile, names)
	if err != nil {
		return nil, err
	}
	var predecessor *ca.Certificate
	if p.Replaces != "" {
		if predecessor, err = s.predecessor(ctx, r.account, names, p.Replaces); err != nil {
			return nil, err
		}
	}
	if err := s.mayOrder(ctx, r.account, names); err != nil {
		return nil, err
	}
	now := s.now().UTC().Truncate(time.Microsecond)
	o := Order{
		ID: newID(), Account: r.account.ID, Profile: profile, Replaces: p.Replaces, CreatedAt: now,
		// Whole seconds: some clients cannot read fractions.
		ExpiresAt: now.Add(orderLifetime).Truncate(time.Second),
	}
	for _, name := range names {
		o.Authorizations = append(o.Authorizations, s.newAuthorization(name, o.ExpiresAt))
	}
	if err := s.checkNames(ctx, r.account, o); err != nil {
		return nil, err
	}
	entries, err := s.preauthorize(ctx, r.account, &o)
	if err != nil {
		return nil, err
	}
	if err := s.checkOffer(&o); err != nil {
		return nil, err
	}
	if err := s.checkCAA(ctx, r.account, &o); err != nil {
		return nil, err
	}
	if err := s.create(ctx, o, predecessor, entries...); err != nil {
		return nil, err
	}
	return s.orderAnswer(http.StatusCreated, &o), nil
}

// isTime tells a wish from its absence: some clients send the zero time when they have none.
func isTime(text string) bool { return text != "" && !strings.HasPrefix(text, "0001-01-01T00:00:00") }

// readIdentifiers reads the names, each once. Every one is looked at, and told what is wrong with it.
func (s *Server) readIdentifiers(identifiers []identity.Name) ([]identity.Name, error) {
	if len(identifiers) == 0 || len(identifiers) > maxIdentifiers {
		return nil, refuse(malformed, "identifiers: there are %d; an order has 1 to %d", len(identifiers),
			maxIdentifiers)
	}
	var names []identity.Name
	var problems []Problem
	for i, given := range identifiers {
		if types := s.identifierTypes(); !slices.Contains(types, given.Type) {
			problems = append(problems, refuse(unsupportedIdentifier,
				"the type %.20q is not supported; take one of %s", given.Type, types).about(identifiers[i]))
			continue
		}
		name, err := identity.ParseName(given.Type, given.Value)
		if err != nil {
			problems = append(problems, refuse(malformed, "%s", sentenceOf(err)).about(identifiers[i]))
			continue
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, together(problems)
}

// about is the problem as a subproblem of one identifier (RFC 8555 section 6.7.1).
func (r *refusal) about(name identity.Name) Problem {
	return Problem{Type: r.Type, Detail: r.Detail, Identifier: &name}
}

// together makes one refusal of the identifiers' problems; nil if there are none.
func together(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	kind := problems[0].Type
	for _, p := range problems {
		if p.Type != kind {
			kind = malformed
		}
	}
	r := refuse(kind, "identifiers: %s", problems[0].Detail)
	if len(problems) > 1 {
		r = refuse(kind, "identifiers: %d cannot be accepted, each for the reason in its subproblem; "+
			"the first: %s", len(problems), problems[0].Detail)
	}
	r.Subproblems = problems
	return r
}

// checkNames asks the road whether it would issue, and if not, which of the names it minds.
func (s *Server) checkNames(ctx context.Context, a Account, o Order) error {
	names := o.names()
	would := func(names ...identity.Name) error {
		return s.ca.Check(ctx, ca.Request{
			Ref: o.Ref(), Caller: a.caller(names), Profile: o.Profile, Names: names,
		})
	}
	err := would(names...)
	if !fault.Is(err, fault.Denied) && !fault.Is(err, fault.Invalid) {
		return err
	}
	var problems []Problem
	for _, name := range names {
		switch err := would(name); {
		case fault.Is(err, fault.Denied) || fault.Is(err, fault.Invalid):
			problems = append(problems, refuse(rejectedIdentifier, "%s", sentenceOf(err)).about(name))
		case err != nil:
			return err
		}
	}
	if len(problems) > 0 {
		return together(problems)
	}
	return refusedAs(rejectedIdentifier, err, fault.Denied)
}
