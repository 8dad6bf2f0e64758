package store

import (
	"context"
	"time"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
)

// Revoke is ca.Store's.
func (s *Store) Revoke(
	ctx context.Context, serial ca.Serial, r ca.Revocation, entries ...audit.Entry,
) error {
	return s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		n, err := tx.exec(ctx, `UPDATE certificates SET revoked_at = $2, reason = $3
			WHERE serial = $1 AND state = 'issued' AND revoked_at IS NULL`,
			serial.Bytes(), micros(r.At), int64(r.Reason))
		if err != nil {
			return err
		}
		if n > 0 {
			return writeEntries(ctx, tx, entries)
		}
		_, err = one(ctx, tx, "issued certificate", value[int64],
			`SELECT 1 FROM certificates WHERE serial = $1 AND state = 'issued'`, serial.Bytes())
		switch {
		case err == nil:
			return unchanged{ca.ErrRevoked}
		case fault.Is(err, fault.NotFound):
			return unchanged{err}
		default:
			return err
		}
	})
}

// Revoked is ca.Store's.
func (s *Store) Revoked(
	ctx context.Context, issuer string, shard int, floor time.Time,
) ([]ca.RevokedSerial, error) {
	scan := func(s scanner) (r ca.RevokedSerial, err error) {
		var serial []byte
		var at, reason int64
		if err := s.Scan(&serial, &at, &reason); err != nil {
			return r, err
		}
		r.Revocation = ca.Revocation{At: fromMicros(at), Reason: ca.Reason(reason)}
		r.Serial, err = ca.SerialFromBytes(serial)
		return r, err
	}
	return list(ctx, s.engine, scan, `SELECT serial, revoked_at, reason FROM certificates
		WHERE issuer = $1 AND shard = $2 AND not_after >= $3 AND revoked_at IS NOT NULL
		ORDER BY serial`, issuer, int64(shard), microsUp(floor))
}

// StaleShards is ca.Store's.
func (s *Store) StaleShards(ctx context.Context, due time.Time) ([]ca.Shard, error) {
	scan := func(s scanner) (shard ca.Shard, err error) {
		err = s.Scan(&shard.Issuer, &shard.Shard)
		return shard, err
	}
	return list(ctx, s.engine, scan, `
		WITH RECURSIVE wanted (issuer, shard, shards) AS (
			SELECT id, CAST(0 AS BIGINT), shards FROM issuers WHERE shards > 0
			UNION ALL
			SELECT issuer, shard + 1, shards FROM wanted WHERE shard + 1 < shards
		)
		SELECT w.issuer, w.shard FROM wanted w
		LEFT JOIN crls ON crls.issuer = w.issuer AND crls.shard = w.shard
		WHERE crls.number IS NULL OR crls.next_update < $1 OR crls.entries <> (
			SELECT count(*) FROM certificates c WHERE c.issuer = w.issuer AND c.shard = w.shard
				AND c.revoked_at IS NOT NULL AND c.not_after >= crls.floor)
		ORDER BY w.issuer, w.shard`, microsUp(due))
}

// CRL is ca.Store's.
func (s *Store) CRL(ctx context.Context, shard ca.Shard) (*ca.CRL, error) {
	crl, err := one(ctx, s.engine, "CRL", func(s scanner) (ca.CRL, error) {
		crl := ca.CRL{Shard: shard}
		var this, next, floor int64
		err := s.Scan(&crl.Number, &this, &next, &floor, &crl.Entries, &crl.DER)
		crl.ThisUpdate, crl.NextUpdate = fromMicros(this), fromMicros(next)
		crl.Floor = fromMicros(floor)
		return crl, err
	}, `SELECT number, this_update, next_update, floor, entries, der FROM crls
		WHERE issuer = $1 AND shard = $2`, shard.Issuer, int64(shard.Shard))
	if err != nil {
		return nil, err
	}
	return &crl, nil
}

// PublishCRL is ca.Store's. The floor is kept rounded up, as Revoked reads it.
func (s *Store) PublishCRL(ctx context.Context, crl ca.CRL, entries ...audit.Entry) error {
	return s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		n, err := tx.exec(ctx, `INSERT INTO crls
				(issuer, shard, number, this_update, next_update, floor, entries, der)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
			ON CONFLICT (issuer, shard) DO UPDATE SET number = excluded.number,
				this_update = excluded.this_update, next_update = excluded.next_update,
				floor = excluded.floor, entries = excluded.entries, der = excluded.der
			WHERE crls.number < excluded.number`,
			crl.Issuer, int64(crl.Shard.Shard), crl.Number, micros(crl.ThisUpdate),
			micros(crl.NextUpdate), microsUp(crl.Floor), int64(crl.Entries), crl.DER)
		if err := changed(n, err, ca.ErrOlderCRL); err != nil {
			return err
		}
		return writeEntries(ctx, tx, entries)
	})
}
