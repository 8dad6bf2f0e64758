package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const grantsPath = "/api/v1/acme/grants"

// grantCommands rule which names need no challenge.
type grantCommands struct {
	Create   grantCreate   `cmd:"" help:"Let an account, or all accounts of an EAB key, have names."`
	List     grantList     `cmd:"" help:"List grants, newest first."`
	Withdraw grantWithdraw `cmd:"" help:"End a grant at once."`
}

// grant is what the API tells of one.
type grant struct {
	ID        string    `json:"id"`
	Status    string    `json:"status"`
	Account   string    `json:"account"`
	EABKey    string    `json:"eab_key"`
	Owner     string    `json:"owner"`
	Names     []string  `json:"names"`
	Wildcards bool      `json:"wildcards"`
	Reason    string    `json:"reason"`
	CreatedBy string    `json:"created_by"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (g *grant) holder() string {
	if g.EABKey != "" {
		return "key " + g.EABKey
	}
	return "account " + g.Account
}

type grantCreate struct {
	clientFlags
	Names     []string `arg:"" help:"Names, .suffixes, IP addresses, networks (10.1.0.0/16)."`
	Account   string   `help:"For this account." placeholder:"ID" xor:"holder" required:""`
	EABKey    string   `name:"eab-key" help:"For a key's accounts." placeholder:"ID" xor:"holder" required:""`
	Expires   string   `help:"When it ends: 720h, or a time in RFC 3339." placeholder:"WHEN" required:""`
	Wildcards bool     `help:"What is below a .suffix includes wildcards."`
	Reason    string   `help:"For people, and for the audit log." placeholder:"TEXT"`
}

// Run makes one grant.
func (cmd *grantCreate) Run(ctx context.Context, std streams) error {
	api, err := cmd.client()
	if err != nil {
		return err
	}
	expires, err := parseWhen(cmd.Expires, time.Now())
	if err != nil {
		return err
	}
	body := map[string]any{
		"account": cmd.Account, "eab_key": cmd.EABKey, "names": cmd.Names, "wildcards": cmd.Wildcards,
		"reason": cmd.Reason, "expires_at": expires,
	}
	var made grant
	answer, err := api.call(ctx, http.MethodPost, grantsPath, body, &made)
	if err != nil {
		return err
	}
	return cmd.show(std.out, answer, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "granted      %s\nto           %s (%s)\nuntil        %s\n"+
			"names        %s\n", made.ID, made.holder(), made.Owner,
			made.ExpiresAt.Format(time.RFC3339), strings.Join(made.Names, ", "))
		return err
	})
}

type grantList struct {
	clientFlags
	pageFlags
	Account string `help:"Made to this account." placeholder:"ID"`
	EABKey  string `name:"eab-key" help:"Made to this EAB key." placeholder:"ID"`
	Owner   string `help:"Of exactly this owner." placeholder:"OWNER"`
}

// Run lists one page.
func (cmd *grantList) Run(ctx context.Context, std streams) error {
	query := cmd.query(map[string]string{
		"account": cmd.Account, "eab_key": cmd.EABKey, "owner": cmd.Owner,
	})
	return listPage(ctx, cmd.clientFlags, std, grantsPath+query,
		"GRANT\tSTATUS\tEXPIRES\tOWNER\tTO\tBY\tNAMES",
		func(g grant) []any {
			names := strings.Join(g.Names, ", ")
			if g.Wildcards {
				names += " (wildcards too)"
			}
			return []any{
				g.ID, g.Status, g.ExpiresAt.Format(time.RFC3339), g.Owner, g.holder(), g.CreatedBy, names,
			}
		})
}

type grantWithdraw struct {
	clientFlags
	ID  string `arg:"" help:"The grant's id."`
	Yes bool   `short:"y" help:"Don't ask first."`
}

// Run ends one grant.
func (cmd *grantWithdraw) Run(ctx context.Context, std streams) error {
	api, err := cmd.client()
	if err != nil {
		return err
	}
	err = confirm(std, cmd.Yes, "withdrawn", func() (string, error) {
		return fmt.Sprintf("Withdraw grant %s? Orders that rest on it and have no certificate yet fail.",
			cmd.ID), nil
	})
	if err != nil {
		return err
	}
	path := grantsPath + "/" + url.PathEscape(cmd.ID)
	if _, err := api.call(ctx, http.MethodDelete, path, nil, nil); err != nil {
		return err
	}
	return cmd.show(std.out, []byte("{}"), func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "withdrawn    %s\n", cmd.ID)
		return err
	})
}
