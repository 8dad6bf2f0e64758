package api

var (
	DecodeCSR    = decodeCSR
	DecodeCursor = decodeCursor
	EncodeCursor = encodeCursor

	DecodePosition = decodePosition
	EncodePosition = encodePosition
)
