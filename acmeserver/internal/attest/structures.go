package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	encoding_asn1 "encoding/asn1"
	"encoding/binary"
	"math/big"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// What is read here is defined in "Trusted Platform Module Library, Part 2: Structures"; its section
// numbers are those of version 1.59. All numbers are big-endian, and a TPM2B is octets behind their
// 16-bit length, which is how cryptobyte reads.

// TPM_ALG_ID (section 6.3).
const (
	algRSA    = 0x0001
	algSHA256 = 0x000B
	algSHA384 = 0x000C
	algSHA512 = 0x000D
	algNull   = 0x0010
	algRSASSA = 0x0014
	algRSAPSS = 0x0016
	algECDSA  = 0x0018
	algECC    = 0x0023
)

const (
	tpmGenerated  = 0xFF544347 // TPM_GENERATED_VALUE (section 6.2): the TPM made this itself
	attestCertify = 0x8017     // TPM_ST_ATTEST_CERTIFY (section 6.9)
)

// certified is what matters of a TPMS_ATTEST (section 10.12.12) about a key.
type certified struct {
	extraData []byte
	name      []byte // of the key
}

func readCertInfo(octets cryptobyte.String) (c certified, err error) {
	var magic uint32
	var kind uint16
	var signer, extraData, name, qualifiedName cryptobyte.String
	if !octets.ReadUint32(&magic) || magic != tpmGenerated {
		return c, refuse(nil, "its certInfo does not begin with TPM_GENERATED_VALUE: no TPM made it")
	}
	if !octets.ReadUint16(&kind) || kind != attestCertify {
		return c, refuse(nil, "its certInfo is not of type TPM_ST_ATTEST_CERTIFY: it certifies no key")
	}
	const clockAndFirmware = 8 + 4 + 4 + 1 + 8
	if !octets.ReadUint16LengthPrefixed(&signer) || !octets.ReadUint16LengthPrefixed(&extraData) ||
		!octets.Skip(clockAndFirmware) || !octets.ReadUint16LengthPrefixed(&name) ||
		!octets.ReadUint16LengthPrefixed(&qualifiedName) || !octets.Empty() {
		return c, refuse(nil, "its certInfo is not a whole TPMS_ATTEST")
	}
	return certified{extraData, name}, nil
}

// attributes are a TPMA_OBJECT (section 8.3).
type attributes uint32

// problem says why a key with these attributes proves no device; "" if it does.
func (a attributes) problem() string {
	const (
		fixedTPM, fixedParent, sensitiveDataOrigin = 1 << 1, 1 << 4, 1 << 5
		restricted                                 = 1 << 16
	)
	switch {
	case a&fixedTPM == 0 || a&fixedParent == 0:
		return "may be taken to another TPM (fixedTPM, fixedParent)"
	case a&sensitiveDataOrigin == 0:
		return "was not made in the TPM (sensitiveDataOrigin)"
	case a&restricted != 0:
		return "signs only what the TPM itself made (restricted)"
	}
	return ""
}

// public is what matters of a TPMT_PUBLIC (section 12.2.4).
type public struct {
	attributes attributes
	key        crypto.PublicKey
	name       []byte // Part 1 section 16: the hash algorithm and the hash of the structure
}

// nameHashes are the hash algorithms that a name may be made with.
var nameHashes = map[uint16]crypto.Hash{
	algSHA256: crypto.SHA256, algSHA384: crypto.SHA384, algSHA512: crypto.SHA512,
}

// readPublic reads the public area of a signing key. A key that is not for encrypting other keys has
// no symmetric algorithm, and none that signs has a key derivation scheme.
func readPublic(octets cryptobyte.String) (p public, err error) {
	all := slices.Clone(octets)
	var kind, nameAlg, symmetric uint16
	var bits uint32
	var authPolicy cryptobyte.String
	if !octets.ReadUint16(&kind) || !octets.ReadUint16(&nameAlg) || !octets.ReadUint32(&bits) ||
		!octets.ReadUint16LengthPrefixed(&authPolicy) || !octets.ReadUint16(&symmetric) {
		return p, refuse(nil, "its pubArea is not a whole TPMT_PUBLIC")
	}
	hash, ok := nameHashes[nameAlg]
	if !ok {
		return p, refuse(nil, "its pubArea has the nameAlg %#04x; make the key with SHA-256", nameAlg)
	}
	switch {
	case symmetric == algNull && kind == algRSA:
		p.key, ok = readRSA(octets)
	case symmetric == algNull && kind == algECC:
		p.key, ok = readECC(octets)
	default:
		ok = false
	}
	if !ok {
		return p, refuse(nil, "its pubArea is not of an RSA or ECC key that signs")
	}
	p.attributes = attributes(bits)
	p.name = append(binary.BigEndian.AppendUint16(nil, nameAlg), digest(hash, all)...)
	return p, nil
}

// readScheme reads a signature scheme (sections 12.2.3.5 and 12.2.3.6), of which all that we know have
// a hash algorithm, or the lack of one.
func readScheme(octets *cryptobyte.String, known ...uint16) bool {
	var scheme, hash uint16
	if !octets.ReadUint16(&scheme) {
		return false
	}
	return scheme == algNull || slices.Contains(known, scheme) && octets.ReadUint16(&hash)
}

func readRSA(octets cryptobyte.String) (crypto.PublicKey, bool) {
	var bits uint16
	var exponent uint32
	var modulus cryptobyte.String
	if !readScheme(&octets, algRSASSA, algRSAPSS) || !octets.ReadUint16(&bits) ||
		!octets.ReadUint32(&exponent) || !octets.ReadUint16LengthPrefixed(&modulus) || !octets.Empty() {
		return nil, false
	}
	if exponent == 0 { // section 12.2.3.5
		exponent = 65537
	}
	n := new(big.Int).SetBytes(modulus)
	if n.BitLen() != int(bits) || bits > maxRSABits || exponent > 1<<31-1 {
		return nil, false
	}
	return &rsa.PublicKey{N: n, E: int(exponent)}, true
}

// tpmCurves are the TPM_ECC_CURVE (section 6.4) that we issue for.
var tpmCurves = map[uint16]elliptic.Curve{
	0x0003: elliptic.P256(), 0x0004: elliptic.P384(), 0x0005: elliptic.P521(),
}

func readECC(octets cryptobyte.String) (crypto.PublicKey, bool) {
	var curveID, derivation uint16
	var x, y cryptobyte.String
	if !readScheme(&octets, algECDSA) || !octets.ReadUint16(&curveID) || !octets.ReadUint16(&derivation) ||
		derivation != algNull || !octets.ReadUint16LengthPrefixed(&x) ||
		!octets.ReadUint16LengthPrefixed(&y) || !octets.Empty() {
		return nil, false
	}
	curve, ok := tpmCurves[curveID]
	if !ok {
		return nil, false
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(x) > size || len(y) > size {
		return nil, false
	}
	point := make([]byte, 1+2*size)
	point[0] = 4 // uncompressed (SEC 1 section 2.3.3)
	copy(point[1+size-len(x):], x)
	copy(point[1+2*size-len(y):], y)
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	return key, err == nil
}

// readSignature reads a TPMT_SIGNATURE (section 11.3.4) of the scheme and hash, and gives it in the
// form that X.509 has for it.
func readSignature(octets cryptobyte.String, scheme, hash uint16) ([]byte, error) {
	var gotScheme, gotHash uint16
	var r, s cryptobyte.String
	ok := octets.ReadUint16(&gotScheme) && gotScheme == scheme && octets.ReadUint16(&gotHash) &&
		gotHash == hash && octets.ReadUint16LengthPrefixed(&r)
	if scheme == algECDSA {
		ok = ok && octets.ReadUint16LengthPrefixed(&s)
	}
	if !ok || !octets.Empty() {
		return nil, refuse(nil, "its sig is not a TPMT_SIGNATURE of its alg")
	}
	if scheme != algECDSA {
		return bytes.Clone(r), nil
	}
	der, err := encoding_asn1.Marshal([]*big.Int{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)})
	if err != nil {
		return nil, refuse(err, "its sig cannot be encoded")
	}
	return der, nil
}
