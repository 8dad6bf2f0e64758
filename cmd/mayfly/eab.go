package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"
)

const eabKeysPath = "/api/v1/acme/eab-keys"

// eabCommands rule the keys for external account binding (RFC 8555 section 7.3.4).
type eabCommands struct {
	Create eabCreate `cmd:"" help:"Make a key, and print it with lines for clients."`
	List   eabList   `cmd:"" help:"List keys, newest first."`
	Revoke eabRevoke `cmd:"" help:"Revoke a key, and freeze the accounts that it bound."`
}

// eabKey is what the API tells of one.
type eabKey struct {
	ID        string    `json:"id"`
	Status    string    `json:"status"`
	Owner     string    `json:"owner"`
	Label     string    `json:"label"`
	Once      bool      `json:"once"`
	Accounts  int       `json:"accounts"`
	ExpiresAt time.Time `json:"expires_at"`
	MACKey    string    `json:"mac_key"`
	Clients   struct{ Certbot, Lego, Caddy string }
}

type eabCreate struct {
	clientFlags
	Owner   string `arg:"" help:"Whose the accounts and their certificates will be."`
	Label   string `help:"For people." placeholder:"TEXT"`
	Once    bool   `help:"Bind one account and no more."`
	Expires string `help:"Bind no account from then on: 720h, or RFC 3339 (never)." placeholder:"WHEN"`
}

// Run makes one key.
func (cmd *eabCreate) Run(ctx context.Context, std streams) error {
	api, err := cmd.client()
	if err != nil {
		return err
	}
	body := map[string]any{"owner": cmd.Owner, "label": cmd.Label, "once": cmd.Once}
	if cmd.Expires != "" {
		if body["expires_at"], err = parseWhen(cmd.Expires, time.Now()); err != nil {
			return err
		}
	}
	var made eabKey
	answer, err := api.call(ctx, http.MethodPost, eabKeysPath, body, &made)
	if err != nil {
		return err
	}
	return cmd.show(std.out, answer, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "key id   %s\nMAC key  %s\n\n"+
			"The MAC key is a secret, and is not shown again.\n\n"+
			"# certbot\n%s\n\n# lego\n%s\n\n# Caddy, per site\n%s\n",
			made.ID, made.MACKey, made.Clients.Certbot, made.Clients.Lego, made.Clients.Caddy)
		return err
	})
}

// parseWhen reads a time, or how long from now.
func parseWhen(text string, now time.Time) (time.Time, error) {
	if after, err := time.ParseDuration(text); err == nil {
		return now.Add(after).UTC().Truncate(time.Second), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("%q is neither a duration like 720h nor a time like 2030-01-02T15:04:05Z: %w",
			text, errUsage)
	}
	return at, nil
}

// pageFlags are what lists of ACME objects take.
type pageFlags struct {
	Limit  int    `help:"At most this many." default:"50"`
	Cursor string `help:"Continue where an earlier list ended." placeholder:"CURSOR"`
}

func (f pageFlags) query(filters map[string]string) string {
	query := url.Values{"limit": {fmt.Sprint(f.Limit)}}
	filters["cursor"] = f.Cursor
	for name, text := range filters {
		if text != "" {
			query.Set(name, text)
		}
	}
	return "?" + query.Encode()
}

// listPage fetches a page, and prints it as a table with a row for each item.
func listPage[T any](
	ctx context.Context, flags clientFlags, std streams, path, head string, row func(T) []any,
) error {
	api, err := flags.client()
	if err != nil {
		return err
	}
	var page struct {
		Items []T    `json:"items"`
		Next  string `json:"next"`
	}
	answer, err := api.call(ctx, http.MethodGet, path, nil, &page)
	if err != nil {
		return err
	}
	return flags.show(std.out, answer, func(w io.Writer) error {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, head)
		format := strings.Repeat("%v\t", strings.Count(head, "\t")) + "%v\n"
		for _, item := range page.Items {
			fmt.Fprintf(table, format, row(item)...)
		}
		if err := table.Flush(); err != nil {
			return err
		}
		if page.Next != "" {
			fmt.Fprintf(w, "More: --cursor %s\n", page.Next)
		}
		return nil
	})
}

// orNever shows a time that may be missing.
func orNever(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.RFC3339)
}

type eabList struct {
	clientFlags
	pageFlags
	Owner string `help:"Of exactly this owner." placeholder:"OWNER"`
}

// Run lists one page.
func (cmd *eabList) Run(ctx context.Context, std streams) error {
	return listPage(ctx, cmd.clientFlags, std,
		eabKeysPath+cmd.query(map[string]string{"owner": cmd.Owner}),
		"KEY ID\tSTATUS\tACCOUNTS\tEXPIRES\tOWNER\tLABEL",
		func(k eabKey) []any {
			return []any{k.ID, k.Status, k.Accounts, orNever(k.ExpiresAt), k.Owner, k.Label}
		})
}

type eabRevoke struct {
	clientFlags
	ID  string `arg:"" help:"The key's id."`
	Yes bool   `short:"y" help:"Don't ask first."`
}

// Run revokes one key.
func (cmd *eabRevoke) Run(ctx context.Context, std streams) error {
	api, err := cmd.client()
	if err != nil {
		return err
	}
	path := eabKeysPath + "/" + url.PathEscape(cmd.ID)
	err = confirm(std, cmd.Yes, "revoked", func() (string, error) {
		var k eabKey
		_, err := api.call(ctx, http.MethodGet, path, nil, &k)
		return fmt.Sprintf("Revoke %s (%s) and freeze its %d accounts? This cannot be undone.", k.ID,
			k.Owner, k.Accounts), err
	})
	if err != nil {
		return err
	}
	var revoked eabKey
	answer, err := api.call(ctx, http.MethodPost, path+"/revoke", nil, &revoked)
	if err != nil {
		return err
	}
	return cmd.show(std.out, answer, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "revoked  %s; %d accounts are frozen\n", revoked.ID, revoked.Accounts)
		return err
	})
}
