package store

import (
	"context"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
)

// replacementRow is an order to create, and the certificate that it replaces.
type replacementRow struct {
	*newOrderRow
	predecessor ca.Serial
	instead     string
}

// CreateReplacement is acmeserver.Store's. It may be repeated, as CreateOrder may.
func (s *Store) CreateReplacement(
	ctx context.Context, o acmeserver.Order, predecessor ca.Serial, instead string,
	entries ...audit.Entry,
) error {
	doc, err := encode(o)
	if err != nil {
		return err
	}
	row := &replacementRow{&newOrderRow{o, doc}, predecessor, instead}
	return s.engine.write(ctx, &write{
		keys:    []string{"order/" + o.ID, "serial/" + predecessor.String()},
		entries: entries, row: row, plain: row.replace,
	})
}

func (r *replacementRow) replace(ctx context.Context, tx tx) error {
	n, err := tx.exec(ctx, `UPDATE certificates SET successor = $2
		WHERE serial = $1 AND coalesce(successor, '') IN ($2, $3)`,
		r.predecessor.Bytes(), r.Ref(), r.instead)
	if err := changed(n, err, acmeserver.ErrReplaced); err != nil {
		return err
	}
	return r.insert(ctx, tx)
}

// OrderStands is acmeserver.Store's.
func (s *Store) OrderStands(ctx context.Context, id string, now time.Time) (bool, error) {
	wanted := acmeserver.Order{ID: id}
	found, err := list(ctx, s.engine, value[int64], `
		SELECT 1 FROM acme_orders WHERE id = $1 AND expires_at > $2
		UNION ALL SELECT 1 FROM certificates WHERE ref = $3`, id, micros(now), wanted.Ref())
	return len(found) > 0, err
}
