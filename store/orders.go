package store

import (
	"context"
	"encoding/json"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
)

// newOrderRow and orderRow are an order to create and to replace, with its document.
type (
	newOrderRow struct {
		acmeserver.Order
		doc string
	}
	orderRow struct {
		acmeserver.Order
		doc string
	}
)

// CreateOrder is acmeserver.Store's. It may be repeated: an order that is there already is left as
// it is.
func (s *Store) CreateOrder(
	ctx context.Context, o acmeserver.Order, entries ...audit.Entry,
) error {
	doc, err := encode(o)
	if err != nil {
		return err
	}
	row := &newOrderRow{o, doc}
	return s.engine.write(ctx, &write{
		keys: []string{"order/" + o.ID}, entries: entries, row: row, plain: row.insert,
	})
}

func (r *newOrderRow) insert(ctx context.Context, tx tx) error {
	n, err := tx.exec(ctx, `INSERT INTO acme_orders
			(id, account, version, doc, created_at, expires_at)
		VALUES ($1, $2, 1, $3, $4, $5) ON CONFLICT DO NOTHING`,
		r.ID, r.Account, r.doc, micros(r.CreatedAt), micros(r.ExpiresAt))
	return changed(n, err, nil)
}

// UpdateOrder is acmeserver.Store's.
func (s *Store) UpdateOrder(
	ctx context.Context, o acmeserver.Order, entries ...audit.Entry,
) error {
	doc, err := encode(o)
	if err != nil {
		return err
	}
	row := &orderRow{o, doc}
	return s.engine.write(ctx, &write{
		keys: []string{"order/" + o.ID}, entries: entries, row: row, plain: row.update,
	})
}

func (r *orderRow) update(ctx context.Context, tx tx) error {
	n, err := tx.exec(ctx, `UPDATE acme_orders
		SET version = version + 1, doc = $3, expires_at = $4 WHERE id = $1 AND version = $2`,
		r.ID, r.Version, r.doc, micros(r.ExpiresAt))
	return changed(n, err, acmeserver.ErrStale)
}

const orderAndCertificate = `o.id, o.account, o.version, o.doc, o.created_at, o.expires_at, ` + columns

// Order is acmeserver.Store's.
func (s *Store) Order(ctx context.Context, id string) (acmeserver.Order, error) {
	wanted := acmeserver.Order{ID: id}
	return one(ctx, s.engine, "order", scanOrder, `SELECT `+orderAndCertificate+`
		FROM acme_orders o LEFT JOIN certificates c ON c.ref = $2 WHERE o.id = $1`,
		id, wanted.Ref())
}

// ListOrders is acmeserver.Store's.
func (s *Store) ListOrders(
	ctx context.Context, account string, after *acmeserver.Position, limit int,
) ([]acmeserver.Order, error) {
	f := filter{where: []string{"1 = 1"}}
	if account != "" {
		f.add(`o.account = %s`, account)
	}
	none := acmeserver.Order{}
	f.args = append(f.args, none.Ref())
	return list(ctx, s.engine, scanOrder, f.newest(`SELECT `+orderAndCertificate+`
		FROM acme_orders o LEFT JOIN certificates c ON c.ref = $`+strconv.Itoa(len(f.args))+` || o.id`,
		"o", after, limit), f.args...)
}

func scanOrder(s scanner) (o acmeserver.Order, err error) {
	var id, account, doc string
	var version, created, expires int64
	var row certificateRow
	dest := []any{&id, &account, &version, &doc, &created, &expires}
	if err := s.Scan(append(dest, row.dest()...)...); err != nil {
		return o, err
	}
	if err := json.Unmarshal([]byte(doc), &o); err != nil {
		return o, err
	}
	o.ID, o.Account, o.Version = id, account, version
	o.CreatedAt, o.ExpiresAt = fromMicros(created), fromMicros(expires)
	if row.serial == nil {
		return o, nil
	}
	c, err := row.certificate()
	o.Certificate = &c
	return o, err
}

// Orders is acmeserver.Store's.
func (s *Store) Orders(
	ctx context.Context, account, after string, now time.Time, limit int,
) ([]string, error) {
	if after == "" {
		return list(ctx, s.engine, value[string], `SELECT id FROM acme_orders
			WHERE account = $1 AND expires_at >= $2
			ORDER BY created_at DESC, id DESC LIMIT $3`, account, microsUp(now), int64(limit))
	}
	return list(ctx, s.engine, value[string], `SELECT id FROM acme_orders
		WHERE account = $1 AND expires_at >= $2 AND (created_at, id) <
			(SELECT created_at, id FROM acme_orders WHERE id = $4 AND account = $1)
		ORDER BY created_at DESC, id DESC LIMIT $3`, account, microsUp(now), int64(limit), after)
}

// CleanOrders is acmeserver.Store's.
func (s *Store) CleanOrders(
	ctx context.Context, before time.Time, limit int,
) (int, error) {
	// The second look at expires_at is for an order that another replica prolongs meanwhile.
	return s.clean(ctx, `DELETE FROM acme_orders WHERE expires_at < $1 AND id IN
		(SELECT id FROM acme_orders WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, before, limit)
}

// clean runs a deletion of at most $2 rows from before $1, and tells how many it deleted.
func (s *Store) clean(
	ctx context.Context, deletion string, before time.Time, limit int,
) (int, error) {
	var done atomic.Int64 // by the run that counts: the last
	err := s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		n, err := tx.exec(ctx, deletion, microsUp(before), int64(limit))
		done.Store(n)
		return err
	})
	if err != nil {
		return 0, err
	}
	return int(done.Load()), nil
}
