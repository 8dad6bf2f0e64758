package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/identity"
)

// pause is what the API tells of one.
type pause struct {
	_              struct{}  `additionalProperties:"true"`
	Account        string    `json:"account" example:"4QZ7XKJ2N5VYB3M6DFA7TWCGHE" doc:"The account's id."`
	Name           string    `json:"name" example:"db.internal" doc:"What this account may not order."`
	Failures       int       `json:"failures" doc:"How many of its validations have failed in a row."`
	FirstFailureAt time.Time `json:"first_failure_at" doc:"When the first of them failed."`
	LastFailureAt  time.Time `json:"last_failure_at" doc:"When the last of them failed."`
	PausedAt       time.Time `json:"paused_at" doc:"Since when it is paused."`
}

func showPause(k *acmeserver.Streak) pause {
	return pause{
		Account: k.Account, Name: k.Name, Failures: k.Failures, FirstFailureAt: k.FirstAt,
		LastFailureAt: k.LastAt, PausedAt: k.PausedAt,
	}
}

func (d *door) registerPauses() {
	register(d, huma.Operation{
		OperationID: "list-acme-pauses", Method: http.MethodGet, Path: pausesPath,
		Summary: "List names that accounts may not order because their validations failed for a day, newest " +
			"first", Errors: []int{http.StatusUnprocessableEntity},
	}, d.listPauses)
	register(d, huma.Operation{
		OperationID: "unpause-acme-names", Method: http.MethodPost, Path: pausesPath + "/unpause",
		Summary:     "Lift pauses",
		Description: "Without an account or a name, those of any account or name are lifted.",
		Errors: []int{
			http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
			http.StatusUnprocessableEntity,
		},
	}, d.unpause)
}

type pausesInput struct {
	PageInput
	Account string `query:"account" maxLength:"64" doc:"Pauses of this account."`
}

func (d *door) listPauses(
	ctx context.Context, _ identity.Caller, in *pausesInput,
) (*pageOutput[pause], error) {
	after, err := decodePosition(in.Cursor)
	if err != nil {
		return nil, err
	}
	found, err := d.ACME.Pauses(ctx, acmeserver.PauseQuery{
		Account: in.Account, After: after, Limit: in.Limit,
	})
	if err != nil {
		return nil, err
	}
	return newPage(&in.PageInput, pausesPath, found, showPause, func(k *acmeserver.Streak) acmeserver.Position {
		return k.Position()
	}), nil
}

type unpauseInput struct {
	Body struct {
		Account string `json:"account,omitempty" maxLength:"64" doc:"The account's id."`
		Name    string `json:"name,omitempty" maxLength:"256" example:"db.internal" doc:"The name, as the list has it."`
	}
}

type unpauseOutput struct {
	Body struct {
		Unpaused int `json:"unpaused" doc:"How many pauses were lifted."`
	}
}

func (d *door) unpause(
	ctx context.Context, who identity.Caller, in *unpauseInput,
) (*unpauseOutput, error) {
	out := &unpauseOutput{}
	var err error
	out.Body.Unpaused, err = d.ACME.Unpause(ctx, who, in.Body.Account, in.Body.Name)
	return out, err
}
