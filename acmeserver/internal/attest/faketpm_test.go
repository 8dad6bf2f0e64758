package attest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"testing"
)

// The numbers of the TPM library specification, part 2.
const (
	tpmRSA, tpmECC       = 0x0001, 0x0023
	tpmSHA1, tpmSHA256   = 0x0004, 0x000B
	tpmSHA384, tpmSHA512 = 0x000C, 0x000D
	tpmNull, tpmAES      = 0x0010, 0x0006
	tpmRSASSA, tpmECDSA  = 0x0014, 0x0018
	fixedTPM             = 1 << 1
	fixedParent          = 1 << 4
	dataOrigin           = 1 << 5
	restricted           = 1 << 16
	signing              = 1 << 18
)

// be writes numbers in big-endian order and octets as they are.
func be(values ...any) []byte {
	var b []byte
	for _, v := range values {
		switch v := v.(type) {
		case []byte:
			b = append(b, v...)
		default:
			b, _ = binary.Append(b, binary.BigEndian, v)
		}
	}
	return b
}

// sized is a TPM2B.
func sized(octets []byte) []byte { return be(uint16(len(octets)), octets) }

// tpm makes what a TPM answers through a client of ours.
type tpm struct {
	maker *maker
	ak    crypto.Signer
	key   crypto.PublicKey // the attested key

	ver        string
	alg        int64
	magic      uint32
	kind       uint16
	extraData  []byte
	nameAlg    uint16
	attributes uint32
	symmetric  uint16

	names    []asn1.RawValue // of the attestation key's certificate
	change   func(*x509.Certificate)
	chain    func([][]byte) [][]byte
	public   func([]byte) []byte // changes pubArea after it was certified
	info     func([]byte) []byte // changes certInfo before it is signed
	sig      func([]byte) []byte
	nameless bool
}

var hashes = map[int64]crypto.Hash{-257: crypto.SHA256, -7: crypto.SHA256, -35: crypto.SHA384, -65535: crypto.SHA1}

func hash(h crypto.Hash, octets []byte) []byte {
	sum := h.New()
	sum.Write(octets)
	return sum.Sum(nil)
}

func newTPM(t testing.TB) *tpm {
	trusted, _ := makers(t)
	return &tpm{
		maker: trusted, ak: rsaKey(t, 2048), key: ecKey(t, elliptic.P256()).Public(),
		ver: "2.0", alg: -257, magic: 0xFF544347, kind: 0x8017,
		extraData: hash(crypto.SHA256, []byte(keyAuthorization)),
		nameAlg:   tpmSHA256, attributes: fixedTPM | fixedParent | dataOrigin | signing, symmetric: tpmNull,
		names: []asn1.RawValue{
			tpmName(t, manufacturer, model, version), permanentIdentifier(t, "TPM-0001"),
		},
	}
}

func (f *tpm) object(t testing.TB) []byte {
	t.Helper()
	pubArea := f.pubArea()
	nameHash := map[uint16]crypto.Hash{tpmSHA1: crypto.SHA1, tpmSHA384: crypto.SHA384, tpmSHA512: crypto.SHA512}[f.nameAlg]
	if nameHash == 0 {
		nameHash = crypto.SHA256
	}
	name := be(f.nameAlg, hash(nameHash, pubArea))
	certInfo := be(f.magic, f.kind, sized([]byte("qualified signer")), sized(f.extraData),
		uint64(1), uint32(2), uint32(3), byte(1), uint64(4), sized(name), sized([]byte("qualified name")))
	if f.info != nil {
		certInfo = f.info(certInfo)
	}
	sig := f.signature(t, certInfo)
	if f.sig != nil {
		sig = f.sig(sig)
	}
	if f.public != nil {
		pubArea = f.public(pubArea)
	}
	return encode(t, "tpm", map[string]any{
		"ver": f.ver, "alg": f.alg, "x5c": f.x5c(t), "sig": sig, "certInfo": certInfo, "pubArea": pubArea,
	})
}

func (f *tpm) pubArea() []byte {
	policy := sized(nil)
	switch key := f.key.(type) {
	case *rsa.PublicKey:
		return be(uint16(tpmRSA), f.nameAlg, f.attributes, policy, f.symmetric, uint16(tpmRSASSA), uint16(tpmSHA256),
			uint16(key.N.BitLen()), uint32(0), sized(key.N.Bytes()))
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if err != nil {
			panic(err)
		}
		curve := map[elliptic.Curve]uint16{elliptic.P224(): 2, elliptic.P256(): 3, elliptic.P384(): 4, elliptic.P521(): 5}[key.Curve]
		x, y := point[1:1+len(point)/2], point[1+len(point)/2:]
		return be(uint16(tpmECC), f.nameAlg, f.attributes, policy, f.symmetric, uint16(tpmNull), curve, uint16(tpmNull),
			sized(x), sized(y))
	}
	panic("no such key")
}

func (f *tpm) signature(t testing.TB, certInfo []byte) []byte {
	t.Helper()
	h := hashes[f.alg]
	if h == 0 {
		h = crypto.SHA256
	}
	algID := map[crypto.Hash]uint16{crypto.SHA1: tpmSHA1, crypto.SHA256: tpmSHA256, crypto.SHA384: tpmSHA384}[h]
	switch key := f.ak.(type) {
	case *rsa.PrivateKey:
		raw, err := rsa.SignPKCS1v15(rand.Reader, key, h, hash(h, certInfo))
		if err != nil {
			t.Fatal(err)
		}
		return be(uint16(tpmRSASSA), algID, sized(raw))
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, hash(h, certInfo))
		if err != nil {
			t.Fatal(err)
		}
		return be(uint16(tpmECDSA), algID, sized(r.Bytes()), sized(s.Bytes()))
	}
	panic("no such key")
}

func (f *tpm) x5c(t testing.TB) [][]byte {
	t.Helper()
	template := leaf()
	template.Subject = pkix.Name{}
	template.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 3}}
	if !f.nameless {
		template.ExtraExtensions = []pkix.Extension{{
			Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: toDER(t, f.names),
		}}
	}
	if f.change != nil {
		f.change(template)
	}
	chain := f.maker.chain(t, template, f.ak.Public())
	if f.chain != nil {
		chain = f.chain(chain)
	}
	return chain
}

func general(tag int, octets []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: octets}
}

var (
	manufacturer = asn1.ObjectIdentifier{2, 23, 133, 2, 1}
	model        = asn1.ObjectIdentifier{2, 23, 133, 2, 2}
	version      = asn1.ObjectIdentifier{2, 23, 133, 2, 3}
)

// tpmName is a directoryName that says a TPM's make.
func tpmName(t testing.TB, oids ...asn1.ObjectIdentifier) asn1.RawValue {
	var set pkix.RelativeDistinguishedNameSET
	for _, oid := range oids {
		set = append(set, pkix.AttributeTypeAndValue{Type: oid, Value: "id:00000001"})
	}
	return general(4, toDER(t, pkix.RDNSequence{set}))
}

func otherName(t testing.TB, oid asn1.ObjectIdentifier, value any) asn1.RawValue {
	return general(0, append(toDER(t, oid), toDER(t, general(0, toDER(t, value)))...))
}

var (
	permanentOID = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 3}
	hardwareOID  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 4}
)

func utf8String(text string) asn1.RawValue {
	return asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(text)}
}

func permanentIdentifier(t testing.TB, value string) asn1.RawValue {
	return otherName(t, permanentOID, []asn1.RawValue{utf8String(value)})
}

func hardwareModule(t testing.TB, serial []byte) asn1.RawValue {
	return otherName(t, hardwareOID, struct {
		Type   asn1.ObjectIdentifier
		Serial []byte
	}{asn1.ObjectIdentifier{1, 2, 3}, serial})
}

// small is a number in as few octets as it needs.
func small(n int64) []byte { return big.NewInt(n).Bytes() }
