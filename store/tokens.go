package store

import (
	"context"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/identity/signin"
)

// AddToken is signin.Store's.
func (s *Store) AddToken(ctx context.Context, t signin.Token, entries ...audit.Entry) error {
	return s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		n, err := tx.exec(ctx, `INSERT INTO tokens (id, hash, name, role, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
			t.ID, t.Hash[:], t.Name, string(t.Role), micros(t.CreatedAt), optional(t.ExpiresAt))
		if err := changed(n, err, nil); err != nil {
			return err
		}
		return writeEntries(ctx, tx, entries)
	})
}

// TokenByHash is signin.Store's.
func (s *Store) TokenByHash(ctx context.Context, hash [32]byte) (signin.Token, error) {
	scan := func(s scanner) (signin.Token, error) {
		t := signin.Token{Hash: hash}
		var role string
		var created int64
		var expires *int64
		err := s.Scan(&t.ID, &t.Name, &role, &created, &expires)
		t.Role, t.CreatedAt = identity.Role(role), fromMicros(created)
		t.ExpiresAt = fromOptional(expires)
		return t, err
	}
	return one(ctx, s.engine, "token", scan,
		`SELECT id, name, role, created_at, expires_at FROM tokens WHERE hash = $1`, hash[:])
}

// HasToken is signin.Store's.
func (s *Store) HasToken(ctx context.Context, role identity.Role) (bool, error) {
	found, err := list(ctx, s.engine, value[int64],
		`SELECT 1 FROM tokens WHERE role = $1 LIMIT 1`, string(role))
	return len(found) > 0, err
}
