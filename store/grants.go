package store

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
)

const (
	grantColumns   = `g.id, g.holder, g.owner, g.doc, g.created_at, g.expires_at`
	accountHolder  = "account/"
	eabKeyHolder   = "eab-key/"
	noHolderDetail = "there is no such %s"
)

func scanGrant(s scanner) (g acmeserver.Grant, err error) {
	var id, holder, owner, doc string
	var created, expires int64
	if err := s.Scan(&id, &holder, &owner, &doc, &created, &expires); err != nil {
		return g, err
	}
	if err := json.Unmarshal([]byte(doc), &g); err != nil {
		return g, err
	}
	g.ID, g.Owner = id, owner
	if key, ok := strings.CutPrefix(holder, eabKeyHolder); ok {
		g.EABKey = key
	} else {
		g.Account = strings.TrimPrefix(holder, accountHolder)
	}
	g.CreatedAt, g.ExpiresAt = fromMicros(created), fromMicros(expires)
	return g, nil
}

// AddGrant is acmeserver.Store's.
func (s *Store) AddGrant(
	ctx context.Context, g acmeserver.Grant, entries ...audit.Entry,
) (acmeserver.Grant, error) {
	doc, err := encode(g)
	if err != nil {
		return acmeserver.Grant{}, err
	}
	what, holder, mark := "account", accountHolder+g.Account,
		`UPDATE acme_accounts SET granted = TRUE WHERE id = $1`
	id := g.Account
	if g.EABKey != "" {
		what, holder, mark = "EAB key", eabKeyHolder+g.EABKey,
			`UPDATE acme_eab_keys SET granted = TRUE WHERE id = $1`
		id = g.EABKey
	}
	err = s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		n, err := tx.exec(ctx, mark, id)
		if err := changed(n, err, fault.New(fault.NotFound, noHolderDetail, what)); err != nil {
			return err
		}
		n, err = tx.exec(ctx, `INSERT INTO acme_grants (id, holder, owner, doc, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
			g.ID, holder, g.Owner, doc, micros(g.CreatedAt), micros(g.ExpiresAt))
		if err != nil || n == 0 {
			return err // if it is there already, its holder was marked before
		}
		return writeEntries(ctx, tx, entries)
	})
	if err != nil {
		return acmeserver.Grant{}, err
	}
	return s.Grant(ctx, g.ID)
}

// Grant is acmeserver.Store's.
func (s *Store) Grant(ctx context.Context, id string) (acmeserver.Grant, error) {
	return one(ctx, s.engine, "grant", scanGrant,
		`SELECT `+grantColumns+` FROM acme_grants g WHERE g.id = $1`, id)
}

// GrantsOf is acmeserver.Store's.
func (s *Store) GrantsOf(
	ctx context.Context, a acmeserver.Account, now time.Time,
) ([]acmeserver.Grant, error) {
	return list(ctx, s.engine, scanGrant, `SELECT `+grantColumns+` FROM acme_grants g
		WHERE g.holder IN ($1, $2) AND g.expires_at > $3 ORDER BY g.expires_at DESC, g.id`,
		accountHolder+a.ID, eabKeyHolder+a.EABKey, micros(now))
}

// ListGrants is acmeserver.Store's.
func (s *Store) ListGrants(
	ctx context.Context, q acmeserver.GrantQuery,
) ([]acmeserver.Grant, error) {
	f := filter{where: []string{"1 = 1"}}
	if q.Account != "" {
		f.add(`g.holder = %s`, accountHolder+q.Account)
	}
	if q.EABKey != "" {
		f.add(`g.holder = %s`, eabKeyHolder+q.EABKey)
	}
	if q.Owner != "" {
		f.add(`g.owner = %s`, q.Owner)
	}
	return list(ctx, s.engine, scanGrant, f.newest(
		`SELECT `+grantColumns+` FROM acme_grants g`, "g", q.After, q.Limit), f.args...)
}

// RemoveGrant is acmeserver.Store's.
func (s *Store) RemoveGrant(ctx context.Context, id string, entries ...audit.Entry) error {
	return s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		n, err := tx.exec(ctx, `DELETE FROM acme_grants WHERE id = $1`, id)
		if err := changed(n, err, acmeserver.ErrStale); err != nil {
			return err
		}
		return writeEntries(ctx, tx, entries)
	})
}

// CleanGrants is acmeserver.Store's.
func (s *Store) CleanGrants(ctx context.Context, before time.Time, limit int) (int, error) {
	return s.clean(ctx, `DELETE FROM acme_grants WHERE id IN (SELECT id FROM acme_grants
		WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, before, limit)
}
