// Package identity says who is asking and what they may do.
package identity

// Role is what a caller may do beside having certificates.
type Role string

// The roles, from least to most. The empty role may do nothing but hold the names it was granted.
const (
	RoleNone  Role = ""
	RoleAdmin Role = "admin"
)

// Caller is who asks: built by a door from its own evidence, and passed as an argument to whatever
// decides. The zero Caller may do nothing.
type Caller struct {
	// ID is unique and stable, with its origin in front: "acme/account/<id>", "token/<id>", "system".
	ID string
	// Owner is whose certificates these are, for people; the ID where nothing better is known.
	Owner string
	Role  Role
	// Names are the only names a certificate for this caller may hold, and it must hold them all.
	// nil with AnyName false means none.
	Names []Name
	// AnyName lifts the limit of Names: the caller may ask for any name that the profile allows.
	AnyName bool
}

// System is the program itself: it issues its own door's certificate.
func System(names []Name) Caller {
	return Caller{ID: "system", Owner: "mayfly", Names: names}
}
