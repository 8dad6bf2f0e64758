// Package migrations holds the schema: numbered SQL, one text for both engines.
package migrations

import "embed"

// Files are the migrations in goose's format.
//
//go:embed *.sql
var Files embed.FS
