package acmeserver

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

// CreateEABKey makes a key of k's Owner, Label, Once and ExpiresAt, and gives it with its MAC key.
// With the same idempotency key, if that is not empty, the same caller gets the same key.
func (op Operator) CreateEABKey(
	ctx context.Context, who identity.Caller, k EABKey, idempotencyKey string,
) (made EABKey, macKey []byte, err error) {
	if err := mayOperate(who); err != nil {
		return k, nil, err
	}
	now := op.door.now().UTC().Truncate(time.Microsecond)
	k.ExpiresAt = k.ExpiresAt.UTC().Truncate(time.Microsecond)
	switch {
	case k.Owner == "":
		return k, nil, fault.Field("owner", "it is empty: say whose the accounts and certificates will be")
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return k, nil, fault.Field("expires_at", "%s has passed", k.ExpiresAt.Format(time.RFC3339))
	}
	if err := errors.Join(checkText("owner", k.Owner), checkText("label", k.Label)); err != nil {
		return k, nil, err
	}
	k.ID, k.CreatedBy, k.CreatedAt = idFor("eab-key", who, idempotencyKey), who.ID, now
	if macKey, err = op.door.macKey(ctx, k.ID); err != nil {
		return k, nil, err
	}
	made, err = op.door.store.AddEABKey(ctx, k, audit.New(now, audit.EABKeyCreated, who.ID, k.ID,
		map[string]string{"owner": k.Owner, "label": k.Label}))
	if err != nil {
		return k, nil, err
	}
	if made.Owner != k.Owner || made.Label != k.Label || made.Once != k.Once ||
		!made.ExpiresAt.Equal(k.ExpiresAt) {
		return k, nil, errOtherRequest
	}
	return made, macKey, nil
}

var errOtherRequest = fault.New(fault.Conflict, "the Idempotency-Key was used for another request")

// EABKey finds a key.
func (op Operator) EABKey(ctx context.Context, id string) (EABKey, error) {
	return op.door.findEABKey(ctx, id)
}

// EABKeys lists keys, newest first; an empty owner selects all.
func (op Operator) EABKeys(
	ctx context.Context, owner string, after *Position, limit int,
) ([]EABKey, error) {
	return op.door.store.ListEABKeys(ctx, owner, after, limit)
}

// RevokeEABKey ends a key, and freezes the accounts that it bound: nothing they ask for is done.
func (op Operator) RevokeEABKey(ctx context.Context, who identity.Caller, id string) (EABKey, error) {
	if err := mayOperate(who); err != nil {
		return EABKey{}, err
	}
	k, err := op.door.findEABKey(ctx, id)
	if err != nil {
		return k, err
	}
	now := op.door.now().UTC().Truncate(time.Microsecond)
	err = op.door.store.RevokeEABKey(ctx, id, now, audit.New(now, audit.EABKeyRevoked, who.ID, id,
		map[string]string{"owner": k.Owner, "label": k.Label}))
	if errors.Is(err, ErrStale) {
		return k, fault.Wrap(fault.Conflict, err, "the key is revoked already")
	}
	k.RevokedAt = now
	return k, err
}

const (
	maxGrantedNames = 100
	maxGrants       = 1000 // of one holder at a time: an order reads them all
)

// CreateGrant makes a grant to g's Account or EABKey, of its Names, Wildcards, Reason and ExpiresAt.
// The idempotency key is as for CreateEABKey.
func (op Operator) CreateGrant(
	ctx context.Context, who identity.Caller, g Grant, idempotencyKey string,
) (Grant, error) {
	if err := mayOperate(who); err != nil {
		return g, err
	}
	now := op.door.now().UTC().Truncate(time.Microsecond)
	g.ID, g.CreatedBy, g.CreatedAt = idFor("grant", who, idempotencyKey), who.ID, now
	g.ExpiresAt = g.ExpiresAt.UTC().Truncate(time.Microsecond)
	if err := g.check(now); err != nil {
		return g, err
	}
	var err error
	if g.Owner, err = op.holder(ctx, g, now); err != nil {
		return g, err
	}
	made, err := op.door.store.AddGrant(ctx, g, audit.New(now, audit.GrantCreated, who.ID, g.ID,
		g.facts()))
	if err != nil {
		return g, err
	}
	if made.Account != g.Account || made.EABKey != g.EABKey || !slices.Equal(made.Names, g.Names) ||
		made.Wildcards != g.Wildcards || made.Reason != g.Reason || !made.ExpiresAt.Equal(g.ExpiresAt) {
		return g, errOtherRequest
	}
	return made, nil
}

// check reads the names, and refuses what makes no grant.
func (g *Grant) check(now time.Time) error {
	switch {
	case (g.Account == "") == (g.EABKey == ""):
		return fault.Field("holder", "give either an account or an EAB key")
	case len(g.Names) == 0 || len(g.Names) > maxGrantedNames:
		return fault.Field("granted names", "there are %d; a grant has 1 to %d", len(g.Names),
			maxGrantedNames)
	case !now.Before(g.ExpiresAt):
		return fault.Field("expires_at", "a grant must end, and in the future")
	}
	names := make([]string, len(g.Names))
	for i, text := range g.Names {
		var err error
		if names[i], err = parseGranted(text); err != nil {
			return err
		}
	}
	g.Names = names
	return checkText("grant's reason", g.Reason)
}

// holder finds whom the grant is for, and gives its owner.
func (op Operator) holder(ctx context.Context, g Grant, now time.Time) (owner string, err error) {
	a := Account{EABKey: g.EABKey}
	if g.EABKey != "" {
		k, err := op.door.findEABKey(ctx, g.EABKey)
		if err != nil {
			return "", err
		}
		owner = k.Owner
	} else {
		if a, _, err = op.Account(ctx, g.Account); err != nil {
			return "", err
		}
		owner = a.caller(nil).Owner
	}
	grants, err := op.door.store.GrantsOf(ctx, a, now)
	if err == nil && len(grants) >= maxGrants {
		err = fault.New(fault.Conflict, "there are %d grants for it already, the most that are kept; "+
			"withdraw some, or grant several names at once", len(grants))
	}
	return owner, err
}

func (g *Grant) facts() map[string]string {
	facts := map[string]string{
		"names": strings.Join(g.Names, " "), "owner": g.Owner, "reason": g.Reason,
		"expires_at": g.ExpiresAt.Format(time.RFC3339), "account": g.Account, "eab_key": g.EABKey,
	}
	if g.Wildcards {
		facts["wildcards"] = "included"
	}
	return facts
}

// GrantQuery selects grants. Empty fields select all.
type GrantQuery struct {
	Account, EABKey string // those made to it
	Owner           string
	After           *Position
	Limit           int
}

// Grants lists grants that were not withdrawn, newest first. Expired ones are kept for a week.
func (op Operator) Grants(ctx context.Context, q GrantQuery) ([]Grant, error) {
	return op.door.store.ListGrants(ctx, q)
}

// WithdrawGrant ends a grant at once, also for orders that have no certificate yet.
func (op Operator) WithdrawGrant(ctx context.Context, who identity.Caller, id string) error {
	if err := mayOperate(who); err != nil {
		return err
	}
	gone := fault.New(fault.NotFound, "there is no such grant")
	if !isID(id) {
		return gone
	}
	g, err := op.door.store.Grant(ctx, id)
	if err != nil {
		return err
	}
	err = op.door.store.RemoveGrant(ctx, id, audit.New(op.door.now(), audit.GrantWithdrawn, who.ID, id,
		g.facts()))
	if errors.Is(err, ErrStale) {
		return gone
	}
	return err
}
