package signin_test

import (
	"context"
	"crypto/sha256"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/identity/signin"
	"github.com/mayflyca/mayfly/store/storetest"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestNewToken(t *testing.T) {
	secret, token := signin.NewToken(noon, "ops", identity.RoleAdmin)
	if !regexp.MustCompile(`^mayfly_[A-Za-z0-9_-]{43}$`).MatchString(secret) {
		t.Errorf("secret %q", secret)
	}
	want := signin.Token{
		ID: token.ID, Hash: sha256.Sum256([]byte(secret)), Name: "ops",
		Role: identity.RoleAdmin, CreatedAt: noon,
	}
	if token != want || !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(token.ID) {
		t.Errorf("token %+v", token)
	}
	if other, again := signin.NewToken(noon, "ops", identity.RoleAdmin); other == secret || again.ID == token.ID {
		t.Error("two tokens are alike")
	}
}

func TestBearer(t *testing.T) {
	s := storetest.SQLite(t)
	add := func(name string, role identity.Role, expires time.Time) (string, signin.Token) {
		secret, token := signin.NewToken(noon, name, role)
		token.ExpiresAt = expires
		if err := s.AddToken(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		return secret, token
	}
	admin, adminToken := add("ops", identity.RoleAdmin, time.Time{})
	plain, plainToken := add("", identity.RoleNone, time.Time{})
	short, _ := add("short", identity.RoleAdmin, noon.Add(time.Hour))
	unknown, _ := signin.NewToken(noon, "unknown", identity.RoleAdmin)

	wantAdmin := identity.Caller{ID: "token/" + adminToken.ID, Owner: "ops", Role: identity.RoleAdmin, AnyName: true}
	wantPlain := identity.Caller{ID: "token/" + plainToken.ID, Owner: "token/" + plainToken.ID}
	for _, test := range []struct {
		header string
		now    time.Time
		want   identity.Caller // the zero Caller: refused
	}{
		{"Bearer " + admin, noon, wantAdmin},
		{"bearer " + admin, noon, wantAdmin},
		{"BEARER  " + admin, noon.AddDate(100, 0, 0), wantAdmin},
		{"Bearer " + plain, noon, wantPlain},
		{"Bearer " + short, noon.Add(time.Hour), identity.Caller{}},
		{"", noon, identity.Caller{}},
		{"Bearer", noon, identity.Caller{}},
		{"Bearer ", noon, identity.Caller{}},
		{admin, noon, identity.Caller{}},
		{"Basic " + admin, noon, identity.Caller{}},
		{"Bearer" + admin, noon, identity.Caller{}},
		{"Bearer " + admin + " ", noon, identity.Caller{}},
		{"Bearer " + admin + "x", noon, identity.Caller{}},
		{"Bearer " + admin[:len(admin)-1], noon, identity.Caller{}},
		{"Bearer " + strings.ToUpper(admin), noon, identity.Caller{}},
		{"Bearer " + unknown, noon, identity.Caller{}},
		{"Bearer \x00\xff", noon, identity.Caller{}},
		{"Bearer " + strings.Repeat("x", 1<<20), noon, identity.Caller{}},
	} {
		got, err := signin.Bearer(t.Context(), s, test.now, test.header)
		if got.ID != test.want.ID || got.Owner != test.want.Owner || got.Role != test.want.Role ||
			got.AnyName != test.want.AnyName || got.Names != nil {
			t.Errorf("%.40q: %+v; want %+v", test.header, got, test.want)
		}
		if test.want.ID != "" {
			if err != nil {
				t.Errorf("%.40q: %v", test.header, err)
			}
			continue
		}
		// One and the same answer, so that nobody learns what is wrong with a token.
		if _, want := signin.Bearer(t.Context(), s, noon, ""); !fault.Is(err, fault.Denied) || err.Error() != want.Error() {
			t.Errorf("%.40q: %v; want %v", test.header, err, want)
		}
	}
	if got, err := signin.Bearer(t.Context(), s, noon.Add(time.Hour-1), "Bearer "+short); err != nil || got.Owner != "short" {
		t.Errorf("a moment before it expires: %+v, %v", got, err)
	}
}

// A store that is away must not look like a wrong token.
func TestBearerWithoutStore(t *testing.T) {
	s := storetest.SQLite(t)
	secret, _ := signin.NewToken(noon, "", identity.RoleAdmin)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	caller, err := signin.Bearer(ctx, s, noon, "Bearer "+secret)
	if err == nil || fault.Is(err, fault.Denied) || caller.ID != "" {
		t.Errorf("%+v, %v", caller, err)
	}
}
