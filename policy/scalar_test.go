package policy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"math/big"
	"strings"
	"testing"

	"github.com/mayflyca/mayfly/policy"
)

// never #26: keys that anybody can compute. zlint's limit is 2^16; ours is that of the last giant step.
func TestSmallScalar(t *testing.T) {
	const stride, steps = 32767, 16383
	small := []int64{1, 2, 3, 255, 256, steps, steps + 1, stride - 1, stride, stride + 1}
	for k := int64(1); k <= 2; k++ {
		small = append(small, k*stride-steps, k*stride, k*stride+steps)
	}
	small = append(small, 65535, 65536)
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		name, n := curve.Params().Name, curve.Params().N
		for _, d := range small {
			for _, scalar := range []*big.Int{big.NewInt(d), new(big.Int).Sub(n, big.NewInt(d))} {
				err := policy.CheckKey(public(t, curve, scalar))
				if err == nil || !strings.Contains(err.Error(), "so small") {
					t.Errorf("%s, private key %d or its negative: %v", name, d, err)
				}
			}
		}
		for _, d := range []int64{2*stride + steps + 1, 1 << 20, 1 << 40} {
			if err := policy.CheckKey(public(t, curve, big.NewInt(d))); err != nil {
				t.Errorf("%s, private key %d: %v", name, d, err)
			}
		}
		for range 100 {
			key, err := ecdsa.GenerateKey(curve, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if err := policy.CheckKey(&key.PublicKey); err != nil {
				t.Errorf("%s, a sound key: %v", name, err)
			}
		}
	}
}

func public(t *testing.T, curve elliptic.Curve, d *big.Int) *ecdsa.PublicKey {
	t.Helper()
	scalar := d.FillBytes(make([]byte, (curve.Params().N.BitLen()+7)/8))
	key, err := ecdsa.ParseRawPrivateKey(curve, scalar)
	if err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey
}

func BenchmarkSmallScalar(b *testing.B) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		b.Run(curve.Params().Name, func(b *testing.B) {
			key, err := ecdsa.GenerateKey(curve, rand.Reader)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := policy.CheckKey(&key.PublicKey); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
