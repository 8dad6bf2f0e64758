package acmeserver

import (
	"context"
	"time"

	"github.com/mayflyca/mayfly/identity"
)

// orderView is the order object (RFC 8555 section 7.1.3).
type orderView struct {
	Status         Status          `json:"status"`
	Expires        time.Time       `json:"expires"`
	Identifiers    []identity.Name `json:"identifiers"`
	Profile        string          `json:"profile"`            // draft-ietf-acme-profiles
	Replaces       string          `json:"replaces,omitempty"` // RFC 9773 section 5
	Error          *Problem        `json:"error,omitempty"`
	Authorizations []string        `json:"authorizations"`
	Finalize       string          `json:"finalize"`
	Certificate    string          `json:"certificate,omitempty"`
}

// order reads an order (section 7.4).
func (s *Server) order(ctx context.Context, r *request) (*answer, error) {
	o, err := s.ownOrder(ctx, r)
	if err != nil {
		return nil, err
	}
	return s.orderAnswer(0, &o), nil
}

// orderAnswer has the order's Location always: some clients look for it on every answer.
func (s *Server) orderAnswer(status int, o *Order) *answer {
	v := orderView{
		Status: o.statusAt(s.now()), Expires: o.ExpiresAt, Identifiers: o.names(), Profile: o.Profile,
		Replaces: o.Replaces, Finalize: s.url("order", o.ID, "finalize"),
	}
	for i := range o.Authorizations {
		v.Authorizations = append(v.Authorizations, s.authorizationURL(o, i))
	}
	answer := &answer{status: status, location: s.url("order", o.ID)}
	switch v.Status {
	case StatusValid:
		v.Certificate = s.url("cert", o.Certificate.Serial.String())
	case StatusInvalid:
		if o.Error != nil {
			p := o.Error.onWire()
			v.Error = &p
		}
	case StatusProcessing:
		answer.retryAfter = time.Second
	}
	answer.body = v
	return answer
}

const ordersPerPage = 100

// orders lists the account's orders that can still be worked with (section 7.1.2.1).
func (s *Server) orders(ctx context.Context, r *request) (*answer, error) {
	if r.param("account") != r.account.ID {
		return nil, notFound("account")
	}
	after := r.http.URL.Query().Get("cursor")
	if after != "" && !isID(after) {
		return nil, refuse(malformed, "cursor: it is not from a Link of ours")
	}
	ids, err := s.store.Orders(ctx, r.account.ID, after, s.now(), ordersPerPage+1)
	if err != nil {
		return nil, err
	}
	answer := &answer{}
	if len(ids) > ordersPerPage {
		ids = ids[:ordersPerPage]
		answer.next = s.url("acct", r.account.ID, "orders?cursor="+ids[len(ids)-1])
	}
	urls := make([]string, len(ids))
	for i, id := range ids {
		urls[i] = s.url("order", id)
	}
	answer.body = map[string][]string{"orders": urls}
	return answer, nil
}
