package api

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

const (
	accountsPath = "/api/v1/acme/accounts"
	ordersPath   = "/api/v1/acme/orders"
	eabKeysPath  = "/api/v1/acme/eab-keys"
	grantsPath   = "/api/v1/acme/grants"
	pausesPath   = "/api/v1/acme/pauses"
)

// registerACME adds what an operator sees and does of the ACME door.
func (d *door) registerACME() {
	d.registerAccounts()
	d.registerOrders()
	d.registerEABKeys()
	d.registerGrants()
	d.registerPauses()
}

// PageInput is how every list of ACME objects is paged. It is exported because huma does not look into
// embedded fields that are not.
type PageInput struct {
	Cursor string `query:"cursor" maxLength:"512" doc:"Continues an earlier list: its next."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"The most items on a page."`

	asked url.Values
}

// Resolve keeps the query as it was sent, for the link to the next page.
func (in *PageInput) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	in.asked = u.Query()
	return nil
}

// link names the page behind the cursor.
func (in *PageInput) link(path, cursor string) string {
	in.asked.Set("cursor", cursor)
	in.asked.Set("limit", strconv.Itoa(in.Limit))
	return "<" + path + "?" + in.asked.Encode() + `>; rel="next"`
}

type pageBody[T any] struct {
	Items []T    `json:"items" nullable:"false" doc:"The items of this page."`
	Next  string `json:"next,omitempty" doc:"The cursor of the next page; missing if nothing follows."`
}

type pageOutput[T any] struct {
	Link string `header:"Link" doc:"The next page, as rel=\"next\" (RFC 8288), if there is one."`
	Body pageBody[T]
}

// newPage shows each item. A full page may be the last: then the next one is empty and says so.
func newPage[In, Out any](
	in *PageInput, path string, found []In, show func(*In) Out, at func(*In) acmeserver.Position,
) *pageOutput[Out] {
	out := &pageOutput[Out]{Body: pageBody[Out]{Items: make([]Out, len(found))}}
	for i := range found {
		out.Body.Items[i] = show(&found[i])
	}
	if len(found) == in.Limit {
		out.goOn(in, path, at(&found[len(found)-1]))
	}
	return out
}

func (out *pageOutput[T]) goOn(in *PageInput, path string, at acmeserver.Position) {
	out.Body.Next = encodePosition(at)
	out.Link = in.link(path, out.Body.Next)
}

// encodePosition gives the opaque text that continues a list.
func encodePosition(p acmeserver.Position) string {
	raw := strconv.FormatInt(p.CreatedAt.UnixMicro(), 36) + "." + p.ID
	return base64.RawURLEncoding.EncodeToString([]byte(raw))
}

// decodePosition reads what encodePosition wrote; empty is the list's start. Errors are
// fault.Invalid.
func decodePosition(text string) (*acmeserver.Position, error) {
	if text == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	at, id, found := strings.Cut(string(raw), ".")
	micros, err2 := strconv.ParseInt(at, 36, 64)
	if err != nil || err2 != nil || !found || !isText(id) {
		return nil, fault.Field("query.cursor", "is not one that a list gave as next; start without a cursor")
	}
	return &acmeserver.Position{CreatedAt: time.UnixMicro(micros).UTC(), ID: id}, nil
}

// isText tells what a database can be asked for; some choke on the rest.
func isText(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// checkFilters refuses texts that nothing can hold, by the names of their parameters.
func checkFilters(texts map[string]string) error {
	for name, text := range texts {
		if !isText(text) {
			return fault.Field("query."+name, "%q is not text", text)
		}
	}
	return nil
}

// idPath is the input of operations on one ACME object.
type idPath struct {
	ID string `path:"id" maxLength:"64" example:"4QZ7XKJ2N5VYB3M6DFA7TWCGHE" doc:"The object's id."`
}

// CreateHeader is the header of operations that make something; exported as PageInput is.
type CreateHeader struct {
	Key string `header:"Idempotency-Key" maxLength:"128" pattern:"^[A-Za-z0-9._:~-]*$" example:"team-a-2026" doc:"Names this request for its sender: sent again with the same key it gets the same object, and another request with the same key is refused with 409."`
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// account is what the API tells of an ACME account.
type account struct {
	_          struct{}  `additionalProperties:"true"`
	ID         string    `json:"id" example:"4QZ7XKJ2N5VYB3M6DFA7TWCGHE" doc:"The last part of the account's URL."`
	Status     string    `json:"status" enum:"valid,frozen,deactivated,revoked" doc:"valid; frozen, if the EAB key that bound it is revoked; deactivated by its client; revoked by an operator. Only a valid one gets anything."`
	Owner      string    `json:"owner" doc:"Whose its certificates are: the EAB key's owner, or the account itself."`
	EABKey     string    `json:"eab_key,omitempty" doc:"The id of the EAB key that bound it, if one did."`
	Contact    []string  `json:"contact,omitempty" doc:"What the client gave, and nobody proved."`
	Thumbprint string    `json:"thumbprint" doc:"Of its key (RFC 7638)."`
	CreatedAt  time.Time `json:"created_at" doc:"When it was made."`
	Grants     []grant   `json:"grants,omitempty" doc:"Its grants and its EAB key's, where one account is shown."`
}

func showAccount(a *acmeserver.Account) account {
	out := account{
		ID: a.ID, Status: string(a.Status), Owner: a.Caller().Owner, EABKey: a.EABKey,
		Contact: a.Contact, Thumbprint: a.Thumbprint, CreatedAt: a.CreatedAt.UTC(),
	}
	if a.Frozen && a.Status == acmeserver.StatusValid {
		out.Status = "frozen"
	}
	return out
}

func (d *door) registerAccounts() {
	register(d, huma.Operation{
		OperationID: "list-acme-accounts", Method: http.MethodGet, Path: accountsPath,
		Summary: "List ACME accounts, newest first", Errors: []int{http.StatusUnprocessableEntity},
	}, d.listAccounts)
	register(d, huma.Operation{
		OperationID: "get-acme-account", Method: http.MethodGet, Path: accountsPath + "/{id}",
		Summary: "Show one ACME account", Errors: []int{http.StatusNotFound},
	}, d.showAccount)
	register(d, huma.Operation{
		OperationID: "deactivate-acme-account", Method: http.MethodPost,
		Path:    accountsPath + "/{id}/deactivate",
		Summary: "End an ACME account",
		Description: "Whatever it asks for is refused from now on. Its certificates live on. This cannot " +
			"be undone.",
		Errors: []int{http.StatusNotFound, http.StatusConflict},
	}, d.deactivateAccount)
}

type accountsInput struct {
	PageInput
	Owner  string `query:"owner" maxLength:"256" doc:"Accounts of exactly this owner, by an EAB key."`
	EABKey string `query:"eab_key" maxLength:"64" doc:"Accounts that this EAB key bound."`
	Status string `query:"status" enum:"valid,deactivated,revoked" doc:"Accounts of this status; frozen ones count as valid."`
}

func (d *door) listAccounts(
	ctx context.Context, _ identity.Caller, in *accountsInput,
) (*pageOutput[account], error) {
	if err := checkFilters(map[string]string{"owner": in.Owner, "eab_key": in.EABKey}); err != nil {
		return nil, err
	}
	after, err := decodePosition(in.Cursor)
	if err != nil {
		return nil, err
	}
	found, err := d.ACME.Accounts(ctx, acmeserver.AccountQuery{
		Owner: in.Owner, EABKey: in.EABKey, Status: acmeserver.Status(in.Status), After: after,
		Limit: in.Limit,
	})
	if err != nil {
		return nil, err
	}
	return newPage(&in.PageInput, accountsPath, found, showAccount,
		func(a *acmeserver.Account) acmeserver.Position {
			return acmeserver.Position{CreatedAt: a.CreatedAt, ID: a.ID}
		}), nil
}

type accountOutput struct{ Body account }

func (d *door) showAccount(
	ctx context.Context, _ identity.Caller, in *idPath,
) (*accountOutput, error) {
	found, grants, err := d.ACME.Account(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := &accountOutput{showAccount(&found)}
	for i := range grants {
		out.Body.Grants = append(out.Body.Grants, d.showGrant(&grants[i]))
	}
	return out, nil
}

func (d *door) deactivateAccount(
	ctx context.Context, who identity.Caller, in *idPath,
) (*accountOutput, error) {
	ended, err := d.ACME.Deactivate(ctx, who, in.ID)
	if err != nil {
		return nil, err
	}
	return &accountOutput{showAccount(&ended)}, nil
}
