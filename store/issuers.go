package store

import (
	"context"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
)

// Issuers is ca.Store's.
func (s *Store) Issuers(ctx context.Context) ([]ca.Issuer, error) {
	scan := func(s scanner) (i ca.Issuer, err error) {
		var kind string
		var created int64
		err = s.Scan(&i.ID, &kind, &i.Parent, &i.Certificate, &i.KeyURI, &i.Shards, &created)
		i.Kind, i.CreatedAt = ca.IssuerKind(kind), fromMicros(created)
		return i, err
	}
	return list(ctx, s.engine, scan, `SELECT id, kind, parent, certificate, key_uri, shards,
		created_at FROM issuers ORDER BY created_at, kind DESC, id`)
}

// AddIssuers is ca.Store's. One that is there already is fault.Conflict.
func (s *Store) AddIssuers(
	ctx context.Context, issuers []ca.Issuer, entries ...audit.Entry,
) error {
	err := s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		for _, i := range issuers {
			_, err := tx.exec(ctx, `INSERT INTO issuers
					(id, kind, parent, certificate, key_uri, shards, created_at)
				VALUES ($1, $2, $3, $4, $5, $6, $7)`,
				i.ID, string(i.Kind), i.Parent, i.Certificate, i.KeyURI, int64(i.Shards),
				micros(i.CreatedAt))
			if err != nil {
				return err
			}
		}
		return writeEntries(ctx, tx, entries)
	})
	if isUnique(err) {
		return fault.Wrap(fault.Conflict, err, "an issuer with this certificate exists")
	}
	return err
}
