package acmeserver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
)

// A challenge that a client accepts is validated at once, and settled with one write:
//
//	POST ─► a seat ─► a slot ─► attempt ─► valid, invalid ─► write
//	                   ▲           │
//	                   └─ back-off ◄─ nobody answered: write "processing" and the error
//
// What a client was told is durable. Nearly every attempt settles while the POST waits for it, so
// that its answer is the outcome; only a POST that has waited long enough writes "processing" before
// it says so. A process that dies before that has promised nothing, and the client asks again. After
// that, whoever reads the order finds a validation that nobody works on any more, and takes it over
// (resume): the client polls, so nobody has to search.
const (
	answerWait = 100 * time.Millisecond // how long a POST waits for the outcome
	// attemptLease is how long a validation that was heard of is left to whoever runs it: an
	// attempt (10 s), a back-off, and the waiting for a slot.
	attemptLease = 30 * time.Second

	maxSeats = 1024 // validations accepted and not settled
	maxSlots = 64   // attempts at the same time
)

// backoffs are the pauses between attempts when nobody could be asked (RFC 8555 section 8.2). A
// wrong answer is final.
var backoffs = []time.Duration{time.Second, 3 * time.Second}

func isTransient(r validate.Result) bool {
	return !r.OK && (r.ProblemType == "connection" || r.ProblemType == "dns")
}

// validations are those that this process runs.
type validations struct {
	checker validate.Checker
	seats   chan struct{}
	slots   chan struct{}
	ending  context.Context
	end     context.CancelFunc

	mu      sync.Mutex
	running map[place]*validation
}

// place names a challenge.
type place struct {
	order string
	index int
	kind  string
}

// validation is one that runs. Order and err are to be read after done is closed.
type validation struct {
	done  chan struct{}
	order Order
	err   error
}

func newValidations(checker validate.Checker) *validations {
	ending, end := context.WithCancel(context.Background())
	return &validations{
		checker: checker, seats: make(chan struct{}, maxSeats), slots: make(chan struct{}, maxSlots),
		ending: ending, end: end, running: make(map[place]*validation),
	}
}

// stop lets no more attempts begin, ends those that run without a verdict, and waits for them. Before
// that, POSTs that are being answered get what they wait for.
func (v *validations) stop() {
	<-time.After(2 * answerWait)
	v.end()
	for range maxSeats {
		v.seats <- struct{}{}
	}
}

// accept begins a pending challenge's validation, and gives the order as it then stands.
func (s *Server) accept(ctx context.Context, a Account, o Order, index int, kind string) (Order, error) {
	at := place{o.ID, index, kind}
	authorization := &o.Authorizations[index]
	if authorization.statusAt(s.now()) != StatusPending ||
		authorization.challenge(kind).Status != StatusPending {
		return o, nil
	}
	if !slices.Contains(s.challenges, kind) {
		return o, refuse(unauthorized, "%s is not offered any more; make a new order", kind)
	}
	if err := s.peek(failuresPerName, failuresKey(a.ID, authorization.identifier())); err != nil {
		return o, err
	}
	running, err := s.validate(a, o, at)
	if err != nil {
		return o, err
	}
	timer := time.NewTimer(answerWait)
	defer timer.Stop()
	select {
	case <-running.done:
		return running.order, running.err
	case <-ctx.Done():
		return o, fault.Wrap(fault.Unavailable, ctx.Err(), "the client gave the request up")
	case <-timer.C:
	}
	now := s.now()
	return s.change(ctx, o, func(o *Order) ([]audit.Entry, bool) {
		c := o.Authorizations[index].challenge(kind)
		if c.Status != StatusPending {
			return nil, false
		}
		c.Status, c.Attempt = StatusProcessing, now
		return nil, true
	})
}

// orphans are the order's validations that nobody works on any more.
func (o *Order) orphans(now time.Time) (found []place) {
	for i, a := range o.Authorizations {
		for _, c := range a.Challenges {
			if a.statusAt(now) == StatusPending && c.Status == StatusProcessing &&
				now.Sub(c.Attempt) > attemptLease {
				found = append(found, place{o.ID, i, c.Type})
			}
		}
	}
	return found
}

// resume takes the order's orphans over, unless another process was faster.
func (s *Server) resume(ctx context.Context, a Account, o Order) (Order, error) {
	now := s.now()
	if len(o.orphans(now)) == 0 {
		return o, nil
	}
	var orphans []place
	o, err := s.change(ctx, o, func(o *Order) ([]audit.Entry, bool) {
		orphans = o.orphans(now)
		for _, at := range orphans {
			o.Authorizations[at.index].challenge(at.kind).Attempt = now
		}
		return nil, len(orphans) > 0
	})
	for _, at := range orphans {
		if err == nil {
			_, err = s.validate(a, o, at)
		}
	}
	return o, err
}

// validate begins a validation, or joins the one that runs already.
func (s *Server) validate(a Account, o Order, at place) (*validation, error) {
	v := s.validations
	v.mu.Lock()
	defer v.mu.Unlock()
	if running, ok := v.running[at]; ok {
		return running, nil
	}
	select {
	case v.seats <- struct{}{}:
	default:
		return nil, fault.New(fault.Unavailable, "too many challenges are being validated; try again")
	}
	running := &validation{done: make(chan struct{})}
	v.running[at] = running
	s.metrics.validations.WithLabelValues("accepted").Inc()
	go func(o Order) {
		running.order, running.err = s.settle(v.ending, a, o, at)
		v.mu.Lock()
		delete(v.running, at)
		v.mu.Unlock()
		s.metrics.validations.WithLabelValues("accepted").Dec()
		close(running.done)
		<-v.seats
	}(o.clone())
	return running, nil
}

// settle makes attempts until there is a verdict, and keeps it.
func (s *Server) settle(ctx context.Context, a Account, o Order, at place) (Order, error) {
	authorization := &o.Authorizations[at.index]
	token := authorization.challenge(at.kind).Token
	task := validate.Challenge{
		Type: at.kind, Name: authorization.Name, Wildcard: authorization.Wildcard, Token: token,
		KeyAuthorization: token + "." + a.Thumbprint,
		AccountURI:       s.url("acct", a.ID),
		Thumbprints:      slices.Concat([]string{a.Thumbprint}, a.EarlierThumbprints),
	}
	for attempt := 0; ; attempt++ {
		result, err := s.attempt(ctx, task, s.validations.checker.Check)
		if err != nil {
			return o, err
		}
		again := isTransient(result) && attempt < len(backoffs)
		if o, err = s.keep(ctx, o, at, result, again); err != nil {
			return o, err
		}
		if !again {
			s.count(ctx, a, &o, at)
			return o, nil
		}
		if o.Authorizations[at.index].Status != StatusPending {
			return o, nil // the client gave it up
		}
		timer := time.NewTimer(backoffs[attempt])
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return o, errEnding
		}
	}
}

var errEnding = fault.New(fault.Unavailable, "this server is being stopped; try again")

// attempt asks once, when there is a slot. A panic in there ends the attempt, not the process: it
// reads what strangers send (never #4).
func (s *Server) attempt(
	ctx context.Context, task validate.Challenge,
	check func(context.Context, validate.Challenge) validate.Result,
) (result validate.Result, err error) {
	select {
	case s.validations.slots <- struct{}{}:
		defer func() { <-s.validations.slots }()
	case <-ctx.Done():
		return result, errEnding
	}
	s.metrics.validations.WithLabelValues("running").Inc()
	defer s.metrics.validations.WithLabelValues("running").Dec()
	defer func() {
		if p := recover(); p != nil {
			err = fault.Wrap(fault.Internal, fmt.Errorf("panic: %v", p), "validating a challenge")
			s.log.Error("validation panicked", "type", task.Type, "name", task.Name.Value, "error", err)
		}
	}()
	begun := s.now()
	result = check(ctx, task)
	if ctx.Err() != nil {
		return result, errEnding // it was cut short: no verdict
	}
	outcome := result.ProblemType
	if result.OK {
		outcome = "valid"
	}
	s.metrics.validation.WithLabelValues(task.Type, outcome).Observe(s.now().Sub(begun).Seconds())
	return result, nil
}

// keep writes down what an attempt came to.
func (s *Server) keep(
	ctx context.Context, o Order, at place, result validate.Result, again bool,
) (Order, error) {
	now := s.now().UTC()
	return s.change(ctx, o, func(o *Order) ([]audit.Entry, bool) {
		a := &o.Authorizations[at.index]
		c := a.challenge(at.kind)
		if a.statusAt(now) != StatusPending || c.Status != StatusPending && c.Status != StatusProcessing {
			return nil, false
		}
		c.Trace, c.Error = result.Trace, nil
		if result.OK {
			c.Status, c.Validated, a.Status = StatusValid, now.Truncate(time.Second), StatusValid
			a.Key = result.Key
			if !result.Until.IsZero() && result.Until.Before(a.Expires) {
				a.Expires = result.Until
			}
			return nil, true
		}
		problem := refuse(result.ProblemType, "%s", result.Detail).Problem
		c.Error = &problem
		if again {
			c.Status, c.Attempt = StatusProcessing, now
			return nil, true
		}
		c.Status, a.Status = StatusInvalid, StatusInvalid
		o.fail(a, problem, now)
		return []audit.Entry{o.failureEntry(a, c, now)}, true
	})
}

func (o *Order) failureEntry(a *Authorization, c *Challenge, now time.Time) audit.Entry {
	return audit.New(now, audit.ChallengeFailed, Account{ID: o.Account}.caller(nil).ID, o.Ref(),
		map[string]string{
			"name": a.identifier().Value, "challenge": c.Type, "problem": c.Error.Type,
			"detail": c.Error.Detail, "trace": strings.Join(c.Trace, "\n"),
		})
}
