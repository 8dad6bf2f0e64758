package acmeserver

import (
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

// Operator is what whoever runs the CA sees and does behind the clients' backs. What changes
// something is for administrators only, and is kept in the audit log. Errors are classified by fault:
// NotFound for an object that is not there, Conflict for one in another state. Safe for concurrent
// use.
type Operator struct{ door *Server }

// Operator gives the operator's side of the door.
func (s *Server) Operator() Operator { return Operator{s} }

// mayOperate is for administrators.
func mayOperate(who identity.Caller) error {
	if who.Role != identity.RoleAdmin {
		return fault.New(fault.Denied, "refused: %s has not the administrator's role", who.ID)
	}
	return nil
}
