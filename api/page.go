package api

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
)

// encodeCursor gives the opaque text that continues a list behind c.
func encodeCursor(c *ca.Certificate) string {
	raw := binary.BigEndian.AppendUint64(nil, uint64(c.PromisedAt.UnixMicro()))
	return base64.RawURLEncoding.EncodeToString(append(raw, c.Serial.Bytes()...))
}

// decodeCursor reads what encodeCursor wrote; empty is the list's start. Errors are fault.Invalid.
func decodeCursor(text string) (*ca.Position, error) {
	if text == "" {
		return nil, nil
	}
	bad := fault.Field("query.cursor", "is not one that a list gave as next; start without a cursor")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < 8 {
		return nil, bad
	}
	serial, err := ca.SerialFromBytes(raw[8:])
	if err != nil {
		return nil, bad
	}
	micros := int64(binary.BigEndian.Uint64(raw))
	return &ca.Position{PromisedAt: time.UnixMicro(micros).UTC(), Serial: serial}, nil
}
