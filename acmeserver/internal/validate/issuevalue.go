package validate

import (
	"fmt"
	"strings"
)

// issueValue is what CAA's issue and issuewild properties say, and the records of dns-persist-01
// (RFC 8659 section 4.2).
type issueValue struct {
	issuer string // in lower case; empty: nobody
	params []param
}

// param is a parameter of an issueValue. Its tag is in lower case: whoever wrote "AccountURI" means a
// restriction, and must not lose it over a letter.
type param struct {
	tag, value string
}

// parseIssueValue reads text strictly by the grammar. Where the parameters are at fault, the issuer
// stands in what it gives beside the error.
func parseIssueValue(text string) (issueValue, error) {
	head, rest, _ := strings.Cut(text, ";")
	issuer := strings.ToLower(trimSpace(head))
	for label := range strings.SplitSeq(issuer, ".") {
		if issuer != "" && !isLabel(label) {
			return issueValue{}, fmt.Errorf("%s is not a domain name", excerpt(issuer))
		}
	}
	v := issueValue{issuer: issuer}
	if trimSpace(rest) == "" {
		return v, nil
	}
	for part := range strings.SplitSeq(rest, ";") {
		tag, value, ok := strings.Cut(part, "=")
		p := param{strings.ToLower(trimSpace(tag)), trimSpace(value)}
		if !ok || !isLabel(p.tag) || strings.ContainsFunc(p.value, isNotVisible) {
			return v, fmt.Errorf("%s is not a parameter of the form tag=value", excerpt(part))
		}
		v.params = append(v.params, p)
	}
	return v, nil
}

func trimSpace(s string) string { return strings.Trim(s, " \t") }

// isLabel tells whether s is of letters and digits, with hyphens inside.
func isLabel(s string) bool {
	for i := range len(s) {
		letter, digit := 'a' <= s[i]|0x20 && s[i]|0x20 <= 'z', '0' <= s[i] && s[i] <= '9'
		hyphen := s[i] == '-' && i > 0 && i < len(s)-1
		if !letter && !digit && !hyphen {
			return false
		}
	}
	return s != ""
}

func isNotVisible(r rune) bool { return r <= ' ' || r > '~' }

// one gives the value of the parameter, and how many there are of it.
func (v issueValue) one(tag string) (value string, count int) {
	for _, p := range v.params {
		if p.tag == tag {
			value = p.value
			count++
		}
	}
	return value, count
}
