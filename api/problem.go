package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"github.com/mayflyca/mayfly/fault"
)

// answers is this door's table from fault kinds to HTTP. What huma itself finds wrong with a field
// is 422 too; 400 is left for what cannot be read at all.
var answers = map[fault.Kind]struct {
	status int
	retry  time.Duration // if the fault does not say; 0 for no Retry-After
}{
	fault.Invalid:     {http.StatusUnprocessableEntity, 0},
	fault.Denied:      {http.StatusForbidden, 0},
	fault.NotFound:    {http.StatusNotFound, 0},
	fault.Conflict:    {http.StatusConflict, 0},
	fault.NotReady:    {http.StatusConflict, time.Second},
	fault.TooMany:     {http.StatusTooManyRequests, time.Minute},
	fault.Unavailable: {http.StatusServiceUnavailable, 5 * time.Second},
	fault.Internal:    {http.StatusInternalServerError, 0},
}

// locations says where in a request the field of a fault stands.
var locations = map[string]string{
	"csr": "body.csr", "name": "body.csr", "names": "body.csr", "common name": "body.csr",
	"profile": "body.profile", "reason": "body.reason", "serial": "path.serial",
	"owner": "body.owner", "label": "body.label", "expires_at": "body.expires_at", "holder": "body",
	"granted names": "body.names", "grant's reason": "body.reason",
}

// explain turns an error into a problem document (RFC 9457). The text of an internal error stays in
// the house.
func explain(err error) *huma.ErrorModel {
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind == fault.Internal {
		e = fault.New(fault.Internal, "an error of ours; the server's log tells more")
	}
	status := answers[e.Kind].status
	problem := &huma.ErrorModel{
		Status: status, Title: http.StatusText(status), Detail: e.Detail,
	}
	if e.Field != "" {
		where, ok := locations[e.Field]
		if !ok {
			where = e.Field
		}
		problem.Detail = "validation failed"
		problem.Errors = []*huma.ErrorDetail{{Message: e.Detail, Location: where}}
	}
	return problem
}

// retryAfter gives the header that tells when asking again makes sense.
func retryAfter(err error) http.Header {
	after := answers[fault.KindOf(err)].retry
	if e := (*fault.Error)(nil); errors.As(err, &e) && after > 0 && e.RetryAfter > 0 {
		after = e.RetryAfter
	}
	if after == 0 {
		return nil
	}
	seconds := int((after + time.Second - 1) / time.Second)
	return http.Header{"Retry-After": {strconv.Itoa(seconds)}}
}

// problem is what an error becomes, with the headers that go with it. The log gets what the caller
// is not told.
func (d *door) problem(ctx context.Context, err error) (*huma.ErrorModel, http.Header) {
	kind := fault.KindOf(err)
	if (kind == fault.Internal || kind == fault.Unavailable) && ctx.Err() == nil {
		s, _ := ctx.Value(sessionKey{}).(session)
		d.Log.ErrorContext(ctx, "an API request failed", "error", err, "caller", s.caller.ID,
			"request_id", s.requestID)
	}
	return explain(err), retryAfter(err)
}

// refuse writes a problem document. A client that is gone needs none.
func (d *door) refuse(ctx huma.Context, status int, detail string) {
	_ = huma.WriteErr(d.api, ctx, status, detail)
}

// withoutValues keeps huma from repeating what was sent: it may be long, and may be a secret.
func withoutValues(_ huma.Context, _ string, body any) (any, error) {
	if problem, ok := body.(*huma.ErrorModel); ok {
		for _, detail := range problem.Errors {
			detail.Value = nil
		}
	}
	return body, nil
}

func (d *door) notFound(w http.ResponseWriter, r *http.Request) {
	d.refuse(humachi.NewContext(&huma.Operation{}, r, w), http.StatusNotFound,
		"there is nothing at this path; /openapi.json lists what there is")
}

// notAllowed names the methods that a path has (RFC 9110 section 15.5.6).
func (d *door) notAllowed(router *chi.Mux) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			if router.Match(chi.NewRouteContext(), method, r.URL.Path) {
				w.Header().Add("Allow", method)
			}
		}
		d.refuse(humachi.NewContext(&huma.Operation{}, r, w), http.StatusMethodNotAllowed,
			"this path has no method "+strconv.Quote(r.Method))
	}
}
