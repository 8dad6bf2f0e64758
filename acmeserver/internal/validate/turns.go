package validate

import (
	"context"
	"errors"
	"sync"
)

// Limits for each name and each address that is asked, so that nobody can use us to flood it.
const (
	maxAtOnce  = 8
	maxWaiting = 64
)

var errCrowded = errors.New("too many other validations are asking it; try again")

// turns lets a few at once in for each key, and the others in the order in which they came. It
// remembers only the keys that somebody is at.
type turns[K comparable] struct {
	mu    sync.Mutex
	rooms map[K]*room
}

type room struct {
	seats  chan struct{}
	guests int // seated and waiting
}

func newTurns[K comparable]() *turns[K] { return &turns[K]{rooms: make(map[K]*room)} }

// enter waits for a seat until ctx ends; whoever got one calls leave, once or more.
func (t *turns[K]) enter(ctx context.Context, key K) (leave func(), err error) {
	t.mu.Lock()
	r := t.rooms[key]
	if r == nil {
		r = &room{seats: make(chan struct{}, maxAtOnce)}
		t.rooms[key] = r
	}
	if r.guests == maxAtOnce+maxWaiting {
		t.mu.Unlock()
		return nil, errCrowded
	}
	r.guests++
	t.mu.Unlock()
	select {
	case r.seats <- struct{}{}:
		return sync.OnceFunc(func() {
			<-r.seats
			t.gone(key, r)
		}), nil
	case <-ctx.Done():
		t.gone(key, r)
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, ctx.Err()
		}
		return nil, errCrowded
	}
}

func (t *turns[K]) gone(key K, r *room) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.guests--; r.guests == 0 {
		delete(t.rooms, key)
	}
}
