package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
)

const eabKeyColumns = `k.id, k.owner, k.label, k.once, k.created_by, k.created_at, k.expires_at,
	k.revoked_at, (SELECT COUNT(*) FROM acme_accounts a WHERE a.eab_key = k.id)`

func scanEABKey(s scanner) (k acmeserver.EABKey, err error) {
	var created, accounts int64
	var expires, revoked *int64
	err = s.Scan(&k.ID, &k.Owner, &k.Label, &k.Once, &k.CreatedBy, &created, &expires, &revoked,
		&accounts)
	k.CreatedAt, k.ExpiresAt = fromMicros(created), fromOptional(expires)
	k.RevokedAt, k.Accounts = fromOptional(revoked), int(accounts)
	return k, err
}

// AddEABKey is acmeserver.Store's.
func (s *Store) AddEABKey(
	ctx context.Context, k acmeserver.EABKey, entries ...audit.Entry,
) (acmeserver.EABKey, error) {
	err := s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		n, err := tx.exec(ctx, `INSERT INTO acme_eab_keys
				(id, owner, label, once, granted, created_by, created_at, expires_at)
			VALUES ($1, $2, $3, $4, FALSE, $5, $6, $7) ON CONFLICT DO NOTHING`,
			k.ID, k.Owner, k.Label, k.Once, k.CreatedBy, micros(k.CreatedAt), optional(k.ExpiresAt))
		if err := changed(n, err, nil); err != nil {
			return err
		}
		return writeEntries(ctx, tx, entries)
	})
	if err != nil {
		return acmeserver.EABKey{}, err
	}
	return s.EABKey(ctx, k.ID)
}

// EABKey is acmeserver.Store's.
func (s *Store) EABKey(ctx context.Context, id string) (acmeserver.EABKey, error) {
	return one(ctx, s.engine, "EAB key", scanEABKey,
		`SELECT `+eabKeyColumns+` FROM acme_eab_keys k WHERE k.id = $1`, id)
}

// ListEABKeys is acmeserver.Store's.
func (s *Store) ListEABKeys(
	ctx context.Context, owner string, after *acmeserver.Position, limit int,
) ([]acmeserver.EABKey, error) {
	f := filter{where: []string{"1 = 1"}}
	if owner != "" {
		f.add(`k.owner = %s`, owner)
	}
	return list(ctx, s.engine, scanEABKey, f.newest(
		`SELECT `+eabKeyColumns+` FROM acme_eab_keys k`, "k", after, limit), f.args...)
}

// newest ends a list of rows that have created_at and id, under the alias, with all of its
// conditions. What is made while a reader pages comes before its first page.
func (f *filter) newest(text, alias string, after *acmeserver.Position, limit int) string {
	at, id := alias+".created_at", alias+".id"
	if after != nil {
		f.add(`(`+at+`, `+id+`) < (%s, %s)`, micros(after.CreatedAt), after.ID)
	}
	f.args = append(f.args, int64(min(max(limit, 1), maxList)))
	return fmt.Sprintf(`%s WHERE %s ORDER BY %s DESC, %s DESC LIMIT $%d`,
		text, strings.Join(f.where, " AND "), at, id, len(f.args))
}

// RevokeEABKey is acmeserver.Store's.
func (s *Store) RevokeEABKey(
	ctx context.Context, id string, at time.Time, entries ...audit.Entry,
) error {
	return s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		n, err := tx.exec(ctx, `UPDATE acme_eab_keys SET revoked_at = $2
			WHERE id = $1 AND revoked_at IS NULL`, id, micros(at))
		if err := changed(n, err, acmeserver.ErrStale); err != nil {
			return err
		}
		return writeEntries(ctx, tx, entries)
	})
}

// secretID is that of the one secret that there is.
const secretID = "acme"

// SealedSecret is acmeserver.Store's.
func (s *Store) SealedSecret(ctx context.Context) ([]byte, error) {
	return one(ctx, s.engine, "secret", value[[]byte],
		`SELECT sealed FROM secrets WHERE id = $1`, secretID)
}

// KeepSealedSecret is acmeserver.Store's.
func (s *Store) KeepSealedSecret(ctx context.Context, sealed []byte) ([]byte, error) {
	err := s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		_, err := tx.exec(ctx, `INSERT INTO secrets (id, sealed) VALUES ($1, $2)
			ON CONFLICT DO NOTHING`, secretID, sealed)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.SealedSecret(ctx)
}
