package acmeserver

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

// Operator is what whoever runs the CA sees and does behind the clients' backs. What changes
// something is for administrators only, and is kept in the audit log. Errors are classified by fault:
// NotFound for an object that is not there, Conflict for one in another state. Safe for concurrent
// use.
type Operator struct{ door *Server }

// Operator gives the operator's side of the door.
func (s *Server) Operator() Operator { return Operator{s} }

// Position is a place in a list that is newest first: behind the object with the ID, which was made
// then.
type Position struct {
	CreatedAt time.Time
	ID        string
}

// AccountQuery selects accounts. Empty fields select all.
type AccountQuery struct {
	Owner, EABKey string
	Status        Status // StatusValid has the frozen ones too
	After         *Position
	Limit         int
}

// OrderQuery selects orders. Empty fields select all.
type OrderQuery struct {
	Account string
	Name    identity.Name // one of the order's identifiers
	Status  Status        // as it stands now
	After   *Position
	Limit   int
}

// OrderState is an order as it stands now: the statuses of its authorizations are those of now too.
type OrderState struct {
	Order
	Status Status
}

// state derives what an order's document does not hold.
func (o Order) state(now time.Time) OrderState {
	s := OrderState{o.clone(), o.statusAt(now)}
	for i := range s.Authorizations {
		s.Authorizations[i].Status = o.Authorizations[i].statusAt(now)
	}
	return s
}

// Accounts lists accounts, newest first.
func (op Operator) Accounts(ctx context.Context, q AccountQuery) ([]Account, error) {
	return op.door.store.ListAccounts(ctx, q)
}

// Account finds an account, and the grants that it has now, its EAB key's among them.
func (op Operator) Account(ctx context.Context, id string) (Account, []Grant, error) {
	if !isID(id) {
		return Account{}, nil, fault.New(fault.NotFound, "there is no such account")
	}
	a, err := op.door.store.Account(ctx, id)
	if err != nil || !a.Granted {
		return a, nil, err
	}
	grants, err := op.door.store.GrantsOf(ctx, a, op.door.now())
	return a, grants, err
}

// Deactivate ends an account: RFC 8555 section 7.1.2 calls it revoked if it was not the client's wish.
// Its certificates live on.
func (op Operator) Deactivate(ctx context.Context, who identity.Caller, id string) (Account, error) {
	if err := mayOperate(who); err != nil {
		return Account{}, err
	}
	for range maxTries {
		a, _, err := op.Account(ctx, id)
		if err != nil {
			return a, err
		}
		if a.Status != StatusValid {
			return a, fault.New(fault.Conflict, "the account is %s already", a.Status)
		}
		a.Status = StatusRevoked
		err = op.door.store.UpdateAccount(ctx, a, audit.New(op.door.now(), audit.AccountChanged, who.ID,
			a.ID, map[string]string{"status": string(a.Status)}))
		if err == nil || !errors.Is(err, ErrStale) {
			return a, err
		}
	}
	return Account{}, fault.New(fault.Unavailable, "the account is being changed from too many sides; "+
		"try again")
}

// What a search looks through at most, and how much at a time.
const (
	maxExamined  = 5000
	examineBatch = 200
)

// Orders lists orders, newest first, and where to go on: nil if there are no more. What is sought
// stands inside the orders, so a search looks through them, and one call only through some thousands:
// it may find fewer than the limit, or none, and still give a place to go on.
func (op Operator) Orders(
	ctx context.Context, q OrderQuery,
) (found []OrderState, next *Position, err error) {
	now := op.door.now()
	batch := examineBatch
	if q.Status == "" && q.Name == (identity.Name{}) {
		batch = q.Limit
	}
	for examined := 0; examined < maxExamined; examined += batch {
		page, err := op.door.store.ListOrders(ctx, q.Account, q.After, batch)
		if err != nil {
			return nil, nil, err
		}
		for _, o := range page {
			q.After = &Position{o.CreatedAt, o.ID}
			state := o.state(now)
			if q.selects(&state) {
				found = append(found, state)
			}
			if len(found) == q.Limit {
				return found, q.After, nil
			}
		}
		if len(page) < batch {
			return found, nil, nil
		}
	}
	return found, q.After, nil
}

func (q OrderQuery) selects(o *OrderState) bool {
	return (q.Status == "" || q.Status == o.Status) &&
		(q.Name == identity.Name{} || slices.Contains(o.names(), q.Name))
}

// Order finds an order with all that happened to it.
func (op Operator) Order(ctx context.Context, id string) (OrderState, error) {
	if !isID(id) {
		return OrderState{}, fault.New(fault.NotFound, "there is no such order")
	}
	o, err := op.door.store.Order(ctx, id)
	return o.state(op.door.now()), err
}

// DirectoryURL is where clients begin.
func (op Operator) DirectoryURL() string { return op.door.url("directory") }

// Caller is the account as the one who asks for certificates.
func (a Account) Caller() identity.Caller { return a.caller(nil) }

// Names are the order's identifiers, wildcards with their "*.".
func (o *Order) Names() []identity.Name { return o.names() }

// mayOperate is for administrators.
func mayOperate(who identity.Caller) error {
	if who.Role != identity.RoleAdmin {
		return fault.New(fault.Denied, "refused: %s has not the administrator's role", who.ID)
	}
	return nil
}

// idFor makes the id of something new: always the same for a caller and an idempotency key, so that
// what is asked for twice exists once.
func idFor(kind string, who identity.Caller, idempotencyKey string) string {
	if idempotencyKey == "" {
		return newID()
	}
	sum := sha256.Sum256([]byte(kind + "\x00" + who.ID + "\x00" + idempotencyKey))
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])
}

const maxText = 256 // octets

// checkText refuses what does not fit on a line.
func checkText(field, text string) error {
	if len(text) > maxText || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return fault.Field(field, "it must be text on one line of at most %d octets", maxText)
	}
	return nil
}
