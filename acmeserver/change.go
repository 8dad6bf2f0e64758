package acmeserver

import (
	"context"
	"errors"
	"sync"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
)

// maxTries bounds how often a change is redone because another process got in between.
const maxTries = 10

// change applies f to the order and keeps it, or keeps nothing if f says that nothing changed. If
// somebody else changed the order first, f sees it anew. Changes of one order wait for each other in
// this process: many challenges of one order settle at the same time.
func (s *Server) change(
	ctx context.Context, o Order, f func(*Order) (entries []audit.Entry, changed bool),
) (Order, error) {
	waited, unlock := s.changing.lock(o.ID)
	defer unlock()
	for range maxTries {
		var err error
		if waited {
			if o, err = s.store.Order(ctx, o.ID); err != nil {
				return o, err
			}
		}
		entries, changed := f(&o)
		if !changed {
			return o, nil
		}
		err = s.store.UpdateOrder(ctx, o, entries...)
		if err == nil {
			o.Version++
			return o, nil
		}
		if !errors.Is(err, ErrStale) {
			return o, err
		}
		waited = true
	}
	return o, fault.New(fault.Unavailable, "the order is being changed from too many sides; try again")
}

// locks is a mutex per name, kept while somebody wants it.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	sync.Mutex
	wanted int // by how many; guarded by locks.mu
}

// lock waits for the name's turn, and tells whether it had to.
func (l *locks) lock(name string) (waited bool, unlock func()) {
	l.mu.Lock()
	one, waited := l.held[name]
	if !waited {
		one = new(lock)
		l.held[name] = one
	}
	one.wanted++
	l.mu.Unlock()
	one.Lock()
	return waited, func() {
		one.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if one.wanted--; one.wanted == 0 {
			delete(l.held, name)
		}
	}
}
