package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/identity/signin"
)

// openAdminToken makes the first admin token, or another one if that is wanted. The file is durable
// before the token counts: a crash between the two leaves a file that the next start replaces, and
// never a CA whose token nobody knows.
func (h *house) openAdminToken(ctx context.Context, another bool) error {
	path := h.config.AdminTokenFile
	err := h.store.Exclusive(ctx, "admin token", func(ctx context.Context) error {
		exists, err := h.store.HasToken(ctx, identity.RoleAdmin)
		if err != nil || exists && !another {
			return err
		}
		if err := mayReplaceToken(path); err != nil {
			return err
		}
		now := time.Now()
		secret, token := signin.NewToken(now, "admin token file", identity.RoleAdmin)
		if err := replaceFile(path, []byte(secret+"\n"), 0o600); err != nil {
			return fmt.Errorf("writing the admin token: %w", err)
		}
		return h.store.AddToken(ctx, token, audit.New(now, audit.TokenCreated, "system", token.ID,
			map[string]string{"name": token.Name, "role": string(token.Role)}))
	})
	if err != nil {
		return err
	}
	h.adminToken = absolute(path)
	if _, err := os.Stat(path); err != nil {
		h.adminToken += " is gone; mayfly serve --new-admin-token makes another"
	}
	return nil
}

// mayReplaceToken keeps a mistaken admin_token_file from costing another file its content.
func mayReplaceToken(path string) error {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("reading admin_token_file: %w", err)
	case len(text) > 0 && !strings.HasPrefix(string(text), "mayfly_"):
		return fmt.Errorf("admin_token_file %s holds something else than a token: name another file, "+
			"or remove this one", path)
	}
	return nil
}
