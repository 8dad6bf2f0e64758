// Package limit counts events by key and says when one is too many. It knows neither what an event
// is nor what time it is.
//
// A key's state is one instant (the generic cell rate algorithm): when its bucket will be full
// again. A full bucket is like none, so only buckets that somebody drew from take memory, and only
// until they have filled up.
package limit

import (
	"container/heap"
	"crypto/sha256"
	"sync"
	"time"
)

// Limiter holds every key to a Rate. It keeps at most a fixed number of buckets: beyond that, the
// one that is nearest to full is taken for full. Safe for concurrent use.
type Limiter struct {
	rate      Rate
	overrides map[string]Rate
	capacity  int

	mu      sync.Mutex
	buckets map[keyHash]*bucket
	filling byFull
}

// keyHash stands for a key, which may be as long as a stranger likes.
type keyHash [sha256.Size]byte

// bucket is one that is not full.
type bucket struct {
	key  keyHash
	full time.Time // when it will be
	at   int       // where it stands in byFull
}

// New makes a limiter that holds the keys of overrides to a rate of their own, and all others to r.
// It keeps the state of at most capacity keys (about 200 octets each).
func New(r Rate, overrides map[string]Rate, capacity int) *Limiter {
	return &Limiter{
		rate: r, overrides: overrides, capacity: capacity, buckets: make(map[keyHash]*bucket),
	}
}

// Of is the rate to which the key is held.
func (l *Limiter) Of(key string) Rate {
	if r, ok := l.overrides[key]; ok {
		return r
	}
	return l.rate
}

// Wait tells how long it is until Take lets an event of the key happen; 0 if it does now.
func (l *Limiter) Wait(key string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Of(key).wait(l.full(sha256.Sum256([]byte(key)), now), now)
}

// Take counts an event that happens now, and gives 0. If it is one too many it is not counted, and
// Take tells how long to wait.
func (l *Limiter) Take(key string, now time.Time) time.Duration {
	r, hash := l.Of(key), keyHash(sha256.Sum256([]byte(key)))
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.full(hash, now)
	if wait := r.wait(full, now); wait > 0 {
		return wait
	}
	l.put(hash, full.Add(r.step()), now)
	return 0
}

// Len is how many buckets are kept.
func (l *Limiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.buckets)
}

// step is how long one event takes to be forgotten, rounded up so that no more than the rate's
// events are.
func (r Rate) step() time.Duration {
	return (r.Per + time.Duration(r.Count) - 1) / time.Duration(r.Count)
}

// wait is until another event fits behind those that are forgotten at full.
func (r Rate) wait(full, now time.Time) time.Duration {
	most := r.step() * time.Duration(r.Count) // of what a bucket owes
	return max(0, full.Add(r.step()).Sub(now)-most)
}

func (l *Limiter) full(key keyHash, now time.Time) time.Time {
	if b, ok := l.buckets[key]; ok && b.full.After(now) {
		return b.full
	}
	return now
}

// put keeps a bucket, and forgets what has filled up: more than one for each that comes, so that
// all are forgotten in the end.
func (l *Limiter) put(key keyHash, full, now time.Time) {
	if b, ok := l.buckets[key]; ok {
		b.full = full
		heap.Fix(&l.filling, b.at)
	} else {
		b = &bucket{key: key, full: full}
		l.buckets[key] = b
		heap.Push(&l.filling, b)
	}
	for range 2 {
		if first := l.filling[0]; len(l.buckets) > l.capacity || !first.full.After(now) {
			heap.Pop(&l.filling)
			delete(l.buckets, first.key)
		}
	}
}

// byFull is a heap: the first is the next to be full.
type byFull []*bucket

func (h byFull) Len() int           { return len(h) }
func (h byFull) Less(i, j int) bool { return h[i].full.Before(h[j].full) }
func (h byFull) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *byFull) Push(x any) {
	b := x.(*bucket)
	b.at = len(*h)
	*h = append(*h, b)
}

// Pop implements heap.Interface.
func (h *byFull) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
