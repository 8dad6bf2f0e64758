package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
)

// lane is a committer with a connection of its own.
type lane struct {
	pool    *pgxpool.Pool // of one
	commits committer
}

func newLane(
	ctx context.Context, config *pgxpool.Config, c Config, meter *meter,
	queue func(b *pgx.Batch, batch []*write) error, session ...string,
) (*lane, error) {
	pool, err := newPool(ctx, config, 1, session...)
	if err != nil {
		return nil, err
	}
	commit := func(ctx context.Context, batch []*write) error {
		statements := new(pgx.Batch)
		if err := queue(statements, batch); err != nil {
			return err
		}
		// One round trip: without BEGIN, statements sent together are one transaction.
		return pool.SendBatch(ctx, statements).Close()
	}
	return &lane{pool: pool, commits: committer{commit: commit, meter: meter, now: c.Now}}, nil
}

// Each hot write has one statement for all of its kind in a batch. "won" are the rows whose
// condition held, by a key that is unique within the batch; the entries of those, and only those,
// are kept by the same statement.
const (
	keepEntries = `kept AS (
		INSERT INTO audit_entries (id, at, kind, actor, subject, data)
		SELECT e.id, e.at, e.kind, e.actor, e.subject, e.data
		FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
			$7::text[]) AS e (id, at, kind, actor, subject, data, key)
		JOIN won ON won.key = e.key
		ON CONFLICT DO NOTHING)
	SELECT key FROM won`

	promiseRows = `WITH won AS (
		INSERT INTO certificates (serial, ref, state, issuer, shard, profile, caller, owner, names,
			spki_sha256, tbs_sha256, not_before, not_after, promised_at)
		SELECT r.serial, r.ref, 'promised', r.issuer, r.shard, r.profile, r.caller, r.owner, r.names,
			r.spki, r.tbs, r.not_before, r.not_after, r.promised_at
		FROM unnest($8::bytea[], $9::text[], $10::text[], $11::bigint[], $12::text[], $13::text[],
			$14::text[], $15::text[], $16::bytea[], $17::bytea[], $18::bigint[], $19::bigint[],
			$20::bigint[]) AS r (serial, ref, issuer, shard, profile, caller, owner, names,
			spki, tbs, not_before, not_after, promised_at)
		ON CONFLICT DO NOTHING
		RETURNING serial, encode(serial, 'hex') AS key),
	named AS (
		INSERT INTO certificate_names (reversed, serial)
		SELECT n.reversed, n.serial FROM unnest($21::bytea[], $22::bytea[]) AS n (reversed, serial)
		JOIN won ON won.serial = n.serial
		ON CONFLICT DO NOTHING), ` + keepEntries

	recordRows = `WITH won AS (
		UPDATE certificates c SET state = 'issued', der = r.der, issued_at = r.at
		FROM unnest($8::bytea[], $9::bytea[], $10::bigint[]) AS r (serial, der, at)
		WHERE c.serial = r.serial AND c.state = 'promised'
		RETURNING encode(c.serial, 'hex') AS key), ` + keepEntries

	newOrderRows = `WITH won AS (
		INSERT INTO acme_orders (id, account, version, doc, created_at, expires_at)
		SELECT r.id, r.account, 1, r.doc, r.created_at, r.expires_at
		FROM unnest($8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[])
			AS r (id, account, doc, created_at, expires_at)
		ON CONFLICT DO NOTHING
		RETURNING id AS key), ` + keepEntries

	replacementRows = `WITH won AS (
		UPDATE certificates c SET successor = r.ref
		FROM unnest($8::text[], $13::bytea[], $14::text[], $15::text[]) AS r (id, serial, ref, instead)
		WHERE c.serial = r.serial AND coalesce(c.successor, '') IN (r.instead, r.ref)
		RETURNING r.id AS key),
	made AS (
		INSERT INTO acme_orders (id, account, version, doc, created_at, expires_at)
		SELECT r.id, r.account, 1, r.doc, r.created_at, r.expires_at
		FROM unnest($8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[])
			AS r (id, account, doc, created_at, expires_at)
		JOIN won ON won.key = r.id
		ON CONFLICT DO NOTHING), ` + keepEntries

	orderRows = `WITH won AS (
		UPDATE acme_orders o SET version = o.version + 1, doc = r.doc, expires_at = r.expires_at
		FROM unnest($8::text[], $9::bigint[], $10::text[], $11::bigint[])
			AS r (id, version, doc, expires_at)
		WHERE o.id = r.id AND o.version = r.version
		RETURNING o.id AS key), ` + keepEntries

	logRows = `WITH won AS (SELECT key FROM unnest($8::text[]) AS r (key)), ` + keepEntries
)

// commitRows queues the durable lane's statements.
func commitRows(b *pgx.Batch, batch []*write) error {
	return firstError(
		queueRows(b, batch, promiseRows, errTaken, promiseColumns,
			func(r *promiseRow) string { return r.Serial.String() }),
		queueRows(b, batch, recordRows, ca.ErrNotPromised, recordColumns,
			func(r *recordRow) string { return r.serial.String() }),
		queueRows(b, batch, newOrderRows, nil, newOrderColumns,
			func(r *newOrderRow) string { return r.ID }),
		queueRows(b, batch, replacementRows, acmeserver.ErrReplaced, replacementColumns,
			func(r *replacementRow) string { return r.ID }),
		queueRows(b, batch, orderRows, acmeserver.ErrStale, orderColumns,
			func(r *orderRow) string { return r.ID }),
		queueRows(b, batch, logRows, nil,
			func([]*logRow) []any { return []any{[]string{""}} },
			func(*logRow) string { return "" }),
	)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// queueRows queues one kind's statement, if the batch has rows of the kind. A row that is not among
// the winners gets otherwise as its answer.
func queueRows[R any](
	b *pgx.Batch, batch []*write, text string, otherwise error,
	columns func(rows []R) []any, key func(R) string,
) error {
	var rows []R
	var entries []keyedEntry
	owner := make(map[string]*write)
	for _, w := range batch {
		row, ok := w.row.(R)
		if !ok {
			continue
		}
		w.answer = otherwise
		rows = append(rows, row)
		owner[key(row)] = w
		for _, e := range w.entries {
			data, err := encode(e.Data)
			if err != nil {
				return err
			}
			entries = append(entries, keyedEntry{e, data, key(row)})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	b.Queue(text, append(entryColumns(entries), columns(rows)...)...).Query(
		func(won pgx.Rows) error {
			for won.Next() {
				var key string
				if err := won.Scan(&key); err != nil {
					return err
				}
				owner[key].answer = nil
			}
			return won.Err()
		})
	return nil
}

// keyedEntry is an entry with the key of the row that it belongs to.
type keyedEntry struct {
	audit.Entry
	data string
	key  string
}

func entryColumns(e []keyedEntry) []any {
	return []any{
		column(e, func(e keyedEntry) string { return e.ID }),
		column(e, func(e keyedEntry) int64 { return micros(e.At) }),
		column(e, func(e keyedEntry) string { return string(e.Kind) }),
		column(e, func(e keyedEntry) string { return e.Actor }),
		column(e, func(e keyedEntry) string { return e.Subject }),
		column(e, func(e keyedEntry) string { return e.data }),
		column(e, func(e keyedEntry) string { return e.key }),
	}
}

// column is one value of every row.
func column[R, V any](rows []R, of func(R) V) []V {
	values := make([]V, len(rows))
	for i, row := range rows {
		values[i] = of(row)
	}
	return values
}

func promiseColumns(rows []*promiseRow) []any {
	var names, serials [][]byte
	for _, r := range rows {
		for _, name := range r.Names {
			names = append(names, reversed(name.Value))
			serials = append(serials, r.Serial.Bytes())
		}
	}
	return []any{
		column(rows, func(r *promiseRow) []byte { return r.Serial.Bytes() }),
		column(rows, func(r *promiseRow) *string { return r.ref }),
		column(rows, func(r *promiseRow) string { return r.Issuer }),
		column(rows, func(r *promiseRow) int64 { return int64(r.Shard) }),
		column(rows, func(r *promiseRow) string { return r.Profile }),
		column(rows, func(r *promiseRow) string { return r.Caller }),
		column(rows, func(r *promiseRow) string { return r.Owner }),
		column(rows, func(r *promiseRow) string { return r.names }),
		column(rows, func(r *promiseRow) []byte { return r.SPKISHA256[:] }),
		column(rows, func(r *promiseRow) []byte { return r.TBSSHA256[:] }),
		column(rows, func(r *promiseRow) int64 { return micros(r.NotBefore) }),
		column(rows, func(r *promiseRow) int64 { return micros(r.NotAfter) }),
		column(rows, func(r *promiseRow) int64 { return micros(r.PromisedAt) }),
		names, serials,
	}
}

func recordColumns(rows []*recordRow) []any {
	return []any{
		column(rows, func(r *recordRow) []byte { return r.serial.Bytes() }),
		column(rows, func(r *recordRow) []byte { return r.der }),
		column(rows, func(r *recordRow) int64 { return micros(r.at) }),
	}
}

func newOrderColumns(rows []*newOrderRow) []any {
	return []any{
		column(rows, func(r *newOrderRow) string { return r.ID }),
		column(rows, func(r *newOrderRow) string { return r.Account }),
		column(rows, func(r *newOrderRow) string { return r.doc }),
		column(rows, func(r *newOrderRow) int64 { return micros(r.CreatedAt) }),
		column(rows, func(r *newOrderRow) int64 { return micros(r.ExpiresAt) }),
	}
}

func replacementColumns(rows []*replacementRow) []any {
	return append(
		newOrderColumns(column(rows, func(r *replacementRow) *newOrderRow { return r.newOrderRow })),
		column(rows, func(r *replacementRow) []byte { return r.predecessor.Bytes() }),
		column(rows, func(r *replacementRow) string { return r.Ref() }),
		column(rows, func(r *replacementRow) string { return r.instead }),
	)
}

func orderColumns(rows []*orderRow) []any {
	return []any{
		column(rows, func(r *orderRow) string { return r.ID }),
		column(rows, func(r *orderRow) int64 { return r.Version }),
		column(rows, func(r *orderRow) string { return r.doc }),
		column(rows, func(r *orderRow) int64 { return micros(r.ExpiresAt) }),
	}
}
