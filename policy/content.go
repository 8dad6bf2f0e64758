package policy

import (
	"slices"
	"time"

	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

// Content is what a certificate would hold: everything in it that a request can influence. The road
// makes the certificate from this and nothing else.
type Content struct {
	CommonName string // empty, or one of Names
	Names      []identity.Name
	PublicKey  any
	NotBefore  time.Time
	NotAfter   time.Time // inclusive (RFC 5280 section 4.1.2.5)
}

// MaxCommonName is ub-common-name of RFC 5280 appendix A.1, in octets.
const MaxCommonName = 64

// Decide tells whether who may have a certificate with content c under profile p: nil, or an error
// whose sentence explains itself. What is malformed is fault.Invalid and names the field; what is
// well-formed but not for this caller or this profile is fault.Denied. Every name is looked at.
func Decide(who identity.Caller, p Profile, c Content) error {
	if err := checkNames(p, c.Names); err != nil {
		return err
	}
	if err := checkCommonName(c); err != nil {
		return err
	}
	if err := checkHolder(who, c.Names); err != nil {
		return err
	}
	if err := checkValidity(p, c); err != nil {
		return err
	}
	return CheckKey(c.PublicKey)
}

// checkNames looks at each name by itself and at their number.
func checkNames(p Profile, names []identity.Name) error {
	if len(names) == 0 {
		return fault.Field("names", "there is none; ask for at least one subject alternative name")
	}
	if len(names) > p.MaxNames {
		return fault.Field("names", "there are %d, and profile %q allows %d in one certificate; "+
			"spread them over several", len(names), p.Name, p.MaxNames)
	}
	seen := make(map[identity.Name]bool, len(names))
	for _, n := range names {
		canonical, err := identity.ParseName(n.Type, n.Value)
		if err != nil {
			return err
		}
		if canonical != n {
			return fault.Field("names", "%q is not in its canonical form %q", n.Value, canonical.Value)
		}
		if seen[n] {
			return fault.Field("names", "%q is there twice", n.Value)
		}
		seen[n] = true
		if !slices.Contains(p.NameTypes, n.Type) {
			return fault.New(fault.Denied, "refused: profile %q does not allow names of type %s, "+
				"and %q is one", p.Name, n.Type, n.Value)
		}
	}
	return nil
}

func checkCommonName(c Content) error {
	if c.CommonName == "" {
		return nil
	}
	if len(c.CommonName) > MaxCommonName {
		return fault.Field("common name", "%.100q is longer than 64 octets; leave it empty, the "+
			"subject alternative names are what counts", c.CommonName)
	}
	if !slices.ContainsFunc(c.Names, func(n identity.Name) bool { return n.Value == c.CommonName }) {
		return fault.Field("common name", "%q is not among the subject alternative names; "+
			"add it there, or leave the common name empty", c.CommonName)
	}
	return nil
}

// checkHolder compares the names with those that who may hold: all of them, and no other.
func checkHolder(who identity.Caller, names []identity.Name) error {
	if who.AnyName {
		return nil
	}
	for _, n := range names {
		if !slices.Contains(who.Names, n) {
			return fault.New(fault.Denied, "refused: %s %q is not among the names proven by %s",
				n.Type, n.Value, who.ID)
		}
	}
	for _, n := range who.Names {
		if !slices.Contains(names, n) {
			return fault.New(fault.Denied, "refused: %s %q is missing; the certificate must hold "+
				"every name that %s asked for", n.Type, n.Value, who.ID)
		}
	}
	return nil
}

// checkValidity holds a certificate to exactly the profile's lifetime. Both ends are inclusive, so
// the last second is one less than the sum (RFC 5280 section 4.1.2.5).
func checkValidity(p Profile, c Content) error {
	if c.NotBefore.Nanosecond() != 0 {
		return fault.New(fault.Denied, "refused: a validity counts whole seconds and cannot start at %s",
			c.NotBefore.UTC().Format(time.RFC3339Nano))
	}
	if last := c.NotBefore.Add(p.Lifetime - time.Second); !c.NotAfter.Equal(last) {
		return fault.New(fault.Denied, "refused: profile %q gives %s, so what starts at %s ends at "+
			"%s and not at %s", p.Name, p.Lifetime, c.NotBefore.UTC().Format(time.RFC3339),
			last.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}
