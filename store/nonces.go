package store

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
)

// NonceKey is acmeserver.Store's.
func (s *Store) NonceKey(ctx context.Context) (acmeserver.NonceKey, error) {
	return s.engine.nonceKey(ctx)
}

// RedeemNonce is acmeserver.Store's. A nonce minted before the last cleaning is nobody's first.
func (s *Store) RedeemNonce(
	ctx context.Context, key acmeserver.NonceKey, n acmeserver.NonceID,
) (first bool, err error) {
	return s.engine.redeemNonce(ctx, key, n)
}

// CleanNonces is acmeserver.Store's.
func (s *Store) CleanNonces(ctx context.Context, before time.Time) error {
	return s.engine.cleanNonces(ctx, before)
}

// newNonceKey draws a key.
func newNonceKey() acmeserver.NonceKey {
	var key acmeserver.NonceKey
	rand.Read(key.ID[:])
	rand.Read(key.Secret[:])
	return key
}

// memoryNonces remembers used nonces while the process lives, a bit each: a process counts its
// nonces, so those of one source lie side by side. The key dies with the memory.
type memoryNonces struct {
	key acmeserver.NonceKey

	mu      *sync.Mutex
	used    map[chunkID]*chunk
	horizon time.Time // nonces minted before this may have been forgotten
}

type chunkID struct{ source, number uint64 }

type chunk struct {
	bits   [4096 / 64]uint64
	newest time.Time // Minted of the youngest in it
}

func newMemoryNonces() memoryNonces {
	return memoryNonces{
		key: newNonceKey(), mu: new(sync.Mutex), used: make(map[chunkID]*chunk),
	}
}

func (m *memoryNonces) nonceKey(context.Context) (acmeserver.NonceKey, error) { return m.key, nil }

func (m *memoryNonces) redeemNonce(
	_ context.Context, key acmeserver.NonceKey, n acmeserver.NonceID,
) (bool, error) {
	if key.ID != m.key.ID {
		return false, acmeserver.ErrNonceKeyVoid
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if n.Minted.Before(m.horizon) {
		return false, nil
	}
	id := chunkID{n.Source, n.Count / 4096}
	c := m.used[id]
	if c == nil {
		c = new(chunk)
		m.used[id] = c
	}
	if n.Minted.After(c.newest) {
		c.newest = n.Minted
	}
	word, bit := n.Count%4096/64, uint64(1)<<(n.Count%64)
	first := c.bits[word]&bit == 0
	c.bits[word] |= bit
	return first, nil
}

func (m *memoryNonces) cleanNonces(_ context.Context, before time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if before.After(m.horizon) {
		m.horizon = before
	}
	for id, c := range m.used {
		if c.newest.Before(m.horizon) {
			delete(m.used, id)
		}
	}
	return nil
}
