package main_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mayflyca/mayfly/"

// arrows is who may import whom: the architecture. Lowest first; nobody points up, and a package
// that is not here does not exist.
var arrows = []struct {
	pkg  string
	uses string
}{
	{"fault", ""},
	{"audit", "fault"},
	{"migrations", ""},

	{"identity", "fault"},
	{"policy", "fault identity"},
	{"identity/signin", "fault audit identity"},
	{"config", "fault"},

	{"ca/internal/keys", "fault"},
	{"ca/internal/lint", "fault policy identity"},
	{"ca", "fault audit identity policy ca/internal/keys ca/internal/lint"},

	{"acmeserver/internal/validate", "fault identity"},
	{"acmeserver/internal/limit", ""},
	{"acmeserver/internal/attest", "fault identity"},
	{"acmeserver", "fault audit identity policy ca acmeserver/internal/validate " +
		"acmeserver/internal/limit acmeserver/internal/attest"},
	{"publish", "fault audit identity policy ca"},

	{"api", "fault audit identity policy identity/signin ca acmeserver"},
	{"web", "fault audit identity policy identity/signin ca"},
	{"store", "fault audit identity policy identity/signin ca acmeserver migrations"},
	{"store/storetest", "fault audit identity policy identity/signin ca acmeserver store"},
	{"ca/catest", "policy ca ca/internal/keys store"},

	{"cmd/mayfly", "fault audit identity policy identity/signin config ca acmeserver publish api web store"},
}

// notAllowed names what a package must do without.
var notAllowed = map[string][]string{
	"policy": {"net", "net/http", "database/sql", "os"},
	"audit":  {"net", "net/http", "database/sql", "os"},
	"ca":     {"database/sql", "net/http"},
}

type listedPackage struct {
	ImportPath string
	Imports    []string
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listedPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		all = append(all, p)
	}
}

func TestArrows(t *testing.T) {
	rank, uses := map[string]int{}, map[string][]string{}
	for i, a := range arrows {
		rank[a.pkg], uses[a.pkg] = i, strings.Fields(a.uses)
		for _, below := range uses[a.pkg] {
			if r, ok := rank[below]; !ok || r >= i {
				t.Errorf("the table itself points up: %s uses %s", a.pkg, below)
			}
		}
	}
	packages := listPackages(t)
	if len(packages) < 10 {
		t.Fatalf("go list found only %d packages", len(packages))
	}
	for _, p := range packages {
		if _, ok := rank[p.ImportPath]; !ok {
			t.Errorf("package %s is not in the table of arrows", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			own, isOwn := strings.CutPrefix(imported, module)
			if isOwn && !slices.Contains(uses[p.ImportPath], own) {
				t.Errorf("%s must not import %s", p.ImportPath, own)
			}
			if slices.Contains(notAllowed[p.ImportPath], imported) {
				t.Errorf("%s must do without %s", p.ImportPath, imported)
			}
		}
	}
}

// signers are the only files in which something is signed: with a CA key, or with a throwaway key
// to lint the result.
var signers = map[string][]string{
	"CreateCertificate":    {"ca/"},
	"CreateRevocationList": {"ca/"},
	"Sign":                 {"ca/"},
	"SignMessage":          {"ca/"},
}

// clocks may not be read where decisions are pure.
var withoutClock = []string{"policy/", "audit/", "identity/name.go", "ca/internal/lint/"}

func TestSigningAndClocks(t *testing.T) {
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "tools") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files++
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return inspectCalls(t, path, filepath.ToSlash(rel))
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Errorf("looked at only %d files", files)
	}
}

func inspectCalls(t *testing.T, path, rel string) error {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	startsWithAny := func(prefixes []string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(rel, p) })
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && len(call.Args) == 0 {
			return !callsSign(call) // of a big.Int
		}
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		name := selector.Sel.Name
		if allowed, signs := signers[name]; signs && !startsWithAny(allowed) {
			t.Errorf("%s: %s must stand only in %v", set.Position(n.Pos()), name, allowed)
		}
		if pkg, ok := selector.X.(*ast.Ident); ok && pkg.Name == "time" && startsWithAny(withoutClock) &&
			slices.Contains([]string{"Now", "Since", "Until", "After", "Sleep"}, name) {
			t.Errorf("%s: time.%s has no place where decisions are pure", set.Position(n.Pos()), name)
		}
		return true
	})
	return nil
}

func callsSign(call *ast.CallExpr) bool {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	return ok && selector.Sel.Name == "Sign"
}
