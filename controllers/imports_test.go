package controllers

import (
	"os/exec"
	"slices"
	"strings"
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

func TestImports_ControllersDoNotImportEachOther(t *testing.T) {
	for _, pkg := range controllerPackages {
		for _, imported := range goList(t, "{{join .Imports \"\\n\"}}", pkg) {
			if own := strings.TrimPrefix(imported, module); slices.Contains(controllerPackages, own) {
				t.Errorf("%s imports %s; pass in what it needs through an interface instead", pkg, own)
			}
		}
	}
}

// Plumbing serves the controllers and enforcement, so it imports neither.
func TestImports_PlumbingImportsNoController(t *testing.T) {
	for _, pkg := range goList(t, "{{.ImportPath}}", "controllers/internal/...") {
		own := strings.TrimPrefix(pkg, module)
		for _, imported := range goList(t, "{{join .Imports \"\\n\"}}", own) {
			imported = strings.TrimPrefix(imported, module)
			if slices.Contains(controllerPackages, imported) || imported == "controllers/enforcement" || imported == "controllers" {
				t.Errorf("%s imports %s; plumbing must not know the controllers", own, imported)
			}
		}
	}
}

// Purity holds over all dependencies, not only direct ones.
func TestPurePackages_DependOnNoClient(t *testing.T) {
	for _, pkg := range purePackages {
		forbidden := slices.DeleteFunc(goList(t, "{{join .Deps \"\\n\"}}", pkg), func(dependency string) bool { return !isForbidden(dependency) })
		if len(forbidden) > 0 {
			t.Errorf("%s depends on %s and %d more, so it is not pure; pass in what it needs instead", pkg, forbidden[0], len(forbidden)-1)
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

func TestImports_PointFromControllersToPurePackages(t *testing.T) {
	for pkg, allowed := range mayImport {
		for _, imported := range goList(t, "{{join .Imports \"\\n\"}}", pkg) {
			own, isOwn := strings.CutPrefix(imported, module)
			if isOwn && !strings.HasPrefix(own, "api/") && !slices.Contains(allowed, own) {
				t.Errorf("%s imports %s; want only %v", pkg, own, allowed)
			}
		}
	}
}

// goList returns the lines that go list prints of a package.
func goList(t *testing.T, format, pkg string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", format, module+pkg).Output()
	if err != nil {
		t.Fatalf("listing the imports of %s: %v", pkg, err)
	}
	return strings.Fields(string(out))
}
