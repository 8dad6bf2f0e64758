package ca

import "errors"

// What a Store answers when a conditional write found the row in another state. Nothing was written.
var (
	ErrRefTaken    = errors.New("a certificate with this reference exists")
	ErrSerialTaken = errors.New("a certificate with this serial exists")
	ErrNotPromised = errors.New("no promise with this serial is open")
	ErrRevoked     = errors.New("the certificate is revoked already")
	ErrOlderCRL    = errors.New("a CRL with this number or a higher one is published")
)
