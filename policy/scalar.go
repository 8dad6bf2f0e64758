package policy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"
	"math/big"
	"sync"
)

// A private key of ECDSA is a number d, and its public key the point d·G. If d or −d is small, anybody
// finds it by trying. hasSmallScalar looks for |d| ≤ giantSteps·giantStride + babySteps = 81 917 with
// baby steps and giant steps (Shanks, 1971): a table holds the x coordinates of 1·G to babySteps·G,
// which are also those of their negatives, and a key is small if one of d·G ± k·giantStride·G is in
// it. That is all that zlint's e_ecdsa_small_private_key refuses, for a tenth of the time.
const (
	babyBits    = 14
	babySteps   = 1<<babyBits - 1
	giantStride = 2*babySteps + 1
	giantSteps  = 2
)

type point struct{ x, y *big.Int }

// scalarTable is what hasSmallScalar needs to know of a curve.
type scalarTable struct {
	prime  *big.Int
	babies map[uint64]bool // by the last 64 bits of x, all a point on the curve has in practice
	giants []point
}

// scalarTables are made when the first key of a curve comes, in some tens of milliseconds each.
var scalarTables = map[elliptic.Curve]func() *scalarTable{
	elliptic.P256(): sync.OnceValue(func() *scalarTable { return newScalarTable(elliptic.P256()) }),
	elliptic.P384(): sync.OnceValue(func() *scalarTable { return newScalarTable(elliptic.P384()) }),
	elliptic.P521(): sync.OnceValue(func() *scalarTable { return newScalarTable(elliptic.P521()) }),
}

func newScalarTable(curve elliptic.Curve) *scalarTable {
	t := &scalarTable{prime: curve.Params().P, babies: make(map[uint64]bool, babySteps)}
	points := []point{multiple(curve, 1)}
	for bit := 1; bit < babyBits; bit++ { // from 1 … 2^bit−1 to 1 … 2^(bit+1)−1
		next := multiple(curve, 1<<bit)
		sums, _ := t.sums(points, next)
		points = append(append(points, sums...), next)
	}
	for _, p := range points {
		t.babies[p.x.Uint64()] = true
	}
	for k := 1; k <= giantSteps; k++ {
		p := multiple(curve, k*giantStride)
		t.giants = append(t.giants, p, point{p.x, new(big.Int).Sub(t.prime, p.y)})
	}
	return t
}

// multiple gives d·G.
func multiple(curve elliptic.Curve, d int) point {
	scalar := big.NewInt(int64(d)).FillBytes(make([]byte, (curve.Params().N.BitLen()+7)/8))
	key, err := ecdsa.ParseRawPrivateKey(curve, scalar)
	if err != nil {
		panic(fmt.Sprintf("policy: %d is no private key on %s: %v", d, curve.Params().Name, err))
	}
	octets, err := key.PublicKey.Bytes()
	if err != nil {
		panic(fmt.Sprintf("policy: the public key of %d: %v", d, err))
	}
	return pointOf(octets)
}

// pointOf reads an uncompressed point: 4, x, y.
func pointOf(octets []byte) point {
	half := 1 + len(octets)/2
	return point{
		x: new(big.Int).SetBytes(octets[1:half]), y: new(big.Int).SetBytes(octets[half:]),
	}
}

// hasSmallScalar expects an uncompressed point on one of the curves in scalarTables.
func hasSmallScalar(curve elliptic.Curve, octets []byte) bool {
	t, p := scalarTables[curve](), pointOf(octets)
	sums, ok := t.sums(t.giants, p)
	if !ok || t.babies[p.x.Uint64()] {
		return true
	}
	for _, sum := range sums {
		if t.babies[sum.x.Uint64()] {
			return true
		}
	}
	return false
}

// sums adds q to each of the points by the chord rule. All slopes share one inversion, the costly
// part (Montgomery's trick). It is not ok if q or its negative is one of the points.
func (t *scalarTable) sums(points []point, q point) (sums []point, ok bool) {
	p := t.prime
	runs, widths := make([]*big.Int, len(points)), make([]*big.Int, len(points))
	run := big.NewInt(1)
	for i, a := range points {
		runs[i] = run // the product of all widths before this one
		widths[i] = new(big.Int).Sub(a.x, q.x)
		run = new(big.Int).Mul(run, widths[i])
		run.Mod(run, p)
	}
	inverse := new(big.Int).ModInverse(run, p)
	if inverse == nil {
		return nil, false
	}
	sums = make([]point, len(points))
	for i := len(points) - 1; i >= 0; i-- {
		a, slope := points[i], new(big.Int).Mul(inverse, runs[i])
		inverse.Mod(inverse.Mul(inverse, widths[i]), p)
		slope.Mod(slope, p)
		slope.Mod(slope.Mul(slope, new(big.Int).Sub(a.y, q.y)), p)
		x := new(big.Int).Mul(slope, slope)
		x.Mod(x.Sub(x.Sub(x, a.x), q.x), p)
		y := new(big.Int).Sub(q.x, x)
		y.Mod(y.Sub(y.Mul(y, slope), q.y), p)
		sums[i] = point{x, y}
	}
	return sums, true
}
