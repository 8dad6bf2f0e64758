package store

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
)

const accounts = `SELECT a.id, a.thumbprint, a.version, a.status, a.doc, a.created_at,
		COALESCE(a.owner, ''), COALESCE(a.eab_key, ''), k.revoked_at IS NOT NULL,
		a.granted OR COALESCE(k.granted, FALSE),
		EXISTS (SELECT 1 FROM acme_pauses p WHERE p.account = a.id)
	FROM acme_accounts a LEFT JOIN acme_eab_keys k ON k.id = a.eab_key`

func scanAccount(s scanner) (a acmeserver.Account, err error) {
	var id, thumbprint, status, doc string
	var version, created int64
	err = s.Scan(&id, &thumbprint, &version, &status, &doc, &created, &a.Owner, &a.EABKey, &a.Frozen,
		&a.Granted, &a.Failing)
	if err != nil {
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
		n, err := tx.exec(ctx, `INSERT INTO acme_accounts (id, thumbprint, version, status, doc,
				created_at, owner, eab_key, eab_once)
			VALUES ($1, $2, 1, $3, $4, $5, $6, $7,
				COALESCE((SELECT once FROM acme_eab_keys WHERE id = $7), FALSE))
			ON CONFLICT DO NOTHING`,
			a.ID, a.Thumbprint, string(a.Status), doc, micros(a.CreatedAt), orNull(a.Owner),
			orNull(a.EABKey))
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
		if fault.Is(err, fault.NotFound) {
			err = acmeserver.ErrEABKeyUsed // the other reason why there was no room for the row
		}
		return kept, false, err
	default:
		return acmeserver.Account{}, false, err
	}
}

// orNull is for a column that is NULL where a text is empty.
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// ListAccounts is acmeserver.Store's.
func (s *Store) ListAccounts(
	ctx context.Context, q acmeserver.AccountQuery,
) ([]acmeserver.Account, error) {
	f := filter{where: []string{"1 = 1"}}
	for _, equal := range [][2]string{
		{`a.owner = %s`, q.Owner}, {`a.eab_key = %s`, q.EABKey}, {`a.status = %s`, string(q.Status)},
	} {
		if equal[1] != "" {
			f.add(equal[0], equal[1])
		}
	}
	return list(ctx, s.engine, scanAccount, f.newest(accounts, "a", q.After, q.Limit), f.args...)
}

// Account is acmeserver.Store's.
func (s *Store) Account(ctx context.Context, id string) (acmeserver.Account, error) {
	return one(ctx, s.engine, "account", scanAccount,
		accounts+` WHERE a.id = $1`, id)
}

// AccountByThumbprint is acmeserver.Store's.
func (s *Store) AccountByThumbprint(
	ctx context.Context, thumbprint string,
) (acmeserver.Account, error) {
	return one(ctx, s.engine, "account", scanAccount,
		accounts+` WHERE a.thumbprint = $1`, thumbprint)
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
