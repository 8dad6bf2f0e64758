package acmeserver

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/mayflyca/mayfly/fault"
)

// typePrefix is in front of every problem type on the wire (RFC 8555 section 6.7).
const typePrefix = "urn:ietf:params:acme:error:"

// The problem types we use: RFC 8555 section 6.7, invalidProfile of draft-ietf-acme-profiles,
// alreadyReplaced of RFC 9773 section 7.4, badAttestationStatement of draft-ietf-acme-device-attest.
// Those of a failed challenge come from package validate.
const (
	accountDoesNotExist     = "accountDoesNotExist"
	alreadyReplaced         = "alreadyReplaced"
	alreadyRevoked          = "alreadyRevoked"
	badAttestationStatement = "badAttestationStatement"
	badCSR                  = "badCSR"
	badNonce                = "badNonce"
	badPublicKey            = "badPublicKey"
	badRevocationReason     = "badRevocationReason"
	badSignatureAlgorithm   = "badSignatureAlgorithm"
	externalAccountRequired = "externalAccountRequired"
	invalidContact          = "invalidContact"
	invalidProfile          = "invalidProfile"
	malformed               = "malformed"
	orderNotReady           = "orderNotReady"
	rateLimited             = "rateLimited"
	rejectedIdentifier      = "rejectedIdentifier"
	serverInternal          = "serverInternal"
	unauthorized            = "unauthorized"
	unsupportedContact      = "unsupportedContact"
	unsupportedIdentifier   = "unsupportedIdentifier"
	userActionRequired      = "userActionRequired"
)

// statusOf gives the HTTP status of a problem type where it is not 400.
var statusOf = map[string]int{
	alreadyReplaced:         http.StatusConflict,
	externalAccountRequired: http.StatusForbidden,
	orderNotReady:           http.StatusForbidden,
	rateLimited:             http.StatusTooManyRequests,
	rejectedIdentifier:      http.StatusForbidden,
	serverInternal:          http.StatusInternalServerError,
	unauthorized:            http.StatusForbidden,
	userActionRequired:      http.StatusForbidden,
}

// refusal is a problem on its way to the client, with what goes into the answer's header.
type refusal struct {
	Problem
	location   string
	allow      string // methods, for a 405
	terms      string // URL of the terms of service, for Link
	retryAfter time.Duration
	cause      error // for the log only
}

func (r *refusal) Error() string {
	text := r.Type + ": " + r.Detail
	if r.cause != nil {
		text += ": " + r.cause.Error()
	}
	return text
}

func (r *refusal) Unwrap() error { return r.cause }

// refuse makes a refusal whose status is the type's.
func refuse(kind, format string, args ...any) *refusal {
	status, ok := statusOf[kind]
	if !ok {
		status = http.StatusBadRequest
	}
	return &refusal{Problem: Problem{
		Type: kind, Detail: fmt.Sprintf(format, args...), Status: status,
	}}
}

// withStatus replaces the status.
func (r *refusal) withStatus(status int) *refusal {
	r.Status = status
	return r
}

// notFound is what a stranger is told of an object, whether it exists or not (never #18).
func notFound(what string) *refusal {
	return refuse(malformed, "there is no such %s, or it is not this account's", what).
		withStatus(http.StatusNotFound)
}

// kinds is the table from fault.Kind to ACME's language.
var kinds = map[fault.Kind]struct {
	problem string
	status  int
}{
	fault.Internal:    {serverInternal, http.StatusInternalServerError},
	fault.Invalid:     {malformed, http.StatusBadRequest},
	fault.Denied:      {unauthorized, http.StatusForbidden},
	fault.NotFound:    {malformed, http.StatusNotFound},
	fault.Conflict:    {malformed, http.StatusConflict},
	fault.NotReady:    {serverInternal, http.StatusServiceUnavailable},
	fault.TooMany:     {rateLimited, http.StatusTooManyRequests},
	fault.Unavailable: {serverInternal, http.StatusServiceUnavailable},
}

const (
	internalDetail    = "something went wrong here, not with the request; the server's log tells more"
	defaultRetryAfter = 3 * time.Second
)

// refusalOf gives the refusal that a handler's error amounts to.
func refusalOf(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	row := kinds[fault.KindOf(err)]
	r := refuse(row.problem, "%s", detailOf(err)).withStatus(row.status)
	r.cause = err
	if row.status == http.StatusServiceUnavailable || row.status == http.StatusTooManyRequests {
		r.retryAfter = defaultRetryAfter
		if e, ok := errors.AsType[*fault.Error](err); ok && e.RetryAfter > 0 {
			r.retryAfter = e.RetryAfter
		}
	}
	return r
}

// refusedAs gives err, if it is of one of the kinds, as a refusal of the problem type.
func refusedAs(problem string, err error, kinds ...fault.Kind) error {
	for _, kind := range kinds {
		if fault.Is(err, kind) {
			r := refuse(problem, "%s", detailOf(err))
			r.cause = err
			return r
		}
	}
	return err
}

// detailOf is what a stranger may read of err, with the field at fault.
func detailOf(err error) string {
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Kind != fault.Internal && e.Field != "" {
		return e.Field + ": " + e.Detail
	}
	return sentenceOf(err)
}

// sentenceOf is detailOf without the field, where that is another's word for it.
func sentenceOf(err error) string {
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Kind != fault.Internal {
		return e.Detail
	}
	return internalDetail
}

// onWire puts the prefix in front of the type, here and in the subproblems.
func (p Problem) onWire() Problem {
	p.Type = typePrefix + p.Type
	p.Subproblems = slices.Clone(p.Subproblems)
	for i, sub := range p.Subproblems {
		p.Subproblems[i] = sub.onWire()
	}
	return p
}
