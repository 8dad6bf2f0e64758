// Package migrations holds the schema: numbered SQL, one text for both engines. A file whose name
// ends in _postgres.sql is skipped on SQLite.
package migrations

import "embed"

// Files are the migrations in goose's format.
//
//go:embed *.sql
var Files embed.FS
