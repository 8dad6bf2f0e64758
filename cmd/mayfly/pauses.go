package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

const pausesPath = "/api/v1/acme/pauses"

// pause is what the API tells of one.
type pause struct {
	Account        string    `json:"account"`
	Name           string    `json:"name"`
	Failures       int       `json:"failures"`
	FirstFailureAt time.Time `json:"first_failure_at"`
	PausedAt       time.Time `json:"paused_at"`
}

type acmePauses struct {
	clientFlags
	pageFlags
	Account string `help:"Of the account with this id." placeholder:"ID"`
}

// Run lists one page.
func (cmd *acmePauses) Run(ctx context.Context, std streams) error {
	query := cmd.query(map[string]string{"account": cmd.Account})
	return listPage(ctx, cmd.clientFlags, std, pausesPath+query,
		"ACCOUNT\tNAME\tFAILURES\tSINCE\tPAUSED",
		func(p pause) []any {
			return []any{
				p.Account, p.Name, p.Failures, p.FirstFailureAt.Format(time.RFC3339),
				p.PausedAt.Format(time.RFC3339),
			}
		})
}

type acmeUnpause struct {
	clientFlags
	Account string `arg:"" optional:"" help:"The account's id, the last part of its URL."`
	Name    string `arg:"" optional:"" help:"Only this name of it."`
	All     bool   `help:"Lift all pauses of all accounts."`
}

// Run lifts pauses.
func (cmd *acmeUnpause) Run(ctx context.Context, std streams) error {
	if (cmd.Account == "") != cmd.All {
		return fmt.Errorf("give either an account or --all: %w", errUsage)
	}
	api, err := cmd.client()
	if err != nil {
		return err
	}
	body := map[string]string{}
	if cmd.Account != "" {
		body["account"] = cmd.Account
	}
	if cmd.Name != "" {
		body["name"] = cmd.Name
	}
	var lifted struct{ Unpaused int }
	answer, err := api.call(ctx, http.MethodPost, pausesPath+"/unpause", body, &lifted)
	if err != nil {
		return err
	}
	return cmd.show(std.out, answer, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "unpaused     %d\n", lifted.Unpaused)
		return err
	})
}
