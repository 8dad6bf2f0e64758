package identity

import (
	"net/netip"
	"net/url"
	"strings"
	"unicode"

	"golang.org/x/net/idna"

	"github.com/mayflyca/mayfly/fault"
)

// Lengths in octets: DNS names and labels by RFC 1035 section 2.3.4, mailboxes by RFC 5321 section
// 4.5.3.1; those for URIs and permanent identifiers are ours.
const (
	maxDNS       = 253
	maxLabel     = 63
	maxURI       = 2048
	maxMailbox   = 254
	maxLocalPart = 64
	maxPermanent = 128
)

// ParseName reads text as a name of type t and gives its canonical form, so that two spellings of
// one name are equal. It is strict: what it refuses could mean different things to different
// readers. Errors are fault.Invalid on the field "name".
//
//   - dns: lower-case letter-digit-hyphen labels without a trailing dot; internationalised labels as
//     A-labels that IDNA2008 allows to register (RFC 5890 section 2.3.2.1); "*" only as the whole
//     left-most label of several.
//   - ip: the text of RFC 5952, without a zone and not an IPv4 address in IPv6 clothes.
//   - uri: absolute, ASCII, with a fully qualified host or an opaque part (RFC 5280 section 4.2.1.6),
//     no user.
//   - email: local@domain with an unquoted local part, whose case is kept (RFC 5321 section 4.1.2).
//   - permanent-identifier: as it is, to the octet (draft-ietf-acme-device-attest section 3): up to
//     128 ASCII letters, digits, spaces between others, and a few marks; no assigner.
func ParseName(t NameType, text string) (Name, error) {
	var value, problem string
	switch t {
	case DNS:
		value, problem = parseDNS(text)
	case IP:
		value, problem = parseIP(text)
	case URI:
		value, problem = parseURI(text)
	case Email:
		value, problem = parseEmail(text)
	case PermanentIdentifier:
		value, problem = text, permanentProblem(text)
	default:
		return Name{}, fault.Field("name", "%.20q is not a type of name; take dns, ip, uri, email or "+
			"permanent-identifier", t)
	}
	if problem != "" {
		return Name{}, fault.Field("name", "%.100q %s", text, problem)
	}
	return Name{Type: t, Value: value}, nil
}

// parseDNS gives the canonical form of a DNS name, or what is wrong with the text.
func parseDNS(text string) (value, problem string) {
	switch {
	case text == "":
		return "", "is empty"
	case len(text) > maxDNS:
		return "", "is longer than 253 octets, the most that DNS allows"
	case !isASCII(text):
		return "", needsALabel(text)
	case strings.HasSuffix(text, "."):
		return "", "ends in a dot; write it without"
	}
	text = strings.ToLower(text)
	if isAddress(text) {
		return "", "is an IP address, not a DNS name"
	}
	rest, isWildcard := strings.CutPrefix(text, "*.")
	if text == "*" || isWildcard && rest == "" {
		return "", "is a wildcard for everything; name the domain behind \"*.\""
	}
	labels := strings.Split(rest, ".")
	for _, label := range labels {
		if problem := labelProblem(label); problem != "" {
			return "", problem
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "", "has a last label of digits only, which reads as part of an IP address"
	}
	if strings.Contains("."+rest, ".xn--") && !hasOnlyRegistrable(rest) {
		return "", "has an \"xn--\" label that IDNA2008 does not allow to register"
	}
	return text, ""
}

// labelProblem tells what is wrong with one lower-case label.
func labelProblem(label string) string {
	switch {
	case label == "":
		return "has an empty label: two dots in a row, or one in front"
	case len(label) > maxLabel:
		return "has a label longer than 63 octets, the most that DNS allows"
	case strings.Contains(label, "*"):
		return "has a \"*\" that is not the whole left-most label"
	case strings.Contains(label, "_"):
		return "has an underscore, which host names must not have (RFC 952)"
	case strings.ContainsFunc(label, func(r rune) bool { return !isLetterOrDigit(r) && r != '-' }):
		return "has a character other than letters, digits and hyphens"
	case label[0] == '-' || label[len(label)-1] == '-':
		return "has a label that starts or ends with a hyphen"
	case len(label) < 4 || label[2:4] != "--":
		return ""
	case !strings.HasPrefix(label, "xn--"):
		return "has hyphens at the third and fourth place of a label, which are reserved (RFC 5891)"
	}
	return ""
}

// hasOnlyRegistrable tells whether every A-label of the name, given without a wildcard, is one that
// IDNA2008 allows to register and comes back the same from Unicode (RFC 5890 section 2.3.2.1).
func hasOnlyRegistrable(name string) bool {
	text, err := idna.Registration.ToUnicode(name)
	if err != nil || strings.ContainsFunc(text, isSymbol) {
		return false
	}
	again, err := idna.Registration.ToASCII(text)
	return err == nil && again == name
}

// isSymbol tells whether r is neither a letter, mark or digit nor one of the exceptions of RFC 5892
// sections 2.6 and 2.7. Package idna leaves this part of IDNA2008 to its callers.
func isSymbol(r rune) bool {
	return !unicode.In(r, unicode.L, unicode.Mn, unicode.Mc, unicode.Nd) &&
		!strings.ContainsRune("-.\u00b7\u0375\u05f3\u05f4\u06fd\u06fe\u0f0b\u200c\u200d\u3007\u30fb", r)
}

// needsALabel is what somebody is told who wrote a name in its own script.
func needsALabel(text string) string {
	ascii, err := idna.Lookup.ToASCII(text)
	if err == nil {
		ascii, problem := parseDNS(ascii)
		if problem == "" {
			return "has letters outside ASCII; write \"" + ascii + "\""
		}
	}
	return "has characters outside ASCII that no domain name may have (IDNA2008)"
}

func parseIP(text string) (value, problem string) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return "", "is not an IP address"
	case addr.Zone() != "":
		return "", "has a zone, which means something on one machine only"
	case addr.Is4In6():
		return "", "is an IPv4 address written as IPv6; write \"" + addr.Unmap().String() + "\""
	}
	return addr.String(), ""
}

func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}

// uriMarks are what RFC 3986 section 2 allows in a URI beside letters and digits.
const uriMarks = "-._~:/?#[]@!$&'()*+,;=%"

func parseURI(text string) (value, problem string) {
	if len(text) > maxURI {
		return "", "is longer than 2048 octets"
	}
	if strings.ContainsFunc(text, func(r rune) bool {
		return !isLetterOrDigit(r) && !strings.ContainsRune(uriMarks, r)
	}) {
		return "", "has a character that a URI must percent-encode (RFC 3986)"
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", "is not a URI"
	case u.Scheme == "":
		return "", "is not absolute; it must start with a scheme like \"spiffe:\""
	case u.User != nil:
		return "", "names a user, which identifies nothing here"
	case u.Host == "" && u.Opaque == "":
		return "", "has neither a host nor an opaque part"
	}
	if u.Host != "" {
		host := u.Hostname()
		if isAddress(host) {
			host, problem = parseIP(host)
		} else {
			host, problem = parseDNS(host)
		}
		if problem != "" || strings.HasPrefix(host, "*") || host != strings.ToLower(u.Hostname()) {
			return "", "has a host that is neither a DNS name nor an IP address in canonical form"
		}
		if !isAddress(host) && !strings.Contains(host, ".") {
			return "", "has a host of one label; RFC 5280 wants it fully qualified, as in prod.internal"
		}
		u.Host = strings.ToLower(u.Host)
	}
	return u.String(), ""
}

// atomMarks are what RFC 5321 section 4.1.2 (through RFC 5322's atext) allows in an unquoted local
// part beside letters and digits; dots join atoms.
const atomMarks = "!#$%&'*+-/=?^_`{|}~."

func parseEmail(text string) (value, problem string) {
	at := strings.LastIndexByte(text, '@')
	if at < 0 {
		return "", "has no \"@\""
	}
	local, domain := text[:at], text[at+1:]
	switch {
	case len(text) > maxMailbox:
		return "", "is longer than 254 octets"
	case local == "" || len(local) > maxLocalPart:
		return "", "must have 1 to 64 octets before the \"@\""
	case strings.ContainsFunc(local, func(r rune) bool {
		return !isLetterOrDigit(r) && !strings.ContainsRune(atomMarks, r)
	}):
		return "", "has a character before the \"@\" that is not allowed there without quotes"
	case local[0] == '.' || local[len(local)-1] == '.' || strings.Contains(local, ".."):
		return "", "has a dot before the \"@\" that does not stand between two other characters"
	case strings.HasPrefix(domain, "*"):
		return "", "has a wildcard for a domain"
	}
	domain, problem = parseDNS(domain)
	return local + "@" + domain, problem
}

// permanentMarks are what a permanent identifier may have beside letters, digits and spaces. "/"
// would begin an assigner; the others that are missing mean something to some reader of a common
// name.
const permanentMarks = "-._:+=,@#()'"

// permanentProblem tells what is wrong with a permanent identifier.
func permanentProblem(text string) string {
	switch {
	case text == "":
		return "is empty"
	case len(text) > maxPermanent:
		return "is longer than 128 octets"
	case strings.Contains(text, "/"):
		return "has a \"/\"; identifiers with an assigner behind it are not supported"
	case strings.ContainsFunc(text, func(r rune) bool {
		return !isLetterOrDigit(r) && r != ' ' && !strings.ContainsRune(permanentMarks, r)
	}):
		return "has a character other than ASCII letters, digits, spaces and " + permanentMarks
	case strings.TrimSpace(text) != text:
		return "starts or ends with a space"
	}
	return ""
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 })
}

func isLetterOrDigit(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}
