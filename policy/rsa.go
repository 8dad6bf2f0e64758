package policy

import (
	"crypto/rsa"
	"fmt"
	"math/big"
	"math/bits"
)

const (
	minModulusBits = 2048
	maxModulusBits = 4096
	minExponent    = 1<<16 + 1 // FIPS 186-5 section 5.4 (e)
	maxExponent    = 1 << 32   // larger ones only make verifying slow
	// fermatRounds finds primes that differ by less than about 28 times the fourth root of the
	// modulus: random ones never do, and those of a generator that takes two neighbours do.
	fermatRounds = 100
	// trialLimit bounds the primes that are tried as divisors.
	trialLimit = 2000
)

// rsaProblem tells what is wrong with the key, empty if nothing is.
func rsaProblem(key *rsa.PublicKey) string {
	if key.N == nil || key.N.Sign() <= 0 {
		return "has no modulus"
	}
	size, e := key.N.BitLen(), int64(key.E)
	switch {
	case size < minModulusBits || size > maxModulusBits || size%8 != 0:
		return fmt.Sprintf("has a modulus of %d bits; take 2048 to 4096, a multiple of 8", size)
	case e < minExponent || e > maxExponent || e%2 == 0:
		return fmt.Sprintf("has the public exponent %d; take 65537, or another odd one up to 2^32", e)
	}
	residues := modSmallPrimes(key.N)
	for i, p := range smallPrimes {
		if residues[i] == 0 {
			return fmt.Sprintf("has a modulus that %d divides; make a new key", p)
		}
	}
	switch {
	case hasROCA(residues):
		return "comes from a generator whose keys can be factored (ROCA, CVE-2017-15361); " +
			"make one with other software or hardware"
	case hasClosePrimes(key.N):
		return "has two primes so close together that it can be factored (CVE-2022-26320); " +
			"make one with other software"
	}
	return ""
}

var (
	smallPrimes = primesBelow(trialLimit)
	primeGroups = groupPrimes(smallPrimes)
	rocaTable   = rocaSubgroups()
)

// primesBelow gives the primes below limit by the sieve of Eratosthenes.
func primesBelow(limit int) []uint {
	isComposite := make([]bool, limit)
	var primes []uint
	for i := 2; i < limit; i++ {
		if isComposite[i] {
			continue
		}
		primes = append(primes, uint(i))
		for j := i * i; j < limit; j += i {
			isComposite[j] = true
		}
	}
	return primes
}

// primeGroup is a run of smallPrimes whose product fits a word, so that one pass over a modulus
// serves them all.
type primeGroup struct {
	first, end int // in smallPrimes
	product    uint
}

func groupPrimes(primes []uint) []primeGroup {
	var groups []primeGroup
	g := primeGroup{product: 1}
	for i, p := range primes {
		if high, _ := bits.Mul(g.product, p); high != 0 {
			groups = append(groups, g)
			g = primeGroup{first: i, product: 1}
		}
		g.product *= p
		g.end = i + 1
	}
	return append(groups, g)
}

// modSmallPrimes gives n modulo each of smallPrimes.
func modSmallPrimes(n *big.Int) []uint {
	residues := make([]uint, len(smallPrimes))
	words := n.Bits()
	for _, g := range primeGroups {
		var rest uint
		for i := len(words) - 1; i >= 0; i-- {
			_, rest = bits.Div(rest, uint(words[i]), g.product)
		}
		for i := g.first; i < g.end; i++ {
			residues[i] = rest % smallPrimes[i]
		}
	}
	return residues
}

// rocaPrimes counts the smallPrimes that the fingerprint looks at: those up to 167, which divide
// the generator's constant for every size of key.
const rocaPrimes = 39

// rocaSubgroups tabulates, for each of those primes, the powers of 65537 modulo it.
func rocaSubgroups() [][]bool {
	table := make([][]bool, rocaPrimes)
	for i, p := range smallPrimes[:rocaPrimes] {
		table[i] = make([]bool, p)
		for power := 1 % p; !table[i][power]; power = power * 65537 % p {
			table[i][power] = true
		}
	}
	return table
}

// hasROCA tells the fingerprint of the primes that Infineon's RSALib drew: the modulus is a power
// of 65537 modulo every small prime, which a sound one is with a chance of 2^-28 (Nemec and others,
// The Return of Coppersmith's Attack, ACM CCS 2017, section 2).
func hasROCA(residues []uint) bool {
	for i, powers := range rocaTable {
		if !powers[residues[i]] {
			return false
		}
	}
	return true
}

// squareModuli are numbers modulo which few residues are squares; their product squared fits 64 bits.
var squareModuli = [...]uint64{64, 63, 65, 11}

const squareProduct = 64 * 63 * 65 * 11

// hasClosePrimes tries Fermat's method for fermatRounds rounds: n = p·q is a² − b² for a in the
// middle of p and q, so a starts at √n and is right when a² − n is a square. Nearly all rounds are
// settled by a² − n being no square modulo small numbers.
func hasClosePrimes(n *big.Int) bool {
	a := new(big.Int).Sqrt(n)
	if new(big.Int).Mul(a, a).Cmp(n) == 0 {
		return true
	}
	modulus, rest := big.NewInt(squareProduct), new(big.Int)
	aRest := rest.Mod(a, modulus).Uint64()
	nRest := rest.Mod(n, modulus).Uint64()
	for round := uint64(1); round <= fermatRounds; round++ {
		r := (aRest + round) % squareProduct
		if !maybeSquare((r*r + squareProduct - nRest) % squareProduct) {
			continue
		}
		middle := new(big.Int).Add(a, new(big.Int).SetUint64(round))
		square := middle.Mul(middle, middle)
		square.Sub(square, n)
		if root := new(big.Int).Sqrt(square); root.Mul(root, root).Cmp(square) == 0 {
			return true
		}
	}
	return false
}

var squareTable = squareResidues()

// squareResidues tabulates the squares modulo each of squareModuli.
func squareResidues() [len(squareModuli)][]bool {
	var table [len(squareModuli)][]bool
	for i, m := range squareModuli {
		table[i] = make([]bool, m)
		for x := range m {
			table[i][x*x%m] = true
		}
	}
	return table
}

// maybeSquare is false if no number that is rest modulo squareProduct is a square.
func maybeSquare(rest uint64) bool {
	for i, m := range squareModuli {
		if !squareTable[i][rest%m] {
			return false
		}
	}
	return true
}
