package controllers

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/securitybaseline/operator/"

// purePackages define what a baseline means and what is reported. They have no client, no
// clock and no cluster, so that a command line or a test can use them as the operator does.
var purePackages = []string{
	"api/v1alpha1",
	"controllers/controls",
	"controllers/precedence",
	"controllers/policies",
	"controllers/evaluation",
	"controllers/report",
	"controllers/enforcement/diff",
	"controllers/enforcement/ownership",
}

// mayImport lists, by package, the packages of the operator that it may import in addition to
// the API. An arrow that is missing here points the wrong way, or is a decision to write down.
var mayImport = map[string][]string{
	"controllers/controls":              {},
	"controllers/precedence":            {"controllers/controls"},
	"controllers/policies":              {"controllers/controls", "controllers/precedence", "config/policies"},
	"controllers/evaluation":            {"controllers/controls"},
	"controllers/report":                {"controllers/controls", "controllers/evaluation", "controllers/precedence"},
	"controllers/enforcement/diff":      {"controllers/controls", "controllers/evaluation"},
	"controllers/enforcement/ownership": {},
	"controllers/enforcement/podsecurity": {
		"controllers/controls", "controllers/enforcement/diff", "controllers/internal/kube", "controllers/internal/metadata", "controllers/internal/ttlmap",
	},
	"controllers/enforcement": {
		"controllers/controls", "controllers/evaluation", "controllers/enforcement/diff", "controllers/enforcement/ownership",
		"controllers/enforcement/podsecurity", "controllers/internal/kube", "controllers/internal/ratelimit", "controllers/internal/ttlmap",
	},
}

// controllerPackages import what is pure, enforcement and plumbing, but not each other:
// each is the only writer of what it writes.
var controllerPackages = []string{"controllers/namespace", "controllers/baseline", "controllers/admissionpolicy", "controllers/openreports"}

// goPackage is a package as go list describes it.
type goPackage struct {
	ImportPath, Dir        string
	GoFiles, Imports, Deps []string
}

// ownPackages returns the packages of the operator, by their path in the module.
var ownPackages = sync.OnceValues(func() (map[string]goPackage, error) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps", module+"...").Output()
	if err != nil {
		return nil, err
	}
	packages := map[string]goPackage{}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var pkg goPackage
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages[strings.TrimPrefix(pkg.ImportPath, module)] = pkg
	}
})

func ownPackage(t *testing.T, path string) goPackage {
	t.Helper()
	packages, err := ownPackages()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	pkg, ok := packages[path]
	if !ok {
		t.Fatalf("got no package %s; correct the lists in this file", path)
	}
	return pkg
}

// Purity holds over all dependencies, not only direct ones.
func TestPurePackages_DependOnNoClient(t *testing.T) {
	for _, path := range purePackages {
		forbidden := slices.DeleteFunc(ownPackage(t, path).Deps, func(dependency string) bool { return !isForbidden(dependency) })
		if len(forbidden) > 0 {
			t.Errorf("%s depends on %s and %d more, so it is not pure; pass in what it needs instead", path, forbidden[0], len(forbidden)-1)
		}
	}
}

// isForbidden reports whether a pure package must not depend on a package.
func isForbidden(dependency string) bool {
	own, isOwn := strings.CutPrefix(dependency, module)
	if isOwn {
		return strings.HasPrefix(own, "controllers/") && !slices.Contains(purePackages, own)
	}
	return strings.HasPrefix(dependency, "k8s.io/client-go") || strings.HasPrefix(dependency, "sigs.k8s.io/controller-runtime")
}

func TestPurePackages_ReadNoClock(t *testing.T) {
	for _, path := range purePackages {
		pkg := ownPackage(t, path)
		for _, name := range pkg.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(pkg.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(node ast.Node) bool {
				selector, ok := node.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				receiver, isIdent := selector.X.(*ast.Ident)
				reads := []string{"time.Now", "time.Since", "time.Until", "time.After", "metav1.Now"}
				if isIdent && slices.Contains(reads, receiver.Name+"."+selector.Sel.Name) {
					t.Errorf("%s/%s calls %s.%s, so it is not pure; pass in the time instead", path, name, receiver.Name, selector.Sel.Name)
				}
				return true
			})
		}
	}
}

func TestImports_PointFromControllersToPurePackages(t *testing.T) {
	for path, allowed := range mayImport {
		for _, imported := range ownPackage(t, path).Imports {
			own, isOwn := strings.CutPrefix(imported, module)
			if isOwn && !strings.HasPrefix(own, "api/") && !slices.Contains(allowed, own) {
				t.Errorf("%s imports %s; want only %v", path, own, allowed)
			}
		}
	}
}

func TestImports_ControllersDoNotDependOnEachOther(t *testing.T) {
	for _, path := range controllerPackages {
		for _, dependency := range ownPackage(t, path).Deps {
			if own := strings.TrimPrefix(dependency, module); slices.Contains(controllerPackages, own) {
				t.Errorf("%s depends on %s; pass in what it needs through an interface instead", path, own)
			}
		}
	}
}

// Plumbing serves the controllers and enforcement, so it depends on neither.
func TestImports_PlumbingDependsOnNoController(t *testing.T) {
	packages, err := ownPackages()
	if err != nil {
		t.Fatal(err)
	}
	for path, pkg := range packages {
		if !strings.HasPrefix(path, "controllers/internal/") {
			continue
		}
		for _, dependency := range pkg.Deps {
			own := strings.TrimPrefix(dependency, module)
			if slices.Contains(controllerPackages, own) || own == "controllers/enforcement" || own == "controllers" {
				t.Errorf("%s depends on %s; plumbing must not know the controllers", path, own)
			}
		}
	}
}
