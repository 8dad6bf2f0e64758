package store

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
)

const accountColumns = `id, thumbprint, version, status, doc, created_at`

// accountSelect reads the columns, and whether a validation failed of late.
const accountSelect = `SELECT ` + accountColumns + `, EXISTS (
	SELECT 1 FROM acme_pauses p WHERE p.account = acme_accounts.id) FROM acme_accounts `

func scanAccount(s scanner) (a acmeserver.Account, err error) {
	var id, thumbprint, status, doc string
	var version, created int64
	if err := s.Scan(&id, &thumbprint, &version, &status, &doc, &created, &a.Failing); err != nil {
		return a, err
	}
	err = json.Unmarshal([]byte(doc), &a)
	a.ID, a.Thumbprint, a.Version = id, thumbprint, version
	a.Status, a.CreatedAt = acmeserver.Status(status), fromMicros(created)
	return a, err
}

// CreateAccount is acmeserver.Store's.
func (s *Store) CreateAccount(
	ctx context.Context, a acmeserver.Account, entries ...audit.Entry,
) (kept acmeserver.Account, created bool, err error) {
	doc, err := encode(a)
	if err != nil {
		return acmeserver.Account{}, false, err
	}
	err = s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		n, err := tx.exec(ctx, `INSERT INTO acme_accounts (`+accountColumns+`)
			VALUES ($1, $2, 1, $3, $4, $5) ON CONFLICT DO NOTHING`,
			a.ID, a.Thumbprint, string(a.Status), doc, micros(a.CreatedAt))
		if err != nil {
			return err
		}
		if n == 0 {
			return unchanged{acmeserver.ErrAccountKey}
		}
		return writeEntries(ctx, tx, entries)
	})
	switch {
	case err == nil:
		a.Version = 1
		return a, true, nil
	case errors.Is(err, acmeserver.ErrAccountKey):
		kept, err = s.AccountByThumbprint(ctx, a.Thumbprint)
		return kept, false, err
	default:
		return acmeserver.Account{}, false, err
	}
}

// Account is acmeserver.Store's.
func (s *Store) Account(ctx context.Context, id string) (acmeserver.Account, error) {
	return one(ctx, s.engine, "account", scanAccount,
		accountSelect+`WHERE id = $1`, id)
}

// AccountByThumbprint is acmeserver.Store's.
func (s *Store) AccountByThumbprint(
	ctx context.Context, thumbprint string,
) (acmeserver.Account, error) {
	return one(ctx, s.engine, "account", scanAccount,
		accountSelect+`WHERE thumbprint = $1`, thumbprint)
}

// UpdateAccount is acmeserver.Store's.
func (s *Store) UpdateAccount(
	ctx context.Context, a acmeserver.Account, entries ...audit.Entry,
) error {
	doc, err := encode(a)
	if err != nil {
		return err
	}
	err = s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		n, err := tx.exec(ctx, `UPDATE acme_accounts
			SET version = version + 1, thumbprint = $3, status = $4, doc = $5
			WHERE id = $1 AND version = $2`,
			a.ID, a.Version, a.Thumbprint, string(a.Status), doc)
		if err := changed(n, err, acmeserver.ErrStale); err != nil {
			return err
		}
		return writeEntries(ctx, tx, entries)
	})
	if isUnique(err) {
		return acmeserver.ErrAccountKey
	}
	return err
}
