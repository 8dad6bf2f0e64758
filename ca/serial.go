package ca

import (
	"bytes"
	"encoding/hex"
	"io"
	"math/big"
	"strings"

	"github.com/mayflyca/mayfly/fault"
)

// Serial is a certificate's serial number (RFC 5280 section 4.1.2.2): a positive integer of at most
// 20 octets, kept big-endian. Ours are 16 octets of which 127 bits are random. Serials compare
// with == and can be map keys; the zero Serial is none.
type Serial [20]byte

const ownOctets = 16

// NewSerial draws a serial from random: 16 octets, top bit clear (positive in DER), never with a
// leading zero octet, so that every serial of ours has the same width everywhere.
func NewSerial(random io.Reader) (Serial, error) {
	var s Serial
	for s[4] == 0 {
		if _, err := io.ReadFull(random, s[4:]); err != nil {
			return Serial{}, fault.Wrap(fault.Internal, err, "drawing a serial number")
		}
		s[4] &= 0x7f
	}
	return s, nil
}

// ParseSerial reads a serial in any common spelling: hex digits in either case, with or without
// colons, spaces, a 0x prefix or leading zeros.
func ParseSerial(text string) (Serial, error) {
	if len(text) > 128 {
		return Serial{}, fault.Field("serial", "is longer than 128 characters")
	}
	digits := strings.NewReplacer(":", "", " ", "", "-", "").Replace(strings.ToLower(text))
	digits = strings.TrimPrefix(digits, "0x")
	if len(digits)%2 == 1 {
		digits = "0" + digits
	}
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) == 0 {
		return Serial{}, fault.Field("serial", "%q is not a hexadecimal number", text)
	}
	return SerialFromBytes(raw)
}

// SerialFromBytes reads a big-endian serial of any width, as stores and DER hold it.
func SerialFromBytes(raw []byte) (Serial, error) {
	raw = bytes.TrimLeft(raw, "\x00")
	var s Serial
	if len(raw) == 0 || len(raw) > len(s) || (len(raw) == len(s) && raw[0] >= 0x80) {
		return Serial{}, fault.Field("serial", "is not a positive number of at most 20 octets")
	}
	copy(s[len(s)-len(raw):], raw)
	return s, nil
}

// SerialFromBig reads a serial from a parsed certificate or CRL.
func SerialFromBig(n *big.Int) (Serial, error) {
	if n == nil || n.Sign() <= 0 {
		return Serial{}, fault.Field("serial", "is not a positive number of at most 20 octets")
	}
	return SerialFromBytes(n.Bytes())
}

// Bytes gives the serial's fixed-width octets as the store keeps them: 16, or 20 for a foreign
// serial that does not fit.
func (s Serial) Bytes() []byte {
	if [4]byte(s[:4]) == [4]byte{} {
		return append([]byte(nil), s[len(s)-ownOctets:]...)
	}
	return append([]byte(nil), s[:]...)
}

// Big gives the serial as the number that certificate templates want.
func (s Serial) Big() *big.Int { return new(big.Int).SetBytes(s[:]) }

// String gives the one text form: lower-case hex of fixed width, no colons.
func (s Serial) String() string { return hex.EncodeToString(s.Bytes()) }

// MarshalText gives String's form.
func (s Serial) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseSerial reads.
func (s *Serial) UnmarshalText(text []byte) error {
	parsed, err := ParseSerial(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}
