// Package fault is the short list of error kinds that the whole program speaks.
//
// An error below a door carries a kind, a sentence that a stranger may read, and the cause, which
// only the operator's log may show. Each door has one table from kind to its own language.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what sort of thing went wrong, so that a door can choose its answer.
type Kind uint8

// The kinds. The zero value is Internal: an error that nobody classified tells a stranger nothing.
const (
	Internal    Kind = iota // our fault; the text stays in the house
	Invalid                 // the request is wrong and will stay wrong
	Denied                  // the caller may not do this
	NotFound                // there is no such thing, or the caller may not know of it
	Conflict                // the thing is in another state than the request supposes
	NotReady                // not yet; ask again after RetryAfter
	TooMany                 // a limit of this caller is used up until RetryAfter
	Unavailable             // something we depend on is away; ask again after RetryAfter
)

var kindNames = [...]string{
	"internal", "invalid", "denied", "not found", "conflict", "not ready", "too many", "unavailable",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "internal"
}

// Error is a classified error. Detail may be shown to strangers and must hold no secret; Err is for
// the log and may be nil.
type Error struct {
	Kind       Kind
	Field      string        // the request's field at fault, if one is
	Detail     string        // a sentence for the person who has to mend it
	RetryAfter time.Duration // for NotReady, TooMany and Unavailable; 0 leaves it to the door
	Err        error
}

func (e *Error) Error() string {
	text := e.Detail
	if e.Field != "" {
		text = e.Field + ": " + text
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes an error of the kind whose detail is the formatted sentence.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Detail: fmt.Sprintf(format, args...)}
}

// Field is New(Invalid, …) that also names the request's field at fault.
func Field(field, format string, args ...any) *Error {
	return &Error{Kind: Invalid, Field: field, Detail: fmt.Sprintf(format, args...)}
}

// Wrap classifies err: detail is what a stranger may read, err what the log shows.
func Wrap(kind Kind, err error, detail string) *Error {
	return &Error{Kind: kind, Detail: detail, Err: err}
}

// KindOf gives the kind of the outermost classified error in err's chain, Internal if there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Is reports whether err is classified as kind. It is false for a nil error.
func Is(err error, kind Kind) bool {
	return err != nil && KindOf(err) == kind
}
