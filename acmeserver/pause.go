package acmeserver

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/identity"
)

// Streak is what an account's validations of one name have come to: failures, and no success between
// them. A streak that lasts becomes a pause: the account may not order the name until an operator
// lifts it.
type Streak struct {
	Account         string
	Name            string // as in orders: a wildcard with its "*."
	Failures        int
	FirstAt, LastAt time.Time // of the failures
	PausedAt        time.Time // zero if it is not
}

// PauseRule says when a streak becomes a pause: with that many failures, over that long. A streak
// ends by itself after Gap without a failure.
type PauseRule struct {
	Failures  int
	Span, Gap time.Duration
}

// pauseRule spares whoever is cut off for an evening, and his clients that try again and again all
// the while: that is what failuresPerName is for. After a day of failures no certificate of the name
// is left to be renewed (they live for a day), and nobody seems to have noticed.
var pauseRule = PauseRule{Failures: 100, Span: 24 * time.Hour, Gap: 24 * time.Hour}

const (
	// pausedRetryAfter is what a paused client is told: nothing changes without a person.
	pausedRetryAfter = 24 * time.Hour
	// pauseRetention ends a pause that nobody lifted.
	pauseRetention = 90 * 24 * time.Hour
)

// StreakStore is what pausing needs from disk; as in Store.
type StreakStore interface {
	// AddFailure adds a failure at the given time to the streak, and makes a pause of it by the rule.
	// The entries are kept if that happened just now, which paused tells. A paused streak stays as it
	// is.
	AddFailure(ctx context.Context, account, name string, at time.Time, rule PauseRule,
		entries ...audit.Entry) (paused bool, err error)
	// EndStreak forgets the streak, paused or not, if there is one.
	EndStreak(ctx context.Context, account, name string) error
	// Paused finds the paused streaks of some names, 100 at most.
	Paused(ctx context.Context, account string, names []string) ([]Streak, error)
	// ListPauses lists paused streaks, of one account or of all (""), newest first, continuing behind
	// the given one unless that is zero.
	ListPauses(ctx context.Context, account string, after Streak, limit int) ([]Streak, error)
	CountPauses(ctx context.Context) (int, error)
	// Unpause forgets paused streaks of the account and the name, "" for any, and says how many.
	// The entries are kept unless there were none.
	Unpause(ctx context.Context, account, name string, entries ...audit.Entry) (int, error)
	// CleanStreaks forgets at most limit streaks whose last failure, and at most limit pauses that
	// began, before the given times, and says how many.
	CleanStreaks(ctx context.Context, failed, paused time.Time, limit int) (int, error)
}

// mayOrder holds an order for the names to the limits.
func (s *Server) mayOrder(ctx context.Context, a Account, names []identity.Name) error {
	if s.limits == nil {
		return nil
	}
	if err := s.take(ordersPerAccount, a.ID); err != nil {
		return err
	}
	if err := s.peek(certificatesPerNameSet, nameSetKey(names)); err != nil {
		return err
	}
	for _, name := range names {
		if err := s.peek(failuresPerName, failuresKey(a.ID, name)); err != nil {
			return err
		}
	}
	if !a.Failing {
		return nil
	}
	return s.notPaused(ctx, a, names)
}

// notPaused refuses an order, and says of every name that is paused what became of it and who can
// help.
func (s *Server) notPaused(ctx context.Context, a Account, names []identity.Name) error {
	texts := make([]string, len(names))
	byText := make(map[string]identity.Name)
	for i, name := range names {
		texts[i], byText[name.Value] = name.Value, name
	}
	streaks, err := s.store.Paused(ctx, a.ID, texts)
	if err != nil || len(streaks) == 0 {
		return err
	}
	var problems []Problem
	for _, streak := range streaks {
		problems = append(problems, refuse(rateLimited, "%.253s is paused for this account: %d validations "+
			"in a row have failed from %s to %s. See that its challenges can be answered; then whoever runs "+
			"this CA lifts the pause with: mayfly acme unpause %s %s", streak.Name, streak.Failures,
			streak.FirstAt.Format(time.RFC3339), streak.LastAt.Format(time.RFC3339), a.ID, streak.Name,
		).about(byText[streak.Name]))
	}
	s.metrics.limited.WithLabelValues("paused").Inc()
	r := together(problems)
	if r, ok := errors.AsType[*refusal](r); ok {
		r.retryAfter = pausedRetryAfter
	}
	return r
}

// count adds a settled validation to the limits. What goes wrong with that changes no verdict.
func (s *Server) count(ctx context.Context, a Account, o *Order, at place) {
	if s.limits == nil {
		return
	}
	authorization := &o.Authorizations[at.index]
	name := authorization.identifier()
	var err error
	switch authorization.challenge(at.kind).Status {
	case StatusValid:
		if a.Failing {
			err = s.store.EndStreak(ctx, a.ID, name.Value)
		}
	case StatusInvalid:
		s.limits[failuresPerName].Take(failuresKey(a.ID, name), s.now())
		err = s.countFailure(ctx, a, name.Value)
	}
	if err != nil {
		s.log.Error("counting a validation", "account", a.ID, "name", name.Value, "error", err)
	}
}

func (s *Server) countFailure(ctx context.Context, a Account, name string) error {
	paused, err := s.store.AddFailure(ctx, a.ID, name, s.now(), pauseRule,
		s.entry(audit.NamePaused, a, map[string]string{"name": name}))
	if err != nil || !paused {
		return err
	}
	s.log.Warn("a name is paused: its validations failed for a day", "account", a.ID, "name", name)
	return s.showPauses(ctx)
}

// showPauses brings the metric up to date.
func (s *Server) showPauses(ctx context.Context) error {
	n, err := s.store.CountPauses(ctx)
	if err == nil {
		s.metrics.paused.Set(float64(n))
	}
	return err
}

func (s *Server) cleanStreaks(ctx context.Context) error {
	now := s.now()
	for range cleanBatches {
		deleted, err := s.store.CleanStreaks(ctx, now.Add(-pauseRule.Gap), now.Add(-pauseRetention),
			cleanBatch)
		if err != nil {
			return err
		}
		if deleted < cleanBatch {
			break
		}
	}
	return s.showPauses(ctx)
}

// PauseQuery selects pauses.
type PauseQuery struct {
	Account string    // "" for all
	After   *Position // of a pause: when it began, and its key
	Limit   int
}

// Pauses lists what is paused, newest first.
func (op Operator) Pauses(ctx context.Context, q PauseQuery) ([]Streak, error) {
	if q.Account != "" && !isID(q.Account) {
		return nil, nil
	}
	var after Streak
	if q.After != nil {
		after.PausedAt = q.After.CreatedAt
		after.Account, after.Name, _ = strings.Cut(q.After.ID, "+")
	}
	return op.door.store.ListPauses(ctx, q.Account, after, q.Limit)
}

// Position is the pause's place in their list.
func (k Streak) Position() Position { return Position{k.PausedAt, k.Account + "+" + k.Name} }

// Unpause lets the account order the name again; "" is any account, or any name. It says how many
// were paused.
func (op Operator) Unpause(
	ctx context.Context, who identity.Caller, account, name string,
) (int, error) {
	if err := mayOperate(who); err != nil {
		return 0, err
	}
	if err := errors.Join(checkText("account", account), checkText("name", name)); err != nil {
		return 0, err
	}
	n, err := op.door.store.Unpause(ctx, account, name, audit.New(op.door.now(), audit.NameUnpaused, who.ID,
		account, map[string]string{"name": name}))
	if err != nil || n == 0 {
		return n, err
	}
	return n, op.door.showPauses(ctx)
}
