package acmeserver

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

// newID makes an id that nobody can guess: 130 random bits.
func newID() string { return rand.Text() }

// isID reports whether newID could have made the text; what it could not have made is not looked up.
func isID(text string) bool {
	return len(text) == 26 && strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// caller is the account as the road knows it. Without an external account binding the owner is the
// account too: contacts are what the client claims, and nobody proved them.
func (a Account) caller(names []identity.Name) identity.Caller {
	id := "acme/account/" + a.ID
	return identity.Caller{ID: id, Owner: cmp.Or(a.Owner, id), Names: names}
}

// entry tells what the account did to itself.
func (s *Server) entry(kind audit.Kind, a Account, data map[string]string) audit.Entry {
	return audit.New(s.now(), kind, a.caller(nil).ID, a.ID, data)
}

// accountView is the account object (RFC 8555 section 7.1.2).
type accountView struct {
	Status  Status   `json:"status"`
	Contact []string `json:"contact,omitempty"`
	Agreed  bool     `json:"termsOfServiceAgreed,omitempty"`
	Orders  string   `json:"orders"`

	Binding json.RawMessage `json:"externalAccountBinding,omitempty"`
}

func (s *Server) accountAnswer(status int, a Account) *answer {
	return &answer{status: status, location: s.url("acct", a.ID), body: accountView{
		Status: a.Status, Contact: a.Contact, Agreed: a.Agreed, Orders: s.url("acct", a.ID, "orders"),
		Binding: a.Binding,
	}}
}

// newAccount finds the key's account, or makes one (RFC 8555 sections 7.3 and 7.3.1).
func (s *Server) newAccount(ctx context.Context, r *request) (*answer, error) {
	var p struct {
		Contact            []string        `json:"contact"`
		Agreed             bool            `json:"termsOfServiceAgreed"`
		OnlyReturnExisting bool            `json:"onlyReturnExisting"`
		Binding            json.RawMessage `json:"externalAccountBinding"`
	}
	if err := r.decode(&p); err != nil {
		return nil, err
	}
	a, err := s.store.AccountByThumbprint(ctx, r.key.thumbprint)
	if err == nil {
		return s.existingAccount(a)
	}
	if !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	if p.OnlyReturnExisting {
		return nil, refuse(accountDoesNotExist, "there is no account with this key")
	}
	if err := s.checkAgreement(p.Agreed); err != nil {
		return nil, err
	}
	if err := checkContacts(p.Contact); err != nil {
		return nil, err
	}
	fresh := Account{
		ID: newID(), Thumbprint: r.key.thumbprint, Status: StatusValid, JWK: r.key.canonical,
		Contact: p.Contact, Agreed: p.Agreed, CreatedAt: s.now(),
	}
	if err := s.bind(ctx, r, p.Binding, &fresh); err != nil {
		return nil, err
	}
	if err := s.take(accountsPerAddress, addressKey(r.http)); err != nil {
		return nil, err
	}
	a, created, err := s.store.CreateAccount(ctx, fresh, s.entry(audit.AccountCreated, fresh,
		map[string]string{
			"thumbprint": fresh.Thumbprint, "contact": strings.Join(fresh.Contact, " "),
			"eab_key": fresh.EABKey, "owner": fresh.Owner,
		}))
	switch {
	case errors.Is(err, ErrEABKeyUsed):
		return nil, errKeyUsed(fresh.EABKey)
	case err != nil:
		return nil, err
	case !created: // the same key, at the same moment
		return s.existingAccount(a)
	}
	return s.accountAnswer(http.StatusCreated, a), nil
}

func (s *Server) existingAccount(a Account) (*answer, error) {
	if err := a.standing(); err != nil {
		return nil, err
	}
	return s.accountAnswer(http.StatusOK, a), nil
}

// deactivated is what everybody is told who signs for an account that has ended (section 7.3.6).
func deactivated(a Account) *refusal {
	return refuse(unauthorized, "the account is %s", a.Status).withStatus(http.StatusUnauthorized)
}

// checkAgreement demands that a new account agrees to the terms of service, if there are any (section
// 7.3). The answer is made like section 7.3.3's, for terms that have changed.
func (s *Server) checkAgreement(agreed bool) error {
	if s.terms == "" || agreed {
		return nil
	}
	r := refuse(userActionRequired, "a new account must agree to the terms of service at %s and say so with "+
		`"termsOfServiceAgreed": true`, s.terms)
	r.Instance, r.terms = s.terms, s.terms
	return r
}

// account reads, updates or deactivates the account (sections 7.3.2 and 7.3.6).
func (s *Server) account(ctx context.Context, r *request) (*answer, error) {
	a := r.account
	if r.param("account") != a.ID {
		return nil, notFound("account")
	}
	if r.isGet() {
		return s.accountAnswer(0, a), nil
	}
	var p struct {
		Contact *[]string `json:"contact"`
		Status  Status    `json:"status"`
	}
	if err := r.decode(&p); err != nil {
		return nil, err
	}
	changes := make(map[string]string)
	if p.Contact != nil {
		if err := checkContacts(*p.Contact); err != nil {
			return nil, err
		}
		a.Contact = *p.Contact
		changes["contact"] = strings.Join(a.Contact, " ")
	}
	switch p.Status {
	case "", a.Status:
	case StatusDeactivated:
		a.Status = p.Status
		changes["status"] = string(a.Status)
	default:
		return nil, refuse(malformed, "status can only become %q", StatusDeactivated)
	}
	if len(changes) > 0 {
		if err := s.updateAccount(ctx, a, changes); err != nil {
			return nil, err
		}
	}
	return s.accountAnswer(0, a), nil
}

func (s *Server) updateAccount(ctx context.Context, a Account, changes map[string]string) error {
	err := s.store.UpdateAccount(ctx, a, s.entry(audit.AccountChanged, a, changes))
	if errors.Is(err, ErrStale) {
		// The other change may have taken this request's authority away: the client signs anew.
		return fault.Wrap(fault.Unavailable, err, "the account was changed at the same moment; try again")
	}
	return err
}

const maxContacts = 10

// checkContacts takes e-mail addresses, one per URL (section 7.3).
func checkContacts(contacts []string) error {
	if len(contacts) > maxContacts {
		return refuse(invalidContact, "contact: there are %d; at most %d are kept", len(contacts),
			maxContacts)
	}
	for _, contact := range contacts {
		scheme, address, _ := strings.Cut(contact, ":")
		if !strings.EqualFold(scheme, "mailto") {
			return refuse(unsupportedContact, "contact: %.100q is not a mailto: URL", contact)
		}
		if strings.ContainsAny(address, "?,") {
			return refuse(invalidContact, "contact: %.100q must hold one address and nothing else", contact)
		}
		address, err := url.PathUnescape(address)
		if err == nil {
			_, err = identity.ParseName(identity.Email, address)
		}
		if err != nil {
			return refuse(invalidContact, "contact: %s", sentenceOf(err))
		}
	}
	return nil
}
