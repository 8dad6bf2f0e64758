package policy_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/policy"
)

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PublicKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey
}

func rsaKey(t testing.TB, size int) *rsa.PublicKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, size)
	if err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey
}

// product is a key with the modulus p·q.
func product(p, q *big.Int) *rsa.PublicKey {
	return &rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}
}

func prime(t testing.TB, size int) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, size)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// nextPrime is the first prime above n.
func nextPrime(n *big.Int) *big.Int {
	p := new(big.Int).SetBit(n, 0, 1)
	for p.Cmp(n) <= 0 || !p.ProbablyPrime(20) {
		p.Add(p, big.NewInt(2))
	}
	return p
}

// rocaPrime draws a prime as the broken generator did: k·M + 65537^a mod M, where M is the product
// of the first 126 primes for keys of 2048 bits.
func rocaPrime(t testing.TB) *big.Int {
	t.Helper()
	m := big.NewInt(1)
	for p, n := int64(2), 0; n < 126; p++ {
		if big.NewInt(p).ProbablyPrime(0) {
			m.Mul(m, big.NewInt(p))
			n++
		}
	}
	// The largest multiples of M below 2^1024 give primes of the full size.
	k := new(big.Int).Lsh(big.NewInt(1), 1024)
	k.Div(k, m)
	for {
		a, err := rand.Int(rand.Reader, m)
		if err != nil {
			t.Fatal(err)
		}
		k.Sub(k, big.NewInt(1))
		p := new(big.Int).Exp(big.NewInt(65537), a, m)
		if p.Add(p, new(big.Int).Mul(k, m)); p.ProbablyPrime(20) {
			return p
		}
	}
}

func TestSoundKeys(t *testing.T) {
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bigE := rsaKey(t, 2048)
	bigE.E = 1<<31 - 1
	for name, key := range map[string]any{
		"P-256": ecKey(t, elliptic.P256()), "P-384": ecKey(t, elliptic.P384()),
		"P-521": ecKey(t, elliptic.P521()), "Ed25519": ed,
		"RSA 2048": rsaKey(t, 2048), "RSA 2056": rsaKey(t, 2056), "RSA 3072": rsaKey(t, 3072),
		"RSA 4096": rsaKey(t, 4096), "RSA with a large exponent": bigE,
	} {
		if err := policy.CheckKey(key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// never #26: weak, malformed and unknown keys.
func TestWeakKeys(t *testing.T) {
	sound := rsaKey(t, 2048)
	withE := func(e int) *rsa.PublicKey { return &rsa.PublicKey{N: sound.N, E: e} }
	off := ecKey(t, elliptic.P256())
	off.Y = big.NewInt(1) //nolint:staticcheck // no other way makes a point that is not on the curve
	half := prime(t, 1024)
	gap := new(big.Int).Lsh(big.NewInt(1), 516)
	x, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		key  any
		want string
	}{
		{"nothing", nil, "not known here"},
		{"another type", x.PublicKey(), "type *ecdh.PublicKey is not accepted"},
		{"a private key", "secret", "type string is not accepted"},
		{"P-224", ecKey(t, elliptic.P224()), "curve P-224"},
		{"no curve", &ecdsa.PublicKey{}, "no curve"},
		{"no point", &ecdsa.PublicKey{Curve: elliptic.P256()}, "no point"},
		{"off the curve", off, "not on its curve"},
		{"short Ed25519", ed25519.PublicKey{1, 2, 3}, "not a point"},
		{"Ed25519 identity", ed25519.PublicKey(append([]byte{1}, make([]byte, 31)...)), "small order"},
		{"Ed25519 order 4", ed25519.PublicKey(make([]byte, 32)), "small order"},
		{"RSA 1024", product(prime(t, 512), prime(t, 512)), "modulus of 1024 bits"},
		{"RSA 2047", &rsa.PublicKey{N: new(big.Int).Rsh(sound.N, 1), E: 65537}, "modulus of 2047 bits"},
		{"RSA 2049", &rsa.PublicKey{N: new(big.Int).Lsh(sound.N, 1), E: 65537}, "modulus of 2049 bits"},
		{"RSA 4104", &rsa.PublicKey{N: new(big.Int).Lsh(sound.N, 4104-2048), E: 65537}, "modulus of 4104 bits"},
		{"RSA without modulus", &rsa.PublicKey{E: 65537}, "no modulus"},
		{"RSA of zero", &rsa.PublicKey{N: new(big.Int), E: 65537}, "no modulus"},
		{"RSA negative", &rsa.PublicKey{N: new(big.Int).Neg(sound.N), E: 65537}, "no modulus"},
		{"e = 1", withE(1), "exponent 1;"},
		{"e = 3", withE(3), "exponent 3;"},
		{"e even", withE(65538), "exponent 65538;"},
		{"e huge", withE(1<<32 + 1), "exponent 4294967297;"},
		{"e negative", withE(-65537), "exponent -65537;"},
		{"even modulus", product(big.NewInt(2), prime(t, 2047)), "that 2 divides"},
		{"factor 1999", product(big.NewInt(1999), nextPrime(new(big.Int).Lsh(big.NewInt(1), 2037))), "that 1999 divides"},
		{"p = q", product(half, half), "close together"},
		{"neighbours", product(half, nextPrime(half)), "close together"},
		{"neighbours with a gap", product(half, nextPrime(new(big.Int).Add(half, gap))), "close together"},
		{"ROCA", product(rocaPrime(t), rocaPrime(t)), "ROCA"},
	} {
		err := policy.CheckKey(test.key)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), test.want) ||
			!strings.HasPrefix(err.Error(), "csr: ") {
			t.Errorf("%s: %v; want it to say %q", test.name, err, test.want)
		}
	}
}

// never #26: each is made from its published private half.
func TestPublishedKeys(t *testing.T) {
	for name, text := range map[string]string{
		"RFC 9500 (P-256)": "MHcCAQEEIObLW92AqkWunJXowVR2Z5/+yVPBaFHnEedDk5WJxk/BoAoGCCqGSM49" +
			"AwEHoUQDQgAEQiVI+I+3gv+17KN0RFLHKh5Vj71vc75eSOkyMsxFxbFsTNEMTLjV" +
			"uKFxOelIgsiZJXKZNCX0FBmrfpCkKklCcg==",
		"RFC 9500 (P-384)": "MIGkAgEBBDDiVjMo36v2gYhga5EyQoHB1YpEVkMbCdUQs1/syfMHyhgihG+iZxNx" +
			"qagbrA41dJ2gBwYFK4EEACKhZANiAARbCQG4hSMpbrkZ1Q/6GpyzdLxNQJWGKCv+" +
			"yhGx2VrbtUc0r1cL+CtyKM8ia89MJd28/jsaOtOUMO/3Y+HWjS4VHZFyC3eVtY2m" +
			"s0Y5YTqPubWo2kjGdHEX+ZGehCTzfsg=",
		"RFC 9500 (P-521)": "MIHcAgEBBEIB2STcygqIf42Zdno32HTmN6Esy0d9bghmU1ZpTWi3ZV5QaWOP3ntF" +
			"yFQBPcd6NbGGVbhMlmpgIg1A+R7Z9RRYAuqgBwYFK4EEACOhgYkDgYYABAHQ/XJX" +
			"qEx0f1YldcBzhdvr8vUr6lgIPbgv3RUx2KrjzIdf8C/3+i2iYNjrYtbS9dZJJ44y" +
			"FzagYoy7swMItuYY2wD2KtIExkYDWbyBiriWG/Dw/A7FquikKBc85W8A3psVfB5c" +
			"gsZPVi/K3vxKTCj200LPPvYW/ILTO3KFySHyvzb92A==",
	} {
		block, _ := pem.Decode([]byte("-----BEGIN EC PRIVATE KEY-----\n" + text +
			"\n-----END EC PRIVATE KEY-----\n"))
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantPublished(t, name, &key.PublicKey)
	}
	for name, text := range map[string]string{
		"RFC 8032 section 7.1, test 1": "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
		"RFC 8032 section 7.1, test 2": "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
		"RFC 8410 section 10.3":        "d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842",
	} {
		seed, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		wantPublished(t, name, ed25519.NewKeyFromSeed(seed).Public())
	}
	d, err := hex.DecodeString("8e9b109e719098bf980487df1f5d77e9cb29606ebed2263b5f57c213df84f4b2")
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil {
		t.Fatal(err)
	}
	wantPublished(t, "RFC 7515 appendix A.3", &key.PublicKey)
	for name, text := range rfc9500RSA {
		block, _ := pem.Decode([]byte(text))
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantPublished(t, name, public)
	}
}

func wantPublished(t *testing.T, name string, public any) {
	t.Helper()
	err := policy.CheckKey(public)
	if err == nil || !strings.Contains(err.Error(), "the published one of "+name) {
		t.Errorf("%s: %v", name, err)
	}
}

// rfc9500RSA are the public halves of RFC 9500 section 2.1.
var rfc9500RSA = map[string]string{
	"RFC 9500 (RSA, 2048 bits)": `
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAsPnoGUOnrpiSqt4XynxA
+HRP7S+BSObI6qJ7fQAVSPtRkqsotWxQYLEYzNEx5ZSHTGypibVsJylvCfuToDTf
Mul8b/CZjP2Ob0LdpYrNH6l5hvFE89FU1nZQF15oVLOpUgA7wGiHuEVawrGfey92
UE68mOyUVXGweJIVDdxqdMoPvNNUl86BU02vlBiESxOuox+dWmuVV7vfYZ79Toh/
LUK43YvJh+rhv4nKuF7iHjVjBd9sB6iDjj70HFldzOQ9r8SRI+9NirupPTkF5AKN
e6kUhKJ1luB7S27ZkvB3tSTT3P593VVJvnzOjaA1z6Cz+4+eRvcysqhrRgFlwI9T
EwIDAQAB
-----END PUBLIC KEY-----
`,
	"RFC 9500 (RSA, 4096 bits)": `
-----BEGIN PUBLIC KEY-----
MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAs4tJYOY75qjbqJqCl47x
9jJE5Vd9jPWGFtXKV1nUnMjZNsM4qjy5sRHBSX5bUa9pLyYR5on3Z1SAwLD0w2VP
Q6+F/oyK1zTgQqitoF/XZQjgC6D3VsNEO76DPqfRANT7Nn7r1gvbZIZ3/H3rlCRN
rRr47tHGWBLAPnxz9/NY6UG8ZkWP97uXpJqYoRgH4CwaO5rTOlc64YDh/0Mq5VgM
ycq/q2AvMlvNoJfoe8em1040qH1gikP+suT/8fS452hqmEddtRpuvQgXKldBd0kk
iyFVyLkG4NVA6Mso9MAK3J/kdYoaw2SrOeThVSiYVEQVP+7GrUxTSLLjj/VQ9fpY
M5eTNzDICIG/Ee7o/jhtW1EoSamDmUOr89lyIHaXuOwkEaJhnVXKBCM8WiztxvKG
2CnQ6Dcge3ZSmqJEhyEmjcAVC7ewfnMxOnE+WJW6rzrf+mA5WMVn+FzyWx2AondW
ow0aUKHkaY7amhIrsKp6YPfNImyxFlz8+cqDCmBswPsUh/JJ5eDHHIhibFcSgIHe
dsEjhLbUSLZ/DnEjru90qIWWA3R1VIPykKfeZkZeInsrFzGPikkFKwFF+6KDdyvC
mltYEqzO46tigXAZ5UgH8oiXEre48wO6X+FH+cLzQ0q3A8HZRnNDgqCjU/Tgy76i
aku/Ic6eteedR1fX3gJ/IOUCAwEAAQ==
-----END PUBLIC KEY-----
`,
}

func BenchmarkCheckKey(b *testing.B) {
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	for _, test := range []struct {
		name string
		key  any
	}{
		{"P-256", ecKey(b, elliptic.P256())},
		{"P-521", ecKey(b, elliptic.P521())},
		{"Ed25519", ed},
		{"RSA-2048", rsaKey(b, 2048)},
		{"RSA-4096", rsaKey(b, 4096)},
	} {
		b.Run(test.name, func(b *testing.B) {
			for b.Loop() {
				if err := policy.CheckKey(test.key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
