package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/identity"
)

// order is what the API tells of an ACME order.
type order struct {
	_              struct{}        `additionalProperties:"true"`
	ID             string          `json:"id" example:"4QZ7XKJ2N5VYB3M6DFA7TWCGHE" doc:"The last part of the order's URL."`
	Account        string          `json:"account" doc:"The id of the account that made it."`
	Status         string          `json:"status" enum:"pending,ready,processing,valid,invalid" doc:"How it stands now (RFC 8555 section 7.1.6)."`
	Profile        string          `json:"profile" example:"server" doc:"The profile of the certificate."`
	Names          []string        `json:"names" nullable:"false" doc:"What it is for."`
	Grants         []string        `json:"grants,omitempty" doc:"The grants by which it needed no challenge, for some names or all."`
	CreatedAt      time.Time       `json:"created_at" doc:"When it was made."`
	ExpiresAt      time.Time       `json:"expires_at" doc:"How long it can be worked with; when it failed, if it did."`
	Error          *acmeProblem    `json:"error,omitempty" doc:"Why it is invalid."`
	Certificate    string          `json:"certificate,omitempty" doc:"The serial number of its certificate."`
	Authorizations []authorization `json:"authorizations,omitempty" doc:"What happened for each name. Lists leave it out."`
}

// acmeProblem is an ACME error (RFC 8555 section 6.7).
type acmeProblem struct {
	Type   string `json:"type" example:"connection" doc:"The problem's type in RFC 8555 section 6.7, without its prefix."`
	Detail string `json:"detail" doc:"The sentence that the client was told."`
}

type authorization struct {
	Name       string      `json:"name" doc:"The name, a wildcard's with its \"*.\"."`
	Status     string      `json:"status" enum:"pending,valid,invalid,deactivated,expired,revoked" doc:"How it stands now."`
	ExpiresAt  time.Time   `json:"expires_at" doc:"How long it lasts."`
	Grant      string      `json:"grant,omitempty" doc:"The grant by which it needed no challenge."`
	Challenges []challenge `json:"challenges" nullable:"false" doc:"The ways to prove the name."`
}

type challenge struct {
	Type        string       `json:"type" example:"http-01" doc:"The challenge's type."`
	Status      string       `json:"status" enum:"pending,processing,valid,invalid" doc:"How it stands."`
	ValidatedAt *time.Time   `json:"validated_at,omitempty" doc:"When it was proven."`
	Error       *acmeProblem `json:"error,omitempty" doc:"What was wrong at the latest attempt."`
	Trace       []string     `json:"trace,omitempty" doc:"What was resolved, dialled and received at the latest attempt, a line each."`
}

func summarizeOrder(o *acmeserver.OrderState) order {
	out := order{
		ID: o.ID, Account: o.Account, Status: string(o.Status), Profile: o.Profile, Names: []string{},
		CreatedAt: o.CreatedAt.UTC(), ExpiresAt: o.ExpiresAt.UTC(), Error: showProblem(o.Error),
	}
	for _, name := range o.Names() {
		out.Names = append(out.Names, name.Value)
	}
	for _, z := range o.Authorizations {
		if z.Grant != "" && !slices.Contains(out.Grants, z.Grant) {
			out.Grants = append(out.Grants, z.Grant)
		}
	}
	if o.Certificate != nil && o.Certificate.State == ca.Issued {
		out.Certificate = o.Certificate.Serial.String()
	}
	return out
}

func showProblem(p *acmeserver.Problem) *acmeProblem {
	if p == nil {
		return nil
	}
	return &acmeProblem{p.Type, p.Detail}
}

func showOrder(o *acmeserver.OrderState) order {
	out := summarizeOrder(o)
	for i, z := range o.Authorizations {
		shown := authorization{
			Name: out.Names[i], Status: string(z.Status), ExpiresAt: z.Expires.UTC(), Grant: z.Grant,
			Challenges: []challenge{},
		}
		for _, c := range z.Challenges {
			shown.Challenges = append(shown.Challenges, challenge{
				c.Type, string(c.Status), optionalTime(c.Validated), showProblem(c.Error), c.Trace,
			})
		}
		out.Authorizations = append(out.Authorizations, shown)
	}
	return out
}

func (d *door) registerOrders() {
	register(d, huma.Operation{
		OperationID: "list-acme-orders", Method: http.MethodGet, Path: ordersPath,
		Summary: "List ACME orders, newest first",
		Description: "Orders are kept until a week after they expired. A search by `name` or `status` " +
			"looks through some thousands of orders at a time: the page may then hold fewer than " +
			"`limit`, or none, and still have a `next`.",
		Errors: []int{http.StatusUnprocessableEntity},
	}, d.listOrders)
	register(d, huma.Operation{
		OperationID: "get-acme-order", Method: http.MethodGet, Path: ordersPath + "/{id}",
		Summary:     "Show one ACME order with the trace of each challenge",
		Description: "This tells why an enrolment failed: what was resolved, dialled and received.",
		Errors:      []int{http.StatusNotFound},
	}, d.showOrder)
}

type ordersInput struct {
	PageInput
	Account string `query:"account" maxLength:"64" doc:"Orders of the account with this id."`
	Name    string `query:"name" maxLength:"254" example:"db.internal" doc:"Orders for exactly this DNS name or IP address."`
	Status  string `query:"status" enum:"pending,ready,processing,valid,invalid" doc:"Orders that stand so now."`
}

func (d *door) listOrders(
	ctx context.Context, _ identity.Caller, in *ordersInput,
) (*pageOutput[order], error) {
	if err := checkFilters(map[string]string{"account": in.Account}); err != nil {
		return nil, err
	}
	q := acmeserver.OrderQuery{
		Account: in.Account, Status: acmeserver.Status(in.Status), Limit: in.Limit,
	}
	var err error
	if q.After, err = decodePosition(in.Cursor); err != nil {
		return nil, err
	}
	if in.Name != "" {
		q.Name.Type = nameType(in.Name)
		if q.Name.Value, err = canonical("query.name", q.Name.Type, in.Name); err != nil {
			return nil, err
		}
	}
	found, next, err := d.ACME.Orders(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &pageOutput[order]{Body: pageBody[order]{Items: make([]order, len(found))}}
	for i := range found {
		out.Body.Items[i] = summarizeOrder(&found[i])
	}
	if next != nil {
		out.goOn(&in.PageInput, ordersPath, *next)
	}
	return out, nil
}

type orderOutput struct{ Body order }

func (d *door) showOrder(ctx context.Context, _ identity.Caller, in *idPath) (*orderOutput, error) {
	found, err := d.ACME.Order(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &orderOutput{showOrder(&found)}, nil
}
