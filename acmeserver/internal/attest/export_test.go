package attest

import "crypto"

// ReadPublic gives the key of a TPMT_PUBLIC.
func ReadPublic(octets []byte) (crypto.PublicKey, error) {
	p, err := readPublic(octets)
	return p.key, err
}

// ReadAll reads the octets as each structure that we know, for fuzzing.
func ReadAll(octets []byte) map[string]error {
	errs := map[string]error{"names": new(Device).readNames(octets)}
	_, errs["public"] = readPublic(octets)
	_, errs["certInfo"] = readCertInfo(octets)
	_, errs["RSA signature"] = readSignature(octets, algRSASSA, algSHA256)
	_, errs["ECDSA signature"] = readSignature(octets, algECDSA, algSHA256)
	return errs
}
