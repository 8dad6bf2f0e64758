package ca

import "crypto"

// ReadCSR is the parser, for fuzzing.
func ReadCSR(der []byte) error {
	_, err := readCSR(der, nil)
	return err
}

// The subjectAltName's value, both ways.
var (
	ReadNames  = readNames
	WriteNames = writeNames
)

// Look is what Run does every few seconds.
var (
	Settle      = (*CA).settle
	RefreshCRLs = (*CA).refreshCRLs
)

// ActiveKey is the issuing key, which no request could ever show.
func ActiveKey(c *CA) crypto.Signer { return c.active.key }
