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

const (
	accountsPath = "/api/v1/acme/accounts"
	ordersPath   = "/api/v1/acme/orders"
)

// acmeCommands are the operator's view of the ACME door.
type acmeCommands struct {
	Accounts   acmeAccounts   `cmd:"" help:"List accounts, newest first."`
	Account    acmeAccount    `cmd:"" help:"Show one account with its grants."`
	Deactivate acmeDeactivate `cmd:"" help:"End an account."`
	Orders     acmeOrders     `cmd:"" help:"List orders, newest first."`
	Order      acmeOrder      `cmd:"" help:"Show one order: why an enrolment failed."`
	Grant      grantCommands  `cmd:"" help:"Let accounts have names without a challenge."`
	Pauses     acmePauses     `cmd:"" help:"List names that accounts may not order because their validations failed for a day."`
	Unpause    acmeUnpause    `cmd:"" help:"Let an account order again."`
}

// account is what the API tells of one.
type account struct {
	ID         string    `json:"id"`
	Status     string    `json:"status"`
	Owner      string    `json:"owner"`
	EABKey     string    `json:"eab_key"`
	Contact    []string  `json:"contact"`
	Thumbprint string    `json:"thumbprint"`
	CreatedAt  time.Time `json:"created_at"`
	Grants     []grant   `json:"grants"`
}

type acmeAccounts struct {
	clientFlags
	pageFlags
	Owner  string `help:"Of exactly this owner." placeholder:"OWNER"`
	EABKey string `name:"eab-key" help:"Bound by this EAB key." placeholder:"ID"`
	Status string `help:"valid, deactivated or revoked." placeholder:"STATUS"`
}

// Run lists one page.
func (cmd *acmeAccounts) Run(ctx context.Context, std streams) error {
	query := cmd.query(map[string]string{
		"owner": cmd.Owner, "eab_key": cmd.EABKey, "status": cmd.Status,
	})
	return listPage(ctx, cmd.clientFlags, std, accountsPath+query,
		"ACCOUNT\tSTATUS\tCREATED\tOWNER\tCONTACT",
		func(a account) []any {
			return []any{
				a.ID, a.Status, a.CreatedAt.Format(time.RFC3339), a.Owner, strings.Join(a.Contact, ", "),
			}
		})
}

type acmeAccount struct {
	clientFlags
	ID string `arg:"" help:"The account's id, the last part of its URL."`
}

// Run shows one account.
func (cmd *acmeAccount) Run(ctx context.Context, std streams) error {
	api, err := cmd.client()
	if err != nil {
		return err
	}
	var a account
	answer, err := api.call(ctx, http.MethodGet, accountsPath+"/"+url.PathEscape(cmd.ID), nil, &a)
	if err != nil {
		return err
	}
	return cmd.show(std.out, answer, func(w io.Writer) error {
		fmt.Fprintf(w, "account      %s\nstatus       %s\nowner        %s\nEAB key      %s\n"+
			"contact      %s\nkey          %s\ncreated      %s\n", a.ID, a.Status, a.Owner, orNone(a.EABKey),
			orNone(strings.Join(a.Contact, ", ")), a.Thumbprint, a.CreatedAt.Format(time.RFC3339))
		for _, g := range a.Grants {
			fmt.Fprintf(w, "grant        %s until %s: %s\n", g.ID, g.ExpiresAt.Format(time.RFC3339),
				strings.Join(g.Names, ", "))
		}
		return nil
	})
}

// orNone shows a text that may be missing.
func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

type acmeDeactivate struct {
	clientFlags
	ID  string `arg:"" help:"The account's id, the last part of its URL."`
	Yes bool   `short:"y" help:"Don't ask first."`
}

// Run ends one account.
func (cmd *acmeDeactivate) Run(ctx context.Context, std streams) error {
	api, err := cmd.client()
	if err != nil {
		return err
	}
	path := accountsPath + "/" + url.PathEscape(cmd.ID)
	err = confirm(std, cmd.Yes, "deactivated", func() (string, error) {
		var a account
		_, err := api.call(ctx, http.MethodGet, path, nil, &a)
		return fmt.Sprintf("Deactivate account %s (%s)? This cannot be undone.", a.ID, a.Owner), err
	})
	if err != nil {
		return err
	}
	answer, err := api.call(ctx, http.MethodPost, path+"/deactivate", nil, nil)
	if err != nil {
		return err
	}
	return cmd.show(std.out, answer, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "deactivated  %s\n", cmd.ID)
		return err
	})
}

// order is what the API tells of one.
type order struct {
	ID             string       `json:"id"`
	Account        string       `json:"account"`
	Status         string       `json:"status"`
	Profile        string       `json:"profile"`
	Names          []string     `json:"names"`
	CreatedAt      time.Time    `json:"created_at"`
	ExpiresAt      time.Time    `json:"expires_at"`
	Error          *acmeProblem `json:"error"`
	Certificate    string       `json:"certificate"`
	Authorizations []struct {
		Name       string `json:"name"`
		Status     string `json:"status"`
		Grant      string `json:"grant"`
		Challenges []struct {
			Type   string       `json:"type"`
			Status string       `json:"status"`
			Error  *acmeProblem `json:"error"`
			Trace  []string     `json:"trace"`
		} `json:"challenges"`
	} `json:"authorizations"`
}

type acmeProblem struct{ Type, Detail string }

type acmeOrders struct {
	clientFlags
	pageFlags
	Account string `help:"Of the account with this id." placeholder:"ID"`
	Name    string `help:"For exactly this name." placeholder:"NAME"`
	Status  string `help:"pending, ready, processing, valid or invalid." placeholder:"STATUS"`
}

// Run lists one page.
func (cmd *acmeOrders) Run(ctx context.Context, std streams) error {
	query := cmd.query(map[string]string{
		"account": cmd.Account, "name": cmd.Name, "status": cmd.Status,
	})
	return listPage(ctx, cmd.clientFlags, std, ordersPath+query,
		"ORDER\tSTATUS\tCREATED\tNAMES\tERROR",
		func(o order) []any {
			problem := ""
			if o.Error != nil {
				problem = o.Error.Type
			}
			return []any{
				o.ID, o.Status, o.CreatedAt.Format(time.RFC3339), strings.Join(o.Names, ", "), problem,
			}
		})
}

type acmeOrder struct {
	clientFlags
	ID string `arg:"" help:"The order's id, the last part of its URL."`
}

// Run shows one order.
func (cmd *acmeOrder) Run(ctx context.Context, std streams) error {
	api, err := cmd.client()
	if err != nil {
		return err
	}
	var o order
	answer, err := api.call(ctx, http.MethodGet, ordersPath+"/"+url.PathEscape(cmd.ID), nil, &o)
	if err != nil {
		return err
	}
	return cmd.show(std.out, answer, func(w io.Writer) error {
		fmt.Fprintf(w, "order        %s\naccount      %s\nstatus       %s\nprofile      %s\n"+
			"created      %s\nexpires      %s\ncertificate  %s\n", o.ID, o.Account, o.Status, o.Profile,
			o.CreatedAt.Format(time.RFC3339), o.ExpiresAt.Format(time.RFC3339), orNone(o.Certificate))
		if o.Error != nil {
			fmt.Fprintf(w, "error        %s: %s\n", o.Error.Type, o.Error.Detail)
		}
		o.showAuthorizations(w)
		return nil
	})
}

func (o *order) showAuthorizations(w io.Writer) {
	for _, z := range o.Authorizations {
		fmt.Fprintf(w, "\n%s: %s\n", z.Name, z.Status)
		if z.Grant != "" {
			fmt.Fprintf(w, "  needed no challenge, by grant %s\n", z.Grant)
		}
		for _, c := range z.Challenges {
			fmt.Fprintf(w, "  %s: %s\n", c.Type, c.Status)
			if c.Error != nil {
				fmt.Fprintf(w, "    %s: %s\n", c.Error.Type, c.Error.Detail)
			}
			for _, line := range c.Trace {
				fmt.Fprintf(w, "    | %s\n", line)
			}
		}
	}
}
