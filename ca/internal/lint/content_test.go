package lint_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/ca/internal/lint"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/policy"
)

// contentLints are the lints that react to content, and so the ones that the grammar stands in for
// once a shape is known.
var contentLints = []string{
	"e_ecdsa_small_private_key",
	"e_ext_san_dns_name_too_long",
	"e_ext_san_dns_not_ia5_string",
	"e_ext_san_empty_name",
	"e_ext_san_rfc822_format_invalid",
	"e_ext_san_space_dns_name",
	"e_ext_san_uri_format_invalid",
	"e_ext_san_uri_not_ia5",
	"e_ext_san_uri_relative",
	"e_generalized_time_does_not_include_seconds",
	"e_generalized_time_includes_fraction_seconds",
	"e_generalized_time_not_in_zulu",
	"e_international_dns_name_not_nfc",
	"e_international_dns_name_not_unicode",
	"e_rfc_dnsname_empty_label",
	"e_rfc_dnsname_hyphen_in_sld",
	"e_rfc_dnsname_label_too_long",
	"e_rfc_dnsname_underscore_in_sld",
	"e_rsa_fermat_factorization",
	"e_san_bare_wildcard",
	"e_san_dns_name_includes_null_char",
	"e_san_dns_name_starts_with_period",
	"e_san_wildcard_not_first",
	"e_serial_number_longer_than_20_octets",
	"e_serial_number_not_positive",
	"e_subj_contains_html_entities",
	"e_subj_country_not_uppercase",
	"e_subj_email_not_in_san",
	"e_subject_common_name_max_length",
	"e_subject_dn_country_not_printable_string",
	"e_subject_dn_not_printable_characters",
	"e_subject_dn_serial_number_max_length",
	"e_subject_dn_serial_number_not_printable_string",
	"e_subject_email_max_length",
	"e_subject_given_name_max_length",
	"e_subject_locality_name_max_length",
	"e_subject_organization_name_max_length",
	"e_subject_organizational_unit_name_max_length",
	"e_subject_postal_code_max_length",
	"e_subject_printable_string_badalpha",
	"e_subject_state_name_max_length",
	"e_subject_street_address_max_length",
	"e_subject_surname_max_length",
	"e_utc_time_does_not_include_seconds",
	"e_utc_time_not_in_zulu",
	"e_utf8_latin1_mixup",
	"e_utf8_replacement_char_in_subject",
	"e_validity_time_not_positive",
	"e_wrong_time_format_pre2050",
	"n_contains_redacted_dnsname",
	"n_multiple_subject_rdn",
	"n_san_dns_name_duplicate",
	"n_san_iana_pub_suffix_empty",
	"n_suspicious_chars_in_address",
	"w_rfc_dnsname_underscore_in_trd",
	"w_subject_dn_leading_whitespace",
	"w_subject_dn_trailing_whitespace",
	"w_subject_given_name_recommended_max_length",
	"w_subject_surname_recommended_max_length",
}

// everyType has a name of each, the first of which a UTF8String must hold as a common name, and the
// second of which may be a PrintableString.
var everyType = []identity.Name{
	{Type: identity.DNS, Value: "*.example.internal"},
	{Type: identity.IP, Value: "10.1.2.3"},
	{Type: identity.URI, Value: "urn:a:b"},
	{Type: identity.Email, Value: "ann@example.internal"},
	{Type: identity.PermanentIdentifier, Value: "VMware-56 4d_8a (01), #7"},
}

// TestContentLints shows which of all lints look at content, by changing it in every way we know,
// and that whatever makes a lint object is refused of a draft whose shape is proven.
func TestContentLints(t *testing.T) {
	reacting := map[string]bool{}
	objecting := map[string]bool{}
	full := good(t)
	full.profile = policy.Builtin()[1]
	full.names = everyType
	bases := []struct {
		key, commonName string
		begin           time.Time
	}{
		{"P-256", "", today},
		{"P-256", "*.example.internal", today}, // a UTF8String
		{"RSA-2048", "10.1.2.3", today},        // a PrintableString
		{"P-256", "VMware-56 4d_8a (01), #7", today},
		{"RSA-2048", "", time.Date(2060, 11, 24, 12, 0, 0, 0, time.UTC)},
	}
	for _, b := range bases {
		full.key, full.commonName, full.begin = key(t, b.key), b.commonName, b.begin
		l, base := newLinter(t), full.der(t)
		if err := l.Check(base); err != nil {
			t.Fatal(err)
		}
		shape, err := lint.Shape(base)
		if err != nil {
			t.Fatal(err)
		}
		said, _, err := lint.Verdicts(base)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mutations(t) {
			der := forge(t, base, m.change)
			refusal := l.Check(der)
			says, blocking, err := lint.Verdicts(der)
			if other, err := lint.Shape(der); err == nil && other != shape || m.isOtherEra {
				says = nil // the shape would have to be proven anew: what differs is no content
			}
			for name := range says {
				if says[name] != said[name] {
					reacting[name] = true
				}
			}
			for _, name := range blocking {
				objecting[name] = true
			}
			if refusal == nil && (err != nil || len(blocking) > 0) {
				t.Errorf("%v, %s: accepted, although %v object (%v)", b, m.name, blocking, err)
			}
		}
	}
	if got := slices.Sorted(maps.Keys(reacting)); !slices.Equal(got, contentLints) {
		t.Errorf("these lints look at content:\n%s", strings.Join(got, "\n"))
	}
	for _, name := range contentLints {
		if !objecting[name] && !slices.Contains(silent, name) {
			t.Errorf("nothing made %s object: the test lost a case", name)
		}
	}
}

// silent are content lints that cannot block: the first is harmless, and no parser lets the second's
// case through to it.
var silent = []string{"n_san_iana_pub_suffix_empty", "e_generalized_time_does_not_include_seconds"}
