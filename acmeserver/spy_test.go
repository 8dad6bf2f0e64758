package acmeserver_test

import (
	"context"
	"sync"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/store"
)

// spy is the real store, and remembers what it was asked.
type spy struct {
	*store.Store
	// before is asked ahead of every UpdateOrder, to let something else happen first; nil for nothing.
	before func(acmeserver.Order) error

	mu      sync.Mutex
	calls   map[string]int
	entries []audit.Entry
}

func (s *spy) note(call string) { s.kept(call, nil) }

// kept notes the call of a write, and its entries if they were kept.
func (s *spy) kept(call string, err error, entries ...audit.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = make(map[string]int)
	}
	s.calls[call]++
	if err == nil {
		s.entries = append(s.entries, entries...)
	}
}

// of gives the entries of a kind.
func (s *spy) of(kind audit.Kind) (found []audit.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

func (s *spy) count(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[call]
}

func (s *spy) Account(ctx context.Context, id string) (acmeserver.Account, error) {
	s.note("Account")
	return s.Store.Account(ctx, id)
}

func (s *spy) CreateAccount(
	ctx context.Context, a acmeserver.Account, entries ...audit.Entry,
) (acmeserver.Account, bool, error) {
	kept, created, err := s.Store.CreateAccount(ctx, a, entries...)
	s.kept("CreateAccount", err, entries...)
	return kept, created, err
}

func (s *spy) UpdateAccount(ctx context.Context, a acmeserver.Account, entries ...audit.Entry) error {
	err := s.Store.UpdateAccount(ctx, a, entries...)
	s.kept("UpdateAccount", err, entries...)
	return err
}

func (s *spy) CreateOrder(ctx context.Context, o acmeserver.Order, entries ...audit.Entry) error {
	err := s.Store.CreateOrder(ctx, o, entries...)
	s.kept("CreateOrder", err, entries...)
	return err
}

func (s *spy) Order(ctx context.Context, id string) (acmeserver.Order, error) {
	s.note("Order")
	return s.Store.Order(ctx, id)
}

func (s *spy) UpdateOrder(ctx context.Context, o acmeserver.Order, entries ...audit.Entry) error {
	if s.before != nil {
		if err := s.before(o); err != nil {
			return err
		}
	}
	err := s.Store.UpdateOrder(ctx, o, entries...)
	s.kept("UpdateOrder", err, entries...)
	return err
}

func (s *spy) RedeemNonce(ctx context.Context, key acmeserver.NonceKey, n acmeserver.NonceID) (bool, error) {
	s.note("RedeemNonce")
	return s.Store.RedeemNonce(ctx, key, n)
}

func (s *spy) NonceKey(ctx context.Context) (acmeserver.NonceKey, error) {
	s.note("NonceKey")
	return s.Store.NonceKey(ctx)
}
