package acmeserver

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// nonces mints and redeems anti-replay nonces (RFC 8555 section 6.5). Minting asks nobody: a nonce is
//
//	source (8 octets) count (8) minted (8, unix seconds) MAC (16)
//
// under a key that all replicas share through the database. Only redeeming asks the database, and
// only for a nonce with a good MAC.
type nonces struct {
	store  Store
	now    func() time.Time
	source uint64
	count  atomic.Uint64
	key    atomic.Pointer[NonceKey]

	loading sync.Mutex // held while the key is read
	loaded  time.Time  // when that last happened; guarded by loading
}

const (
	nonceBody = 24
	nonceSize = nonceBody + 16

	// nonceLifetime is how long a nonce may be used.
	nonceLifetime = time.Hour
	// reloadAfter keeps bad nonces from making us read the key again and again.
	reloadAfter = time.Second
)

func newNonces(store Store, now func() time.Time) *nonces {
	var source [8]byte
	rand.Read(source[:])
	return &nonces{store: store, now: now, source: binary.BigEndian.Uint64(source[:])}
}

// currentKey is the key as this process knows it. The first caller reads it.
func (n *nonces) currentKey(ctx context.Context) (NonceKey, error) {
	if key := n.key.Load(); key != nil {
		return *key, nil
	}
	return n.reloadKey(ctx)
}

// reloadKey reads the key, unless it was read a moment ago.
func (n *nonces) reloadKey(ctx context.Context) (NonceKey, error) {
	n.loading.Lock()
	defer n.loading.Unlock()
	if known := n.key.Load(); known != nil && n.now().Sub(n.loaded) < reloadAfter {
		return *known, nil
	}
	key, err := n.store.NonceKey(ctx)
	if err != nil {
		return NonceKey{}, err
	}
	n.key.Store(&key)
	n.loaded = n.now()
	return key, nil
}

func (n *nonces) mint(ctx context.Context) (string, error) {
	key, err := n.currentKey(ctx)
	if err != nil {
		return "", err
	}
	raw := make([]byte, 0, nonceSize)
	raw = binary.BigEndian.AppendUint64(raw, n.source)
	raw = binary.BigEndian.AppendUint64(raw, n.count.Add(1))
	raw = binary.BigEndian.AppendUint64(raw, uint64(n.now().Unix()))
	return base64url.EncodeToString(append(raw, mac(key, raw)...)), nil
}

func mac(key NonceKey, body []byte) []byte {
	h := hmac.New(sha256.New, key.Secret[:])
	h.Write(body)
	return h.Sum(nil)[:nonceSize-nonceBody]
}

// What becomes of a nonce, for the metrics.
const (
	nonceGood    = "good"
	nonceMissing = "missing"
	nonceUnknown = "unknown" // forged, or minted under a key that is gone
	nonceExpired = "expired"
	nonceUsed    = "used"
)

// nonce is one that we minted lately, and the key that proves it: it is redeemed under that key and
// no other, for a new one comes with an empty memory of what was used.
type nonce struct {
	key NonceKey
	id  NonceID
}

// check reads a nonce. It says what became of it if it is not a good one.
func (n *nonces) check(ctx context.Context, text string) (good nonce, result string, err error) {
	if text == "" {
		return good, nonceMissing, nil
	}
	raw, err := decodeBase64(text)
	if err != nil { // RFC 8555 section 6.5.2
		return good, nonceUnknown, refuse(malformed, "the nonce is not base64url")
	}
	if len(raw) != nonceSize {
		return good, nonceUnknown, nil
	}
	body, sum := raw[:nonceBody], raw[nonceBody:]
	key, err := n.currentKey(ctx)
	if err == nil && !hmac.Equal(mac(key, body), sum) {
		// Another replica may have minted it under a new key that we have not heard of.
		key, err = n.reloadKey(ctx)
	}
	if err != nil {
		return good, "", err
	}
	if !hmac.Equal(mac(key, body), sum) {
		return good, nonceUnknown, nil
	}
	good = nonce{key: key, id: NonceID{
		Source: binary.BigEndian.Uint64(body), Count: binary.BigEndian.Uint64(body[8:]),
		Minted: time.Unix(int64(binary.BigEndian.Uint64(body[16:])), 0),
	}}
	if n.now().Sub(good.id.Minted) > nonceLifetime {
		return good, nonceExpired, nil
	}
	return good, nonceGood, nil
}

// redeem uses the nonce up.
func (n *nonces) redeem(ctx context.Context, good nonce) (result string, err error) {
	first, err := n.store.RedeemNonce(ctx, good.key, good.id)
	switch {
	case errors.Is(err, ErrNonceKeyVoid):
		_, err = n.reloadKey(ctx)
		return nonceUnknown, err
	case err != nil:
		return "", err
	case !first:
		return nonceUsed, nil
	}
	return nonceGood, nil
}

// clean forgets used nonces that are too old to be accepted by any replica, whatever its clock.
func (n *nonces) clean(ctx context.Context) error {
	return n.store.CleanNonces(ctx, n.now().Add(-2*nonceLifetime))
}
