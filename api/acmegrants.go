package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/identity"
)

// grant is what the API tells of a grant.
type grant struct {
	_         struct{}  `additionalProperties:"true"`
	ID        string    `json:"id" example:"4QZ7XKJ2N5VYB3M6DFA7TWCGHE" doc:"The grant's id."`
	Status    string    `json:"status" enum:"valid,expired" doc:"Whether it still lasts."`
	Account   string    `json:"account,omitempty" doc:"The account that holds it, or"`
	EABKey    string    `json:"eab_key,omitempty" doc:"the EAB key whose accounts hold it."`
	Owner     string    `json:"owner" doc:"The owner of the account or key."`
	Names     []string  `json:"names" nullable:"false" doc:"What needs no challenge: exact names, what is below a name (with a dot in front), IP addresses, networks."`
	Wildcards bool      `json:"wildcards" doc:"What is below a name includes wildcards."`
	Reason    string    `json:"reason,omitempty" doc:"For people."`
	CreatedBy string    `json:"created_by" doc:"Who made it."`
	CreatedAt time.Time `json:"created_at" doc:"When it was made."`
	ExpiresAt time.Time `json:"expires_at" doc:"When it ends."`
}

func (d *door) showGrant(g *acmeserver.Grant) grant {
	out := grant{
		ID: g.ID, Status: "valid", Account: g.Account, EABKey: g.EABKey, Owner: g.Owner, Names: g.Names,
		Wildcards: g.Wildcards, Reason: g.Reason, CreatedBy: g.CreatedBy, CreatedAt: g.CreatedAt.UTC(),
		ExpiresAt: g.ExpiresAt.UTC(),
	}
	if !d.Now().Before(g.ExpiresAt) {
		out.Status = "expired"
	}
	return out
}

func (d *door) registerGrants() {
	register(d, huma.Operation{
		OperationID: "create-grant", Method: http.MethodPost, Path: grantsPath,
		Summary: "Let an account have names without a challenge", DefaultStatus: http.StatusCreated,
		Description: "Orders of the account, or of any account that the EAB key bound, get authorizations " +
			"for these names that are valid at once. Each such order is kept in the audit log.",
		Errors: append([]int{http.StatusNotFound}, createErrors...),
	}, d.createGrant)
	register(d, huma.Operation{
		OperationID: "list-grants", Method: http.MethodGet, Path: grantsPath,
		Summary:     "List grants, newest first",
		Description: "Expired ones are kept for a week, withdrawn ones in the audit log only.",
		Errors:      []int{http.StatusUnprocessableEntity},
	}, d.listGrants)
	register(d, huma.Operation{
		OperationID: "withdraw-grant", Method: http.MethodDelete, Path: grantsPath + "/{id}",
		Summary: "Withdraw a grant", DefaultStatus: http.StatusNoContent,
		Description: "It ends at once, also for orders that have no certificate yet.",
		Errors:      []int{http.StatusNotFound},
	}, d.withdrawGrant)
}

type createGrantInput struct {
	CreateHeader
	Body struct {
		Account   string    `json:"account,omitempty" maxLength:"64" doc:"The id of an account, or"`
		EABKey    string    `json:"eab_key,omitempty" maxLength:"64" doc:"of an EAB key, for all accounts that it binds."`
		Names     []string  `json:"names" minItems:"1" maxItems:"100" nullable:"false" example:"[\"db.internal\", \".team-a.internal\", \"10.1.0.0/16\"]" doc:"A DNS name, which may be a wildcard; what is below one, with a dot in front; an IP address; a network in CIDR form."`
		Wildcards bool      `json:"wildcards,omitempty" doc:"What is below a name includes wildcards."`
		Reason    string    `json:"reason,omitempty" maxLength:"256" doc:"For people, and for the audit log."`
		ExpiresAt time.Time `json:"expires_at" doc:"When it ends."`
	}
}

type grantOutput struct{ Body grant }

func (d *door) createGrant(
	ctx context.Context, who identity.Caller, in *createGrantInput,
) (*grantOutput, error) {
	b := in.Body
	made, err := d.ACME.CreateGrant(ctx, who, acmeserver.Grant{
		Account: b.Account, EABKey: b.EABKey, Names: b.Names, Wildcards: b.Wildcards, Reason: b.Reason,
		ExpiresAt: b.ExpiresAt,
	}, in.Key)
	if err != nil {
		return nil, err
	}
	return &grantOutput{d.showGrant(&made)}, nil
}

type grantsInput struct {
	PageInput
	Account string `query:"account" maxLength:"64" doc:"Grants made to this account."`
	EABKey  string `query:"eab_key" maxLength:"64" doc:"Grants made to this EAB key."`
	Owner   string `query:"owner" maxLength:"256" doc:"Grants of exactly this owner."`
}

func (d *door) listGrants(
	ctx context.Context, _ identity.Caller, in *grantsInput,
) (*pageOutput[grant], error) {
	if err := checkFilters(map[string]string{
		"account": in.Account, "eab_key": in.EABKey, "owner": in.Owner,
	}); err != nil {
		return nil, err
	}
	after, err := decodePosition(in.Cursor)
	if err != nil {
		return nil, err
	}
	found, err := d.ACME.Grants(ctx, acmeserver.GrantQuery{
		Account: in.Account, EABKey: in.EABKey, Owner: in.Owner, After: after, Limit: in.Limit,
	})
	if err != nil {
		return nil, err
	}
	return newPage(&in.PageInput, grantsPath, found, d.showGrant,
		func(g *acmeserver.Grant) acmeserver.Position {
			return acmeserver.Position{CreatedAt: g.CreatedAt, ID: g.ID}
		}), nil
}

func (d *door) withdrawGrant(
	ctx context.Context, who identity.Caller, in *idPath,
) (*struct{}, error) {
	return nil, d.ACME.WithdrawGrant(ctx, who, in.ID)
}
