package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/mayflyca/mayfly/audit"
)

// Log is ca.Store's. It may be repeated: an entry that is there already is left as it is.
func (s *Store) Log(ctx context.Context, entries ...audit.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	return s.engine.write(ctx, &write{
		entries: entries, row: &logRow{},
		plain: func(context.Context, tx) error { return nil },
	})
}

// logRow is a write of entries alone.
type logRow struct{}

// LatestEntry is ca.Store's.
func (s *Store) LatestEntry(ctx context.Context) (time.Time, error) {
	at, err := one(ctx, s.engine, "entry", value[*int64], `SELECT MAX(at) FROM audit_entries`)
	return fromOptional(at), err
}

// writeEntries keeps entries in a transaction under way.
func writeEntries(ctx context.Context, tx tx, entries []audit.Entry) error {
	for _, e := range entries {
		data, err := encode(e.Data)
		if err != nil {
			return err
		}
		_, err = tx.exec(ctx, `INSERT INTO audit_entries (id, at, kind, actor, subject, data)
			VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
			e.ID, micros(e.At), string(e.Kind), e.Actor, e.Subject, data)
		if err != nil {
			return err
		}
	}
	return nil
}

// encode is the JSON of a document as kept.
func encode(v any) (string, error) {
	doc, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encoding a document: %w", err)
	}
	return string(doc), nil
}
