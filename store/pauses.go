package store

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
)

// AddFailure is acmeserver.StreakStore's.
func (s *Store) AddFailure(
	ctx context.Context, account, name string, at time.Time, rule acmeserver.PauseRule,
	entries ...audit.Entry,
) (bool, error) {
	var paused atomic.Bool // by the run that counts: the last
	now := micros(at)
	err := s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		_, err := tx.exec(ctx, `INSERT INTO acme_pauses AS p (account, name, failures, first_at, last_at)
			VALUES ($1, $2, 1, $3, $3) ON CONFLICT (account, name) DO UPDATE SET
				failures = CASE WHEN p.last_at < $4 THEN 1 ELSE p.failures + 1 END,
				first_at = CASE WHEN p.last_at < $4 THEN excluded.first_at ELSE p.first_at END,
				last_at = excluded.last_at
			WHERE p.paused_at IS NULL`, account, name, now, micros(at.Add(-rule.Gap)))
		if err != nil {
			return err
		}
		n, err := tx.exec(ctx, `UPDATE acme_pauses SET paused_at = $3 WHERE account = $1 AND name = $2
			AND paused_at IS NULL AND failures >= $4 AND first_at <= $5`,
			account, name, now, int64(rule.Failures), micros(at.Add(-rule.Span)))
		paused.Store(n > 0)
		if err != nil || n == 0 {
			return err
		}
		return writeEntries(ctx, tx, entries)
	})
	return err == nil && paused.Load(), err
}

// EndStreak is acmeserver.StreakStore's.
func (s *Store) EndStreak(ctx context.Context, account, name string) error {
	return s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		_, err := tx.exec(ctx, `DELETE FROM acme_pauses WHERE account = $1 AND name = $2`, account, name)
		return err
	})
}

const streakColumns = `account, name, failures, first_at, last_at, paused_at`

func scanStreak(s scanner) (k acmeserver.Streak, err error) {
	var failures, first, last int64
	var paused *int64
	err = s.Scan(&k.Account, &k.Name, &failures, &first, &last, &paused)
	k.Failures, k.PausedAt = int(failures), fromOptional(paused)
	k.FirstAt, k.LastAt = fromMicros(first), fromMicros(last)
	return k, err
}

// Paused is acmeserver.StreakStore's.
func (s *Store) Paused(
	ctx context.Context, account string, names []string,
) ([]acmeserver.Streak, error) {
	args, places := []any{account}, make([]string, len(names))
	for i, name := range names {
		args, places[i] = append(args, name), "$"+strconv.Itoa(i+2)
	}
	return list(ctx, s.engine, scanStreak, `SELECT `+streakColumns+` FROM acme_pauses
		WHERE account = $1 AND paused_at IS NOT NULL AND name IN (`+strings.Join(places, ", ")+`)
		ORDER BY name`, args...)
}

// ListPauses is acmeserver.StreakStore's.
func (s *Store) ListPauses(
	ctx context.Context, account string, after acmeserver.Streak, limit int,
) ([]acmeserver.Streak, error) {
	where, args := `paused_at IS NOT NULL`, []any{int64(limit)}
	if account != "" {
		args = append(args, account)
		where += ` AND account = $` + strconv.Itoa(len(args))
	}
	if !after.PausedAt.IsZero() {
		n := len(args)
		args = append(args, micros(after.PausedAt), after.Account, after.Name)
		where += ` AND (paused_at, account, name) < ($` + strconv.Itoa(n+1) + `, $` +
			strconv.Itoa(n+2) + `, $` + strconv.Itoa(n+3) + `)`
	}
	return list(ctx, s.engine, scanStreak, `SELECT `+streakColumns+` FROM acme_pauses
		WHERE `+where+` ORDER BY paused_at DESC, account DESC, name DESC LIMIT $1`, args...)
}

// CountPauses is acmeserver.StreakStore's.
func (s *Store) CountPauses(ctx context.Context) (int, error) {
	n, err := one(ctx, s.engine, "count", value[int64],
		`SELECT count(*) FROM acme_pauses WHERE paused_at IS NOT NULL`)
	return int(n), err
}

// Unpause is acmeserver.StreakStore's.
func (s *Store) Unpause(
	ctx context.Context, account, name string, entries ...audit.Entry,
) (int, error) {
	var ended atomic.Int64
	err := s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		n, err := tx.exec(ctx, `DELETE FROM acme_pauses
			WHERE ($1 = '' OR account = $1) AND ($2 = '' OR name = $2)
				AND paused_at IS NOT NULL`, account, name)
		ended.Store(n)
		if err := changed(n, err, errNonePaused); err != nil {
			return err
		}
		return writeEntries(ctx, tx, entries)
	})
	if errors.Is(err, errNonePaused) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return int(ended.Load()), nil
}

var errNonePaused = errors.New("nothing was paused")

// CleanStreaks is acmeserver.StreakStore's.
func (s *Store) CleanStreaks(
	ctx context.Context, failed, paused time.Time, limit int,
) (int, error) {
	var done atomic.Int64
	err := s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		old, err := tx.exec(ctx, `DELETE FROM acme_pauses WHERE (account, name) IN (
			SELECT account, name FROM acme_pauses WHERE paused_at IS NULL AND last_at < $1
			ORDER BY last_at LIMIT $2) AND paused_at IS NULL AND last_at < $1`,
			microsUp(failed), int64(limit))
		if err != nil {
			return err
		}
		lifted, err := tx.exec(ctx, `DELETE FROM acme_pauses WHERE (account, name) IN (
			SELECT account, name FROM acme_pauses WHERE paused_at < $1
			ORDER BY paused_at LIMIT $2)`, microsUp(paused), int64(limit))
		done.Store(max(old, lifted))
		return err
	})
	if err != nil {
		return 0, err
	}
	return int(done.Load()), nil
}
