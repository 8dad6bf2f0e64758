-- What an ACME order that replaces a certificate leaves on it (RFC 9773 section 5).

-- +goose Up
ALTER TABLE certificates ADD COLUMN successor TEXT; -- the reference that its replacement has or will have

-- +goose Down
ALTER TABLE certificates DROP COLUMN successor;
