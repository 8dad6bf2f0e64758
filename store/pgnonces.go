package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mayflyca/mayfly/acmeserver"
)

// nonceRow is a nonce to redeem.
type nonceRow struct {
	key   acmeserver.NonceKey
	id    acmeserver.NonceID
	valid bool // the database still has the key
	first bool
}

// nonceKey gives the database's key, and makes it one if it has none: at the very first start, and
// after a crash.
func (p *postgresEngine) nonceKey(ctx context.Context) (key acmeserver.NonceKey, err error) {
	fresh := newNonceKey()
	err = p.update(ctx, func(ctx context.Context, tx tx) error {
		_, err := tx.exec(ctx, `INSERT INTO nonce_key (one, id, secret, horizon)
			VALUES (1, $1, $2, $3) ON CONFLICT DO NOTHING`,
			fresh.ID[:], fresh.Secret[:], micros(time.Time{}))
		return err
	})
	if err != nil {
		return key, err
	}
	return one(ctx, p, "nonce key", func(s scanner) (key acmeserver.NonceKey, err error) {
		var id, secret []byte
		err = s.Scan(&id, &secret)
		copy(key.ID[:], id)
		copy(key.Secret[:], secret)
		return key, err
	}, `SELECT id, secret FROM nonce_key`)
}

func (p *postgresEngine) redeemNonce(
	ctx context.Context, key acmeserver.NonceKey, n acmeserver.NonceID,
) (bool, error) {
	row := &nonceRow{key: key, id: n}
	name := fmt.Sprintf("%x/%x", n.Source, n.Count)
	err := p.nonces.commits.do(ctx, &write{keys: []string{name}, row: row})
	if err != nil {
		return false, err
	}
	if !row.valid {
		return false, acmeserver.ErrNonceKeyVoid
	}
	return row.first, nil
}

// commitNonces queues the nonces lane's statement: in one go it looks whether each nonce's key is
// still there, and remembers the nonce.
func commitNonces(b *pgx.Batch, batch []*write) error {
	rows := column(batch, func(w *write) *nonceRow { return w.row.(*nonceRow) })
	b.Queue(`WITH n AS (
			SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[])
				WITH ORDINALITY AS n (key, source, count, minted, place)),
		fresh AS (
			INSERT INTO used_nonces (source, count, minted)
			SELECT n.source, n.count, n.minted FROM n
			JOIN nonce_key k ON k.id = n.key AND k.horizon <= n.minted
			ON CONFLICT DO NOTHING
			RETURNING source, count)
		SELECT n.place, EXISTS (SELECT 1 FROM nonce_key k WHERE k.id = n.key),
			fresh.source IS NOT NULL
		FROM n LEFT JOIN fresh ON fresh.source = n.source AND fresh.count = n.count`,
		column(rows, func(r *nonceRow) []byte { return r.key.ID[:] }),
		column(rows, func(r *nonceRow) int64 { return int64(r.id.Source) }),
		column(rows, func(r *nonceRow) int64 { return int64(r.id.Count) }),
		column(rows, func(r *nonceRow) int64 { return micros(r.id.Minted) }),
	).Query(func(found pgx.Rows) error {
		for found.Next() {
			var place int64
			var valid, first bool
			if err := found.Scan(&place, &valid, &first); err != nil {
				return err
			}
			rows[place-1].valid, rows[place-1].first = valid, first
		}
		return found.Err()
	})
	return nil
}

const cleanBatch = 5000

// cleanNonces first makes the nonces unusable, then forgets them.
func (p *postgresEngine) cleanNonces(ctx context.Context, before time.Time) error {
	err := p.update(ctx, func(ctx context.Context, tx tx) error {
		_, err := tx.exec(ctx, `UPDATE nonce_key SET horizon = $1 WHERE horizon < $1`,
			micros(before))
		return err
	})
	for deleted := int64(cleanBatch); err == nil && deleted == cleanBatch; {
		err = p.update(ctx, func(ctx context.Context, tx tx) (err error) {
			deleted, err = tx.exec(ctx, `DELETE FROM used_nonces WHERE (source, count) IN (
				SELECT source, count FROM used_nonces WHERE minted < $1 LIMIT $2)`,
				micros(before), int64(cleanBatch))
			return err
		})
	}
	return err
}
