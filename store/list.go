package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
)

const maxList = 1000

// reversed turns a name so that a suffix of it is a prefix, which an index can find.
func reversed(name string) []byte {
	b := []byte(strings.ToLower(name))
	slices.Reverse(b)
	return b
}

// filter gathers the conditions of a list. Its texts are constants of this file; what a request
// brings goes into args.
type filter struct {
	where []string
	args  []any
}

// add appends a condition in which each %s stands for the next of args.
func (f *filter) add(condition string, args ...any) {
	places := make([]any, len(args))
	for i, arg := range args {
		f.args = append(f.args, arg)
		places[i] = fmt.Sprintf("$%d", len(f.args))
	}
	f.where = append(f.where, fmt.Sprintf(condition, places...))
}

// Certificates is ca.Store's. Certificates promised while a reader pages come before its first page
// and so change none of its later ones.
func (s *Store) Certificates(
	ctx context.Context, q ca.Query, now time.Time,
) ([]ca.Certificate, error) {
	f := filter{where: []string{"1 = 1"}}
	if err := f.status(q.Status, now); err != nil {
		return nil, err
	}
	if q.Name != "" {
		f.add(`c.serial IN (SELECT serial FROM certificate_names WHERE reversed = %s)`,
			reversed(q.Name))
	}
	if q.Suffix != "" {
		f.suffix(q.Suffix)
	}
	if q.Profile != "" {
		f.add(`c.profile = %s`, q.Profile)
	}
	if q.Owner != "" {
		f.add(`c.owner = %s`, q.Owner)
	}
	if !q.ExpiresBefore.IsZero() {
		f.add(`c.not_after < %s`, microsUp(q.ExpiresBefore))
	}
	if q.After != nil {
		f.add(`(c.promised_at, c.serial) < (%s, %s)`,
			micros(q.After.PromisedAt), q.After.Serial.Bytes())
	}
	limit := q.Limit
	if limit <= 0 || limit > maxList {
		limit = maxList
	}
	f.args = append(f.args, int64(limit))
	return list(ctx, s.engine, scanCertificate, fmt.Sprintf(
		`SELECT %s FROM certificates c WHERE %s ORDER BY c.promised_at DESC, c.serial DESC LIMIT $%d`,
		columns, strings.Join(f.where, " AND "), len(f.args)), f.args...)
}

// suffix selects names on a label boundary: below it, and it itself unless a dot leads.
func (f *filter) suffix(suffix string) {
	bare := strings.TrimPrefix(suffix, ".")
	below, end := append(reversed(bare), '.'), append(reversed(bare), '.'+1)
	if bare == suffix {
		f.add(`c.serial IN (SELECT serial FROM certificate_names
			WHERE reversed = %s OR (reversed >= %s AND reversed < %s))`, reversed(bare), below, end)
		return
	}
	f.add(`c.serial IN (SELECT serial FROM certificate_names
		WHERE reversed >= %s AND reversed < %s)`, below, end)
}

// status says in SQL what ca.Certificate.StatusAt says.
func (f *filter) status(status ca.Status, now time.Time) error {
	if status == "" {
		return nil
	}
	if status == ca.StatusExpired {
		f.add(`c.not_after < %s`, microsUp(now))
		return nil
	}
	f.add(`c.not_after >= %s`, microsUp(now))
	switch status {
	case ca.StatusRevoked:
		f.add(`c.revoked_at IS NOT NULL`) // a void row has it too
	case ca.StatusPending:
		f.add(`c.revoked_at IS NULL AND c.state = 'promised'`)
	case ca.StatusValid:
		f.add(`c.revoked_at IS NULL AND c.state = 'issued'`)
	default:
		return fault.Field("status", "%q is none of pending, valid, revoked, expired", status)
	}
	return nil
}

// microsUp is micros rounded up, so that a kept time compares with t as if t had its nanoseconds.
func microsUp(t time.Time) int64 {
	n := t.UnixMicro()
	if time.UnixMicro(n).Before(t) {
		n++
	}
	return n
}
